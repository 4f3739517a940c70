"""A real pip with a shelf of wheels, and a Slicer's Python to run it: what the module installs, without a network."""

from __future__ import annotations

import base64
import hashlib
import os
import sys
import zipfile
from collections.abc import Mapping, Sequence
from importlib import import_module, metadata
from pathlib import Path

import pytest

#: What stands in for torch, and what for the other packages.
TORCH, FIRST, SECOND = "tumorseg-torch", "tumorseg-first", "tumorseg-second"
#: light-the-torch gets another package than it is asked for, and leaves a note of what that was.
LIGHT_THE_TORCH = """
import pathlib, runpy, sys
(pathlib.Path(__file__).parent / "asked.txt").write_text(" ".join(sys.argv[1:]))
sys.argv = ["pip", "install", "tumorseg-torch"]
runpy.run_module("pip", run_name="__main__")
"""


class Shelf:
    """Wheels in a folder, and a folder that Slicer's Python installs into and that this Python finds packages in.

    Attributes:
        installed: the latter folder.
    """

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        """An empty shelf, where torch and two other packages are needed."""
        self._patch, self._wheels = patch, folder / "wheels"
        self.installed, self._program = folder / "site", folder / "bin" / "PythonSlicer"
        for each in (self._wheels, self.installed, self._program.parent):
            each.mkdir()
        # As in Slicer it is a launcher, which waits for the Python that it starts.
        self._program.write_text(f'#!/bin/sh\n"{sys.executable}" "$@"\nexit $?\n')
        self._program.chmod(0o755)
        patch.setenv("PATH", f"{self._program.parent}{os.pathsep}{os.environ['PATH']}")
        settings = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(self._wheels), "PIP_TARGET": str(self.installed)}
        for name, value in {**settings, "PIP_CONFIG_FILE": os.devnull, "PIP_RETRIES": "0"}.items():
            patch.setenv(name, value)
        patch.setenv("PYTHONPATH", str(self.installed))
        patch.syspath_prepend(str(self.installed))
        packages = import_module("TumorSegSlicer.install.packages")
        (folder / "requirements.txt").write_text(
            f"# as Slicer reads it\n{FIRST}>=1\n{SECOND}>=2; python_version > '3'\n"
        )
        patch.setattr(packages, "REQUIREMENTS", folder / "requirements.txt")
        patch.setattr(packages, "TORCH", f"{TORCH}>=2.6")
        patch.setattr(packages, "LIGHT_THE_TORCH", "light-the-torch>=0.5")

    def fill(self, without: Sequence[str] = ()) -> None:
        """Puts all that is needed on the shelf, without some."""
        for name, version in ((TORCH, "2.7"), (FIRST, "1.5"), (SECOND, "2.0")):
            if name not in without:
                self.add(name, version)
        if "light-the-torch" not in without:
            self.add("light-the-torch", "0.5", files={"light_the_torch/__main__.py": LIGHT_THE_TORCH})

    def add(
        self, name: str, version: str, requires: Sequence[str] = (), files: Mapping[str, str] | None = None
    ) -> Path:
        """Puts a wheel on the shelf, with a package of the name's own, or these files."""
        module = name.replace("-", "_")
        info = f"{module}-{version}.dist-info"
        described = [f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}"]
        described += [f"Requires-Dist: {each}" for each in requires]
        content = dict(files or {f"{module}/__init__.py": f"version = '{version}'\n"})
        content[f"{info}/METADATA"] = "\n".join(described) + "\n"
        content[f"{info}/WHEEL"] = "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        record = "".join(f"{path},sha256={_digest(text)},{len(text.encode())}\n" for path, text in content.items())
        content[f"{info}/RECORD"] = record + f"{info}/RECORD,,\n"
        path = self._wheels / f"{module}-{version}-py3-none-any.whl"
        with zipfile.ZipFile(path, "w") as file:
            for each, text in content.items():
                file.writestr(each, text)
        return path

    def link(self, name: str, url: str) -> None:
        """Lets pip find a wheel of a package at a web address alone."""
        page = self._wheels.parent / "links.html"
        page.write_text(f'<a href="{url}/{name.replace("-", "_")}-1.5-py3-none-any.whl">{name}</a>')
        self._patch.setenv("PIP_FIND_LINKS", f"{self._wheels} {page.as_uri()}")

    def asked_for_torch(self) -> str:
        """What light-the-torch was asked for."""
        return (self.installed / "light_the_torch" / "asked.txt").read_text()

    def there(self) -> dict[str, str]:
        """Name to version of what was installed."""
        return {each.metadata["Name"]: each.version for each in metadata.distributions(path=[str(self.installed)])}


def _digest(text: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
