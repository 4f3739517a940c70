"""The command ``tumorseg``. Exit status: 0 done, 2 bad input or a failure in words, 130 interrupted."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from TumorSegLib.cli_parser import make_parser
from TumorSegLib.errors import TumorSegError


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit status."""
    options = make_parser().parse_args(arguments)
    try:
        options.run(options)
    except (TumorSegError, OSError, MemoryError) as error:
        if options.debug:
            raise
        print(f"tumorseg: error: {str(error) or 'not enough memory'}", file=sys.stderr)  # a MemoryError may be mute
        return 2
    except KeyboardInterrupt:
        print("tumorseg: interrupted; no file is half-written", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
