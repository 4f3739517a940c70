"""Time and memory of the whole command ``tumorseg segment``, each in a process of its own, from files to files.

The images are a phantom's PET/CT, 512 x 512 x 200 voxels of 0.98 x 0.98 x 3.27 mm: once as NIfTI, both on the grid of
the CT, and once as DICOM, where the PET has voxels of 3.9 mm, as from a scanner. The command also writes its report
(``--info``).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from Testing.benchmarks.cases import PHANTOM_SPACING_MM, STEP, clinical_case
from Testing.benchmarks.measuring import format_row, gib, timed
from Testing.unit.cases.dicom_series import write_image
from TumorSegLib.geometry.grid import Grid
from TumorSegLib.images.volume import Images, Volume
from TumorSegLib.io.images import write_volume

MODEL = "sts-auto"
# In a process of its own: converts the network for OpenVINO where that was not done on this machine.
LOAD = "import sys; from TumorSegLib import load_engine; load_engine(sys.argv[1], sys.argv[2], backend=sys.argv[3])"


def run(device: str, shape: tuple[int, int, int], backends: Sequence[str]) -> None:
    """Prints seconds, those of the processor on all cores, of each stage of the engine, and peak memory."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        _write(clinical_case(shape)[0], folder)
        for backend in backends:
            subprocess.run([sys.executable, "-c", LOAD, MODEL, device, backend], check=True)
            for kind, suffix in (("NIfTI", ".nii.gz"), ("DICOM", "")):
                inputs = [f"--input={role}={folder / role}{suffix}" for role in ("ct", "pet")]
                figures = _segment(folder, [*inputs, f"--device={device}", f"--backend={backend}"])
                print(format_row({"segment": "x".join(map(str, shape[::-1])), "files": kind, **figures}), flush=True)


def _write(images: Images, folder: Path) -> None:
    for role, volume in images.items():
        write_volume(volume, folder / f"{role}.nii.gz")
        write_image(folder / role, volume if role == "ct" else _of_scanner(volume))


def _of_scanner(volume: Volume) -> Volume:
    """The PET in the voxels of the phantom, of which every voxel of the case is a copy."""
    affine = volume.grid.affine.copy()
    affine[:3, :3] = np.diag(PHANTOM_SPACING_MM)
    affine[:3, 3] = volume.grid.to_ras(((STEP - 1) / 2, (STEP - 1) / 2, 0))
    array = np.ascontiguousarray(volume.array[:, ::STEP, ::STEP])
    return Volume(Grid(array.shape, affine), array, volume.role)


def _segment(folder: Path, options: Sequence[str]) -> dict[str, Any]:
    """Runs the command; its figures, of the process and of its report."""
    outputs = ["--output", str(folder / "mask.nii.gz"), "--info", str(folder / "info.json")]
    command = [sys.executable, "-m", "TumorSegLib.cli", "segment", *options, *outputs]
    log = folder / "log.txt"
    with log.open("wb") as errors, subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=errors) as process:
        seconds, (_, status, usage) = timed(lambda: os.wait4(process.pid, 0))
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} failed: {log.read_text(encoding='utf-8')}")
    info = json.loads((folder / "info.json").read_text(encoding="utf-8"))
    return {
        "backend": f"{info['backend']} {info['precision']}",
        "seconds": seconds,
        "processor_seconds": usage.ru_utime + usage.ru_stime,
        **{f"{stage}_seconds": value for stage, value in info["seconds"].items()},
        "peak_memory_gib": gib(usage),
    }
