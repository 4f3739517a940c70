"""The promises others build on: names, import cost, import directions, files that ship."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

import TumorSegLib
from TumorSegLib.models.folder import read_model_folder
from TumorSegLib.models.registry import BUNDLED

REPOSITORY = Path(__file__).resolve().parents[2]
LIBRARY = REPOSITORY / "TumorSegLib"
MODULES = sorted(str(p.relative_to(REPOSITORY).with_suffix("")).replace("/", ".") for p in LIBRARY.rglob("*.py"))


def modules_after(code: str) -> set[str]:
    """Names of all modules loaded in a fresh interpreter after running some code."""
    script = f"import json, sys\n{code}\nprint(json.dumps(sorted(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=REPOSITORY)
    return set(json.loads(run.stdout))


def test_public_names_exist_and_those_of_the_design_are_public() -> None:
    assert all(getattr(TumorSegLib, name) is not None for name in TumorSegLib.__all__)
    fixed = "Grid Volume Mask Result ModelSpec read_volume write_volume read_mask write_mask load_engine list_models"
    assert {*fixed.split(), "evaluate", "measure", "Measurements", "make_phantom", "TumorSegError"} <= set(
        TumorSegLib.__all__
    )


def test_type_checkers_see_the_names_that_are_loaded_late() -> None:
    tree = ast.parse((LIBRARY / "__init__.py").read_text(encoding="utf-8"))
    guarded = next(node for node in tree.body if isinstance(node, ast.If))
    declared = {alias.asname for node in guarded.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert declared == set(TumorSegLib.__all__)


def test_no_public_name_is_that_of_a_module() -> None:
    # Importing the module, from anywhere, would put it in the place of the name.
    assert not set(TumorSegLib.__all__) & {path.stem for path in LIBRARY.iterdir()}


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = TumorSegLib.no_such_name


def test_importing_the_library_loads_nothing_heavy() -> None:
    loaded = modules_after("import TumorSegLib")
    assert not loaded & {"torch", "monai", "numpy", "SimpleITK", "vtk", "vtkmodules", "matplotlib", "skimage", "scipy"}


def test_only_engines_load_torch() -> None:
    inner = [name for name in MODULES if not name.startswith("TumorSegLib.engines.") and not name.endswith("__")]
    loaded = modules_after("".join(f"import {name}\n" for name in inner))
    assert not loaded & {"torch", "monai"}


def test_bundled_models_are_whole_documented_and_small() -> None:
    folders = [path for path in BUNDLED.iterdir() if path.is_dir()]
    assert "sts-auto" in {folder.name for folder in folders}
    for folder in folders:
        model = read_model_folder(folder)
        model.verify()
        assert model.spec.name == folder.name
        assert model.weights.stat().st_size <= 12 * 2**20
        card = (folder / "MODEL_CARD.md").read_text(encoding="utf-8")
        for source in model.spec.training_data:
            assert str(source["attribution"]) in card
        assert model.spec.results, "model.json lacks measured results"
        for command in ("training evaluate-int8", "Testing.benchmarks speed") if model.spec.int8 else ():
            assert any(command in measured for measured in model.spec.int8.measured)


@pytest.mark.parametrize("package", ["TumorSegLib", "training", "TumorSeg", "Testing"])
def test_modules_functions_and_folders_are_short(package: str) -> None:
    """No module over 400 lines, no function over 50, no folder of more than 12 modules."""
    modules = sorted((REPOSITORY / package).rglob("*.py"))
    assert modules
    for path in modules:
        text = path.read_text(encoding="utf-8")
        assert len(text.splitlines()) <= 400, path
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or 0) - node.lineno + 1
                assert length <= 50, f"{path}: {node.name} has {length} lines"
    folders = Counter(path.parent for path in modules if not path.name.startswith("__"))
    assert {str(folder): count for folder, count in folders.items() if count > 12} == {}
