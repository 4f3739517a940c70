"""The test host with a scripted module: panel, parameters, scene, files and packages behave as in Slicer."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from Testing.slicer.tiny import TINY, cube, segmented

if TYPE_CHECKING:
    from Testing.slicer.host.host import Host


# The module, end to end


def test_a_module_segments_through_its_panel(host: Host, tiny_panel: Any) -> None:
    import slicer

    volume = cube()
    assert tiny_panel.ui.volumeSelector.currentNode() is None
    assert not tiny_panel.ui.applyButton.enabled
    tiny_panel.ui.volumeSelector.setCurrentNode(volume)
    tiny_panel.ui.thresholdSlider.value = 50
    tiny_panel.ui.applyButton.click()
    node = slicer.util.getNode("Result")
    segment = node.GetSegmentation().GetNthSegmentID(0)
    mask = slicer.util.arrayFromSegmentBinaryLabelmap(node, segment, volume)
    assert mask.sum() == 4**3
    assert host.dialogs.shown == []


def test_an_exception_becomes_a_dialog_and_fails_the_test_that_passes_over_it(host: Host, tiny_panel: Any) -> None:
    tiny_panel.ui.volumeSelector.setCurrentNode(cube())
    tiny_panel.ui.thresholdSlider.value = 1500
    tiny_panel.ui.applyButton.click()
    (dialog,) = host.dialogs.shown
    assert dialog.text == "Thresholding failed.\n\nthreshold is above 1000"
    assert "in threshold" in dialog.detailed_text
    assert [str(error) for error in host.errors] == ["threshold is above 1000"]
    host.errors.clear()


def test_parameters_markups_and_segments_come_back_with_the_scene(host: Host, tiny_panel: Any, tmp_path: Path) -> None:
    import slicer

    volume = cube()
    tiny_panel.ui.volumeSelector.setCurrentNode(volume)
    tiny_panel.ui.thresholdSlider.value = 77
    tiny_panel.ui.applyButton.click()
    points = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "Points")
    points.AddControlPoint(1.0, 2.0, 3.0)
    for name in ("scene.mrb", "scene"):
        assert slicer.util.saveScene(str(tmp_path / name))
    for path in (tmp_path / "scene.mrb", tmp_path / "scene" / "scene.mrml"):
        slicer.mrmlScene.Clear(False)
        assert tiny_panel.ui.volumeSelector.currentNode() is None
        assert tiny_panel.parameters.threshold == 40
        slicer.util.loadScene(str(path))
        tiny_panel.initialise()
        assert tiny_panel.ui.thresholdSlider.value == 77
        assert tiny_panel.ui.volumeSelector.currentNode().GetName() == "Cube"
        assert tiny_panel.ui.applyButton.enabled
        np.testing.assert_allclose(
            slicer.util.arrayFromMarkupsControlPoints(slicer.util.getNode("Points")), [[1, 2, 3]]
        )
        node = slicer.util.getNode("Result")
        segment = node.GetSegmentation().GetNthSegmentID(0)
        assert slicer.util.arrayFromSegmentBinaryLabelmap(node, segment).sum() == 4**3


def test_the_life_of_a_module(host: Host) -> None:
    import slicer

    tiny_panel = host.load_module(TINY)
    assert tiny_panel.calls == ["enter"]
    slicer.mrmlScene.Clear(False)
    slicer.util.selectModule("Markups")
    slicer.util.selectModule("Tiny")
    slicer.util.selectModule("Tiny")
    assert slicer.util.getModuleWidget("Tiny") is tiny_panel
    host.unload_modules()
    assert tiny_panel.calls == ["enter", "closed", "exit", "enter", "exit", "cleanup"]
    slicer.mrmlScene.Clear(False)  # nobody listens any more
    assert len(tiny_panel.calls) == 6
    assert not hasattr(slicer.modules, "tiny")
    with pytest.raises(RuntimeError, match="no module 'Tiny'"):
        slicer.util.selectModule("Tiny")


def test_a_module_runs_without_a_main_window(host: Host) -> None:
    import slicer

    python = host.load_module(TINY, with_panel=False)
    assert slicer.util.mainWindow() is None
    assert slicer.app.layoutManager() is None
    logic = python.TinyLogic()
    node, segment = logic.threshold(logic.makeCube(), 50.0)
    assert slicer.util.arrayFromSegmentBinaryLabelmap(node, segment).sum() == 4**3
    slicer.util.errorDisplay("in the log alone")
    assert host.dialogs.shown == []


def test_sample_data_is_registered_and_made(host: Host, tiny_panel: Any) -> None:
    import SampleData
    import slicer

    SampleData.downloadSample("TinyCube")
    assert slicer.util.getNode("Cube").GetSpacing() == (2, 2, 3)
    with pytest.raises(ValueError, match="no sample 'Other'"):
        SampleData.downloadSample("Other")
    with pytest.raises(TypeError):
        SampleData.SampleDataLogic.registerCustomSampleDataSource(sampelName="misspelt")
    with pytest.raises(TypeError):
        SampleData.SampleDataLogic.registerCustomSampleDataSource(sampleName="of no files")


def test_every_test_starts_anew(host: Host) -> None:
    import SampleData
    import slicer

    assert not slicer.util.getNodes("Cube*")
    assert slicer.util.getNodesByClass("vtkMRMLScriptedModuleNode") == []
    assert SampleData.SampleDataLogic.sources == []
    assert "Tiny" not in sys.modules


# Parameters


def test_parameters_are_kept_as_slicer_keeps_them(host: Host, tiny_panel: Any) -> None:
    from Tiny import Speed, TinyParameters

    node = tiny_panel.parameters.parameterNode
    kept = {name: node.GetParameter(name) for name in node.GetParameterNames()}
    assert kept == {
        "volume": "",
        "threshold": "40.0",
        "speed": "SLOW",
        "count": "3",
        "label": "lesion",
        "enabled": "True",
    }
    tiny_panel.parameters.speed, tiny_panel.parameters.enabled, tiny_panel.parameters.volume = Speed.FAST, False, cube()
    again = TinyParameters(node)
    assert (again.speed, again.enabled, again.volume.GetName()) == (Speed.FAST, False, "Cube")
    assert node.GetNodeReferenceID("volume") == again.volume.GetID()
    host.scene.RemoveNode(again.volume)
    assert again.volume is None


@pytest.mark.parametrize(("name", "value"), [("count", 2.5), ("label", None), ("enabled", "yes"), ("volume", "Cube")])
def test_parameters_of_the_wrong_type_are_refused(host: Host, tiny_panel: Any, name: str, value: Any) -> None:
    before = getattr(tiny_panel.parameters, name)
    with pytest.raises(TypeError, match=f"{name} must be"):
        setattr(tiny_panel.parameters, name, value)
    assert getattr(tiny_panel.parameters, name) == before


def test_a_parameter_tells_its_observers(host: Host, tiny_panel: Any) -> None:
    import vtk

    seen = []
    tag = tiny_panel.parameters.AddObserver(
        vtk.vtkCommand.ModifiedEvent, lambda *_: seen.append(tiny_panel.parameters.count)
    )
    tiny_panel.parameters.count = 5
    tiny_panel.parameters.RemoveObserver(tag)
    tiny_panel.parameters.count = 6
    assert seen == [5]


def test_widgets_and_parameters_follow_each_other(host: Host, tiny_panel: Any) -> None:
    import qt
    from Tiny import Speed

    parameters, ui, volume = tiny_panel.parameters, tiny_panel.ui, cube()
    ui.volumeSelector.setCurrentNode(volume)
    ui.thresholdSlider.value = 60
    assert (parameters.volume, parameters.threshold) == (volume, 60)
    parameters.volume, parameters.threshold = None, 70.0
    assert (ui.volumeSelector.currentNode(), ui.thresholdSlider.value) == (None, 70)
    with pytest.raises(ValueError, match="within"):
        parameters.threshold = 3000.0
    box, speeds = qt.QCheckBox(), qt.QComboBox()
    box.setProperty("SlicerParameterName", "enabled")
    parameters.connectGui(SimpleNamespace(box=box, other=speeds))
    tag = parameters.connectParametersToGui({"speed": speeds})
    assert (box.checked, speeds.currentText) == (True, "SLOW")
    speeds.setCurrentIndex(1)
    box.checked = False
    assert (parameters.enabled, parameters.speed) == (False, Speed.FAST)
    parameters.disconnectGui(tag)
    speeds.setCurrentIndex(0)
    assert parameters.speed is Speed.FAST
    with pytest.raises(RuntimeError, match="Unable to create GUI connector"):
        parameters.connectParametersToGui({"count": qt.QSpinBox()})
    with pytest.raises(ValueError, match="given name: absent"):
        parameters.connectParametersToGui({"absent": box})
    host.scene.RemoveNode(parameters.parameterNode)  # connectGui cannot be ended, and the box goes now


# Packages


def test_packages_are_checked_but_not_installed(host: Host, tmp_path: Path) -> None:
    import slicer.packaging

    path = tmp_path / "requirements.txt"
    path.write_text("# comment\nnumpy>=1\nno-such-package>=3; python_version >= '3'\nother; python_version < '3'\n")
    requirements = slicer.packaging.load_requirements(str(path))
    slicer.packaging.pip_ensure(requirements, requester="Tiny")
    assert len(host.packaging.ensured[0]) == 3
    assert [text.partition(">")[0] for text in host.packaging.installed[0]] == ["no-such-package"]
    host.packaging.missing.add("numpy")
    assert not slicer.packaging.pip_check("numpy>=1")
    host.packaging.failure = RuntimeError("User declined package installation")
    with pytest.raises(RuntimeError, match="declined"):
        slicer.packaging.pip_ensure(requirements)
    with pytest.raises(TypeError):
        slicer.packaging.pip_ensure(requirements, requestor="misspelt")


# slicer itself


def test_slicer_has_what_the_application_has_and_no_more(host: Host) -> None:
    import slicer

    assert not hasattr(slicer, "arrayFromVolume")
    assert slicer.mrmlScene is slicer.app.mrmlScene() is host.scene
    assert slicer.modules.segmentations.logic().IsA("vtkSlicerSegmentationsModuleLogic")
    assert slicer.app.moduleManager().module("Markups") is slicer.modules.markups
    with pytest.raises(AttributeError):
        _ = slicer.modules.totalsegmentator
    with pytest.raises(AttributeError):
        _ = slicer.app.noSuchThing
    with pytest.raises(ValueError, match=r"no signal startup\(\)"):
        slicer.app.connect("startup()", print)


def test_nodes_are_read_and_written(host: Host, tiny_panel: Any, tmp_path: Path) -> None:
    import slicer

    volume, node, _ = segmented()
    assert slicer.util.saveNode(volume, str(tmp_path / "image.nrrd"))
    assert slicer.util.saveNode(node, str(tmp_path / "tumour.seg.nrrd"))
    read = slicer.util.loadVolume(str(tmp_path / "image.nrrd"), {"name": "Read"})
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(read), slicer.util.arrayFromVolume(volume))
    np.testing.assert_allclose(read.GetOrigin(), volume.GetOrigin())
    segmentation = slicer.util.loadSegmentation(str(tmp_path / "tumour.seg.nrrd"))
    assert segmentation.GetSegmentation().GetNthSegment(0).GetName() == "Above"
    table = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode", "Volumes")
    slicer.util.updateTableFromArray(table, [np.array([1.5, 2.5])], ["ml"])
    assert slicer.util.saveNode(table, str(tmp_path / "volumes.csv"))
    assert slicer.util.loadTable(str(tmp_path / "volumes.csv")).GetTable().GetValue(1, 0).ToDouble() == 2.5
    with pytest.raises(RuntimeError, match="File not found"):
        slicer.util.loadVolume(str(tmp_path / "absent.nrrd"))


def test_the_subject_hierarchy_follows_the_nodes(host: Host, tiny_panel: Any) -> None:
    import slicer

    volume = cube()
    hierarchy = slicer.mrmlScene.GetSubjectHierarchyNode()
    assert hierarchy.GetItemByDataNode(volume) > 0
    assert hierarchy.GetItemName(hierarchy.GetItemByDataNode(volume)) == "Cube"
    slicer.mrmlScene.RemoveNode(volume)
    assert hierarchy.GetNumberOfItems() == 0
