"""What docs/slicer-reference.md tells to type in 3D Slicer, line by line, on the host."""

from __future__ import annotations

import re
import runpy
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from Testing.documents import blocks_of
from Testing.slicer.module import TUMORSEG, voxels
from TumorSegLib import make_phantom, read_mask, write_volume

if TYPE_CHECKING:
    from Testing.slicer.host.host import Host

BLOCKS = blocks_of("docs/slicer-reference.md")
PYTHON = "".join(block.text for block in BLOCKS if block.language == "python")
(SLICER,) = [words for block in BLOCKS if block.language == "sh" for words in block.commands() if words[0] == "Slicer"]

pytestmark = pytest.mark.usefixtures("one_thread")


def draw(volume: Any) -> Any:
    """A segmentation as the Segment Editor makes it, which holds a box within the tumour of the phantom."""
    import slicer

    from Testing.slicer.scene import add_segment, add_segmentation, paint, volumes

    node, grid = add_segmentation(slicer.mrmlScene), volumes.gridFromVolume(volume)
    low = np.rint(grid.to_ijk((-25.0, -31.0, -60.0))).astype(int).tolist()
    paint(node, add_segment(node, "GTV"), grid, low, (4, 4, 4))
    return node


def run_lines(code: str, names: dict[str, Any]) -> Iterator[str]:
    """Runs code by the line, and tells which was run."""
    for line in filter(None, map(str.strip, code.splitlines())):
        exec(line, names)
        yield line


def test_console_commands_of_the_slicer_page(host: Host) -> None:
    import slicer

    host.load_module(TUMORSEG, with_panel=False)
    import SampleData

    source, *_others = SampleData.SampleDataLogic.sources
    SampleData.downloadSample(source.sampleName)
    ct = slicer.util.getNode("Phantom CT")
    drawn = draw(ct)
    names: dict[str, Any] = {"slicer": slicer}
    masks: dict[str, np.ndarray] = {}
    for line in run_lines(PYTHON, names):
        done = re.search(r"logic\.(\w+)\(", line)
        if done and "drawn" not in names:
            masks[done[1]] = voxels(names["node"], names["segmentId"], ct)
    prompts = ("addClick", "addBox", "addLine", "addLasso", "addScribble")
    assert {"segment", *prompts, "undo", "redo", "measure", "save"} <= set(masks)
    assert masks["segment"].any()
    assert (masks["addClick"] != masks["segment"]).any()
    np.testing.assert_array_equal(masks["undo"], masks["segment"])
    np.testing.assert_array_equal(masks["redo"], masks["addClick"])
    for before, after in (("redo", "addBox"), ("addBox", "addLine"), ("addLine", "addLasso")):
        assert (masks[before] != masks[after]).any(), after
    assert names["table"].GetNumberOfRows() > 10
    assert names["overlay"].GetImageData().GetScalarRange()[1] > 50
    assert voxels(drawn, names["drawnId"], ct).sum() > 64


def test_shell_command_of_the_slicer_page(host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import slicer

    host.load_module(TUMORSEG, with_panel=False)
    phantom = make_phantom(3, shape=(12, 24, 24), spacing_mm=(8.0, 8.0, 8.0))
    line = list(SLICER)
    for role in ("ct", "pet"):
        write_volume(phantom.images[role], tmp_path / f"{role}.nii.gz")
        line[line.index(f"{role}={role.upper()}")] = f"{role}={role}.nii.gz"
    *options, script = line[1 : line.index("--")]
    assert options[-1] == "--python-script"
    statuses: list[int] = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(slicer.util, "exit", statuses.append)
    monkeypatch.setattr(sys, "argv", [script, *line[line.index("--") :]])
    runpy.run_path(str(TUMORSEG.parent / "Resources" / "scripts" / script), run_name="__main__")
    assert statuses == [0]
    assert read_mask("tumour.seg.nrrd").grid == phantom.tumour.grid
