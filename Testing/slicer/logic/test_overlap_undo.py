"""Undo and redo with overwrite: other segments get back, and lose again, exactly what the step took from them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from Testing.slicer.desk import Case, paint_box

if TYPE_CHECKING:
    from Testing.slicer.host.host import Host

#: A box of voxels within the tumour of the phantom: low corner and size.
LOW, SIZE = (14, 25, 20), (4, 4, 4)


class Two(Case):
    """A tumour that was found, and an empty segment over it, which is worked on."""

    def __init__(self, module: Any) -> None:
        super().__init__(module)
        self.found = self.find()
        self.other = self.segment
        _, self.segment = self.logic.addSegment(self.inputs, self.node)
        self.overwrite_mode("OVERWRITE_ALL")

    def overwrite_mode(self, name: str) -> None:
        from TumorSegSlicer.parameters import OverwriteMode

        self.logic.parameters.overlap = OverwriteMode[name]

    def brush(self, erase: bool = False) -> np.ndarray:
        """Paints the box, or erases it, by Slicer's own means, and imports that; which voxels of it were tumour."""
        import slicer

        from Testing.slicer.scene import box_image, volumes

        if erase:
            logic, grid = slicer.vtkSlicerSegmentationsModuleLogic, volumes.gridFromVolume(self.volumes["ct"])
            image = box_image(grid, LOW, SIZE, 0)
            mode = logic.MODE_MERGE_MIN
            assert logic.SetBinaryLabelmapToSegment(image, self.node, self.segment, mode, image.GetExtent())
        else:
            paint_box(self, LOW, SIZE)
        assert self.logic.importBrush(self.node, self.segment) is not None
        return self.found.astype(bool) & self.box()

    def box(self) -> np.ndarray:
        inside = np.zeros(self.found.shape, bool)
        i, j, k = (slice(low, low + size) for low, size in zip(LOW, SIZE))
        inside[k, j, i] = True
        return inside

    def undo(self) -> Any:
        return self.logic.undo(self.node, self.segment)

    def redo(self) -> Any:
        return self.logic.redo(self.node, self.segment)

    def reopen(self, path: Path) -> None:
        """Saves the scene and opens it again."""
        import slicer

        self.logic.save()
        assert slicer.util.saveScene(str(path))
        slicer.mrmlScene.Clear(False)
        slicer.util.loadScene(str(path))
        saved = next(each for each in self.logic.saved() if each.segmentId == self.segment)
        self.node, self.volumes["ct"] = saved.segmentationNode, saved.inputs["ct"].node


@pytest.fixture
def two(host: Host) -> Any:
    from Testing.slicer.module import TUMORSEG

    made = Two(host.load_module(TUMORSEG, with_panel=False))
    yield made
    made.logic.close()


def test_undo_of_an_equal_edit_without_overwrite_gives_others_nothing(two: Two) -> None:
    taken = two.brush()  # takes voxels of the other segment
    assert taken.any()
    less = two.found.astype(bool) & ~taken
    np.testing.assert_array_equal(two.mask(two.other), less)
    two.brush(erase=True)
    two.overwrite_mode("ALLOW")
    two.brush()  # the same voxels, and nobody loses any
    for _ in range(2):
        two.undo()
        np.testing.assert_array_equal(two.mask(two.other), less)
    two.undo()
    np.testing.assert_array_equal(two.mask(two.other), two.found)
    for _ in range(3):
        assert two.redo() is not None
        np.testing.assert_array_equal(two.mask(two.other), less)


@pytest.mark.parametrize("tool", ["click", "brush"])
def test_undo_overwrite_after_reopening_a_scene(two: Two, tmp_path: Path, tool: str) -> None:
    i, j, k = (low + 1 for low in LOW)
    if tool == "click":
        two.click((i, j, k))
    else:
        two.brush()
    mine, less = two.mask(), two.mask(two.other)
    assert less.sum() < two.found.sum()
    assert not (mine & less).any()
    two.reopen(tmp_path / "case.mrb")
    two.undo()
    assert not two.mask().any()
    np.testing.assert_array_equal(two.mask(two.other), two.found)
    two.reopen(tmp_path / "again.mrb")
    two.redo()
    np.testing.assert_array_equal(two.mask(), mine)
    np.testing.assert_array_equal(two.mask(two.other), less)


def test_redo_overwrite_takes_only_what_was_taken_whatever_the_policy_is_now(two: Two) -> None:
    two.overwrite_mode("ALLOW")
    two.click(tuple(low + 1 for low in LOW))  # type: ignore[arg-type]
    two.undo()
    two.overwrite_mode("OVERWRITE_ALL")
    two.redo()
    np.testing.assert_array_equal(two.mask(two.other), two.found)
    assert (two.mask() & two.found).any()


def test_undo_overwrite_leaves_completed_and_deleted_segments_alone(two: Two) -> None:
    import slicer

    two.brush()
    less = two.mask(two.other)
    status = slicer.vtkSlicerSegmentationsModuleLogic
    status.SetSegmentStatus(two.node.GetSegmentation().GetSegment(two.other), status.Completed)
    two.undo()
    np.testing.assert_array_equal(two.mask(two.other), less)
    two.redo()
    two.node.GetSegmentation().RemoveSegment(two.other)
    two.undo()
    assert not two.mask().any()


@pytest.mark.parametrize("stored", ["ALLOW", "OVERWRITE_VISIBLE", "OVERWRITE_ALL"])
def test_the_overwrite_mode_of_saved_scenes_is_read(two: Two, stored: str) -> None:
    parameters = two.logic.parameters
    parameters.parameterNode.SetParameter("overlap", stored)
    assert parameters.overlap.name == stored
