"""The pictures of the module: they show something, and those that ship are small."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from Testing.documents import PAGES, text_of
from Testing.slicer.module import OUTPUT, REPOSITORY, SMALL
from Testing.slicer.screenshots import states, window

if TYPE_CHECKING:
    from Testing.slicer.host.host import Host

LARGEST_BYTES = 400_000


def picture(path: Path) -> np.ndarray:
    """``[row, column, RGB]``, 0 to 1."""
    from matplotlib.image import imread

    return np.asarray(imread(path)[..., :3])


def near(pixels: np.ndarray, colour: tuple[float, ...], tolerance: float = 0.02) -> np.ndarray:
    """Which pixels have about a colour."""
    return np.abs(pixels - colour).max(axis=-1) <= tolerance


def below_its_bar(pixels: np.ndarray, colour: str) -> np.ndarray:
    """The slice view under the bar of its colour."""
    bar = tuple(int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5))
    rows = np.flatnonzero(near(pixels, bar).sum(axis=1) > 100)
    columns = np.flatnonzero(near(pixels[rows[0]], bar))
    return pixels[rows[-1] + 1 : rows[-1] + 300, columns[0] : columns[-1]]


def test_pictures_of_a_small_phantom_show_contour_surface_and_panel(host: Host) -> None:
    import slicer

    from Testing.slicer.host.views.slice_views import VIEWS

    size = host.window.size
    shown, panel = (picture(path) for path in window.take(host, OUTPUT, **SMALL))
    assert host.window.size == size
    assert host.dialogs.texts == []
    (node,) = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
    contour = tuple(node.GetSegmentation().GetNthSegment(0).GetColor())
    assert shown.shape[1::-1] == window.WINDOW_SIZE
    views = {name: below_its_bar(shown, colour) for name, _, _, colour in VIEWS}
    for name, view in views.items():
        assert near(view, contour).sum() > 50, f"no contour in {name}"
        grey = (np.ptp(view, axis=-1) < 0.02) & (view[..., 0] > 0.2) & (view[..., 0] < 0.9)
        assert grey.mean() > 0.1, f"no CT in {name}"
    space = shown[: shown.shape[0] // 2 - 20, -views["Yellow"].shape[1] :]
    red, green, blue = np.moveaxis(space, -1, 0)
    assert ((red > 2 * green) & (red > 2 * blue)).mean() > 0.03, "no surface in 3D"
    assert ((blue > red) & (blue > 0.5)).mean() > 0.03, "no background in 3D"
    assert panel.shape[0] > 1200
    for rows in np.array_split(panel, 10):
        assert (rows.max(axis=-1) < 0.3).sum() > 100, "no text in a part of the panel"


def test_every_state_of_the_panel_has_a_picture_of_its_own(host: Host) -> None:
    size, font = host.window.size, host.window.font.toString()
    taken = {path.stem: picture(path) for path in states.take(host, OUTPUT / "states")}
    assert (host.window.size, host.window.font.toString()) == (size, font)
    assert {"empty", "packages-missing", "progress", "result", "question", "error", *states.LOOKS} == set(taken)
    for one, other in itertools.combinations(taken, 2):
        assert (taken[one] != taken[other]).any(axis=-1).mean() > 0.001, (one, other)
    panels = {name: float(shown[:, :300].mean()) for name, shown in taken.items()}
    assert max(panels["dark"], panels["high-contrast"]) < 0.4 < min(panels["result"], panels["narrow"])


def test_the_pictures_that_ship_are_there_and_small() -> None:
    for name in (window.WINDOW, window.PANEL):
        file = REPOSITORY / "Resources" / name
        assert 20_000 < file.stat().st_size < LARGEST_BYTES
        assert f"Resources/{name}" in "".join(map(text_of, PAGES))
