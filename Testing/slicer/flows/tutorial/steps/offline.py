"""Without internet: packages come in a folder. pip is real; small packages stand in for the large ones."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from Testing.slicer.flows.tutorial.reader import Reader, step
from Testing.slicer.shelf import FIRST, SECOND, TORCH, Shelf
from TumorSegLib.models.registry import BUNDLED


@step(
    "On the computer without internet, install the extension (View > Extensions Manager > Install from file), "
    "restart Slicer and open the module **TumorSeg**. A page says which Python packages are missing, how "
    "large they are and where they come from."
)
def see_what_is_missing(reader: Reader) -> None:
    user = reader.user
    from TumorSegSlicer.install import packages

    needed = [each.name for each in user.host.packaging.load_requirements(packages.REQUIREMENTS)]
    user.restart(missing=["torch", *needed])
    user.open()
    assert user.ui.firstUsePage.isVisible()
    for words in ("torch>=2.6", "monai>=1.4", "0.2 GB", "pytorch.org", "pypi.org"):
        assert words in user.ui.firstUseLabel.text
    assert all(name in user.ui.firstUseLabel.text for name in needed)


@step('Press **Not now**. The strip says "Nothing was installed. You are asked again when packages are needed."')
def put_off(reader: Reader) -> None:
    reader.user.press("Not now")
    assert not reader.user.ui.firstUsePage.isVisible()


@step(
    "On a computer with internet, the same operating system and the same version of Slicer, work in a folder "
    "that contains `requirements.txt`, and type"
)
def download(reader: Reader) -> None:
    folder = reader.folder / "online"
    folder.mkdir()
    (folder / "shelf").mkdir()
    reader.user.host.packaging.missing.clear()
    reader.shelf = Shelf(folder / "shelf", reader.patch)
    reader.shelf.fill()
    shutil.copy(folder / "shelf" / "requirements.txt", folder)
    (command,) = reader.step.commands
    run(command, folder)
    names = sorted(path.name.partition("-")[0] for path in (folder / "wheels").iterdir())
    assert names == sorted(each.replace("-", "_") for each in (TORCH, FIRST, SECOND))
    assert reader.shelf.there() == {}


@step("Copy the folder `wheels` and `requirements.txt` to the other computer, and type in the folder where they are")
def install(reader: Reader) -> None:
    folder = reader.folder / "offline"
    shutil.copytree(reader.folder / "online", folder, ignore=shutil.ignore_patterns("shelf"))
    shutil.rmtree(reader.folder / "online" / "shelf" / "wheels")
    for name in ("PIP_NO_INDEX", "PIP_FIND_LINKS"):
        reader.patch.delenv(name)
    (command,) = reader.step.commands
    run(command, folder)
    assert set(reader.shelf.there()) == {TORCH, FIRST, SECOND}


def run(command: tuple[str, ...], folder: Path) -> None:
    """Runs a command of the page, with the package that stands in for torch."""
    assert command[:3] == ("PythonSlicer", "-m", "pip")
    words = [TORCH if word == "torch" else word for word in command]
    done = subprocess.run(words, cwd=folder, env=dict(os.environ), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@step(
    "Restart Slicer and open the module **TumorSeg**: it has all packages, and asks nothing. It does not need "
    "the extension PyTorch."
)
def restart(reader: Reader) -> None:
    user = reader.user
    reader.patch.setitem(sys.modules, "PyTorchUtils", None)
    reader.patch.setenv("TUMORSEG_MODELS", str(reader.folder / "models"))
    copy_model(reader.folder / "models" / "my-clicks")
    user.restart()
    user.open()
    assert not user.ui.firstUsePage.isVisible()
    assert user.context.packages.complete
    assert user.said.startswith("Press P and click on a lesion")


def copy_model(folder: Path) -> None:
    """A folder as the command line makes them on another computer: a model that ships, under another name."""
    shutil.copytree(BUNDLED / "lesion-clicks", folder)
    spec = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    (folder / "model.json").write_text(json.dumps({**spec, "name": folder.name}), encoding="utf-8")


@step(
    "Further models are folders: `tumorseg models download NAME` puts them into `~/.tumorseg/models` on "
    "another computer. Copy them into the same folder here, open **Advanced** and **Manage models**, choose "
    "one in the list and press **Verify**. The strip says \"Model 'my-clicks' is intact: its weights match the "
    'checksum."'
)
def verify(reader: Reader) -> None:
    user = reader.user
    user.press("Advanced")
    user.press("Manage models")
    names = [user.ui.modelsList.item(row).text().split()[0] for row in range(user.ui.modelsList.count)]
    user.ui.modelsList.setCurrentRow(names.index("my-clicks"))
    user.press("Verify")
