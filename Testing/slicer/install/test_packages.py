"""What is installed when it is first needed: torch as the PyTorch extension does, then the others, which keep it."""

from __future__ import annotations

import re
import sys
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

import pytest

from TumorSegLib import TumorSegError

REPOSITORY = Path(__file__).resolve().parents[3]
MODULE = REPOSITORY / "TumorSeg"


@pytest.fixture
def install(host: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module under test."""
    monkeypatch.syspath_prepend(str(MODULE))
    return import_module("TumorSegSlicer.install.packages")


def without(monkeypatch: pytest.MonkeyPatch, absent: set[str], **versions: str) -> None:
    """Makes the metadata of packages say that they are absent or have other versions."""
    true_version = metadata.version

    def version(name: str) -> str:
        if name in absent:
            raise metadata.PackageNotFoundError(name)
        return versions.get(name) or true_version(name)

    monkeypatch.setattr(metadata, "version", version)


def test_nothing_is_to_be_done_where_all_packages_are_there(install: Any) -> None:
    assert install.missingPackages() == []
    assert install.nextStep() is None


def test_torch_comes_first_as_its_extension_calls_light_the_torch(install: Any, host: Any) -> None:
    host.packaging.missing = {"monai", "torch", "einops", "light-the-torch"}
    assert install.missingPackages() == ["torch>=2.6", "einops>=0.7", "monai>=1.4"]
    first = install.nextStep()
    assert (first.module, first.arguments, first.keeping) == ("pip", ("install", "light-the-torch>=0.5"), True)
    install.LIGHT_THE_TORCH, kept = "packaging>=1", install.LIGHT_THE_TORCH
    try:
        torch = install.nextStep()
    finally:
        install.LIGHT_THE_TORCH = kept
    assert (torch.names, torch.module) == (("torch",), "light_the_torch")
    assert torch.arguments == ("install", "torch>=2.6", "torchvision")
    host.packaging.missing -= {"torch"}
    others = install.nextStep()
    assert (others.module, others.arguments) == ("pip", ("install", "einops>=0.7", "monai>=1.4"))
    assert others.keeping


def test_the_plan_names_packages_sizes_and_sources(install: Any, host: Any) -> None:
    host.packaging.missing = {"monai", "torch"}
    words = install.plan()
    for each in ("torch>=2.6", "0.2 GB", "2 to 3 GB", "pytorch.org", "monai>=1.4", "0.1 GB", "pypi.org"):
        assert each in words
    host.packaging.missing = {"monai"}
    assert "pytorch.org" not in install.plan()


def test_constraints_hold_the_packages_that_are_there(install: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, {"torchvision"})
    with install.constraints() as file:
        lines = file.read_text(encoding="utf-8").splitlines()
    assert lines == [f"{name}=={metadata.version(name)}" for name in ("numpy", "scipy", "torch")]
    assert not file.parent.exists()


def test_missing_pytorch_extension_is_refused_with_advice(
    install: Any, host: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "PyTorchUtils", None)
    host.packaging.missing = {"torch", "monai"}
    with pytest.raises(TumorSegError, match=r"extension PyTorch is missing.*Extensions Manager.*restart Slicer"):
        install.nextStep()


def test_an_unknown_pytorch_extension_is_refused_with_advice(
    install: Any, host: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(sys.modules["PyTorchUtils"].PyTorchUtilsLogic, "_getPipInstallArguments")
    host.packaging.missing = {"torch"}
    with pytest.raises(TumorSegError, match=r"Open the module PyTorch Utils .* install torch there \(version >=2.6\)"):
        install.nextStep()


def test_old_torch_is_refused_and_not_replaced(install: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, set(), torch="1.13.1+cu117")
    with pytest.raises(TumorSegError, match=re.escape("torch 1.13.1+cu117 is too old, torch>=2.6 is needed")):
        install.nextStep()


def test_intel_macs_are_refused(install: Any, host: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    host.packaging.missing = {"torch"}
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    with pytest.raises(TumorSegError, match=r"Macs with Intel processors, .* no torch newer than 2.2; .* torch>=2.6"):
        install.nextStep()
    monkeypatch.setattr("platform.machine", lambda: "arm64")
    assert install.nextStep() is not None


def test_packages_that_were_loaded_and_replaced_are_named(install: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    before = install.versions()
    assert before["numpy"] == metadata.version("numpy")
    assert install.replacedWhileLoaded(before) == []
    assert install.replacedWhileLoaded({**before, "numpy": "1.0", "no-such-package": "1.0"}) == ["numpy"]


def test_documentation_page_in_messages_exists(install: Any) -> None:
    page, _, part = install.BY_HAND.partition("#")
    assert page == install.DOCUMENTATION
    root = re.search(r'EXTENSION_HOMEPAGE "(.+)"', (REPOSITORY / "CMakeLists.txt").read_text(encoding="utf-8"))
    assert root is not None
    assert page.startswith(f"{root[1]}/blob/main/")
    text = (REPOSITORY / page.removeprefix(f"{root[1]}/blob/main/")).read_text(encoding="utf-8")
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    assert part in {heading.lower().replace(" ", "-") for heading in headings}
