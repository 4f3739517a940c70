"""The border between MRML and the library: geometry of the world, units, and edits that touch nothing else."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest

from Testing.fakes import BallEngine
from Testing.slicer.scene import (
    GRIDS,
    OBLIQUE,
    PLAIN,
    RIGID,
    TRANSFORMS,
    add_segment,
    add_segmentation,
    add_transform,
    add_volume,
    box_edit,
    layers,
    paint,
    prompts,
    segments,
    slicer,
    volumes,
    vtk,
    world_points,
)
from TumorSegLib import ArgumentError, GeometryError, Grid, Session, SuvError, TumorSegError

BODY = "{SUVbw}g/ml"


# Volumes


@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize("grid", GRIDS)
def test_a_volume_lies_where_slicer_shows_it(scene: Any, grid: str, transform: str) -> None:
    node = add_volume(scene, GRIDS[grid], transform=TRANSFORMS[transform])
    volume = volumes.volumeFromNode(node, "ct")
    ijk_to_world = vtk.vtkGeneralTransform()
    slicer.vtkMRMLTransformNode.GetTransformBetweenNodes(node.GetParentTransformNode(), None, ijk_to_world)
    for ijk in product((0, 17), (0, 15), (0, 13)):
        local = vtk.vtkMatrix4x4()
        node.GetIJKToRASMatrix(local)
        expected = ijk_to_world.TransformPoint(local.MultiplyPoint((*ijk, 1))[:3])
        np.testing.assert_allclose(volume.grid.to_ras(ijk), expected, atol=1e-9)
    assert volume.grid.shape == (14, 16, 18)
    assert volume.role == "ct"


def test_voxels_are_not_copied_and_cannot_be_written(scene: Any) -> None:
    node = add_volume(scene, PLAIN)
    volume = volumes.volumeFromNode(node, "ct")
    assert np.shares_memory(volume.array, slicer.util.arrayFromVolume(node))
    assert volume.array.dtype == np.int16
    with pytest.raises(ValueError, match="read-only"):
        volume.array[0] = 1


def test_voxels_outlive_their_node(scene: Any) -> None:
    node = add_volume(scene, PLAIN)
    expected = slicer.util.arrayFromVolume(node).copy()
    volume = volumes.volumeFromNode(node, "ct")
    scene.RemoveNode(node)
    del node
    np.testing.assert_array_equal(volume.array, expected)


def bend(scene: Any, node: Any) -> None:
    transform = scene.AddNewNodeByClass("vtkMRMLBSplineTransformNode", "warp")
    rigid = scene.GetNodeByID(add_transform(scene, RIGID))
    rigid.SetAndObserveTransformNodeID(transform.GetID())  # linear itself, but not its way to the world
    node.SetAndObserveTransformNodeID(rigid.GetID())


def test_nonlinear_transform_is_refused_with_advice(scene: Any) -> None:
    volume, segmentation = add_volume(scene, PLAIN), add_segmentation(scene)
    segment = add_segment(segmentation, "a")
    roi = scene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "ROI")
    roi.SetCenter(5, 5, 5)
    roi.SetSize(3, 3, 3)
    for node in (volume, segmentation, roi):
        bend(scene, node)
    calls = [
        lambda: volumes.volumeFromNode(volume, "ct"),
        lambda: segments.maskFromSegment(segmentation, segment, PLAIN),
        lambda: segments.applyEdit(box_edit(PLAIN, (0, 0, 0), (2, 2, 2)), segmentation, segment, PLAIN),
        lambda: prompts.boxFromRoi(roi, PLAIN),
    ]
    for call in calls:
        with pytest.raises(GeometryError, match=r"'motion', which is not linear: harden it"):
            call()


def test_a_shearing_transform_is_refused_by_the_name_of_the_volume(scene: Any) -> None:
    shear = np.eye(4)
    shear[0, 1] = 0.3
    with pytest.raises(GeometryError, match="volume 'CT': direction is not orthonormal"):
        volumes.volumeFromNode(add_volume(scene, PLAIN, transform=shear), "ct")


def test_nodes_that_are_no_images_are_refused(scene: Any) -> None:
    label_map = scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "labels")
    slicer.util.updateVolumeFromArray(label_map, np.zeros((3, 3, 3), np.uint8))
    vector = scene.AddNewNodeByClass("vtkMRMLVectorVolumeNode", "colours")
    slicer.util.updateVolumeFromArray(vector, np.zeros((3, 3, 3, 3), np.uint8))
    empty = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "hollow")
    sequence = slicer.vtkMRMLSequenceNode()
    sequence.SetName("4D")
    expected = {
        None: "no volume was chosen",
        label_map: r"'labels' \(vtkMRMLLabelMapVolumeNode\) is not an image",
        vector: "'colours' .* has 3 values per voxel",
        empty: "'hollow' .* holds no voxels",
        sequence: r"'4D' .* \(for a sequence, one frame.s\)",
    }
    for node, message in expected.items():
        with pytest.raises(ArgumentError, match=message):
            volumes.volumeFromNode(node, "ct")


def test_nan_is_refused_by_the_name_of_the_volume(scene: Any) -> None:
    array = np.zeros(PLAIN.shape, np.float32)
    array[3, 2, 1] = np.nan
    with pytest.raises(ArgumentError, match=r"volume 'CT': ct image has 1 voxels .* \(1, 2, 3\)"):
        volumes.volumeFromNode(add_volume(scene, PLAIN, array), "ct")


# Units of PET


def add_pet(scene: Any, unit: str | None = None, scale: float = 1.0) -> Any:
    values = np.random.default_rng(1).uniform(0, 20 * scale, PLAIN.shape).astype(np.float32)
    node = add_volume(scene, PLAIN, values, name="PET")
    if unit:
        entry = slicer.vtkCodedEntry()
        entry.SetValueSchemeMeaning(unit, "UCUM", unit)
        node.SetVoxelValueUnits(entry)
    return node


def test_pet_in_suv_is_accepted(scene: Any) -> None:
    assert volumes.volumeFromNode(add_pet(scene, BODY), "pet").role == "pet"
    by_attribute = add_pet(scene)
    by_attribute.SetAttribute(volumes.UNIT_ATTRIBUTE, BODY)
    assert volumes.volumeFromNode(by_attribute, "pet").array.max() > 19


def test_pet_without_unit_needs_confirmation_of_suv(scene: Any) -> None:
    node = add_pet(scene)
    with pytest.raises(SuvError, match=r"'PET' does not say the unit of its voxels.*confirm that the values are SUV"):
        volumes.volumeFromNode(node, "pet")
    assert volumes.volumeFromNode(node, "pet", assumeSuv=True).role == "pet"
    assert volumes.volumeFromNode(node, "image").role == "image"


@pytest.mark.parametrize("unit", ["Bq/ml", "{SUVlbm}g/ml"])
def test_pet_in_another_unit_is_refused_with_and_without_confirmation(scene: Any, unit: str) -> None:
    node = add_pet(scene, unit)
    for assume in (False, True):
        with pytest.raises(
            SuvError, match=f"'PET' is in {unit.replace('{', '.').replace('}', '.')}; SUV of body weight"
        ):
            volumes.volumeFromNode(node, "pet", assumeSuv=assume)


def test_suv_far_above_any_plausible_value_is_refused_whatever_the_unit(scene: Any) -> None:
    node = add_pet(scene, BODY, scale=1000)
    for pet, assumed in ((node, False), (add_pet(scene, scale=1000), True)):
        with pytest.raises(SuvError, match=r"volume 'PET': PET must be in SUV.*probably Bq/ml"):
            volumes.volumeFromNode(pet, "pet", assumeSuv=assumed)
    slicer.util.arrayFromVolume(node)[:] /= 1000
    slicer.util.arrayFromVolumeModified(node)
    assert volumes.volumeFromNode(node, "pet").array.max() < 21


def test_volume_voxels_are_checked_once_while_in_use(scene: Any) -> None:
    node = add_volume(scene, PLAIN)
    first = volumes.volumeFromNode(node, "ct")
    assert volumes.volumeFromNode(node, "ct") is first
    assert volumes.volumeFromNode(node, "image") is not first
    slicer.util.arrayFromVolumeModified(node)
    assert volumes.volumeFromNode(node, "ct") is not first
    first = volumes.volumeFromNode(node, "ct")
    node.SetOrigin(1, 2, 3)
    assert volumes.volumeFromNode(node, "ct").grid == volumes.gridFromVolume(node) != first.grid


def test_a_ct_that_cannot_be_in_hu_is_refused(scene: Any) -> None:
    node = add_volume(scene, PLAIN, np.random.default_rng(2).uniform(0, 1, PLAIN.shape).astype(np.float32))
    with pytest.raises(ArgumentError, match=r"volume 'CT': CT must be in HU.*scaled to a range such as 0 to 1"):
        volumes.volumeFromNode(node, "ct")
    assert volumes.volumeFromNode(node, "mr_t1").role == "mr_t1"


# From a click to voxels


@pytest.mark.parametrize("segmentation_transform", TRANSFORMS)
@pytest.mark.parametrize("volume_transform", TRANSFORMS)
@pytest.mark.parametrize("grid", GRIDS)
def test_a_click_at_a_point_changes_voxels_at_that_point(
    scene: Any, grid: str, volume_transform: str, segmentation_transform: str
) -> None:
    volume_node = add_volume(scene, GRIDS[grid], transform=TRANSFORMS[volume_transform])
    segmentation = add_segmentation(scene, TRANSFORMS[segmentation_transform])
    segment = add_segment(segmentation, "a")
    session = Session({"ct": volumes.volumeFromNode(volume_node, "ct")}, clicks=BallEngine())
    target = session.grid.to_ras((8, 9, 6)) + 0.2 * session.grid.direction @ session.grid.spacing

    segments.applyEdit(
        session.add_click(prompts.clickFromRas(session.grid, target)), segmentation, segment, session.grid
    )

    found = world_points(segmentation, segment)
    k, j, i = np.nonzero(session.mask.array)
    expected = session.grid.to_ras(np.stack([i, j, k], axis=1))
    assert len(found) > 5
    np.testing.assert_allclose(found, expected[np.lexsort(np.round(expected, 3).T)], atol=1e-3)
    assert np.linalg.norm(found - target, axis=1).min() <= np.linalg.norm(session.grid.spacing) / 2
    np.testing.assert_array_equal(segments.maskFromSegment(segmentation, segment, session.grid), session.mask.array)

    segments.applyEdit(session.undo(), segmentation, segment, session.grid)
    assert not segments.maskFromSegment(segmentation, segment, session.grid).any()


def test_segment_on_another_lattice_is_moved_to_the_image_alone(scene: Any) -> None:
    """A finer, turned segmentation of another image, in which two segments share a label map."""
    corner = np.array((9, 8, 7)) - OBLIQUE.direction @ (np.array((20, 15, 15)) * 0.6)
    fine = Grid.from_spacing((40, 44, 48), (0.6, 0.6, 0.6), corner, OBLIQUE.direction)
    segmentation = add_segmentation(scene)
    first, second = add_segment(segmentation, "a"), add_segment(segmentation, "b")
    paint(segmentation, first, fine, (10, 10, 10), (20, 10, 10))
    paint(segmentation, second, fine, (30, 10, 10), (8, 8, 8))
    assert layers(segmentation) == 1
    other = world_points(segmentation, second)
    before = segments.maskFromSegment(segmentation, first, PLAIN)
    k, j, i = np.indices(PLAIN.shape).reshape(3, -1)
    nearest = np.floor(fine.to_ijk(PLAIN.to_ras(np.stack([i, j, k], axis=1))) + 0.5)
    inside = ((nearest >= (10, 10, 10)) & (nearest < (30, 20, 20))).all(axis=1)
    np.testing.assert_array_equal(before, inside.reshape(PLAIN.shape))
    assert before.sum() > 300

    edit = box_edit(PLAIN, (1, 1, 1), (2, 2, 2))
    segments.applyEdit(edit, segmentation, first, PLAIN)

    expected = before.copy()
    expected[1:3, 1:3, 1:3] = 1
    np.testing.assert_array_equal(segments.maskFromSegment(segmentation, first, PLAIN), expected)
    np.testing.assert_array_equal(world_points(segmentation, second), other)


def test_edit_keeps_voxels_outside_the_image(scene: Any) -> None:
    """The lattice of the image, but a segment that reaches beyond it; then erasing and adding at its border."""
    segmentation = add_segmentation(scene)
    segment = add_segment(segmentation, "a")
    paint(segmentation, segment, PLAIN, (15, 14, 12), (10, 10, 10))
    segments.applyEdit(box_edit(PLAIN, (16, 15, 13), (2, 1, 1), erase=True), segmentation, segment, PLAIN)
    segments.applyEdit(box_edit(PLAIN, (0, 0, 0), (2, 2, 2)), segmentation, segment, PLAIN)
    assert len(world_points(segmentation, segment)) == 1000 - 2 + 8
    mask = segments.maskFromSegment(segmentation, segment, PLAIN)
    assert mask.sum() == 3 * 2 * 2 - 2 + 8


def test_a_surface_is_read_but_not_edited(scene: Any) -> None:
    segmentation = add_segmentation(scene)
    sphere = vtk.vtkSphereSource()
    sphere.SetCenter(8, 7, 6)
    sphere.SetRadius(5)
    sphere.SetThetaResolution(60)
    sphere.SetPhiResolution(60)
    sphere.Update()
    segmentation.GetSegmentation().SetSourceRepresentationName("Closed surface")
    segment = segmentation.AddSegmentFromClosedSurfaceRepresentation(sphere.GetOutput(), "ball", [1, 0, 0])
    mask = segments.maskFromSegment(segmentation, segment, PLAIN)
    assert mask.sum() == pytest.approx(4 / 3 * np.pi * 125, rel=0.1)
    np.testing.assert_allclose(np.argwhere(mask).mean(axis=0), (6, 7, 8), atol=0.1)
    assert segmentation.GetSegmentation().GetSegment(segment).GetRepresentation("Binary labelmap") is None
    with pytest.raises(TumorSegError, match=r"is kept as 'Closed surface'; make 'Binary labelmap'"):
        segments.applyEdit(box_edit(PLAIN, (0, 0, 0), (2, 2, 2)), segmentation, segment, PLAIN)
