"""Surfaces rendered to a picture."""

from __future__ import annotations

import numpy as np
import pytest

from Testing.unit.cases.surface_cases import OBLIQUE, gaussian_ball
from TumorSegLib.errors import ResourceError
from TumorSegLib.geometry.grid import Grid
from TumorSegLib.images.volume import Volume
from TumorSegLib.render import scene as scene_module
from TumorSegLib.render.scene import RenderedSurface, render, view_directions
from TumorSegLib.render.surface import surface_from_probability


def test_render_shows_a_ball_in_the_middle():
    volume, _ = gaussian_ball(OBLIQUE)
    pixels = render([RenderedSurface(surface_from_probability(volume), (1.0, 0.2, 0.1))], (160, 120))
    assert pixels.shape == (120, 160, 3)
    red = pixels[..., 0].astype(int) - pixels[..., 2] > 40
    rows, columns = np.nonzero(red)
    assert (rows.mean(), columns.mean()) == pytest.approx((59.5, 79.5), abs=1.5)
    assert np.ptp(rows) == pytest.approx(np.ptp(columns), abs=2)
    assert not red[0].any()
    assert not red[:, 0].any()


def test_render_looks_from_the_front_with_the_patient_left_on_the_right():
    """A red ball to the patient's left (-R), a green one above (S)."""
    grid = Grid.from_spacing((40, 40, 40), (1, 1, 1))
    k, j, i = np.indices(grid.shape)
    drawn = []
    for (x, y, z), colour in (((8, 20, 10), (1.0, 0, 0)), ((30, 20, 10), (0, 0, 1.0)), ((30, 20, 30), (0, 1.0, 0))):
        ball = np.exp(-((i - x) ** 2 + (j - y) ** 2 + (k - z) ** 2) / 20.0)
        drawn.append(RenderedSurface(surface_from_probability(Volume(grid, ball)), colour))
    pixels = render(drawn, (150, 150)).astype(int)
    places = []
    for channel in (0, 2, 1):
        others = [c for c in range(3) if c != channel]
        rows, columns = np.nonzero(pixels[..., channel] - pixels[..., others].max(axis=-1) > 60)
        places.append((rows.mean(), columns.mean()))
    (_, red_column), (blue_row, blue_column), (green_row, _) = places
    assert red_column > blue_column + 20
    assert green_row < blue_row - 20


def test_view_directions_are_orthonormal():
    right, up, towards = view_directions()
    assert np.stack([right, up, towards]) @ np.stack([right, up, towards]).T == pytest.approx(np.eye(3), abs=1e-12)
    assert np.cross(right, up) == pytest.approx(towards)


def test_glass_lets_what_is_inside_shine_through():
    volume, _ = gaussian_ball(np.eye(3))
    inside = RenderedSurface(surface_from_probability(volume, 0.8), (1.0, 0.2, 0.1))
    skin = RenderedSurface(surface_from_probability(volume, 0.2), (0.8, 0.8, 0.8), glass=True)
    pixels = render([inside, skin], (120, 120)).astype(int)
    assert pixels[60, 60, 0] - pixels[60, 60, 2] > 60
    solid = render([inside, RenderedSurface(skin.surface, skin.colour)], (120, 120)).astype(int)
    assert abs(solid[60, 60, 0] - solid[60, 60, 2]) < 20


def test_no_display_and_old_vtk_is_a_resource_error(monkeypatch):
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setattr(scene_module.sys, "platform", "linux")
    monkeypatch.setattr(scene_module, "_vtk_version", lambda: (9, 3))
    volume, _ = gaussian_ball(np.eye(3))
    with pytest.raises(ResourceError, match="without a display"):
        render([RenderedSurface(surface_from_probability(volume), (1, 0, 0))], (50, 50))
