"""Takes the pictures of the Slicer module that the documentation shows, and those of every state of its panel.

Panel, models and views are the real ones; the test host (Testing/slicer/host) stands in for the application. The images
are those of phantoms, so that nobody is in the pictures.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from Testing.slicer.module import OUTPUT, REPOSITORY
from Testing.slicer.screenshots import states, tutorial, window

if TYPE_CHECKING:
    from Testing.slicer.host.host import Host


def main(arguments: Sequence[str] | None = None) -> int:
    """Takes all pictures and says where they are."""
    parser = argparse.ArgumentParser(prog="python -m Testing.slicer.screenshots", description=__doc__)
    parser.add_argument(
        "--output",
        type=Path,
        metavar="FOLDER",
        default=REPOSITORY / "Resources",
        help=f"gets the pictures of the documents, those of tasks in {tutorial.FOLDER} (default: %(default)s)",
    )
    parser.add_argument(
        "--states",
        type=Path,
        metavar="FOLDER",
        default=OUTPUT / "states",
        help="gets the pictures of every state, to be looked at (default: %(default)s)",
    )
    chosen = parser.parse_args(arguments)
    folder = chosen.output
    try:
        for folder in (chosen.output, chosen.states):
            folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:  # which minutes of work would end with
        parser.error(f"{folder}: the folder cannot be made: {error.strerror}")
    from Testing.slicer.host.host import boot

    with boot() as host:
        for path in pictures(host, chosen.output, chosen.states):
            sys.stdout.write(f"{path}: {path.stat().st_size / 1000:.0f} kB\n")
            sys.stdout.flush()
    return 0


def pictures(host: Host, output: Path, folder_of_states: Path) -> Iterator[Path]:
    """Takes all pictures, one after the other."""
    yield from window.take(host, output)
    for take, folder in ((tutorial.take, output / tutorial.FOLDER), (states.take, folder_of_states)):
        host.clear()
        host.activate()
        yield from take(host, folder)
    host.raise_error()


if __name__ == "__main__":
    sys.exit(main())
