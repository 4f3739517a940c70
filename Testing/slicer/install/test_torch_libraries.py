"""PyTorch's libraries are there before torch is imported, and torch works with them."""

from __future__ import annotations

import subprocess
import sys

import pytest

from Testing.slicer.module import TUMORSEG

LOAD = (
    f"import sys; sys.path.insert(0, {str(TUMORSEG.parent)!r}); "
    "from TumorSegSlicer.install import torch_libraries as t; "
)


def run(code: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", LOAD + code], check=True, capture_output=True, text=True
    ).stdout.strip()


@pytest.mark.skipif(sys.platform == "win32", reason="torch itself loads them so on Windows")
def test_torch_libraries_are_loaded_before_torch() -> None:
    before = "print(t.load() == list(t.NAMES[sys.platform]), 'torch' in sys.modules); "
    assert run(before + "import torch; print(torch.ones(3).sum())").splitlines() == ["True False", "tensor(3.)"]


@pytest.mark.skipif(sys.platform != "linux", reason="asks /proc what is loaded")
def test_torch_libraries_of_the_system_are_found() -> None:
    code = "maps = lambda: 'libtorch_cpu' in open('/proc/self/maps').read(); print(maps()); t.load(); print(maps())"
    assert run(code).split() == ["False", "True"]


def test_torch_libraries_are_not_loaded_without_torch() -> None:
    assert run("sys.modules['torch'] = None; t.importlib.util.find_spec = lambda name: None; print(t.load())") == "[]"
