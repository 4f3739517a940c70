"""One picture that shows a result: slices of every modality with the tumour's outline, and the tumour in 3D.

The three columns are slices along the voxel axes, so no value is interpolated; on an oblique grid each is named after
the direction that its axis is closest to. Radiological convention: the patient's right on the left, front on the left.
"""

from __future__ import annotations

import io
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from scipy.ndimage import binary_fill_holes, binary_opening, gaussian_filter, generate_binary_structure

from TumorSegLib.disclaimer import DISCLAIMER
from TumorSegLib.errors import GeometryError, ResourceError, WriteError
from TumorSegLib.files import replacing
from TumorSegLib.geometry.boxes import full_box, slices
from TumorSegLib.geometry.grid import Box, Grid
from TumorSegLib.images.cleanup import largest_component
from TumorSegLib.images.display_windows import CT_WINDOWS, DEFAULT_CT_WINDOW
from TumorSegLib.images.image_set import ImageSet
from TumorSegLib.images.labels import label_colour
from TumorSegLib.images.roles import is_ct, is_pet, role_in_words
from TumorSegLib.images.volume import Images, Mask, Volume
from TumorSegLib.render.scene import RenderedSurface, render, view_directions
from TumorSegLib.render.surface import surface_from_probability, without_border_faces

FloatImage: TypeAlias = npt.NDArray[np.floating[Any]]
Window: TypeAlias = tuple[float, float, str]  # lowest and highest value shown, and their unit

MARGIN_MM = 60.0  # shown round the tumour
PET_LEAST_UPPER_SUV = 5.0  # as PET is read; a hotter tumour gets its 99.5th percentile
SKIN_HU = -300.0
SKIN_VOXEL_MM = 4.0
SKIN_REACH_MM = 180.0  # of the body round the tumour's centre, so that a small tumour still shows

_BACKGROUND = "#0e1116"
_TEXT, _MUTED = "#e8eaed", "#8b949e"
_SKIN_COLOUR = (0.78, 0.83, 0.9)
# Panel and text per brightness of the image's background: PET is inverted, so nothing there is white.
_DARK, _LIGHT = ("#000000", _TEXT), ("#ffffff", "#24292f")
_DPI = 130
# Inches.
_ROW_HEIGHT, _SLICES_WIDTH, _GAP, _HEADER, _FOOTER, _EDGE = 3.1, 10.5, 0.07, 0.7, 0.3, 0.14


@dataclass(frozen=True)
class _Scene:
    """What is shown, cropped, with arrays turned to [S to I, A to P, R to L].

    Attributes:
        images: role to array.
        fields: label to an array that is above 0.5 inside and varies smoothly across the outline where it can.
        spacing: mm along the three array axes.
        inside: what lies in any label.
        centre: index of the slices shown, per array axis.
    """

    images: dict[str, FloatImage]
    fields: dict[int, FloatImage]
    inside: npt.NDArray[np.bool_]
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


def write_preview(images: Images, mask: Mask, path: str | os.PathLike[str], probability: Volume | None = None) -> None:
    """Writes a PNG with one row of slices per modality, the mask's outline in each, and the tumour's surface.

    Slices go through the largest cross-section of the mask, cropped to it and a margin of 6 cm. All panels have one
    scale. An empty mask gives slices through the middle of the image and the words "nothing marked". Where OpenGL
    cannot draw, the 3D panel says so.

    Args:
        images: role to image, all on the mask's grid; shown in this order. ``ct`` in HU is shown from -160 to 240,
            ``pet`` in SUV inverted from 0 to 5 or what the tumour reaches, others from their 1st to 99.5th percentile.
        mask: uint8 ``[k, j, i]``; every label has its own colour.
        path: ``.png``; an existing file is replaced in one step.
        probability: of a single-label mask, float ``[k, j, i]``; makes the outline smoother, where it agrees with the
            mask.

    Raises:
        ArgumentError: no image.
        RoleError: an image was read for another role than it is given as.
        GeometryError: an image or the probability lies on another grid than the mask.
        WriteError: another suffix than ``.png``, or the file cannot be written.
    """
    if Path(path).suffix.lower() != ".png":
        raise WriteError(f"{path}: a preview is written as .png, not '{Path(path).suffix}'")
    images = ImageSet.of(images)
    for name, volume in [*images.items(), *([("probability", probability)] if probability else [])]:
        if volume.grid != mask.grid:
            difference = mask.grid.difference(volume.grid)
            raise GeometryError(f"{name} is not on the mask's grid ({mask.grid}): {difference}; resample one of them")
    figure = _make_figure(images, mask, probability)
    picture = io.BytesIO()  # the file is written here, by any name, and not by Matplotlib
    figure.savefig(picture, format="png", facecolor=_BACKGROUND)
    with replacing(path) as temporary:
        temporary.write_bytes(picture.getvalue())


def _make_figure(images: Images, mask: Mask, probability: Volume | None) -> Figure:
    fields, grid, box = _outline_fields(mask, probability)
    scene = _turned_scene(images, fields, grid, box)
    return _draw_figure(scene, mask, _surfaces(fields, grid, images.get("ct")))


def _outline_fields(mask: Mask, probability: Volume | None) -> tuple[dict[int, FloatImage], Grid, Box]:
    """For each label a field ``[k, j, i]`` above 0.5 exactly inside it, on the shown box; that box's grid; the box."""
    box = _shown_box(mask)
    labels = mask.array[slices(box)]
    present = [int(label) for label in np.unique(labels) if label]
    fields = {}
    for label in present:
        inside = labels == label
        if probability is not None and len(present) == 1:
            smooth = probability.array[slices(box)].astype(np.float32)
        else:
            smooth = gaussian_filter(inside.astype(np.float32), 0.8)
        fields[label] = np.where(inside, np.maximum(smooth, 0.52), np.minimum(smooth, 0.48))
    return fields, mask.grid.crop(box), box


def _shown_box(mask: Mask) -> Box:
    """The mask with its margin, equally long along all axes where the image allows; all of it for an empty mask."""
    found = mask.bounding_box()
    if found is None:
        return full_box(mask.grid.shape)
    length_mm = max((high - low) * s for (low, high), s in zip(found, mask.grid.spacing)) + 2 * MARGIN_MM
    ranges = []
    for (low, high), s, size in zip(found, mask.grid.spacing, mask.grid.size):
        count = min(math.ceil(length_mm / s), size)
        start = min(max((low + high - count) // 2, 0), size - count)
        ranges.append((start, start + count))
    return ranges[0], ranges[1], ranges[2]


def _turned_scene(images: Images, fields: Mapping[int, FloatImage], grid: Grid, box: Box) -> _Scene:
    """Turns everything by whole axes to [S to I, A to P, R to L], without copying."""
    # Row: world axis R, A, S; column: voxel axis i, j, k.
    along = np.abs(grid.direction)
    i_like = max(permutations(range(3)), key=lambda order: sum(along[world, order[world]] for world in range(3)))
    voxel_axes = i_like[::-1]  # of S, A, R
    flips = tuple(n for n, axis in enumerate(voxel_axes) if grid.direction[2 - n, axis] > 0)

    def turned(array: npt.NDArray[Any]) -> FloatImage:
        return np.asarray(np.flip(array.transpose([2 - axis for axis in voxel_axes]), flips))

    spacing = [grid.spacing[axis] for axis in voxel_axes]
    turned_fields = {label: turned(field) for label, field in fields.items()}
    inside = np.zeros(turned(np.empty(grid.shape, bool)).shape, bool)
    for field in turned_fields.values():
        inside |= field > 0.5
    areas = [inside.sum(axis=tuple(a for a in range(3) if a != n)) for n in range(3)]
    centre = [int(area.argmax()) if area.any() else len(area) // 2 for area in areas]
    return _Scene(
        images={role: turned(volume.array[slices(box)]) for role, volume in images.items()},
        fields=turned_fields,
        inside=inside,
        spacing=(spacing[0], spacing[1], spacing[2]),
        centre=(centre[0], centre[1], centre[2]),
    )


def _surfaces(fields: Mapping[int, FloatImage], grid: Grid, ct: Volume | None) -> list[RenderedSurface]:
    """The tumour's surface per label and, of a CT, the skin."""
    surfaces = [
        RenderedSurface(surface_from_probability(Volume(grid, field, "probability")), label_colour(label))
        for label, field in fields.items()
    ]
    skin = None if ct is None else _skin(ct, grid.to_ras((np.asarray(grid.size) - 1) / 2))
    return surfaces if skin is None else [*surfaces, skin]


def _skin(ct: Volume, centre_ras: npt.NDArray[np.float64]) -> RenderedSurface | None:
    """The body's outline near a point, on a coarse grid; None where the CT shows no body."""
    step = [max(round(SKIN_VOXEL_MM / s), 1) for s in ct.grid.spacing]
    ranges = []
    for centre, s, size in zip(ct.grid.to_ijk(centre_ras), ct.grid.spacing, ct.grid.size):
        reach = SKIN_REACH_MM / s
        ranges.append((max(math.floor(centre - reach), 0), min(math.ceil(centre + reach) + 1, size)))
    box = (ranges[0], ranges[1], ranges[2])
    coarse = ct.array[slices(box)][:: step[2], :: step[1], :: step[0]]
    affine = ct.grid.crop(box).affine.copy()
    affine[:3, :3] *= step
    # Opening takes off the table, where it touches the body, and clothes; padded, since it must not wear down a body at
    # the border of the image.
    body = binary_opening(np.pad(coarse > SKIN_HU, 2, mode="edge"), iterations=2)[2:-2, 2:-2, 2:-2]
    mask = largest_component(Mask(Grid(coarse.shape, affine), body))
    # Lungs and bowel gas, which are closed in axial slices also where the image ends.
    in_plane = generate_binary_structure(3, 1)
    foot_to_head = 2 - int(np.abs(mask.grid.direction[2]).argmax())
    in_plane[tuple(slice(None, None, 2) if axis == foot_to_head else slice(None) for axis in range(3))] = False
    smooth = gaussian_filter(binary_fill_holes(mask.array, in_plane).astype(np.float32), 1.0)
    if smooth.max() <= 0.5:
        return None
    surface = surface_from_probability(Volume(mask.grid, smooth, "skin"))
    return RenderedSurface(without_border_faces(surface, mask.grid), _SKIN_COLOUR, glass=True)


def _draw_figure(scene: _Scene, mask: Mask, surfaces: list[RenderedSurface]) -> Figure:
    """Panels of one scale in mm, placed by hand: rows of slices, and one panel of the height of all rows."""
    vertical, depth, horizontal = scene.extent_mm
    row_mm, slices_mm = max(vertical, depth), 2 * horizontal + depth
    inch_per_mm = min(_ROW_HEIGHT / row_mm, _SLICES_WIDTH / slices_mm)
    rows, row = len(scene.images), row_mm * inch_per_mm
    stack = rows * row + (rows - 1) * _GAP
    solid_width = min(max(0.62 * stack, 2.6), 5.4)
    width = 2 * _EDGE + slices_mm * inch_per_mm + 3 * _GAP + solid_width
    height = _HEADER + stack + _FOOTER
    figure = Figure(figsize=(width, height), dpi=_DPI)
    FigureCanvasAgg(figure)

    def panel(left: float, top: float, panel_width: float, panel_height: float) -> Axes:
        place = (left / width, (height - top - panel_height) / height, panel_width / width, panel_height / height)
        return figure.add_axes(place)

    for number, role in enumerate(scene.images):
        left, top = _EDGE, _HEADER + number * (row + _GAP)
        for plane in _PLANES:
            panel_width = plane.sides(scene.extent_mm)[1] * inch_per_mm
            axes = panel(left, top, panel_width, row)
            _draw_slice(axes, scene, role, plane, row_mm)
            if number == 0:
                axes.set_title(plane.name, color=_MUTED, fontsize=9, pad=4)
            left += panel_width + _GAP
    axes = panel(left, _HEADER, solid_width, stack)
    axes.set_title("3D", color=_MUTED, fontsize=9, pad=4)
    _draw_solid(axes, surfaces, (round(solid_width * _DPI), round(stack * _DPI)))
    _draw_words(figure, mask)
    return figure


def _draw_slice(axes: Axes, scene: _Scene, role: str, plane: _Plane, row_mm: float) -> None:
    """One slice with outline, edge letters and scale bar, in mm with the origin at its upper left corner."""
    image = scene.images[role]
    low, high, unit = _window(role, image, scene.inside)
    height, width = plane.sides(scene.extent_mm)
    axes.imshow(
        plane.cut(image, scene.centre),
        cmap="gray_r" if is_pet(role) else "gray",
        vmin=low,
        vmax=high,
        extent=(0, width, height, 0),
        interpolation="bilinear",
    )
    _draw_outlines(axes, scene, plane)
    margin = (row_mm - height) / 2
    panel, ink = _LIGHT if is_pet(role) else _DARK
    axes.set(xlim=(0, width), ylim=(height + margin, -margin), xticks=[], yticks=[], facecolor=panel)
    axes.spines[:].set_visible(False)
    for letter, (x, y) in zip(plane.edges, ((0.03, 0.5), (0.97, 0.5), (0.5, 0.965), (0.5, 0.035))):
        _write(axes, (x, y), letter, 8, ink)
    _draw_scale_bar(axes, min(scene.extent_mm[1:]), ink)
    if plane is _PLANES[0]:
        _write(axes, (0.025, 0.95), role_in_words(role), 11, ink, "left")
        digits = ".0f" if high >= 50 else ".3g"
        shown = f"{low:{digits}} \N{EN DASH} {high:{digits}} {unit}".replace("-", "\N{MINUS SIGN}")
        _write(axes, (0.025, 0.035), shown, 7, ink, "left")


def _draw_outlines(axes: Axes, scene: _Scene, plane: _Plane) -> None:
    step_down, step_right = plane.sides(scene.spacing)
    for label, field in scene.fields.items():
        cut = np.pad(plane.cut(field, scene.centre), 1)  # closes the outline at the border of the image
        x, y = (np.arange(cut.shape[1]) - 0.5) * step_right, (np.arange(cut.shape[0]) - 0.5) * step_down
        if (cut > 0.5).any():
            outline = axes.contour(x, y, cut, levels=[0.5], colors=[label_colour(label)], linewidths=1.4)
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
    axes.set(xlim=(0, size[0]), ylim=(0, size[1]), xticks=[], yticks=[], facecolor=_BACKGROUND)
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


def _draw_words(figure: Figure, mask: Mask) -> None:
    """Volumes above, the disclaimer below."""
    width, height = figure.get_size_inches()
    left, top = _EDGE / width, 1 - 0.13 / height
    if not mask.array.any():
        figure.text(left, top, "Nothing marked", color=_TEXT, fontsize=15, fontweight="bold", va="top")
    else:
        title = f"Marked: {_millilitres(mask.volume_ml)}"
        figure.text(left, top, title, color=_TEXT, fontsize=15, fontweight="bold", va="top")
        labels, counts = np.unique(mask.array[mask.array > 0], return_counts=True)
        for n, (label, count) in enumerate(zip(labels[:8], counts)):
            text = f"label {label}: {_millilitres(int(count) * mask.grid.voxel_volume_ml)}"
            place = left + (2.4 + 1.5 * n) / width
            if len(labels) > 1:
                figure.text(place, top - 0.06 / height, text, color=label_colour(int(label)), fontsize=9, va="top")
    size, spacing = " \N{MULTIPLICATION SIGN} ".join(map(str, mask.grid.size)), mask.grid.spacing
    lattice = f"{size} voxels of " + " \N{MULTIPLICATION SIGN} ".join(f"{s:.3g}" for s in spacing) + " mm"
    figure.text(1 - left, top, lattice, color=_MUTED, fontsize=8, va="top", ha="right")
    note = f"TumorSeg. {DISCLAIMER}"
    figure.text(left, 0.09 / height, note, color=_MUTED, fontsize=7, va="bottom")


def _window(role: str, image: FloatImage, inside: npt.NDArray[np.bool_]) -> Window:
    """Of a PET, up to what the tumour reaches: kidneys and bladder beside it would leave it white."""
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


def _millilitres(volume: float) -> str:
    return f"{volume:.1f} ml" if volume >= 1 else f"{volume:.2g} ml"
