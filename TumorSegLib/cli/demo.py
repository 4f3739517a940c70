"""The command ``tumorseg demo``: a synthetic case segmented automatically and from a box, in one folder.

Engines and pictures are imported by the functions that use them, so that other commands do not wait for them.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from TumorSegLib import __version__
from TumorSegLib.cli.process import LEAST_PICTURE_GB, require_memory
from TumorSegLib.disclaimer import DISCLAIMER
from TumorSegLib.evaluation.metrics import evaluate
from TumorSegLib.files import make_folder, write_text
from TumorSegLib.geometry.boxes import EMPTY_BOX, grown
from TumorSegLib.images.volume import Images, Mask
from TumorSegLib.io.images import write_mask, write_volume
from TumorSegLib.jobs import Progress, progress_bar, timed
from TumorSegLib.measurements.report import make_report, to_json
from TumorSegLib.models.registry import list_models
from TumorSegLib.phantom.patient import make_phantom
from TumorSegLib.prompts.types import BoxPrompt
from TumorSegLib.protocols import BoxOptions
from TumorSegLib.session.session import Session

ROLES = ("ct", "pet")
#: A thigh, since sts-auto knows limbs and marks healthy organs of the trunk; training drew other seeds (0 to 15).
REGION, SEED = "limb", 101
#: Not written for every case; files of an earlier demonstration are removed, so that none seems to be of this one.
OPTIONAL = ("uncertainty.nii.gz", "tumour.stl", "box.nii.gz", "box_preview.png")
# The box is drawn as a user would, somewhat too large.
BOX_MODEL, REFINER, BOX_ROLE, MARGIN_MM = "lite-medsam", "sts-clicks", "pet", 7.0


def run_demo(
    folder: str | os.PathLike[str], seed: int = SEED, model: str = "sts-auto", progress: Progress | None = None
) -> dict[str, Any]:
    """Makes a PET/CT phantom of a thigh, segments it, and writes images, results, pictures and ``report.json``.

    Where the box model is installed, the tumour is found from a box, too, and corrected by the model for clicks.

    Args:
        folder: made if absent; files of an earlier demonstration are replaced, or removed where this one has none.
        seed: of the phantom.
        model: name or folder of an automatic model that takes CT and PET.
        progress: called with (windows done, windows in all).

    Returns:
        The report: :func:`TumorSegLib.measurements.report.make_report`, ``tumorseg_version``, ``metrics`` against the
        phantom's true tumour, and ``box``: the models, their metrics and the seconds of the box; None without the box
        model.
    """
    from TumorSegLib.engines.load import load_engine
    from TumorSegLib.render.preview import write_preview
    from TumorSegLib.render.surface import write_surface

    phantom, engine = make_phantom(seed, region=REGION), load_engine(model, kind="auto")
    target = Path(folder)
    make_folder(target)  # a wrong seed or model leaves none
    images = {role: phantom.images[role] for role in ROLES}
    result = engine.segment(images, mirror=True, progress=progress)
    for name in OPTIONAL:
        (target / name).unlink(missing_ok=True)
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
    metrics = evaluate(result.mask, phantom.tumour).to_dict()
    has_box_model = BOX_MODEL in {found.spec.name for found in list_models()}
    box = _segment_from_box(images, phantom.tumour, target) if has_box_model else None
    report = {**make_report(result), "tumorseg_version": __version__, "metrics": metrics, "box": box}
    write_text(target / "report.json", to_json(report))
    return report


def _segment_from_box(images: Images, tumour: Mask, target: Path) -> dict[str, Any]:
    """The tumour from a box around it, written; models, metrics and seconds."""
    from TumorSegLib.engines.load import load_engine
    from TumorSegLib.render.preview import write_preview

    margin = [round(MARGIN_MM / step) for step in tumour.grid.spacing]
    box = grown(tumour.bounding_box() or EMPTY_BOX, margin, tumour.grid.shape)
    session = Session(images, box=load_engine(BOX_MODEL, kind="box"), clicks=load_engine(REFINER, kind="clicks"))
    _, seconds = timed(lambda: session.add_box(BoxPrompt(box), options=BoxOptions(BOX_ROLE), refine=True))
    write_mask(session.mask, target / "box.nii.gz")
    write_preview(images, session.mask, target / "box_preview.png", session.probability)
    metrics = evaluate(session.mask, tumour).to_dict()
    return {"model": BOX_MODEL, "refiner": REFINER, "role": BOX_ROLE, "seconds": round(seconds, 1), "metrics": metrics}


def add_demo_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the command."""
    parser.add_argument("--output", default="demo", metavar="FOLDER", help="where to (default %(default)s)")
    parser.add_argument("--seed", type=int, help="of the phantom, from 0 on (default: one that training never saw)")


def run_demo_command(options: argparse.Namespace) -> None:
    """Runs the command; raises :class:`TumorSegError` where the folder cannot be written."""
    require_memory(LEAST_PICTURE_GB, "the demonstration with its pictures")
    with progress_bar("Segmenting") as progress:
        seed = SEED if options.seed is None else options.seed
        report = run_demo(options.output, seed, progress=progress)
    metrics, seconds = report["metrics"], report["seconds"]
    where = f"{report['backend']} on {report['device']}, {report['precision']}"
    rows = {
        "model": f"{report['model']} {report['version']}, {where}",
        "marked": f"{report['volume_ml']:.1f} ml in {len(report['components'])} part(s)",
        "true volume": f"{metrics['reference_volume_ml']:.1f} ml",
        "Dice": f"{metrics['dice']:.3f}",
        "HD95": "undefined" if metrics["hd95_mm"] is None else f"{metrics['hd95_mm']:.1f} mm",
        "time": f"{sum(seconds.values()):.1f} s ({report['windows']} windows, 8 mirror images each)",
        "files": f"{options.output}/: {', '.join(sorted(p.name for p in Path(options.output).iterdir()))}",
    }
    box = report["box"]
    if box:
        found = f"Dice {box['metrics']['dice']:.3f} in {box['seconds']} s"
        rows["box"] = f"{found} ({box['model']} on {box['role']}, refined by {box['refiner']})"
    else:
        rows["box"] = "left out: needs the model that `tumorseg models download lite-medsam` fetches"
    for name, value in rows.items():
        print(f"{name:<12}{value}")
    print(DISCLAIMER)
