"""What the README tells to type for 3D Slicer, line by line, on the host."""

from __future__ import annotations

import re
import runpy
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from Testing.slicer.module import REPOSITORY, TUMORSEG, voxels
from TumorSegLib import list_models, make_phantom, read_mask, write_volume

if TYPE_CHECKING:
    from Testing.slicer.host.host import Host

SECTION = re.search(r"^## 3D Slicer$(.*?)^## ", (REPOSITORY / "README.md").read_text("utf-8"), re.M | re.S)[1]  # type: ignore[index]
#: Lines of code, blank ones within included.
PYTHON, SHELL = re.findall(r"(?:^    .*\n(?:\n(?=    ))?)+", SECTION, re.M)

pytestmark = pytest.mark.usefixtures("one_thread")


def draw(volume: Any) -> Any:
    """A segmentation as the Segment Editor makes it, which holds a box within the tumour of the phantom."""
    import slicer

    from Testing.slicer.scene import add_segment, add_segmentation, bridge, paint

    node, grid = add_segmentation(slicer.mrmlScene), bridge.gridFromVolume(volume)
    low = np.rint(grid.to_ijk((-25.0, -31.0, -60.0))).astype(int).tolist()
    paint(node, add_segment(node, "GTV"), grid, low, (4, 4, 4))
    return node


def run_lines(code: str, names: dict[str, Any]) -> Iterator[str]:
    """Runs code by the line, and tells which was run."""
    for line in filter(None, map(str.strip, code.splitlines())):
        exec(line, names)
        yield line


def test_the_lines_for_the_console_do_what_they_say(host: Host) -> None:
    import slicer

    host.load_module(TUMORSEG, with_panel=False)
    import SampleData

    (source,) = SampleData.SampleDataLogic.sources
    SampleData.downloadSample(source.sampleName)
    ct = slicer.util.getNode("Phantom CT")
    drawn = draw(ct)
    with_box = "lite-medsam" in {model.spec.name for model in list_models()}
    code = PYTHON if with_box else "".join(x for x in PYTHON.splitlines(True) if "addBox" not in x)
    names: dict[str, Any] = {"slicer": slicer}
    masks: dict[str, np.ndarray] = {}
    for line in run_lines(code, names):
        done = re.search(r"logic\.(\w+)\(", line)
        if done and "drawn" not in names:
            masks[done[1]] = voxels(names["node"], names["segmentId"], ct)
    assert {"segment", "addClick", "undo", "redo", "measure"} <= set(masks)
    assert masks["segment"].any()
    assert (masks["addClick"] != masks["segment"]).any()
    np.testing.assert_array_equal(masks["undo"], masks["segment"])
    np.testing.assert_array_equal(masks["redo"], masks["addClick"])
    assert not with_box or (masks["addBox"] != masks["redo"]).any()
    assert names["table"].GetNumberOfRows() > 10
    corrected = voxels(drawn, names["drawnId"], ct)
    assert corrected.sum() > 64


def test_the_line_for_the_shell_segments(host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import slicer

    host.load_module(TUMORSEG, with_panel=False)
    phantom = make_phantom(3, shape=(12, 24, 24), spacing_mm=(8.0, 8.0, 8.0))
    line = shlex.split(SHELL)
    for role in ("ct", "pet"):
        write_volume(phantom.images[role], tmp_path / f"{role}.nii.gz")
        line[line.index(f"{role}={role.upper()}")] = f"{role}={role}.nii.gz"
    program, *options, script = line[: line.index("--")]
    assert (program, options[-1]) == ("Slicer", "--python-script")
    statuses: list[int] = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(slicer.util, "exit", statuses.append)
    monkeypatch.setattr(sys, "argv", [script, *line[line.index("--") :]])
    runpy.run_path(str(TUMORSEG.parent / "Resources" / "scripts" / script), run_name="__main__")
    assert statuses == [0]
    assert read_mask("tumour.seg.nrrd").grid == phantom.tumour.grid
