"""The Python packages behind the module: which are missing, and getting them when the user first needs them.

Nothing is installed or imported while the module loads. torch comes first, from the PyTorch extension, which picks the
build for the computer's graphics card; the others come from PyPI and may not replace it.
"""

from __future__ import annotations

import importlib
import logging
import platform
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
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
LIGHT_THE_TORCH = "light-the-torch>=0.5"
LAST_INTEL_MAC_TORCH = "2.2"
# pip must not exchange these while it installs others: Slicer may have loaded them, and the PyTorch extension chose the
# build. monai 1.6 alone would replace a torch before 2.8 by whatever build PyPI has.
KEPT = ("numpy", "scipy", "torch", "torchvision")
#: The page for users of the module; an installed extension brings no documents.
DOCUMENTATION = "https://github.com/TumorSeg/SlicerTumorSeg/blob/main/docs/slicer.md"
BY_HAND = f"{DOCUMENTATION}#without-internet"


def missingPackages() -> list[str]:
    """Requirements that Slicer's Python does not meet, torch first, e.g. ``["torch>=2.6", "monai>=1.4"]``.

    Reads the packages' metadata only, in milliseconds, and imports none of them.
    """
    torch = [] if packaging.pip_check(TORCH) else [TORCH]
    return torch + [_withoutMarker(each) for each in _missingRequirements()]


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


@dataclass(frozen=True)
class Step:
    """A part of the installation: one program that gets some packages.

    Attributes:
        names: of the packages.
        module: of Slicer's Python, to be run as a program.
        arguments: of the program.
        keeping: whether it gets the packages of :data:`KEPT` as constraints.
    """

    names: tuple[str, ...]
    module: str
    arguments: tuple[str, ...]
    keeping: bool = True


def nextStep() -> Step | None:
    """What to install next; None where nothing is missing.

    Raises:
        TumorSegError: there is no torch for this computer, the PyTorch extension is missing or unknown, or torch is too
            old.
    """
    importlib.invalidate_caches()
    if not packaging.pip_check(TORCH):
        arguments = _torchArguments()
        if not packaging.pip_check(LIGHT_THE_TORCH):
            return Step(("light-the-torch",), "pip", ("install", LIGHT_THE_TORCH))
        return Step(("torch",), "light_the_torch", arguments, keeping=False)
    requirements = _missingRequirements()
    if not requirements:
        return None
    return Step(
        tuple(each.name for each in requirements), "pip", ("install", *(_withoutMarker(each) for each in requirements))
    )


def notInstalled(names: Sequence[str]) -> TumorSegError:
    """The error where packages are missing although the program that was to get them reported none."""
    from TumorSegLib import TumorSegError

    words = _(
        "{packages} were not installed, although no error was reported. Restart Slicer and try again, or install them "
        "by hand: {page}"
    )
    return TumorSegError(words.format(packages=", ".join(names), page=BY_HAND))


def plan() -> str:
    """What will be installed, how large it is about, and from where, as text."""
    lines = []
    if not packaging.pip_check(TORCH):
        words = _(
            "{torch} and torchvision, which run the networks, in the build that light-the-torch picks for this "
            "computer: about {cpu}, with an NVIDIA graphics card {gpu}, from pytorch.org"
        )
        lines.append(words.format(torch=TORCH, cpu="0.2 GB", gpu="2 to 3 GB"))
    requirements = ", ".join(_withoutMarker(each) for each in _missingRequirements())
    if requirements:
        lines.append(
            _("{packages}, and what they need: about {size}, from pypi.org").format(
                packages=requirements, size="0.1 GB"
            )
        )
    about = _("They become part of Slicer's own Python. Images and results stay on this computer.")
    return "\n".join([*(f"\N{BULLET} {line}." for line in lines), about])


def versions() -> dict[str, str]:
    """Name to version of all packages that Slicer's Python has."""
    importlib.invalidate_caches()
    return {each.metadata["Name"]: each.version for each in metadata.distributions()}


def replacedWhileLoaded(before: Mapping[str, str]) -> list[str]:
    """Packages whose version differs from that before, and whose former version is loaded."""
    now = versions()
    loaded = {name for top, names in metadata.packages_distributions().items() if top in sys.modules for name in names}
    return sorted(name for name, version in before.items() if name in loaded and now.get(name, version) != version)


def lacking(error: Exception) -> TumorSegError:
    """What to tell a script, which is not asked whether to install packages.

    Args:
        error: by which it was found that some are missing or damaged.
    """
    from TumorSegLib import TumorSegError

    packages = ", ".join(missingPackages()) or getattr(error, "name", None) or str(error)
    return TumorSegError(
        _(
            "Python packages that this needs are missing or damaged: {packages}. Open the module TumorSeg, which "
            "offers to install them, or install them by hand: {page}"
        ).format(packages=packages, page=BY_HAND)
    )


def _missingRequirements() -> list[Requirement]:
    requirements = packaging.load_requirements(REQUIREMENTS)
    return [requirement for requirement in requirements if not packaging.pip_check(requirement)]


def _torchArguments() -> tuple[str, ...]:
    """How the PyTorch extension calls light-the-torch, which picks the build of torch for this computer.

    Its ``installTorch`` would do the same, but stops Slicer, for minutes, and cannot be stopped.
    """
    from TumorSegLib import TumorSegError

    _checkProcessor()
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
        return tuple(PyTorchUtilsLogic._getPipInstallArguments(None, TORCH_VERSION))
    except (AttributeError, TypeError) as error:
        raise TumorSegError(
            _(
                "TumorSeg does not know this version of the extension PyTorch. Open the module PyTorch Utils (category "
                "Utilities), install torch there (version {needed}), and try again."
            ).format(needed=TORCH_VERSION)
        ) from error


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


def _withoutMarker(requirement: Requirement) -> str:
    return f"{requirement.name}{requirement.specifier}"


@contextmanager
def constraints() -> Iterator[Path]:
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
