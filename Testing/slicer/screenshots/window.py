"""The pictures of the window and of the whole panel with a tumour; how pictures are written."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from Testing.slicer.lesion_list import LesionList
from Testing.slicer.logic.test_end_to_end import PATIENCE, Desk, missed
from Testing.slicer.module import choose, put_down, ras_of
from Testing.slicer.module import take as take_up
from TumorSegLib import make_phantom
from TumorSegLib.cli.demo import REGION, SEED

if TYPE_CHECKING:
    from PySide6 import QtWidgets

    from Testing.slicer.host.host import Host
    from Testing.slicer.host.views.three_d_view import ThreeDView

#: The window with panel and views, and the whole panel, which is higher than the window.
WINDOW, PANEL = "screenshot.png", "screenshot-panel.png"
WINDOW_SIZE, PANEL_SIZE = (1140, 790), (430, 800)
PANEL_WIDTH = 466
# Share of the image that a slice view shows, so that the thigh fills it; the axial one has the legend, too.
SHOWN = {"Red": 0.86, "Green": 0.78, "Yellow": 0.78}
LEGEND_MM = 14
# The 3D view shows so much of the thigh round the tumour.
AROUND_MM = 15


def take(host: Host, folder: Path, **phantom: Any) -> tuple[Path, Path]:
    """Segments and corrects a phantom through the panel, and takes the pictures of window and panel.

    Args:
        host: with an empty scene.
        folder: made if absent.
        phantom: arguments of :func:`TumorSegLib.make_phantom`; by default those of ``tumorseg demo``.
    """
    desk = Desk(host)
    with in_documents(host) as view:
        places = work(desk, phantom or {"seed": SEED, "region": REGION})
        show(desk, places)
        look_at_tumour(desk, view)
        desk.ui.inputsSection.collapsed = True
        LesionList(desk).settled()  # type: ignore[arg-type]
        write(host, folder / WINDOW)
        desk.ui.inputsSection.collapsed = False
        host.window.resize(*PANEL_SIZE)
        with unrolled(desk):
            write(host, folder / PANEL, desk.widget.parent)
    return folder / WINDOW, folder / PANEL


def write(host: Host, path: Path, widget: QtWidgets.QWidget | None = None) -> Path:
    """Writes a picture of the window, or of a widget."""
    host.screenshot(path, widget)
    return shrink(path)


def shrink(path: Path) -> Path:
    """Keeps 256 colours of a picture, the rare ones too, which halves the bytes."""
    from PIL import Image

    with Image.open(path) as picture:
        few = picture.convert("RGB").quantize(256, Image.Quantize.MAXCOVERAGE, kmeans=1, dither=Image.Dither.NONE)
    few.save(path, optimize=True)
    return path


@contextmanager
def in_documents(host: Host) -> Iterator[ThreeDView]:
    """The window is so large that it can be read in a document, and has a 3D view."""
    size = host.window.size
    with host.three_d_view() as view:
        give_panel_its_width(host)
        yield view
    host.window.resize(size)


@contextmanager
def unrolled(desk: Desk) -> Iterator[None]:
    """The panel as high as all that is in it, so that nothing is scrolled."""
    area = desk.ui.sectionsArea
    least, bar = area.minimumHeight, area.verticalScrollBar()
    desk.host.process_events()
    while bar.maximum > 0:
        area.setMinimumHeight(area.height + bar.maximum)
        desk.host.wait_until(lambda: desk.widget.parent.height > area.minimumHeight, "the panel to be as high")
        desk.host.process_events()
    yield
    area.setMinimumHeight(least)


def give_panel_its_width(host: Host) -> None:
    """As narrow as panels are in Slicer, in a window of a size that can be read in a document."""
    import qt

    host.window.resize(*WINDOW_SIZE)
    host.window.show()
    host.window.resizeDocks([host.window.findChild(qt.QDockWidget)], [PANEL_WIDTH], qt.Qt.Horizontal)


def work(desk: Desk, phantom: dict[str, Any]) -> dict[str, tuple[int, int, int]]:
    """Contours the tumour as a user would: at the press of a button, then two clicks, then measured.

    Returns:
        View to the voxel (i, j, k) that it should show: where it was clicked, or the middle of the tumour.
    """
    from TumorSegSlicer.mrml.sample_data import loadPhantom

    volumes = loadPhantom(**phantom)
    truth = make_phantom(**phantom).tumour.array.astype(bool)
    for role in ("ct", "pet", "mr_t1"):
        choose(desk.ui, role, volumes[role])
    desk.host.show(volumes["ct"])
    found = desk.press("segmentButton").astype(bool)
    places = {"Yellow": missed(~truth, truth), "Green": missed(truth, found)}
    take_up(desk.ui, "point", positive=False)
    found = desk.click("Green", places["Green"])
    places["Red"] = missed(found, truth)
    take_up(desk.ui, "point")
    desk.click("Red", places["Red"])
    put_down(desk.widget)
    desk.press("measureButton")
    return places


def show(desk: Desk, places: dict[str, tuple[int, int, int]]) -> None:
    """Lays the probability over the slices at some places, under a contour that shows."""
    import slicer

    desk.ui.opacitySlider.value = 0.4
    desk.ui.overlaySelector.setCurrentIndex(1)
    desk.host.wait_until(lambda: not desk.context.tasks.busy, "the overlay", PATIENCE)
    for view, ijk in places.items():
        widget = desk.host.app.layout_manager.sliceWidget(view)
        widget.fitSliceToBackground()
        node = widget.mrmlSliceNode()
        node.JumpSliceByOffsetting(*ras_of(desk.ct, ijk))
        width, height, depth = node.GetFieldOfView()
        node.SetFieldOfView(width * SHOWN[view], height * SHOWN[view], depth)
    red = desk.host.app.layout_manager.sliceWidget("Red")
    red.mrmlSliceNode().SetXYZOrigin(LEGEND_MM, 0, 0)
    display = desk.target[0].GetDisplayNode()
    display.SetSliceIntersectionThickness(2)
    display.SetOpacity2DFill(0.15)
    (legend,) = slicer.util.getNodesByClass("vtkMRMLColorLegendDisplayNode")
    legend.AddViewNodeID("vtkMRMLSliceNodeRed")
    legend.SetPosition(0.98, 0.5)


def look_at_tumour(desk: Desk, view: ThreeDView) -> None:
    """Shows the surface on the axial slice."""
    desk.ui.surfaceCheckBox.checked = True
    desk.host.app.layout_manager.sliceWidget("Red").mrmlSliceNode().SetSliceVisible(True)
    turn_to(desk.target[0], view)


def turn_to(segmentation: Any, view: ThreeDView) -> None:
    """Fills the 3D view with the surface of a segmentation, and with what is round it."""
    leave_empty(view)
    bounds = [0.0] * 6
    segmentation.GetRASBounds(bounds)
    view.look(20, 25, [limit + (AROUND_MM if n % 2 else -AROUND_MM) for n, limit in enumerate(bounds)])


def leave_empty(view: ThreeDView) -> None:
    """Takes box and letters, which stand where no camera was turned to, out of the 3D view."""
    view.mrmlViewNode().SetBoxVisible(False)
    view.mrmlViewNode().SetAxisLabelsVisible(False)
