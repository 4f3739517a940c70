"""The Python packages behind the module: which are missing, and getting them when the user first needs them.

Nothing is installed or imported while the module loads. torch comes first, from the PyTorch extension, which picks the
build for the computer's graphics card; the others come from PyPI and may not replace it.
"""

from __future__ import annotations

import importlib
import logging
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from slicer import packaging
from slicer.i18n import tr as _

if TYPE_CHECKING:
    from packaging.requirements import Requirement

    from TumorSegLib import TumorSegError

REQUIREMENTS = Path(__file__).resolve().parents[2] / "Resources" / "requirements.txt"
TORCH_VERSION = ">=2.6"
TORCH = f"torch{TORCH_VERSION}"
LAST_INTEL_MAC_TORCH = "2.2"
# pip must not exchange these while it installs others: Slicer may have loaded them, and the PyTorch extension chose the
# build. monai 1.6 alone would replace a torch before 2.8 by whatever build PyPI has.
KEPT = ("numpy", "scipy", "torch", "torchvision")
REQUESTER = "TumorSeg"
#: The page for users of the module; an installed extension brings no documents.
DOCUMENTATION = "https://github.com/TumorSeg/SlicerTumorSeg/blob/main/docs/slicer.md"
BY_HAND = f"{DOCUMENTATION}#without-internet"


def missingPackages() -> list[str]:
    """Requirements that Slicer's Python does not meet, torch first, e.g. ``["torch>=2.6", "monai>=1.4"]``.

    Reads the packages' metadata only, in milliseconds, and imports none of them.
    """
    torch = [] if packaging.pip_check(TORCH) else [TORCH]
    return torch + [f"{each.name}{each.specifier}" for each in _missingRequirements()]


def libraryProblem() -> str:
    """Why TumorSeg's own library cannot be imported, as text; empty where it can, as in every installed extension."""
    try:
        importlib.import_module("TumorSegLib")
    except ImportError as error:
        logging.error("TumorSeg: %r", error)
        return _(
            "TumorSeg's library cannot be imported ({error}). From a checkout it has to be made known to Slicer's "
            "Python first, then restart Slicer: {page}#from-a-checkout"
        ).format(error=error, page=DOCUMENTATION)
    return ""


def ensurePackages() -> None:
    """Installs what is missing, after asking. Call it in what a user's action runs, on the main thread.

    Raises:
        Cancelled: the user declined; what was installed before stays.
        TumorSegError: there is no torch for this computer, the PyTorch extension is missing, torch is too old, or the
            installation failed.
    """
    from TumorSegLib import TumorSegError

    if not packaging.pip_check(TORCH):
        _checkProcessor()
        _installTorch()
    requirements = _missingRequirements()
    if requirements:
        _installRequirements(requirements)
    importlib.invalidate_caches()
    missing = missingPackages()
    if missing:
        raise TumorSegError(
            _(
                "{packages} were not installed, although no error was reported (in testing mode Slicer installs "
                "nothing). Restart Slicer and try again, or install them by hand: {page}"
            ).format(packages=", ".join(missing), page=BY_HAND)
        )


def lacking(error: Exception) -> TumorSegError:
    """What to tell a script, which is not asked whether to install packages.

    Args:
        error: by which it was found that some are missing or damaged.
    """
    from TumorSegLib import TumorSegError

    packages = ", ".join(missingPackages()) or getattr(error, "name", None) or str(error)
    return TumorSegError(
        _(
            "Python packages that this needs are missing or damaged: {packages}. Press Segment automatically once in "
            "the module TumorSeg, which installs them, or install them by hand: {page}"
        ).format(packages=packages, page=BY_HAND)
    )


def _missingRequirements() -> list[Requirement]:
    requirements = packaging.load_requirements(REQUIREMENTS)
    return [requirement for requirement in requirements if not packaging.pip_check(requirement)]


def _installTorch() -> None:
    from TumorSegLib import Cancelled, TumorSegError

    _checkTorchAge()
    try:
        from PyTorchUtils import PyTorchUtilsLogic
    except ImportError as error:
        raise TumorSegError(
            _(
                "The extension PyTorch is missing, which installs torch. Open View > Extensions Manager, install "
                "PyTorch, restart Slicer and try again. Without internet: {page}"
            ).format(page=BY_HAND)
        ) from error
    try:
        torch = PyTorchUtilsLogic().installTorch(askConfirmation=True, torchVersionRequirement=TORCH_VERSION)
    except Exception as error:  # it runs pip and light-the-torch and lets through whatever they raise
        raise _failure("torch", error) from error
    if torch is None:
        raise Cancelled(_("torch was not installed; without it nothing can be segmented."))


def _checkProcessor() -> None:
    """Refuses Macs with Intel processors, for which PyTorch is no longer published; pip would find no version."""
    from TumorSegLib import TumorSegError

    if sys.platform == "darwin" and platform.machine() == "x86_64":
        raise TumorSegError(
            _(
                "This Slicer is made for Macs with Intel processors, for which there is no torch newer than {last}; "
                "TumorSeg needs {needed}. On a Mac with Apple silicon install a Slicer made for it (arm64); otherwise "
                "use Windows or Linux: {page}"
            ).format(last=LAST_INTEL_MAC_TORCH, needed=TORCH, page=DOCUMENTATION)
        )


def _checkTorchAge() -> None:
    """An old torch is not exchanged here: on Windows its files cannot be replaced once it is loaded."""
    from packaging.specifiers import SpecifierSet

    from TumorSegLib import TumorSegError

    version = _versionOf("torch")
    if version is not None and not SpecifierSet(TORCH_VERSION).contains(version, prereleases=True):
        raise TumorSegError(
            _(
                "torch {version} is too old, {needed} is needed. Open the module PyTorch Utils (category Utilities), "
                "uninstall torch, restart Slicer and try again."
            ).format(version=version, needed=TORCH)
        )


def _installRequirements(requirements: list[Requirement]) -> None:
    from TumorSegLib import Cancelled

    names = ", ".join(requirement.name for requirement in requirements)
    with _constraints() as constraints:
        try:
            packaging.pip_ensure(requirements, constraints=constraints, requester=REQUESTER)
        except RuntimeError as error:  # so pip_ensure says that the user declined
            raise Cancelled(_("{names} were not installed: {error}.").format(names=names, error=error)) from error
        except Exception as error:  # pip's exit status, or that it could not be started
            raise _failure(names, error) from error


def _failure(names: str, error: Exception) -> Exception:
    from TumorSegLib import TumorSegError
    from TumorSegSlicer.quiet_errors import AlreadyShownError

    kind = AlreadyShownError if _shownBySlicer(error) else TumorSegError
    logging.error("TumorSeg: installing %s failed: %r", names, error)
    return kind(
        _(
            "Installing {names} failed: {error}. Check the network and the free space of the disk and try again. "
            "Details: View > Error Log. Without internet: {page}"
        ).format(names=names, error=error, page=BY_HAND)
    )


def _shownBySlicer(error: Exception) -> bool:
    """Whether Slicer has shown a dialog with all that pip said, as ``slicer.packaging`` does where pip fails."""
    import slicer

    command = getattr(error, "cmd", None)
    words = command.split() if isinstance(command, str) else [str(word) for word in command or ()]
    return "pip" in words and not slicer.app.testingEnabled()


@contextmanager
def _constraints() -> Iterator[Path]:
    """A constraints file for pip that holds the packages to keep at their versions."""
    versions = ((name, _versionOf(name)) for name in KEPT)
    lines = [f"{name}=={version}\n" for name, version in versions if version is not None]
    with TemporaryDirectory(prefix="tumorseg-") as folder:
        path = Path(folder) / "constraints.txt"
        path.write_text("".join(lines), encoding="utf-8")
        yield path


def _versionOf(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
