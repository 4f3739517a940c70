"""A demonstration on a synthetic case: everything the automatic engine gives, in one folder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from TumorSegLib.engines.load import load_engine
from TumorSegLib.errors import WriteError
from TumorSegLib.files import write_text
from TumorSegLib.metrics import evaluate
from TumorSegLib.phantom import make_phantom
from TumorSegLib.preview import write_preview
from TumorSegLib.protocols import Progress
from TumorSegLib.report import make_report, to_json
from TumorSegLib.surface import write_surface
from TumorSegLib.volume_io import write_mask, write_volume

ROLES = ("ct", "pet")


def run_demo(
    folder: str | os.PathLike[str], seed: int = 0, model: str = "sts-auto", progress: Progress | None = None
) -> dict[str, Any]:
    """Makes a PET/CT phantom, segments it, and writes images, results, pictures and ``report.json``.

    Args:
        folder: made if absent; files of an earlier demonstration are replaced.
        seed: of the phantom.
        model: name or folder of an automatic model that takes CT and PET.
        progress: called with (windows done, windows in all).

    Returns:
        The report: :func:`TumorSegLib.report.make_report` and ``metrics`` against the phantom's true tumour.
    """
    target = Path(folder)
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WriteError(f"{target}: the folder cannot be made: {error.strerror}") from error
    phantom = make_phantom(seed)
    images = {role: phantom.images[role] for role in ROLES}
    result = load_engine(model).segment(images, mirror=True, progress=progress)
    for role, volume in images.items():
        write_volume(volume, target / f"phantom_{role}.nii.gz")
    write_mask(phantom.tumour, target / "phantom_tumour.nii.gz")
    write_mask(result.mask, target / "segmentation.seg.nrrd")
    write_mask(result.mask, target / "segmentation.nii.gz")
    write_volume(result.probability, target / "probability.nii.gz")
    if result.uncertainty is not None:
        write_volume(result.uncertainty, target / "uncertainty.nii.gz")
    if result.mask.array.any():
        write_surface(result.probability, target / "tumour.stl")
    write_preview(images, result.mask, target / "preview.png", result.probability)
    report = {**make_report(result), "metrics": evaluate(result.mask, phantom.tumour).to_dict()}
    write_text(target / "report.json", to_json(report))
    return report
