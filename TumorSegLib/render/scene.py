"""Surfaces rendered to a picture, without a screen."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

# Registers the OpenGL implementation that vtkRenderWindow needs.
import vtkmodules.vtkRenderingOpenGL2  # noqa: F401
from vtkmodules.util.numpy_support import numpy_to_vtk, vtk_to_numpy
from vtkmodules.vtkCommonCore import vtkVersion
from vtkmodules.vtkCommonDataModel import vtkPolyData
from vtkmodules.vtkRenderingCore import (
    vtkActor,
    vtkPolyDataMapper,
    vtkRenderer,
    vtkRenderWindow,
    vtkWindowToImageFilter,
)

from TumorSegLib.errors import ResourceError
from TumorSegLib.geometry.arrays import Float64Array, UInt8Array
from TumorSegLib.render.surface import quiet_vtk

Colour = tuple[float, float, float]


_ROOM = 1.08  # round what is drawn


_LARGEST_SCENE = 2.4  # times the size of what is solid; a body beyond that leaves the picture


_BACKGROUND: Colour = (0.055, 0.067, 0.086)


@dataclass(frozen=True)
class RenderedSurface:
    """A surface to draw.

    Attributes:
        surface: points in RAS mm with outward point normals, as from :func:`surface_from_probability`.
        colour: red, green, blue from 0 to 1.
        glass: drawn see-through, faint where it faces the viewer and denser towards its outline.
    """

    surface: vtkPolyData
    colour: Colour
    glass: bool = False


def render(surfaces: Sequence[RenderedSurface], size: tuple[int, int]) -> UInt8Array:
    """Draws surfaces without a screen, seen from the front, 30 degrees from the patient's left and 15 from above.

    Args:
        surfaces: at least one, in RAS mm.
        size: width and height in pixels.

    Returns:
        uint8 ``(height, width, 3)`` red, green, blue.

    Raises:
        ResourceError: OpenGL cannot draw here, not even in software.
    """
    if sys.platform.startswith("linux") and not _has_display() and _vtk_version() < (9, 4):
        # Older wheels know only X and end the process when there is none.
        raise ResourceError(f"VTK {vtkVersion.GetVTKVersion()} cannot draw without a display; VTK 9.4 or later can")
    with quiet_vtk():
        renderer = _scene(surfaces, size[0] / size[1])
        pixels = _draw(renderer, size)
    if (pixels == pixels[0, 0]).all():
        raise ResourceError("OpenGL drew nothing: no working graphics driver and no software fallback (OSMesa)")
    return pixels


def view_directions() -> tuple[Float64Array, Float64Array, Float64Array]:
    """RAS unit vectors to the right, upwards and towards the viewer in :func:`render`'s picture."""
    azimuth, elevation = math.radians(30), math.radians(15)
    level = math.cos(elevation)
    towards = np.array([-math.sin(azimuth) * level, math.cos(azimuth) * level, math.sin(elevation)])
    right = np.cross((0.0, 0.0, 1.0), towards)
    right /= np.linalg.norm(right)
    return right, np.cross(towards, right), towards


def _has_display() -> bool:
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def _vtk_version() -> tuple[int, int]:
    return vtkVersion.GetVTKMajorVersion(), vtkVersion.GetVTKMinorVersion()


def _scene(surfaces: Sequence[RenderedSurface], aspect: float) -> vtkRenderer:
    """All surfaces in a parallel view; ``aspect`` is width by height of the picture."""
    renderer = vtkRenderer()
    renderer.SetBackground(*_BACKGROUND)
    for item in surfaces:
        renderer.AddActor(_glass_actor(item) if item.glass else _solid_actor(item))
    _, up, towards = view_directions()
    middle, half_height, half_depth = _frame(surfaces, aspect)
    camera = renderer.GetActiveCamera()
    camera.ParallelProjectionOn()
    camera.SetFocalPoint(*middle)
    camera.SetPosition(*(middle + towards * (half_depth + 100)))
    camera.SetViewUp(*up)
    camera.SetParallelScale(half_height)
    renderer.ResetCameraClippingRange()
    return renderer


def _frame(surfaces: Sequence[RenderedSurface], aspect: float) -> tuple[Float64Array, float, float]:
    """Middle (RAS), half the height and half the depth (mm) of the view: everything, or what is solid if that is small.

    A tumour of a few millimetres in a whole body would not be seen; it gets two fifths of the picture.
    """

    def fit(items: Sequence[RenderedSurface]) -> tuple[Float64Array, float, float]:
        axes = np.stack(view_directions())
        points = np.concatenate([vtk_to_numpy(item.surface.GetPoints().GetData()) for item in items]) @ axes.T
        low, high = points.min(axis=0), points.max(axis=0)
        half_width, half_height, half_depth = (high - low) / 2
        return (low + high) / 2 @ axes, _ROOM * max(half_height, half_width / aspect), float(half_depth)

    everything = fit(surfaces)
    solid = [item for item in surfaces if not item.glass]
    if not solid:
        return everything
    middle, half_height, half_depth = fit(solid)
    if everything[1] <= _LARGEST_SCENE * half_height:
        return everything
    return middle, _LARGEST_SCENE * half_height, half_depth


def _solid_actor(item: RenderedSurface) -> vtkActor:
    actor = _actor(item.surface)
    look = actor.GetProperty()
    look.SetColor(*item.colour)
    look.SetAmbient(0.15)
    look.SetDiffuse(0.85)
    look.SetSpecular(0.35)
    look.SetSpecularPower(30)
    look.SetInterpolationToPhong()
    return actor


def _glass_actor(item: RenderedSurface) -> vtkActor:
    """Opacity per point by how far the surface turns away from the viewer, front faces only: no sorting needed."""
    right, up, towards = view_directions()
    normals = vtk_to_numpy(item.surface.GetPointData().GetNormals())
    lit = np.clip(normals @ (towards + up - 0.5 * right) / 1.5, 0, 1)
    opacity = 0.13 + 0.47 * (1 - np.abs(normals @ towards)) ** 2
    shades = np.outer(0.3 + 0.7 * lit, item.colour)
    colours = np.round(np.column_stack([shades, opacity]) * 255).astype(np.uint8)
    surface = vtkPolyData()
    surface.ShallowCopy(item.surface)
    surface.GetPointData().SetScalars(numpy_to_vtk(colours, deep=True))
    actor = _actor(surface)
    actor.ForceTranslucentOn()
    look = actor.GetProperty()
    look.BackfaceCullingOn()
    look.LightingOff()
    return actor


def _actor(surface: vtkPolyData) -> vtkActor:
    mapper = vtkPolyDataMapper()
    mapper.SetInputData(surface)
    actor = vtkActor()
    actor.SetMapper(mapper)
    return actor


def _draw(renderer: vtkRenderer, size: tuple[int, int]) -> UInt8Array:
    window = vtkRenderWindow()
    window.SetOffScreenRendering(1)
    window.SetMultiSamples(8)
    window.SetSize(*size)
    window.AddRenderer(renderer)
    window.Render()
    grab = vtkWindowToImageFilter()
    grab.SetInput(window)
    grab.ReadFrontBufferOff()
    grab.Update()
    width, height, _ = grab.GetOutput().GetDimensions()
    pixels = vtk_to_numpy(grab.GetOutput().GetPointData().GetScalars()).reshape(height, width, 3)[::-1].copy()
    window.Finalize()
    return np.asarray(pixels, np.uint8)
