"""What Slicer's build and its extension catalogue read: every file is there, and every file that is needed ships."""

from __future__ import annotations

import ast
import json
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

REPOSITORY = Path(__file__).resolve().parents[3]
MODULE = REPOSITORY / "TumorSeg"
RAW = "https://raw.githubusercontent.com/"
# In every Slicer from 5.12 on; not to be installed again, since Slicer's own builds of them are loaded already.
SLICER_BRINGS = {"numpy", "pydicom", "scipy", "SimpleITK", "vtk"}
# May be imported when the module is loaded, before anything was installed.
AT_FILE_SCOPE = {"TumorSegLib", "TumorSegSlicer", "ctk", "numpy", "packaging", "qt", "slicer", "vtk"}


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The extension, configured against a stand-in for Slicer; see ``CMakeLists.txt`` beside this file."""
    if shutil.which("cmake") is None:
        pytest.skip("cmake is not installed")
    folder = tmp_path_factory.mktemp("build")
    source = Path(__file__).resolve().parent
    command = ["cmake", "-S", str(source), "-B", str(folder), f"-DREPOSITORY={REPOSITORY}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr, done.stderr
    return folder


@pytest.fixture(scope="module")
def description(build: Path) -> dict[str, str]:
    """The variables ``EXTENSION_*``."""
    lines = (build / "metadata.txt").read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines)


@pytest.fixture
def entry() -> Any:
    """The entry of the extension catalogue."""
    return json.loads((REPOSITORY / "Resources" / "TumorSeg.json").read_text(encoding="utf-8"))


def files_below(folder: Path) -> set[str]:
    """All files, without what Python and git leave behind."""
    files = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return {path.as_posix() for path in files if "__pycache__" not in path.parts and not path.name.startswith(".")}


def test_installed_files_are_complete(build: Path) -> None:
    library = files_below(REPOSITORY / "TumorSegLib") - {"CMakeLists.txt"}
    module = files_below(MODULE) - {"CMakeLists.txt"}
    assert {"TumorSeg.py", "Resources/UI/TumorSeg.ui", "Resources/Icons/TumorSeg.png"} <= module
    assert {"TumorSegSlicer/mrml/segments.py", "TumorSegSlicer/panel/editing/brush.py"} <= module
    assert {"py.typed", "bundled/sts-auto/weights.safetensors", "engines/auto/engine.py"} <= library
    shipped = files_below(build / "qt-scripted-modules")
    assert shipped == module | {f"TumorSegLib/{file}" for file in library}


def test_the_library_works_where_it_is_installed(build: Path) -> None:
    folder = build / "qt-scripted-modules"
    code = "import TumorSegLib; print(TumorSegLib.__file__, *(model.spec.name for model in TumorSegLib.list_models()))"
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True)
    where, *models = done.stdout.split()
    assert Path(where).is_relative_to(folder)
    assert {"sts-auto", "sts-clicks"} <= set(models)


def test_the_module_test_is_registered(build: Path) -> None:
    assert (build / "tests.txt").read_text(encoding="utf-8").split() == ["TumorSeg.py"]
    assert "class TumorSegTest(" in (MODULE / "TumorSeg.py").read_text(encoding="utf-8")


def test_extension_description_is_complete(build: Path, description: dict[str, str], entry: Any) -> None:
    wanted = ("NAME", "HOMEPAGE", "CATEGORY", "CONTRIBUTORS", "DESCRIPTION", "ICONURL", "SCREENSHOTURLS", "DEPENDS")
    assert all(description[f"EXTENSION_{name}"] for name in wanted)
    assert description["EXTENSION_NAME"] == "TumorSeg"
    assert description["EXTENSION_CATEGORY"] == entry["category"]
    assert description["EXTENSION_DEPENDS"].split() == entry["build_dependencies"] == ["PyTorch"]
    assert (build / "packaged").is_file()


def test_extension_pictures_exist_in_the_repository(description: dict[str, str], entry: Any) -> None:
    repository = description["EXTENSION_HOMEPAGE"].removeprefix("https://github.com/")
    assert entry["scm_url"] == f"https://github.com/{repository}.git"
    pictures = [description["EXTENSION_ICONURL"], *description["EXTENSION_SCREENSHOTURLS"].split()]
    for url in pictures:
        start = f"{RAW}{repository}/{entry['scm_revision']}/"
        assert url.startswith(start)
        assert (REPOSITORY / url.removeprefix(start)).is_file(), url


def test_catalogue_entry_follows_its_schema(entry: Any) -> None:
    types = {
        "$schema": str,
        "build_dependencies": list,
        "build_subdirectory": str,
        "category": str,
        "scm_revision": str,
        "scm_url": str,
        "tier": int,
    }
    assert {key: type(value) for key, value in entry.items()} == types
    assert entry["$schema"].endswith("/slicer-extension-catalog-entry-schema-v1.0.2.json#")
    assert entry["build_subdirectory"] == "."
    assert 1 <= entry["tier"] <= 5


def requirements() -> list[Requirement]:
    lines = (MODULE / "Resources" / "requirements.txt").read_text(encoding="utf-8").splitlines()
    return [Requirement(line) for line in lines if line and not line.startswith("#")]


def test_requirements_are_the_library_s_without_what_slicer_has() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    library = {Requirement(line) for line in project["dependencies"]}
    by_python = {each for each in library if "python_version" in str(each.marker)}  # for Pythons older than Slicer's
    left = {requirement for requirement in library - by_python if requirement.name not in SLICER_BRINGS}
    torch = next(requirement for requirement in left if requirement.name == "torch")
    assert set(requirements()) == left - {torch}
    installer = (MODULE / "TumorSegSlicer" / "install" / "packages.py").read_text(encoding="utf-8")
    assert f'TORCH_VERSION = "{torch.specifier}"' in installer


def test_no_requirement_brings_torchvision() -> None:
    """Nor torch, but for monai: the installer fetches torch before and holds it."""
    seen: dict[str, str] = {}
    waiting = [(requirement.name, requirement.name) for requirement in requirements()]
    while waiting:
        name, root = waiting.pop()
        if name in seen:
            continue
        seen[name] = root
        for dependency in map(Requirement, metadata.requires(name) or []):
            needed = dependency.marker is None or dependency.marker.evaluate({"extra": ""})
            waiting += [(dependency.name.lower(), root)] * needed
    assert "torchvision" not in seen
    assert seen["torch"] == "monai"


def test_loading_the_module_needs_only_what_slicer_brings() -> None:
    standard = sys.stdlib_module_names
    for file in [MODULE / "TumorSeg.py", *(MODULE / "TumorSegSlicer").rglob("*.py")]:
        for name in imported_at_file_scope(ast.parse(file.read_text(encoding="utf-8"))):
            assert name in standard or name in AT_FILE_SCOPE, f"{file.name} imports {name} when it is loaded"


def imported_at_file_scope(tree: ast.Module) -> set[str]:
    """Top-level names of packages, a dot for relative imports; without those for type checkers only."""
    names: set[str] = set()
    for node in tree.body:
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add("." if node.level else str(node.module).partition(".")[0])
    return names
