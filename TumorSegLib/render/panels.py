"""The panels of a preview: slices with outlines, edge letters and a scale bar; the 3D view; the words round them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from TumorSegLib.disclaimer import DISCLAIMER
from TumorSegLib.errors import ResourceError
from TumorSegLib.geometry.arrays import BoolArray
from TumorSegLib.images.display_windows import CT_WINDOWS, DEFAULT_CT_WINDOW
from TumorSegLib.images.labels import Segmentation
from TumorSegLib.images.roles import is_ct, is_pet, role_label
from TumorSegLib.images.volume import number_text
from TumorSegLib.render.scene import RenderedSurface, render, view_directions

FloatImage: TypeAlias = npt.NDArray[np.floating[Any]]
Window: TypeAlias = tuple[float, float, str]  # lowest and highest value shown, and their unit

PET_LEAST_UPPER_SUV = 5.0  # as PET is read; a hotter tumour gets its 99.5th percentile
BACKGROUND = "#0e1116"
_TEXT, _MUTED = "#e8eaed", "#8b949e"
# Panel and text per brightness of the image's background: PET is inverted, so nothing there is white.
_DARK, _LIGHT = ("#000000", _TEXT), ("#ffffff", "#24292f")
_DPI = 130
_MOST_NAMED, _LONGEST_NAME = 8, 18
# Inches.
_ROW_HEIGHT, _SLICES_WIDTH, _GAP, _HEADER, _FOOTER, _EDGE = 3.1, 10.5, 0.07, 0.7, 0.3, 0.14


@dataclass(frozen=True)
class TurnedCase:
    """Images and outlines of a case, cropped, with arrays turned to [S to I, A to P, R to L].

    Attributes:
        images: role to array.
        fields: segment to an array that is above 0.5 inside and varies smoothly across the outline where it can.
        spacing: mm along the three array axes.
        inside: what lies in any segment.
        centre: index of the slices shown, per array axis.
    """

    images: dict[str, FloatImage]
    fields: dict[str, FloatImage]
    inside: BoolArray
    spacing: tuple[float, float, float]
    centre: tuple[int, int, int]

    @property
    def extent_mm(self) -> tuple[float, float, float]:
        shape = next(iter(self.images.values())).shape
        return shape[0] * self.spacing[0], shape[1] * self.spacing[1], shape[2] * self.spacing[2]


@dataclass(frozen=True)
class _Plane:
    """One column: which array axis is cut, and what its edges are: left, right, top, bottom."""

    name: str
    axis: int
    edges: str

    def cut(self, array: FloatImage, centre: tuple[int, int, int]) -> FloatImage:
        return np.asarray(np.take(array, centre[self.axis], axis=self.axis))

    def sides(self, values: tuple[float, float, float]) -> tuple[float, float]:
        """Of a triple along the array axes, those of the picture's height and width."""
        vertical, horizontal = (n for n in range(3) if n != self.axis)
        return values[vertical], values[horizontal]


_PLANES = (_Plane("Axial", 0, "RLAP"), _Plane("Coronal", 1, "RLSI"), _Plane("Sagittal", 2, "APSI"))


def draw_figure(case: TurnedCase, segments: Segmentation, surfaces: list[RenderedSurface]) -> Figure:
    """Panels of one scale in mm, placed by hand: rows of slices, and one panel of the height of all rows."""
    vertical, depth, horizontal = case.extent_mm
    row_mm, slices_mm = max(vertical, depth), 2 * horizontal + depth
    inch_per_mm = min(_ROW_HEIGHT / row_mm, _SLICES_WIDTH / slices_mm)
    rows, row = len(case.images), row_mm * inch_per_mm
    stack = rows * row + (rows - 1) * _GAP
    solid_width = min(max(0.62 * stack, 2.6), 5.4)
    width = 2 * _EDGE + slices_mm * inch_per_mm + 3 * _GAP + solid_width
    height = _HEADER + stack + _FOOTER
    figure = Figure(figsize=(width, height), dpi=_DPI)
    FigureCanvasAgg(figure)

    def panel(left: float, top: float, panel_width: float, panel_height: float) -> Axes:
        place = (left / width, (height - top - panel_height) / height, panel_width / width, panel_height / height)
        return figure.add_axes(place)

    for number, role in enumerate(case.images):
        left, top = _EDGE, _HEADER + number * (row + _GAP)
        for plane in _PLANES:
            panel_width = plane.sides(case.extent_mm)[1] * inch_per_mm
            axes = panel(left, top, panel_width, row)
            _draw_slice(axes, case, role, plane, row_mm)
            _draw_outlines(axes, case, plane, segments)
            if number == 0:
                axes.set_title(plane.name, color=_MUTED, fontsize=9, pad=4)
            left += panel_width + _GAP
    axes = panel(left, _HEADER, solid_width, stack)
    axes.set_title("3D", color=_MUTED, fontsize=9, pad=4)
    _draw_solid(axes, surfaces, (round(solid_width * _DPI), round(stack * _DPI)))
    _draw_words(figure, segments)
    return figure


def _draw_slice(axes: Axes, case: TurnedCase, role: str, plane: _Plane, row_mm: float) -> None:
    """One slice with outline, edge letters and scale bar, in mm with the origin at its upper left corner."""
    image = case.images[role]
    low, high, unit = intensity_range(role, image, case.inside)
    height, width = plane.sides(case.extent_mm)
    axes.imshow(
        plane.cut(image, case.centre),
        cmap="gray_r" if is_pet(role) else "gray",
        vmin=low,
        vmax=high,
        extent=(0, width, height, 0),
        interpolation="bilinear",
    )
    margin = (row_mm - height) / 2
    panel, ink = _LIGHT if is_pet(role) else _DARK
    axes.set(xlim=(0, width), ylim=(height + margin, -margin), xticks=[], yticks=[], facecolor=panel)
    axes.spines[:].set_visible(False)
    for letter, (x, y) in zip(plane.edges, ((0.03, 0.5), (0.97, 0.5), (0.5, 0.965), (0.5, 0.035))):
        _write(axes, (x, y), letter, 8, ink)
    _draw_scale_bar(axes, min(case.extent_mm[1:]), ink)
    if plane is _PLANES[0]:
        _write(axes, (0.025, 0.95), role_label(role), 11, ink, "left")
        digits = ".0f" if high >= 50 else ".3g"
        window = f"{low:{digits}} \N{EN DASH} {high:{digits}} {unit}".replace("-", "\N{MINUS SIGN}")
        _write(axes, (0.025, 0.035), window, 7, ink, "left")


def _draw_outlines(axes: Axes, case: TurnedCase, plane: _Plane, segments: Segmentation) -> None:
    """Of each segment, the smaller on top: one within another, or beside it, shares an outline with it."""
    step_down, step_right = plane.sides(case.spacing)
    for name in sorted(case.fields, key=lambda each: -int(np.count_nonzero(case.fields[each] > 0.5))):
        field = case.fields[name]
        cut = np.pad(plane.cut(field, case.centre), 1)  # closes the outline at the border of the image
        x, y = (np.arange(cut.shape[1]) - 0.5) * step_right, (np.arange(cut.shape[0]) - 0.5) * step_down
        if (cut > 0.5).any():
            outline = axes.contour(x, y, cut, levels=[0.5], colors=[segments.segment(name).colour], linewidths=1.4)
            outline.set_path_effects([withStroke(linewidth=2.6, foreground="black", alpha=0.45)])


def _draw_scale_bar(axes: Axes, shortest_mm: float, ink: str) -> None:
    """A bar of one length for all panels, at the lower right."""
    length = next((choice for choice in (50, 20, 10, 5) if choice < shortest_mm / 2.5), 1)
    width = axes.get_xlim()[1]
    share = length / width
    axes.plot(
        (0.96 - share, 0.96), (0.03, 0.03), transform=axes.transAxes, color=ink, linewidth=2, solid_capstyle="butt"
    )
    _write(axes, (0.96 - share / 2, 0.06), f"{length} mm", 7, ink)


def _write(axes: Axes, place: tuple[float, float], text: str, size: float, ink: str, side: str = "center") -> None:
    """Text at a place from (0, 0) at the lower left to (1, 1), with a rim that keeps it readable on any image."""
    rim = [withStroke(linewidth=2, foreground="white" if ink == _LIGHT[1] else "black", alpha=0.75)]
    weight = "bold" if size > 9 else "normal"
    style: dict[str, Any] = {"color": ink, "fontsize": size, "fontweight": weight, "path_effects": rim}
    axes.text(*place, text, transform=axes.transAxes, ha=side, va="center", **style)


def _draw_solid(axes: Axes, surfaces: list[RenderedSurface], size: tuple[int, int]) -> None:
    """The rendering with its axes, or a note why there is none."""
    axes.set(xlim=(0, size[0]), ylim=(0, size[1]), xticks=[], yticks=[], facecolor=BACKGROUND)
    axes.spines[:].set_visible(False)
    try:
        if not surfaces:
            raise ResourceError("nothing to draw")
        pixels = render(surfaces, size)
    except ResourceError as error:
        axes.text(size[0] / 2, size[1] / 2, f"no 3D view:\n{error}", color=_MUTED, ha="center", fontsize=8, wrap=True)
        return
    axes.imshow(pixels, extent=(0, size[0], 0, size[1]), interpolation="antialiased")
    right, up, _ = view_directions()
    length = 0.3 * _DPI
    for letter, direction in (("L", (-1, 0, 0)), ("A", (0, 1, 0)), ("S", (0, 0, 1))):
        x, y = (length * float(np.dot(direction, side)) for side in (right, up))
        axes.plot((length, length + x), (length, length + y), color=_MUTED, linewidth=1.2)
        axes.text(length + 1.3 * x, length + 1.3 * y, letter, color=_TEXT, fontsize=7, ha="center", va="center")


def _draw_words(figure: Figure, segments: Segmentation) -> None:
    """Volumes above, the disclaimer below."""
    width, height = figure.get_size_inches()
    left, top = _EDGE / width, 1 - 0.13 / height
    mask = segments.foreground
    if not mask.array.any():
        figure.text(left, top, "Nothing marked", color=_TEXT, fontsize=15, fontweight="bold", va="top")
    else:
        title = f"Marked: {number_text(mask.volume_ml)} ml"
        figure.text(left, top, title, color=_TEXT, fontsize=15, fontweight="bold", va="top")
        volumes = {name: segments.mask_of(name).volume_ml for name in segments.names}
        marked = [(name, volume) for name, volume in volumes.items() if volume]
        for n, (name, volume) in enumerate(marked[:_MOST_NAMED] if len(marked) > 1 else []):
            short = name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}\N{HORIZONTAL ELLIPSIS}"
            style: dict[str, Any] = {"color": segments.segment(name).colour, "fontsize": 9, "va": "top"}
            row, column = n % 2, n // 2  # two below each other, so that twice as many fit
            place = left + (2.4 + 1.9 * column) / width, top - 0.24 * row / height
            figure.text(*place, f"{short}: {number_text(volume)} ml", **style)
    size, spacing = " \N{MULTIPLICATION SIGN} ".join(map(str, mask.grid.size)), mask.grid.spacing
    lattice = f"{size} voxels of " + " \N{MULTIPLICATION SIGN} ".join(f"{s:.3g}" for s in spacing) + " mm"
    figure.text(1 - left, top, lattice, color=_MUTED, fontsize=8, va="top", ha="right")
    note = f"TumorSeg. {DISCLAIMER}"
    figure.text(left, 0.09 / height, note, color=_MUTED, fontsize=7, va="bottom")


def intensity_range(role: str, image: FloatImage, inside: BoolArray) -> Window:
    """The values shown as the two ends of the grey scale, and their unit.

    PET ends at the tumour's uptake: with that of kidneys and bladder beside it, the tumour would stay white.
    """
    if is_ct(role):
        return (*CT_WINDOWS[DEFAULT_CT_WINDOW], "HU")
    if is_pet(role):
        highest = np.percentile(image[inside], 99.5) if inside.any() else np.percentile(image, 99.9)
        return 0.0, round(max(PET_LEAST_UPPER_SUV, float(highest)), 1), "SUV"
    seen = image[image != 0]  # MR is 0 outside its field of view
    if not seen.size:
        return 0.0, 1.0, ""
    low, high = (float(value) for value in np.percentile(seen, (1, 99.5)))
    return low, max(high, low + 1e-6), ""
