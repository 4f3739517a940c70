"""Segments a case without the main window, for scripts that have Slicer and no other Python.

    Slicer --no-splash --no-main-window --python-script batch_segment.py -- --input ct=CT --output tumour.seg.nrrd

Takes what ``tumorseg segment`` takes and leaves Slicer with its exit status: 0 done, 2 bad input or missing packages,
said in a line of standard error, 130 interrupted. Installs nothing, since nobody can answer a question. Files are read
by the library, not through the scene, so PET from DICOM becomes SUV by itself.
"""

from __future__ import annotations

import sys

import slicer


def main(arguments: list[str]) -> int:
    """Runs ``tumorseg segment`` with these arguments and returns its exit status."""
    from TumorSegSlicer.install.packages import BY_HAND, missingPackages

    missing = missingPackages()
    if missing:
        sys.stderr.write(
            f"batch_segment: error: this Slicer lacks {', '.join(missing)}; open the module TumorSeg, which offers "
            f"to install them, or install them by hand: {BY_HAND}\n"
        )
        return 2
    from TumorSegLib.cli.entry import main as tumorseg

    try:
        return tumorseg(["segment", *arguments])
    except SystemExit as stop:  # argparse, which has said why
        return int(stop.code or 0)


if __name__ == "__main__":
    # Slicer may hand on the "--" that keeps it from reading the script's arguments itself.
    slicer.util.exit(main(sys.argv[2:] if sys.argv[1:2] == ["--"] else sys.argv[1:]))
