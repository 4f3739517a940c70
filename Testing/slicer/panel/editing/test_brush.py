"""Strokes of Slicer's own tools: imported as painted or refined by the model; undone in one step."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from Testing.slicer.desk import Case, Desk, paint_box
from Testing.slicer.module import TUMORSEG
from TumorSegLib import Cancelled

if TYPE_CHECKING:
    from Testing.slicer.host.host import Host

#: A voxel of the phantom without tumour round it, and one within the tumour that is found.
FAR, WITHIN = (12, 12, 8), (16, 27, 22)
#: Radius of the brush, and how long nothing is heard of a stroke that is none; mm and seconds.
RADIUS_MM, SILENCE = 9.0, 0.6


class Painter(Desk):
    """A user who paints on the tumour that was found."""

    def __init__(self, host: Host) -> None:
        super().__init__(host)
        self.found = self.find()
        self.wait_saved()

    @property
    def session(self) -> Any:
        return self.widget.logic.bench.open(self.node, self.segment)

    def dab(self, ijk: tuple[int, int, int], tool: str = "Paint", radius_mm: float = RADIUS_MM) -> np.ndarray:
        """A dab of a tool; the segment before anybody heard of it."""
        from Testing.slicer.host.segment_editor import paint

        self.ui.editor.setActiveEffectByName(tool)
        self.host.process_events()  # taking up a tool opens the session of the segment
        paint(self.ui.editor, self.ras(*ijk), radius_mm, erase=tool == "Erase")
        return self.mask()

    def segment_editor(self) -> Any:
        """Slicer's module Segment Editor on the same segmentation, with an undo of its own that knows how it is now."""
        import slicer

        editor = slicer.qMRMLSegmentEditorWidget()
        editor.setMRMLSegmentEditorNode(slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentEditorNode"))
        editor.setMRMLScene(slicer.mrmlScene)
        editor.setSegmentationNode(self.node)
        editor.saveStateForUndo()
        return editor

    def settle(self, steps: int) -> np.ndarray:
        """Waits until strokes were taken over in so many steps."""
        before = self.steps()
        self.host.wait_until(lambda: self.steps() == before + steps, "the stroke to be taken over", 60)
        self.wait()
        return self.mask()

    def listen(self, done: bool = True) -> None:
        """Waits for longer than a stroke takes to be heard of, and, if asked to, for what is being done."""
        end = time.monotonic() + SILENCE
        self.host.wait_until(lambda: time.monotonic() > end, "time to pass", 60)
        if done:
            self.wait()


@pytest.fixture
def painter(host: Host) -> Painter:
    return Painter(host)


def test_a_stroke_says_where_the_views_show_another_image(painter: Painter) -> None:
    import slicer

    slicer.util.setSliceViewerLayers(background=painter.volumes["mr_t1"], foreground=None)
    painter.dab(FAR)
    painter.settle(1)
    words = "The views show 'Phantom T1 MR', but 'Phantom CT' is segmented: choose the image under Images. Stroke kept."
    assert painter.status.startswith(words)


@pytest.fixture
def guide(painter: Painter) -> Painter:
    painter.ui.strokesGuideCheckBox.checked = True
    return painter


@pytest.fixture
def case(host: Host) -> Any:
    made = Case(host.load_module(TUMORSEG, with_panel=False))
    made.find()
    yield made
    made.logic.close()


# As it was painted


def test_import_brush_stroke_as_one_step(painter: Painter) -> None:
    from Testing.slicer.scene import saved_steps

    told: list[bool] = []
    painter.context.tasks.onBusy.connect(told.append)
    painted = painter.dab(FAR)
    assert painted.sum() > painter.found.sum()
    np.testing.assert_array_equal(painter.settle(1), painted)
    np.testing.assert_array_equal(painter.session.mask.array, painted)
    assert painter.status == f"Stroke kept. Segment now: {painted.sum() * 0.08:.1f} ml"
    assert told == []  # the panel stays as it is
    painter.wait_saved()
    assert len(saved_steps(painter.node, painter.segment)) == 2
    painter.press("undoButton")
    np.testing.assert_array_equal(painter.mask(), painter.found)
    painter.press("redoButton")
    np.testing.assert_array_equal(painter.mask(), painted)


def test_import_brush_strokes_in_a_row_as_one_step(painter: Painter) -> None:
    painter.dab(FAR)
    painter.dab(WITHIN, "Erase")
    painted = painter.dab((30, 10, 20))
    painter.settle(1)
    np.testing.assert_array_equal(painter.session.mask.array, painted)
    painter.press("undoButton")
    np.testing.assert_array_equal(painter.mask(), painter.found)


def test_import_brush_ignores_edits_of_the_panel(guide: Painter) -> None:
    told: list[bool] = []
    guide.context.tasks.onBusy.connect(told.append)
    guide.ui.editor.setActiveEffectByName("Erase")
    for button in ("resetButton", "undoButton", "redoButton", "undoButton"):
        before = guide.steps()
        guide.press(button)
        guide.listen()
        assert guide.steps() == before + 1
    assert told == [True, False] * 4
    np.testing.assert_array_equal(guide.mask(), guide.found)
    assert guide.session.prompts.items == ()


def test_import_brush_waits_for_the_running_action(guide: Painter) -> None:
    engine, begun = guide.engines.engines["auto"], threading.Event()

    def segment(_images: Any, *, cancel: Any, **_named: Any) -> Any:
        begun.set()
        while not cancel():
            time.sleep(0.005)
        raise Cancelled("stopped")

    engine.segment = segment
    guide.ui.segmentButton.click()
    guide.host.wait_until(begun.is_set, "the engine to begin")
    painted = guide.dab(FAR)
    guide.listen(done=False)
    guide.ui.cancelButton.click()  # stops what was being done, and not the stroke
    refined = guide.settle(1)
    assert refined[painted != guide.found].all()
    assert len(guide.session.prompts.items) == 1
    assert guide.host.dialogs.shown == []


def test_import_brush_ignores_segments_without_a_session(painter: Painter) -> None:
    segmentation = painter.node.GetSegmentation()
    painter.context.selection.setTarget(painter.node, segmentation.AddEmptySegment("mine", "mine"))
    painted = painter.dab(FAR, "")
    assert painted.any()
    painter.listen()
    assert not painter.widget.logic.hasSession(painter.node, "mine")
    assert painter.host.dialogs.shown == []


def test_brush_strokes_on_a_completed_segment_are_refused_in_the_status_line(painter: Painter) -> None:
    import slicer

    logic = slicer.vtkSlicerSegmentationsModuleLogic
    logic.SetSegmentStatus(painter.node.GetSegmentation().GetSegment(painter.segment), logic.Completed)
    painter.dab(FAR)
    painter.host.wait_until(lambda: "marked as completed" in painter.status, "the words", 60)
    np.testing.assert_array_equal(painter.session.mask.array, painter.found)
    assert painter.host.dialogs.shown == []


def test_brush_stroke_does_not_install_packages(painter: Painter, monkeypatch: pytest.MonkeyPatch) -> None:
    from TumorSegSlicer.install import packages

    monkeypatch.setattr(packages, "missingPackages", lambda: ["torch>=2.6"])
    painter.context.packages.found = False
    painter.ui.strokesGuideCheckBox.checked = True
    painter.dab(FAR)
    painter.listen()
    assert painter.host.dialogs.shown == []
    np.testing.assert_array_equal(painter.session.mask.array, painter.found)


def test_scene_closed_right_after_a_brush_stroke(painter: Painter) -> None:
    import slicer

    painter.dab(FAR)
    slicer.mrmlScene.Clear(False)
    painter.listen()
    assert painter.host.dialogs.shown == []


# With the model


@pytest.mark.parametrize(("tool", "ijk", "positive"), [("Paint", FAR, True), ("Erase", WITHIN, False)])
def test_brush_stroke_guides_the_model_in_one_step(
    guide: Painter, tool: str, ijk: tuple[int, int, int], positive: bool
) -> None:
    painted = guide.dab(ijk, tool)
    stroke = painted != guide.found
    assert stroke.sum() > 5
    refined = guide.settle(1)
    (scribble,) = guide.session.prompts.items
    assert scribble.positive is positive
    np.testing.assert_array_equal(scribble.mask.array, stroke)
    assert (refined[stroke] == positive).all()
    assert (refined != painted).any()  # the model went on
    np.testing.assert_array_equal(guide.session.mask.array, refined)
    assert guide.status.startswith("The model followed your stroke.")
    guide.press("undoButton")
    np.testing.assert_array_equal(guide.mask(), guide.found)
    assert guide.session.prompts.items == ()
    guide.press("redoButton")
    np.testing.assert_array_equal(guide.mask(), refined)


@pytest.mark.parametrize("tool", ["Margin", "Islands", ""])
def test_only_paint_and_erase_guide_the_model(guide: Painter, tool: str) -> None:
    painted = guide.dab(FAR, tool)
    np.testing.assert_array_equal(guide.settle(1), painted)
    assert guide.session.prompts.items == ()
    np.testing.assert_array_equal(guide.session.mask.array, painted)


def test_painting_and_erasing_together_do_not_guide_the_model(guide: Painter) -> None:
    guide.dab(FAR)
    painted = guide.dab(WITHIN, "Erase")
    np.testing.assert_array_equal(guide.settle(1), painted)
    assert guide.session.prompts.items == ()


@pytest.mark.parametrize("tool", ["Paint", "Erase"])
def test_undo_by_slicer_of_a_brush_stroke_does_not_guide_the_model(guide: Painter, tool: str) -> None:
    """Whatever tool is active: the undo of a stroke looks like one of the other tool."""
    editor = guide.segment_editor()
    guide.dab(FAR)
    refined = guide.settle(1)
    guide.ui.editor.setActiveEffectByName(tool)
    editor.undo()  # the stroke and what the model made of it
    np.testing.assert_array_equal(guide.mask(), guide.found)
    np.testing.assert_array_equal(guide.settle(1), guide.found)
    assert guide.session.prompts.items == ()
    editor.redo()
    np.testing.assert_array_equal(guide.settle(1), refined)
    assert guide.session.prompts.items == ()
    guide.press("undoButton")  # each of the two is a step of the panel as well
    guide.press("undoButton")
    np.testing.assert_array_equal(guide.mask(), refined)
    assert len(guide.session.prompts.items) == 1


def test_brush_stroke_undone_before_its_import_does_not_guide_the_model(guide: Painter) -> None:
    editor = guide.segment_editor()
    guide.dab(FAR)
    guide.settle(1)
    guide.dab((30, 10, 20))
    editor.undo()
    np.testing.assert_array_equal(guide.settle(1), guide.found)
    assert guide.session.prompts.items == ()


def test_brush_stroke_that_the_model_refuses_is_imported_by_the_next_action(guide: Painter) -> None:
    from TumorSegLib import ResourceError

    def fails(*_: Any) -> Any:
        raise ResourceError("there is not enough memory")

    engine = guide.engines.engines["clicks"]
    refine, engine.refine = engine.refine, fails
    painted = guide.dab(FAR)
    guide.host.wait_until(lambda: bool(guide.error), "the words", 60)
    guide.listen()
    assert guide.error == "there is not enough memory"
    np.testing.assert_array_equal(guide.mask(), painted)
    engine.refine = refine
    guide.press("resetButton")
    guide.press("undoButton")
    np.testing.assert_array_equal(guide.mask(), painted)


def test_cancelled_model_keeps_the_brush_stroke(guide: Painter) -> None:
    begun, engine = threading.Event(), guide.engines.engines["clicks"]

    def refine(*_arguments: Any) -> Any:
        begun.set()
        while not _arguments[3]():
            time.sleep(0.01)
        raise Cancelled("stopped")

    plain, engine.refine = engine.refine, refine
    painted = guide.dab(FAR)
    guide.host.wait_until(begun.is_set, "the model to begin", 60)
    guide.ui.cancelButton.click()
    guide.host.wait_until(lambda: guide.status.startswith("Stroke kept."), "the stroke to be taken over", 60)
    engine.refine = plain
    np.testing.assert_array_equal(guide.mask(), painted)
    guide.press("undoButton")
    np.testing.assert_array_equal(guide.mask(), guide.found)


def test_undo_overwrite_of_a_brush_stroke_that_guided_the_model(guide: Painter) -> None:
    from Testing.slicer.module import voxels

    other, taken = guide.segment, guide.found.astype(bool)
    guide.ui.overlapSelector.setCurrentText("are overwritten")
    guide.press("newSegmentButton")
    guide.dab(WITHIN)
    refined = guide.settle(1).astype(bool)
    assert (refined & taken).any()
    assert not voxels(guide.node, other, guide.volumes["ct"])[refined].any()
    guide.press("undoButton")
    np.testing.assert_array_equal(voxels(guide.node, other, guide.volumes["ct"]), taken)


def test_brush_guidance_setting_is_restored_with_the_scene(guide: Painter, tmp_path: Any) -> None:
    import slicer

    assert slicer.util.saveScene(str(tmp_path / "case.mrb"))
    slicer.mrmlScene.Clear(False)
    assert not guide.ui.strokesGuideCheckBox.checked
    slicer.util.loadScene(str(tmp_path / "case.mrb"))
    assert guide.ui.strokesGuideCheckBox.checked
    painted = guide.dab(FAR)  # no session was opened yet: it goes on from the saved one
    refined = guide.settle(1)
    assert refined[painted > 0].all()
    guide.press("undoButton")
    np.testing.assert_array_equal(guide.mask(), guide.found)


# Without the panel


def test_refine_from_brush_in_a_script(case: Case) -> None:
    found = case.mask()
    assert case.logic.refineFromBrush(case.node, case.segment) is None
    paint_box(case, FAR, (3, 4, 2))
    painted = case.mask()
    edit = case.logic.refineFromBrush(case.node, case.segment)
    assert edit.info["model"] == "balls"
    refined = case.mask()
    assert refined[painted > 0].all()
    assert refined.sum() > painted.sum()
    np.testing.assert_array_equal(case.logic.bench.open(case.node, case.segment).mask.array, refined)
    case.logic.undo(case.node, case.segment)
    np.testing.assert_array_equal(case.mask(), found)
    assert case.logic.refineFromBrush(case.node, case.segment) is None


def test_brush_stroke_under_transforms_keeps_its_position(case: Case) -> None:
    import slicer

    from Testing.slicer.scene import RIGID, add_transform

    motion = add_transform(slicer.mrmlScene, RIGID)
    for node in (*case.inputs.values(), case.node):
        node.SetAndObserveTransformNodeID(motion)
    before = case.logic.addClick(case.node, case.segment, case.ras(5, 5, 5))
    assert before.after.any()
    paint_box(case, FAR, (3, 4, 2))
    painted = case.mask()
    case.logic.refineFromBrush(case.node, case.segment)
    assert case.mask()[painted > 0].all()
