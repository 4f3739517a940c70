"""The command ``tumorseg``.

Exit status: 0 done, 2 bad input or a failure in words, 130 interrupted, 141 where nobody reads standard output.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import nullcontext

from TumorSegLib.cli.process import (
    INTERRUPTED,
    INTERRUPTED_WORDS,
    LEAST_GB,
    end_interrupted,
    interruptible,
    print_anything,
    print_no_more,
    quiet_libraries,
    require_memory,
    say,
)
from TumorSegLib.errors import TumorSegError
from TumorSegLib.memory import is_out_of_memory

#: 128 and the number of SIGPIPE, of which other tools die in this case.
NOBODY_READS = 141


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit status."""
    debug = "--debug" in (sys.argv[1:] if arguments is None else arguments)
    print_anything()
    with interruptible() as alone, nullcontext() if debug else quiet_libraries():
        try:
            return _run(arguments)
        except KeyboardInterrupt:
            if alone:
                end_interrupted()
            say(INTERRUPTED_WORDS)
            return INTERRUPTED
        except BrokenPipeError:
            return NOBODY_READS
        except Exception as error:
            expected = isinstance(error, (TumorSegError, OSError)) or is_out_of_memory(error)
            if debug or not expected:
                raise
            say(f"error: {_in_words(error)}")
            return 2


def _in_words(error: Exception) -> str:
    if isinstance(error, TumorSegError) or not is_out_of_memory(error):
        return str(error)
    return f"not enough memory{f': {error}' if str(error) else ''}"


def _run(arguments: Sequence[str] | None) -> int:
    require_memory(LEAST_GB, "tumorseg")
    from TumorSegLib.cli.parser import make_parser  # imports numpy and ITK, which may fail in all these ways

    try:
        options = make_parser().parse_args(arguments)
        options.run(options)
    finally:
        _flush()
    return 0


def _flush() -> None:
    """Finds out here, not at the end of Python, that standard output cannot be written."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError:
        print_no_more()
        raise
