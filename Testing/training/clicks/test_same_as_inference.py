"""Training feeds a refinement network what inference does: the same patch, the same channels."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

import training.clicks.episodes
from Testing.fakes import noise_volume
from Testing.training.episode_visits import EMPTY, Clicking, blind, visits
from Testing.unit.engines.click_cases import blank, engine_of, nothing, recorded
from training.clicks.episodes import Episodes
from training.data.batches import Pools
from training.data.cases import Case
from TumorSegLib.geometry.boxes import full_box
from TumorSegLib.geometry.grid import Grid
from TumorSegLib.images.volume import Mask, Volume
from TumorSegLib.prompts.encoding import PointPrompt
from TumorSegLib.prompts.types import Prompts, Scribble

GRID = Grid.from_spacing((25, 25, 25), (2.0, 2.0, 2.0))
CHANGES = (
    *('roles = ["ct", "pet"]\noptional = ["ct", "pet"]', 'roles = ["ct", "mr_t1"]\noptional = ["ct", "mr_t1"]'),
    *('pet = { method = "log1p", low = 0.0, high = 30.0 }', 'mr_t1 = { method = "zscore" }'),
    *("[16, 16, 16]", "[17, 17, 17]"),
    "tumour_share = 1.0",
    "tumour_share = 1.0\ncut_share = 0\nrotation_degrees = [0, 0, 0]\nscale = [1, 1]\nelastic_share = 0\n"
    "noise_share = 0\nblur_share = 0\ngain = {}\noffset = {}",
)


@pytest.fixture
def one_voxel() -> Case:
    """CT and MR with a tumour of the middle voxel; the MR is brighter at its sides, which random windows cut off."""
    tumour = np.zeros(GRID.shape, np.uint8)
    tumour[12, 12, 12] = 1
    images = {role: noise_volume(GRID, role, seed) for seed, role in enumerate(("ct", "mr_t1"))}
    away = np.abs(np.arange(25) - 12) > 6
    images["mr_t1"] = Volume(GRID, np.abs(images["mr_t1"].array) + 300 * away.astype(np.float32), "mr_t1")
    return Case("one voxel", images, Mask(GRID, tumour), full_box(GRID.shape))


def half_circle() -> np.ndarray:
    """A scribble whose middle lies 4 voxels (8 mm) off it: half of a circle of 8 voxels, ``(i, j, k)``."""
    angles = np.linspace(-np.pi / 2, np.pi / 2, 60)
    circle = np.stack([6 + 8 * np.cos(angles), 12 + 8 * np.sin(angles), np.full(60, 12)], axis=1)
    return np.unique(np.rint(circle), axis=0)


def test_network_input_of_a_bent_scribble_and_an_mr_is_the_same_in_training_and_inference(
    clicking: Clicking, one_voxel: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    points = half_circle()
    monkeypatch.setattr(training.clicks.episodes, "draw_scribble", lambda *_: PointPrompt(points, True))
    settings = EMPTY.replace("stroke_share = 0", "stroke_share = 1") + "context = 8"
    source = Episodes(clicking(settings, *CHANGES), {1.0: Pools([one_voxel], [])}, 0)
    i, j, k = points.astype(int).T
    drawn = np.zeros(GRID.shape, np.uint8)
    drawn[k, j, i] = 1
    expected = []
    for flip in [axes for n in range(4) for axes in combinations(range(3), n)]:
        received: list[np.ndarray] = []
        engine = engine_of(recorded(nothing, received), clicking(settings, *CHANGES).model)
        images = {
            role: Volume(GRID, np.ascontiguousarray(np.flip(volume.array, flip)), role)
            for role, volume in one_voxel.images.items()
        }
        engine.refine(engine.prepare(images), blank(GRID), Prompts((Scribble.from_mask(Mask(GRID, drawn)),)))
        expected.append(received[0])
    for batch, _ in visits(source, blind, 4):
        inputs = batch.inputs[0].numpy()
        np.testing.assert_array_equal(inputs[2:], expected[0][2:])
        tumour = tuple(slice(n - 2, n + 3) for n in np.argwhere(batch.labels[0].numpy())[0])
        near = (slice(0, 2), *tumour)  # random windows begin 3 voxels from the tumour
        assert min(np.abs(inputs[near] - other[near]).max() for other in expected) < 1e-4
