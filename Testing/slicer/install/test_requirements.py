"""Where Slicer 5.12 runs, pip finds OpenVINO beside the numpy that Slicer has; nothing is installed.

The test asks the package index that pip is configured with, and is skipped where there is none.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement

HERE = Path(__file__).resolve().parent
CONSTRAINTS = HERE / "slicer-5.12-constraints.txt"
REQUIREMENTS = HERE.parents[2] / "TumorSeg" / "Resources" / "requirements.txt"
#: System to what its Python says of itself, and the tag of its wheels.
SYSTEMS = {
    "Windows": ("win32", "AMD64", "win_amd64"),
    "Linux": ("linux", "x86_64", "manylinux_2_28_x86_64"),
    "macOS on Apple silicon": ("darwin", "arm64", "macosx_12_0_arm64"),
    "macOS on Intel": ("darwin", "x86_64", "macosx_12_0_x86_64"),
}


def openvino() -> Requirement:
    lines = REQUIREMENTS.read_text(encoding="utf-8").splitlines()
    (found,) = (Requirement(line) for line in lines if line.startswith("openvino"))
    return found


def resolve(requirement: str, tag: str, report: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """What pip would install into a Python 3.12 of a system, and nothing else; the answer is written to ``report``."""
    target = ["--target", str(report.parent / "target"), "--python-version", "3.12", "--implementation", "cp"]
    wanted = ["--ignore-installed", "--only-binary=:all:", "--platform", tag, *options, requirement]
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--quiet", "--report", str(report)]
    return subprocess.run([*command, *target, *wanted], capture_output=True, text=True, check=False, timeout=300)


@pytest.fixture(scope="module")
def _index(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Skips where pip finds not even numpy."""
    folder = tmp_path_factory.mktemp("index")
    pins = CONSTRAINTS.read_text(encoding="utf-8").splitlines()[-1]
    found = resolve(pins, "win_amd64", folder / "report.json", "--no-deps", "--retries", "0", "--timeout", "10")
    if found.returncode:
        pytest.skip(f"no package index can be reached: {found.stderr.strip().splitlines()[-1]}")


@pytest.mark.slow
@pytest.mark.usefixtures("_index")
@pytest.mark.parametrize("system", [name for name in SYSTEMS if name != "macOS on Intel"])
def test_openvino_fits_to_the_packages_of_slicer(system: str, tmp_path: Path) -> None:
    wanted, (_, _, tag), report = openvino(), SYSTEMS[system], tmp_path / "report.json"
    done = resolve(f"{wanted.name}{wanted.specifier}", tag, report, "--constraint", str(CONSTRAINTS))
    assert done.returncode == 0, done.stderr
    installed = json.loads(report.read_text(encoding="utf-8"))["install"]
    files = {each["metadata"]["name"]: each["download_info"]["url"].rpartition("/")[2] for each in installed}
    assert "-cp312-cp312-" in files["openvino"]
    assert files["numpy"].startswith("numpy-2.4.6-cp312-")
    assert set(files) == {"openvino", "numpy", "openvino-telemetry"}


@pytest.mark.parametrize("system", SYSTEMS)
def test_openvino_is_left_out_on_macs_with_intel_alone(system: str) -> None:
    platform, machine, _ = SYSTEMS[system]
    marker = openvino().marker
    assert marker is not None
    here = {"sys_platform": platform, "platform_machine": machine, "python_version": "3.12"}
    assert marker.evaluate(here) is (system != "macOS on Intel")
