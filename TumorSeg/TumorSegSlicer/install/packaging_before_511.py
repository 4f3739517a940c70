"""What the module uses of ``slicer.packaging``, for Slicer before 5.11, which does not have it. Names are Slicer's."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

import slicer
from packaging.requirements import Requirement
from slicer.i18n import tr as _


def load_requirements(path: Path) -> list[Requirement]:
    """The requirements of a file, without comments and options."""
    lines = (line.strip() for line in path.read_text(encoding="utf-8").splitlines())
    return [Requirement(line) for line in lines if line and not line.startswith(("#", "-"))]


def pip_check(requirement: str | Requirement) -> bool:
    """Whether a requirement without extras is met."""
    wanted = Requirement(requirement) if isinstance(requirement, str) else requirement
    try:
        return wanted.specifier.contains(metadata.version(wanted.name), prereleases=True)
    except metadata.PackageNotFoundError:
        return False


def pip_ensure(requirements: list[Requirement], constraints: Path, requester: str) -> None:
    """Asks, and installs; raises ``RuntimeError`` when the user declines, ``CalledProcessError`` when pip fails."""
    question = _(
        "{requester} needs these Python packages, which will be downloaded and installed into Slicer:\n\n{packages}\n\n"
        "This Slicer is older than 5.12, the oldest that {requester} is made for: if it fails, update Slicer. Continue?"
    ).format(requester=requester, packages="\n".join(str(requirement) for requirement in requirements))
    if not slicer.util.confirmOkCancelDisplay(question, _("Install Python packages")):
        raise RuntimeError("User declined package installation")
    slicer.util.pip_install([*(str(requirement) for requirement in requirements), "--constraint", str(constraints)])
