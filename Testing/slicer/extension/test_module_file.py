"""TumorSeg.py itself: what Slicer is told of the module, its sample data, its own test, and whose settings it shows."""

from __future__ import annotations

import re
import sys
import unittest
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from Testing.slicer.desk import Desk
from Testing.slicer.module import REPOSITORY, TUMORSEG, chosen

if TYPE_CHECKING:
    from Testing.slicer.host.host import Host


def test_dependencies_name_the_modules_that_the_code_uses(host: Host) -> None:
    import slicer

    host.load_module(TUMORSEG, with_panel=False)
    needed = set(slicer.modules.tumorseg.dependencies)
    assert {"Segmentations", "Markups", "Volumes", "SegmentEditor", "Colors", "SampleData"} == needed


def test_help_text_links_the_page_and_names_contributors(host: Host) -> None:
    import slicer

    host.load_module(TUMORSEG, with_panel=False)
    from TumorSegSlicer.install import packages

    module = slicer.modules.tumorseg
    assert not module.icon.isNull()
    assert "not a medical device" in module.helpText
    assert re.findall(r'<a href="([^"]+)">', module.helpText) == [packages.DOCUMENTATION]
    made = re.search(r'EXTENSION_CONTRIBUTORS "(.+)"', (REPOSITORY / "CMakeLists.txt").read_text(encoding="utf-8"))
    assert made is not None
    assert module.contributors == [made[1]]


def test_shortcuts_are_documented(host: Host) -> None:
    host.load_module(TUMORSEG, with_panel=False)
    from TumorSegSlicer.panel.shortcuts import KEYS

    text = (REPOSITORY / "docs" / "slicer-reference.md").read_text(encoding="utf-8")
    table = text.partition("\n## Keys")[2].partition("|---|")[2].partition("\n#")[0]
    rows = re.findall(r"^\| (.+?) \|", table, re.MULTILINE)
    assert ", ".join(rows).split(", ") == [key for keys in KEYS.values() for key in keys]


def test_module_file_loads_before_its_dependencies(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    import slicer

    def ours() -> set[str]:
        return {name for name in sys.modules if name.partition(".")[0] == "TumorSegSlicer"}

    before = ours()
    for name in before:
        monkeypatch.delitem(sys.modules, name)
    for name in ("vtkMRMLSegmentationNode", "vtkSegment", "vtkMRMLMarkupsNode", "vtkMRMLMarkupsROINode"):
        monkeypatch.delattr(slicer, name)
    python = host.load_module(TUMORSEG, with_panel=False)
    for name in ours() - before:
        del sys.modules[name]
    assert slicer.modules.tumorseg.title == "TumorSeg"
    assert python.TumorSegLogic.segment


@pytest.mark.parametrize(
    ("number", "names", "shown"),
    [
        (0, ["Phantom CT", "Phantom PET", "Phantom T1 MR"], ["Phantom CT", "Phantom PET"]),
        (1, ["Phantom CT"], ["Phantom CT"]),
        (2, ["Phantom FLAIR"], ["Phantom FLAIR"]),
    ],
)
def test_phantoms_are_sample_data(host: Host, number: int, names: list[str], shown: list[str]) -> None:
    import SampleData
    import slicer

    host.load_module(TUMORSEG, with_panel=False)
    source = SampleData.SampleDataLogic.sources[number]
    assert source.category == "TumorSeg"
    assert Path(source.thumbnailFileName).is_file()
    SampleData.downloadSample(source.sampleName)
    from TumorSegSlicer.mrml.overlays import shownImages
    from TumorSegSlicer.mrml.volumes import guessRole

    volumes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
    assert [volume.GetName() for volume in volumes] == names
    assert [volume.GetName() for volume in shownImages()] == shown
    roles = {"Phantom CT": "ct", "Phantom PET": "pet", "Phantom T1 MR": "mr_t1", "Phantom FLAIR": "mr_flair"}
    assert [guessRole(volume) for volume in volumes] == [roles[name] for name in names]
    assert len(SampleData.SampleDataLogic.sources) == 3


@pytest.mark.slow
def test_self_test_passes_with_bundled_models(host: Host) -> None:
    python = host.load_module(TUMORSEG, with_panel=False)
    result = unittest.TestResult()
    python.TumorSegTest().run(result)
    assert (result.testsRun, result.errors, result.failures, result.skipped) == (1, [], [], [])


def test_self_test_is_skipped_without_packages(host: Host) -> None:
    python = host.load_module(TUMORSEG, with_panel=False)
    host.packaging.missing = {"torch"}
    result = unittest.TestResult()
    python.TumorSegTest().run(result)
    ((_, why),) = result.skipped
    assert "torch" in why
    assert result.errors == result.failures == []


def test_opened_scene_updates_the_panel_once_it_is_complete(host: Host, tmp_path: Path) -> None:
    import slicer

    desk = Desk(host)
    found = desk.find()
    node, segment = desk.node.GetName(), desk.segment
    desk.wait_saved()
    assert slicer.util.saveScene(str(tmp_path / "case.mrb"))
    slicer.mrmlScene.Clear(False)
    batches: list[bool] = []
    plain = desk.widget.panel.sceneChanged
    desk.widget.panel.sceneChanged = lambda: (batches.append(bool(slicer.mrmlScene.IsBatchProcessing())), plain())
    slicer.util.loadScene(str(tmp_path / "case.mrb"))
    assert batches
    assert not any(batches)
    assert (desk.node.GetName(), desk.segment) == (node, segment)
    desk.volumes = {"ct": desk.chosen("ct")}
    np.testing.assert_array_equal(desk.mask(), found)


def test_other_batch_processing_does_not_update_the_panel(host: Host) -> None:
    import slicer

    desk = Desk(host)
    desk.find()
    calls: list[Any] = []
    desk.widget.panel.sceneChanged = lambda: calls.append(None)
    slicer.mrmlScene.StartState(slicer.mrmlScene.BatchProcessState)
    slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "Other")
    slicer.mrmlScene.EndState(slicer.mrmlScene.BatchProcessState)
    assert calls == []


# Reload, and a checkout without its library


def test_reloaded_panel_leaves_no_widgets_or_observers(host: Host) -> None:
    import qt
    import slicer

    desk = Desk(host)
    former = desk.widget
    heard: list[Any] = []
    desk.context.settings.onChanged.connect(heard.append)
    keys = len(host.window.findChildren(qt.QShortcut))
    former.onReload()
    host.process_events()
    reloaded = slicer.modules.TumorSegWidget
    assert reloaded is not former
    assert chosen(reloaded.ui, "ct") is desk.volumes["ct"]  # settings are in the scene
    assert len(host.window.findChildren(qt.QShortcut)) == keys > 5
    slicer.mrmlScene.RemoveNode(desk.volumes["ct"])
    slicer.mrmlScene.Clear(False)
    assert heard == []
    panels = [each for each in reloaded.parent.findChildren(qt.QLabel) if each.objectName == "statusLabel"]
    assert len(panels) == 1


def test_missing_library_is_shown_in_the_panel(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    import qt
    import slicer

    monkeypatch.setitem(sys.modules, "TumorSegLib", None)
    widget = host.load_module(TUMORSEG)
    (label,) = (each for each in widget.parent.findChildren(qt.QLabel) if each.objectName == "complaint")
    assert "TumorSeg's library cannot be imported" in label.text
    assert "docs/slicer.md#from-a-checkout" in label.text
    slicer.util.selectModule("Markups")
    slicer.util.selectModule("TumorSeg")
    slicer.mrmlScene.Clear(False)
    assert host.errors == []
