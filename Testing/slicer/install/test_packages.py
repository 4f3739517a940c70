"""Packages are installed when the user first needs them: torch by the PyTorch extension, then the others by pip."""

from __future__ import annotations

import logging
import re
import subprocess
import sys
from importlib import import_module, metadata
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from TumorSegLib import Cancelled, TumorSegError

REPOSITORY = Path(__file__).resolve().parents[3]
MODULE = REPOSITORY / "TumorSeg"


@pytest.fixture
def install(host: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module under test."""
    monkeypatch.syspath_prepend(str(MODULE))
    return import_module("TumorSegSlicer.install.packages")


class Pip:
    """What was installed, in order, by the PyTorch extension and by a pip that succeeds.

    Attributes:
        done: what was asked for, the PyTorch extension's with its arguments.
        constraints: lines of the constraints file of the last call of ``pip_ensure``.
        constraints_file: where it was.
        torch: what the PyTorch extension gives back, or raises.
    """

    def __init__(self, host: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        import slicer.packaging

        self.done: list[Any] = []
        self.constraints: list[str] = []
        self.constraints_file = Path()
        self.torch: Any = "the module torch"
        self._packaging, self._ensure = host.packaging, slicer.packaging.pip_ensure
        monkeypatch.setattr(host.packaging, "pip_install", self._pip_install)
        monkeypatch.setattr(slicer.packaging, "pip_ensure", self._pip_ensure)
        extension = ModuleType("PyTorchUtils")
        extension.PyTorchUtilsLogic = lambda: self  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "PyTorchUtils", extension)

    def installTorch(self, **arguments: Any) -> Any:
        self.done.append(arguments)
        if isinstance(self.torch, Exception):
            raise self.torch
        if self.torch is not None:
            self._packaging.missing.discard("torch")
        return self.torch

    def _pip_ensure(self, requirements: Any, constraints: Path, requester: str) -> None:
        assert requester == "TumorSeg"
        self.constraints_file, self.constraints = constraints, constraints.read_text(encoding="utf-8").splitlines()
        self._ensure(requirements, constraints=constraints, requester=requester)

    def _pip_install(self, requirements: list[str]) -> None:
        if self._packaging.failure is not None:
            raise self._packaging.failure
        self.done.append(requirements)
        self._packaging.missing.clear()


@pytest.fixture
def pip(host: Any, monkeypatch: pytest.MonkeyPatch) -> Pip:
    """A network, a PyTorch extension and a pip that all work."""
    return Pip(host, monkeypatch)


def without(monkeypatch: pytest.MonkeyPatch, absent: set[str], **versions: str) -> None:
    """Makes the metadata of packages say that they are absent or have other versions."""
    true_version = metadata.version

    def version(name: str) -> str:
        if name in absent:
            raise metadata.PackageNotFoundError(name)
        return versions.get(name) or true_version(name)

    monkeypatch.setattr(metadata, "version", version)


def test_complete_packages_are_not_installed_again(install: Any, pip: Pip, host: Any) -> None:
    assert install.missingPackages() == []
    install.ensurePackages()
    assert pip.done == host.packaging.ensured == host.dialogs.shown == []


def test_install_torch_first_and_constrain_it(install: Any, pip: Pip, host: Any) -> None:
    host.packaging.missing = {"monai", "torch", "einops"}
    assert install.missingPackages() == ["torch>=2.6", "einops>=0.7", "monai>=1.4"]
    install.ensurePackages()
    torch, others = pip.done
    assert torch == {"askConfirmation": True, "torchVersionRequirement": ">=2.6"}
    assert others == ["einops>=0.7", "monai>=1.4"]
    assert {f"torch=={metadata.version('torch')}", f"numpy=={metadata.version('numpy')}"} <= set(pip.constraints)
    assert not pip.constraints_file.parent.exists()
    assert install.missingPackages() == []


def test_install_keeps_torch_and_constrains_only_present_packages(
    install: Any, pip: Pip, host: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    without(monkeypatch, {"torchvision"})
    host.packaging.missing = {"monai"}
    install.ensurePackages()
    assert pip.done == [["monai>=1.4"]]
    assert [line.partition("==")[0] for line in pip.constraints] == ["numpy", "scipy", "torch"]


def test_declining_torch_stops_before_the_others(install: Any, pip: Pip, host: Any) -> None:
    host.packaging.missing, pip.torch = {"torch", "monai"}, None
    with pytest.raises(Cancelled, match="torch was not installed"):
        install.ensurePackages()
    assert len(pip.done) == 1
    assert host.packaging.ensured == []


def test_missing_pytorch_extension_is_refused_with_advice(
    install: Any, pip: Pip, host: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "PyTorchUtils", None)
    host.packaging.missing = {"torch", "monai"}
    with pytest.raises(TumorSegError, match=r"extension PyTorch is missing.*Extensions Manager.*restart Slicer"):
        install.ensurePackages()
    assert pip.done == []


@pytest.mark.parametrize("error", [subprocess.CalledProcessError(1, "pip"), OSError(28, "No space left on device")])
def test_failed_torch_installation_is_an_error_with_advice(
    install: Any, pip: Pip, host: Any, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    host.packaging.missing, pip.torch = {"torch"}, error
    with (
        caplog.at_level(logging.ERROR),
        pytest.raises(TumorSegError, match=r"Installing torch failed.*Without internet") as caught,
    ):
        install.ensurePackages()
    assert str(error) in str(caught.value)
    assert caught.value.__cause__ is error
    assert repr(error) in caplog.text


def test_old_torch_is_refused_and_not_replaced(install: Any, pip: Pip, monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, set(), torch="1.13.1+cu117")
    with pytest.raises(TumorSegError, match=re.escape("torch 1.13.1+cu117 is too old, torch>=2.6 is needed")):
        install.ensurePackages()
    assert pip.done == []


def test_declining_other_packages_cancels_the_installation(install: Any, pip: Pip, host: Any) -> None:
    host.packaging.missing = {"monai"}
    host.packaging.failure = RuntimeError("User declined package installation")
    with pytest.raises(Cancelled, match="monai were not installed: User declined"):
        install.ensurePackages()


def test_failed_pip_is_an_error_with_advice(install: Any, pip: Pip, host: Any) -> None:
    host.packaging.missing = {"monai", "rich"}
    host.packaging.failure = subprocess.CalledProcessError(1, "pip install")
    with pytest.raises(TumorSegError, match=r"Installing monai, rich failed: .*exit status 1.*Without internet"):
        install.ensurePackages()
    assert not pip.constraints_file.parent.exists()


def test_documentation_page_in_messages_exists(install: Any) -> None:
    page, _, part = install.BY_HAND.partition("#")
    assert page == install.DOCUMENTATION
    root = re.search(r'EXTENSION_HOMEPAGE "(.+)"', (REPOSITORY / "CMakeLists.txt").read_text(encoding="utf-8"))
    assert root is not None
    assert page.startswith(f"{root[1]}/blob/main/")
    text = (REPOSITORY / page.removeprefix(f"{root[1]}/blob/main/")).read_text(encoding="utf-8")
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    assert part in {heading.lower().replace(" ", "-") for heading in headings}


def test_packages_still_missing_after_installation_are_named(install: Any, host: Any) -> None:
    host.packaging.missing = {"monai"}  # and stays so: the host, like Slicer in testing mode, installs nothing
    words = f"^monai>=1.4 were not installed.* by hand: {re.escape(install.BY_HAND)}$"
    with pytest.raises(TumorSegError, match=words):
        install.ensurePackages()
    assert host.packaging.installed == [["monai>=1.4"]]
