"""What lies in a folder of another program that can be made a model; importing this imports no torch."""

from __future__ import annotations

from pathlib import Path

#: What tells a training of nnU-Net v2, and a MONAI bundle.
PLANS, METADATA = "plans.json", "configs/metadata.json"


def single_training(folder: Path) -> Path:
    """The only training of nnU-Net in the folder of a dataset; the folder itself where it is not one."""
    inside = [] if (folder / PLANS).exists() else list(folder.glob(f"*__*__*/{PLANS}"))
    return inside[0].parent if len(inside) == 1 else folder


def foreign_in(folder: Path) -> Path | None:
    """The training of nnU-Net, the MONAI bundle or the only zip, which may be one, in a folder; None where none is."""
    training, zips = single_training(folder), list(folder.glob("*.zip"))
    if (training / PLANS).is_file():
        return training
    if (folder / METADATA).is_file():
        return folder
    return zips[0] if len(zips) == 1 else None
