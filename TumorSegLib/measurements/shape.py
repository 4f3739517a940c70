"""Connected regions of a mask, and its shape in the terms of IBSI.

Two voxels are connected when they share a face, an edge or a corner (26 neighbours). :func:`connected_components` takes
the labels of a mask one by one, :func:`shape_measures` all of them together.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from TumorSegLib.errors import ArgumentError
from TumorSegLib.geometry.arrays import BoolArray, Float64Array, UInt8Array
from TumorSegLib.geometry.boxes import from_corners, origin, slices, translate
from TumorSegLib.geometry.grid import Box
from TumorSegLib.images.cleanup import number_regions
from TumorSegLib.images.volume import Mask


@dataclass(frozen=True)
class Component:
    """One connected region of one label.

    Attributes:
        label: the mask's value in it, 1 to 255.
        volume_ml: volume of its voxels.
        box: smallest half-open voxel box ``((i0, i1), (j0, j1), (k0, k1))`` that holds it.
        centroid_ras: mean of its voxel centres, RAS mm; may lie outside a bent region.
    """

    label: int
    volume_ml: float
    box: Box
    centroid_ras: tuple[float, float, float]


@dataclass(frozen=True)
class ShapeMeasures:
    """Shape of a mask in the terms of IBSI (Zwanenburg et al. 2020, doi:10.1148/radiol.2020191145; its codes).

    Attributes:
        volume_ml: number of voxels times their volume (YEKZ).
        mesh_volume_ml: volume inside the marching-cubes surface (RNU0).
        surface_area_mm2: area of that surface (C0JK). A surface round whole voxels is stepped: 7 % too large for a
            ball of 24 cubic voxels across, 15 % where voxels are three times as thick as wide.
        sphericity: (36 pi V^2)^(1/3) / A from mesh volume and area (QCFX); 1 for a ball, less for anything else and,
            through the area, 0.87 to 0.93 for a ball of voxels.
        major_axis_length_mm: 4 sqrt(largest eigenvalue of the covariance of the voxel centres) (TDIC); 1.79 times the
            long semi-axis of an ellipsoid. The covariance is that of a sample, divided by one less than the number
            of voxels, as IBSI's reference values are.
        minor_axis_length_mm: the same of the middle eigenvalue (P9VJ).
        least_axis_length_mm: the same of the smallest eigenvalue (7J51).
        elongation: minor by major axis (Q3CK), 1 is round, near 0 a line.
        flatness: least by major axis (N17B), near 0 a plane.
        extent: mesh volume by the volume of the bounding box along the voxel axes (PBX1).
    """

    volume_ml: float
    mesh_volume_ml: float
    surface_area_mm2: float
    sphericity: float
    major_axis_length_mm: float
    minor_axis_length_mm: float
    least_axis_length_mm: float
    elongation: float
    flatness: float
    extent: float


def connected_components(mask: Mask) -> list[Component]:
    """The connected regions of every label, largest first; an empty list for an empty mask.

    Args:
        mask: uint8 ``[k, j, i]``; touching regions of different labels are different components.
    """
    from skimage.measure import regionprops

    box = mask.bounding_box()
    if box is None:
        return []
    labels = mask.array[slices(box)]
    components = [_component(region, labels, origin(box), mask) for region in regionprops(number_regions(labels))]
    return sorted(components, key=lambda component: -component.volume_ml)


def shape_measures(mask: Mask) -> ShapeMeasures:
    """Shape of the whole foreground, all labels together; see :class:`ShapeMeasures` for the definitions.

    Args:
        mask: uint8 ``[k, j, i]``, on a grid of any spacing and direction.

    Raises:
        ArgumentError: the mask is empty.
    """
    box = mask.bounding_box()
    if box is None:
        raise ArgumentError("an empty mask has no shape; at least one voxel must not be 0")
    foreground, spacing = mask.array[slices(box)] != 0, np.asarray(mask.grid.spacing[::-1])
    mesh_volume, area = _mesh_volume_and_area(foreground, spacing)
    major, minor, least = _axis_lengths(foreground, spacing)
    return ShapeMeasures(
        volume_ml=mask.volume_ml,
        mesh_volume_ml=mesh_volume / 1000,
        surface_area_mm2=area,
        sphericity=(36 * math.pi * mesh_volume**2) ** (1 / 3) / area,
        major_axis_length_mm=major,
        minor_axis_length_mm=minor,
        least_axis_length_mm=least,
        # A single voxel has no longest direction.
        elongation=minor / major if major else 1.0,
        flatness=least / major if major else 1.0,
        extent=mesh_volume / float(np.prod(foreground.shape * spacing)),
    )


def _component(region: Any, labels: UInt8Array, corner: tuple[int, int, int], mask: Mask) -> Component:
    """Translates one of scikit-image's region properties, ``(k, j, i)`` from the corner of the crop."""
    low, high = region.bbox[2::-1], region.bbox[:2:-1]
    ras = mask.grid.to_ras(np.add(region.centroid[::-1], corner))
    return Component(
        label=int(labels[tuple(region.coords[0])]),
        volume_ml=int(region.num_pixels) * mask.grid.voxel_volume_ml,
        box=translate(from_corners(low, high), corner),
        centroid_ras=(float(ras[0]), float(ras[1]), float(ras[2])),
    )


def _mesh_volume_and_area(foreground: BoolArray, spacing_kji: Float64Array) -> tuple[float, float]:
    """Volume (mm3) and area (mm2) of the marching-cubes surface at 0.5, closed by a layer of background."""
    from skimage.measure import marching_cubes, mesh_surface_area

    padded = np.pad(foreground, 1).astype(np.float32)
    vertices, faces, _, _ = marching_cubes(padded, 0.5, spacing=tuple(spacing_kji))
    triangles = vertices.astype(np.float64)[faces]
    # Sum of the signed tetrahedra between each triangle and the origin.
    six_volumes = np.einsum("nc,nc->n", triangles[:, 0], np.cross(triangles[:, 1], triangles[:, 2]))
    return abs(float(six_volumes.sum())) / 6, float(mesh_surface_area(vertices, faces))


def _axis_lengths(foreground: BoolArray, spacing_kji: Float64Array) -> tuple[float, float, float]:
    """Major, minor and least axis length in mm: 4 sqrt(eigenvalue), largest first."""
    points = np.argwhere(foreground) * spacing_kji
    centred = points - points.mean(axis=0)
    eigenvalues = np.linalg.eigvalsh(centred.T @ centred / max(len(points) - 1, 1))
    least, minor, major = 4 * np.sqrt(np.clip(eigenvalues, 0, None))  # rounding can leave -1e-17 for a plane
    return float(major), float(minor), float(least)
