"""The module's logic without a window: wrong arguments, models and missing packages give clear errors."""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from Testing.slicer.desk import Case, bounds_of, paint_box
from Testing.slicer.module import segment_ids
from TumorSegLib import ArgumentError, ModelError, TumorSegError

if TYPE_CHECKING:
    from collections.abc import Callable

    from Testing.slicer.host.host import Host

#: Methods for one segment, and their further arguments.
OF_A_SEGMENT = {
    "addClick": ((0.0, 0.0, 0.0),),
    "addScribble": ([(0.0, 0.0, 0.0)],),
    "addBox": ((0.0, 10.0, 0.0, 10.0, 0.0, 10.0),),
    "importBrush": (),
    "refineFromBrush": (),
    "undo": (),
    "redo": (),
    "reset": (),
    "measure": (),
    "probabilityVolume": (),
    "uncertaintyVolume": (),
    "uncertainPositions": (),
}
QUERIES = ("hasSession", "volumeMl", "clickPoints")
BOX = ((30, 30, 20), (40, 38, 26))


def refused(act: Callable[[], Any], words: str) -> None:
    with pytest.raises(ArgumentError, match=words):
        act()


# Arguments


@pytest.mark.parametrize("name", [*OF_A_SEGMENT, *QUERIES])
def test_segmentation_argument_of_another_type_is_refused(case: Case, name: str) -> None:
    method, rest = getattr(case.logic, name), OF_A_SEGMENT.get(name, ())
    refused(
        lambda: method(None, "Tumour", *rest), "^segmentation: a node of class vtkMRMLSegmentationNode .* got None$"
    )
    refused(lambda: method("Tumour", "Tumour", *rest), "^segmentation: .* got 'Tumour'$")
    refused(lambda: method(case.volumes["ct"], "Tumour", *rest), r"^segmentation: .* 'Phantom CT' \(vtkMRMLScalarVol")


@pytest.mark.parametrize("name", OF_A_SEGMENT)
def test_segment_argument_that_does_not_exist_is_refused(case: Case, name: str) -> None:
    import slicer

    before, rest = case.find(), OF_A_SEGMENT[name]
    method = getattr(case.logic, name)
    for wrong in (None, "", "gone", 3):
        refused(lambda wrong=wrong: method(case.node, wrong, *rest), f"no segment with the id {wrong!r}; .*: Tumour$")
    np.testing.assert_array_equal(case.mask(), before)
    slicer.mrmlScene.RemoveNode(case.node)
    refused(lambda: method(case.node, case.segment, *rest), "is not in the scene; it may have been deleted")
    assert not case.logic.hasSession(case.node, case.segment)  # a question, which may be asked


@pytest.mark.parametrize("name", QUERIES)
def test_segment_queries_refuse_a_bad_segment_id(case: Case, name: str) -> None:
    case.find()
    assert not getattr(case.logic, name)(case.node, "gone")
    refused(lambda: getattr(case.logic, name)(case.node, None), "^segmentId: .* got None$")


def test_bad_volumes_and_segmentations_are_refused(case: Case) -> None:
    import slicer

    before = case.find()
    ct, ids = case.volumes["ct"], segment_ids(case.node)
    gone = slicer.util.addVolumeFromArray(np.ones((4, 4, 4)), name="Gone")
    slicer.mrmlScene.RemoveNode(gone)
    nodes = slicer.mrmlScene.GetNumberOfNodes()
    adding = (case.logic.segment, case.logic.addSegment)
    for add in (*adding, lambda inputs: case.logic.openSegment(inputs, case.node, case.segment)):
        for inputs, words in (
            ({}, "^no volume was chosen"),
            ({"ct": None}, "^no volume was chosen"),
            (None, "^inputs: role to volume is needed, e.g. {'ct': volume}, got None"),
            (ct, "^inputs: .* got 'Phantom CT'"),
            ({0: ct}, "^inputs: "),
            ({"ct": "Phantom CT"}, "^the ct volume: .* got 'Phantom CT'$"),
            ({"ct": case.node}, r"^the ct volume: .*\(vtkMRMLSegmentationNode\)$"),
            ({"ct": gone}, r"^the ct volume: 'Gone' .* is not in the scene"),
        ):
            refused(lambda add=add, inputs=inputs: add(inputs), words)
    for add in adding:
        refused(lambda add=add: add(case.inputs, segmentation=ct), "^segmentation: ")
    refused(lambda: case.logic.segment(case.inputs, segmentId="Tumour"), "^segmentation: .* got None$")
    refused(lambda: case.logic.segment(case.inputs, segmentation=case.node, segmentId="gone"), "id 'gone'")
    refused(lambda: case.logic.measure(case.node, case.segment, pet=case.node), "^the pet volume: ")
    refused(lambda: case.logic.suvProblem(None), "^pet: .* got None$")
    refused(lambda: case.logic.keepAsVoxels(case.node, None), "^volume: a node of class")
    assert (slicer.mrmlScene.GetNumberOfNodes(), segment_ids(case.node)) == (nodes, ids)
    np.testing.assert_array_equal(case.mask(), before)


def test_bad_boxes_and_points_are_refused(case: Case) -> None:
    before = case.find()
    for box, words in (
        (None, "^box: a ROI or bounds .* got None"),
        (case.volumes["ct"], "^box: a node of class vtkMRMLMarkupsROINode is needed, got 'Phantom CT'"),
        ((0, 10, 20, 30), r"^box: .* got \(0, 10, 20, 30\)"),
        ("012345", "^box: .* got '012345'"),
        ((0, 10, 0, 10, 0, math.nan), "^box: "),
        ((0, math.inf, 0, 10, 0, 10), "^box: "),
        (("a", "b", 0, 10, 0, 10), "^box: "),
        ((900, 910, 0, 10, 0, 10.5), r"^ROI '\(900, 910, 0, 10, 0, 10.5\)' lies outside the image"),
    ):
        refused(lambda box=box: case.logic.addBox(case.node, case.segment, box), words)
    for ras in (None, "here", (0, 0), (0, 0, math.nan)):
        refused(lambda ras=ras: case.logic.addClick(case.node, case.segment, ras), "three finite RAS coordinates")
    for points, words in (
        ([], "at least one point"),
        (None, "^points: .* got None"),
        (7, "^points: "),
        ("here", "^points: a list of points .* got 'here'"),
        ({"r": (0, 0, 0)}, "^points: .* got {'r': "),
        ({(0.0, 0.0, 0.0)}, "^points: "),
        (["here"], "got 'here'"),
    ):
        refused(lambda points=points: case.logic.addScribble(case.node, case.segment, points), words)
    for pen, words in (
        ({"widthMm": 5.0}, "a pen of 5.0 mm draws on a slice: its normal is needed"),
        ({"widthMm": 5.0, "normal": (0, 0, 0)}, "the normal of a slice has a length"),
        ({"widthMm": -5.0, "normal": (0, 0, 1)}, "the width of a pen"),
    ):
        refused(lambda pen=pen: case.logic.addScribble(case.node, case.segment, [case.ras(9, 9, 9)], **pen), words)
    np.testing.assert_array_equal(case.mask(), before)


# Models that are not there


class Without:
    """The engines of a case without those of some kinds."""

    def __init__(self, case: Case, *kinds: str) -> None:
        self.case, self.kinds = case, kinds

    def __call__(self, kind: str, *rest: str) -> Any:
        if kind in self.kinds:
            raise ModelError(f"no model 'my-{kind}'")
        return self.case.engines(kind, *rest)


def test_undo_measure_and_overlays_need_no_model(case: Case) -> None:
    import slicer

    masks = [case.find()]
    case.click((5, 6, 7))
    masks.append(case.mask())
    uncertain = case.logic.uncertainPositions(case.node, case.segment)
    case.logic.save()
    case.logic.close()
    case.logic = case.module.TumorSegLogic(Without(case, "auto", "clicks", "box"))
    logic, target = case.logic, (case.node, case.segment)
    for act, index in ((logic.undo, 0), (logic.redo, 1)):
        act(*target)
        np.testing.assert_array_equal(case.mask(), masks[index])
    assert slicer.util.arrayFromVolume(logic.probabilityVolume(*target)).max() == 100
    assert logic.uncertainPositions(*target) == uncertain
    assert logic.measure(*target).GetNumberOfRows() > 10
    paint_box(case, (40, 40, 4), (2, 2, 2))
    logic.importBrush(*target)
    logic.undo(*target)
    np.testing.assert_array_equal(case.mask(), masks[1])
    logic.reset(*target)
    assert not case.mask().any()
    _, second = logic.addSegment(case.inputs, case.node)
    assert second in segment_ids(case.node)


def test_missing_model_is_named_with_advice(case: Case) -> None:
    case.find()
    paint_box(case, (2, 2, 2), (3, 3, 3))
    before, ids = case.mask(), segment_ids(case.node)
    logic, target = case.logic, (case.node, case.segment)
    logic.bench.engineSource = Without(case, "auto", "clicks", "box")
    for act, kind in (
        (lambda: logic.segment(case.inputs), "auto"),
        (lambda: logic.segment(case.inputs, segmentation=case.node, segmentId=case.segment), "auto"),
        (lambda: logic.segment(case.inputs, segmentation=case.node), "auto"),
        (lambda: case.click((5, 6, 7)), "clicks"),
        (lambda: logic.addScribble(*target, [case.ras(5, 6, 7)]), "clicks"),
        (lambda: logic.refineFromBrush(*target), "clicks"),
        (lambda: logic.addBox(*target, bounds_of(case, *BOX)), "clicks"),
        (lambda: logic.addBox(*target, bounds_of(case, *BOX), model="lite-medsam"), "box"),
    ):
        with pytest.raises(ModelError, match=rf"cannot be used \(no model 'my-{kind}'\)\. .* \(Manage models\)\.$"):
            act()
        np.testing.assert_array_equal(case.mask(), before)
        assert segment_ids(case.node) == ids
    logic.bench.engineSource = case.engines  # they have come
    assert logic.refineFromBrush(*target) is not None
    case.click((5, 6, 7))
    assert case.mask()[7, 6, 5] == 1


def test_model_argument_of_another_type_is_refused(case: Case) -> None:
    from TumorSegLib.engines.lazy import EngineCache

    case.logic.bench.engineSource = EngineCache()
    refused(lambda: case.logic.segment(case.inputs, model=5), "^model: the name .* got 5$")


# Packages that are not there


def absent(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Lets the import of packages fail from now on, those that were imported before included."""
    for name in list(sys.modules):
        if name.split(".")[0] in names:
            monkeypatch.setitem(sys.modules, name, None)
    for name in names:
        monkeypatch.setitem(sys.modules, name, None)


def test_measuring_without_scikit_image_is_refused_with_advice(
    case: Case, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    import slicer

    case.find()
    absent(monkeypatch, "skimage")
    nodes = slicer.mrmlScene.GetNumberOfNodes()
    words = "Open the module TumorSeg, .* by hand: https://.*/slicer.md#without-internet$"
    with pytest.raises(TumorSegError, match=rf"damaged: skimage[.\w]*\. {words}"):  # installed, and yet not there
        case.logic.measure(case.node, case.segment)
    host.packaging.missing = {"scikit-image", "monai"}
    with pytest.raises(TumorSegError, match=rf"damaged: monai>=1.4, scikit-image>=0.22\. {words}"):
        case.logic.measure(case.node, case.segment)
    assert slicer.mrmlScene.GetNumberOfNodes() == nodes


@pytest.mark.parametrize("missing", ["torch", "monai", "segment-anything"])
def test_missing_packages_of_engines_are_refused_with_advice(
    case: Case, host: Host, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    from TumorSegSlicer.install.torch_libraries import loadEngine

    import TumorSegLib
    from TumorSegLib.engines.lazy import EngineCache

    def load(*_key: str) -> Any:
        """As the library fails: of its own, or as it says of SAM's package."""
        if missing == "segment-anything":
            raise ModelError("SAM's networks need the package segment-anything; pip install segment-anything")
        raise ModuleNotFoundError(f"No module named '{missing}'", name=missing)

    monkeypatch.setitem(vars(TumorSegLib), "load_engine", load)  # reading it would import torch
    case.logic.bench.engineSource = EngineCache(loadEngine)
    host.packaging.missing = {missing}
    case.node, case.segment = case.logic.addSegment(case.inputs)
    for act in (lambda: case.logic.segment(case.inputs), lambda: case.click((5, 6, 7))):
        with pytest.raises(TumorSegError, match=rf"{missing}>=[\d.]+\. Open the module TumorSeg"):
            act()
    assert segment_ids(case.node) == [case.segment]
    assert not case.mask().any()
    host.packaging.missing = set()
    if missing == "segment-anything":  # then it is not packages that are missing
        with pytest.raises(ModelError, match=r"^SAM's networks"):
            case.click((5, 6, 7))
