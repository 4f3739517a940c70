"""Boxes change a part of a segment, with the same result as if all its voxels had been worked on."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from Testing.fakes import BallEngine, EllipsoidEngine, noise_volume, rotation
from TumorSegLib.errors import TumorSegError
from TumorSegLib.geometry.boxes import EMPTY_BOX, clip_additions, full_box, slices
from TumorSegLib.geometry.grid import Box, Grid
from TumorSegLib.images.probability import EMPTY
from TumorSegLib.images.volume import Mask
from TumorSegLib.prompts.constraints import apply_constraints
from TumorSegLib.prompts.types import BoxPrompt, Click, Scribble
from TumorSegLib.protocols import BoxOptions, Refinement
from TumorSegLib.session.segments import Edit, Overlap
from TumorSegLib.session.session import Session

GRID = Grid.from_spacing((13, 17, 19), (0.7, 1.5, 2.0), (5, -3, 40), rotation((0.4, 0.1, 0.2)))
IMAGES = {"ct": noise_volume(GRID)}


class Fickle(EllipsoidEngine):
    """Finds nothing in every third box on a slice."""

    def segment(self, prepared: Any, prompt: BoxPrompt, *arguments: Any, **more: Any) -> Refinement:
        answer = super().segment(prepared, prompt, *arguments, **more)
        nothing = prompt.thin_axis(GRID) is not None and sum(map(sum, prompt.box)) % 3 == 0
        return Refinement(EMPTY_BOX, EMPTY, answer.info) if nothing else answer


class WholeSession(Session):
    """Works on the whole image, step by step."""

    def add_box(self, box: BoxPrompt, *, within: Any = None, refine: bool = False, **_: Any) -> Edit:
        with self._editing():
            start = self._segments.probability(self._active).copy()
            answer = self._engines.box(BoxOptions())[0].segment((GRID, BoxOptions()), box, within=within)
            prompts, info, at = self.prompts.with_box(box), answer.info, slices(answer.box)
            added = box.thin_axis(GRID) is not None
            start[at] = np.maximum(start[at], answer.probability) if added else answer.probability
            apply_constraints(start, prompts.point_prompts(), GRID.spacing, certain=255)
            if refine:
                refined = self._engines.clicks()[0].refine(GRID, start, prompts)
                info, at = info.with_details(refined=dict(refined.info)), slices(refined.box)
                free = full_box(GRID.shape) if within is None else within.box
                start[at] = clip_additions(start[at], refined.probability, refined.box, free)
            return self._segments.commit(self._active, full_box(GRID.shape), start, prompts, info)


def random_box(rng: np.random.Generator) -> Box:
    i, j, k = (sorted(rng.choice(n + 1, 2, replace=False).tolist()) for n in GRID.size)
    return (i[0], i[1]), (j[0], j[1]), (k[0], k[1])


def random_act(rng: np.random.Generator) -> tuple[str, tuple, dict[str, Any]]:
    """A method of a session with what it is given."""
    i, j, k = rng.integers(0, GRID.size).tolist()
    name = str(rng.choice(["add_box"] * 5 + ["add_click", "add_scribble", "replace_mask", "undo", "redo", "activate"]))
    positive = bool(rng.integers(2))
    if name == "add_box":
        box, within = random_box(rng), None
        if rng.integers(2):
            within = BoxPrompt(random_box(rng))
            box = within.box
        if rng.integers(2):
            box = box[0], box[1], (box[2][0], box[2][0] + 1)
        return name, (BoxPrompt(box),), {"within": within, "refine": bool(rng.integers(2))}
    stroke = np.zeros(GRID.shape, np.uint8)
    stroke[k, j, : rng.integers(1, 19)] = 1
    if rng.integers(2):
        stroke[k:, j, i] = 1
    painted = (rng.random(GRID.shape) < 0.05).astype(np.uint8)
    given: dict[str, tuple] = {
        "add_click": (Click((i, j, k), positive),),
        "add_scribble": (Scribble.from_mask(Mask(GRID, stroke), positive),),
        "replace_mask": (Mask(GRID, painted | stroke),),
        "activate": (str(rng.choice(["tumour", "node"])),),
    }
    return name, given.get(name, ()), {}


def outcome(session: Session, name: str, given: tuple, more: dict[str, Any]) -> Any:
    """What an act tells its caller, in values."""
    try:
        return seen(getattr(session, name)(*given, **more))
    except TumorSegError as error:
        return repr(error)


def seen(edit: Edit | None) -> Any:
    if edit is None:
        return None
    return (
        edit.segment,
        edit.box,
        edit.before.tobytes(),
        edit.after.tobytes(),
        [*map(seen, edit.others.values())],
        edit.info,
    )


@pytest.mark.parametrize("overlap", Overlap)
@pytest.mark.parametrize("seed", range(8))
def test_the_result_is_that_of_work_on_the_whole_image(overlap: Overlap, seed: int) -> None:
    rng, boxes = np.random.default_rng(seed), 0
    sessions = [kind(IMAGES, box=Fickle(), clicks=BallEngine(), overlap=overlap) for kind in (Session, WholeSession)]
    for session in sessions:
        session.add_segment("node")
    for _ in range(30):
        act = random_act(rng)
        one, other = (outcome(session, *act) for session in sessions)
        assert one == other, act
        assert sessions[0].to_json() == sessions[1].to_json(), act
        boxes += act[0] == "add_box" and one[1] != EMPTY_BOX
    assert boxes > 3
