"""Patches of cases: seen from nearer they show the same places, and objects that the patch does not hold."""

from __future__ import annotations

import numpy as np
import torch

from Testing.training.objects.object_cases import GRID
from training.objects.patches import Frame, magnified
from training.objects.shapes import HELD, TOO_NEAR, draw_radii
from TumorSegLib.images.volume import Volume

SHAPE = (16, 18, 20)


def test_a_nearer_frame_has_a_voxel_of_the_first_in_its_middle_and_smaller_voxels() -> None:
    frame = Frame.around(GRID, np.array([12.0, 14.0, 15.0]), 2.0, SHAPE, np.random.default_rng(0))
    near = frame.nearer(np.array([7.0, 8.0, 9.0]), 4.0)
    assert (near.scale_mm, near.places_mm.shape) == (0.5, frame.places_mm.shape)
    middle = near.places_mm[7:9, 8:10, 9:11].mean(dim=(0, 1, 2))
    assert torch.allclose(middle, frame.places_mm[7, 8, 9], atol=1e-3)
    k, j, i = (near.places_mm.diff(dim=axis)[8, 8, 8].norm().item() for axis in range(3))
    assert np.allclose([k, j, i], [frame.places_mm.diff(dim=axis)[7, 8, 9].norm() / 4 for axis in range(3)], rtol=0.15)


def test_what_is_magnified_is_what_a_nearer_frame_samples() -> None:
    k, j, i = np.meshgrid(*map(np.arange, GRID.shape), indexing="ij")
    ramp = Volume(GRID, (3.0 * i - 2.0 * j + k).astype(np.float32))
    frame = Frame.around(GRID, np.array([15.0, 14.0, 13.0]), 0.8, SHAPE, np.random.default_rng(3))
    voxel = np.array([9.0, 8.0, 10.0])
    sampled = frame.nearer(voxel, 2.5).sampled(ramp, 0.0)
    shown = magnified(torch.from_numpy(frame.sampled(ramp, 0.0))[None], voxel, 2.5)[0].numpy()
    assert np.abs(sampled - shown).max() < 0.02 * np.ptp(shown)


def test_radii_are_held_by_a_patch_three_times_of_four() -> None:
    rng = np.random.default_rng(0)
    radii = np.array([draw_radii(rng) for _ in range(2000)])
    assert radii.min() >= 0.65 * HELD[0]
    assert radii.max() <= 1.5 * TOO_NEAR[1]
    assert 0.2 < (np.median(radii, axis=1) > HELD[1]).mean() < 0.35
