"""The command ``tumorseg``, and what ``python -m training`` shares with it.

Exit status: 0 done, 2 bad input or another error with a message, 130 interrupted, 141 standard output closed.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

from TumorSegLib.cli.process import (
    EXIT_INTERRUPTED,
    INTERRUPTED_MESSAGE,
    LEAST_GB,
    PROGRAM,
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
BROKEN_PIPE = 141


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit status."""
    return run_guarded(PROGRAM, _run, arguments)


def run_guarded(
    program: str,
    run: Callable[[Sequence[str] | None], None],
    arguments: Sequence[str] | None = None,
    interrupted: str = INTERRUPTED_MESSAGE,
) -> int:
    """Runs a program: prints errors as one line, ends on Ctrl-C, copes with closed pipes and any encoding.

    Args:
        program: its name, which begins every line on standard error.
        run: parses the arguments and runs the command.
        arguments: those of the process if None. With ``--debug`` among them errors keep their traceback, and libraries
            may print.
        interrupted: message after Ctrl-C.

    Returns:
        The exit status, see the module.
    """
    debug = "--debug" in (sys.argv[1:] if arguments is None else arguments)
    print_anything()
    with interruptible(program, interrupted) as alone, nullcontext() if debug else quiet_libraries(program):
        try:
            try:
                run(arguments)
            finally:
                _flush()
        except KeyboardInterrupt:
            if alone:
                end_interrupted(program, interrupted)
            say(interrupted, program)
            return EXIT_INTERRUPTED
        except BrokenPipeError:
            return BROKEN_PIPE
        except Exception as error:
            expected = isinstance(error, (TumorSegError, OSError)) or is_out_of_memory(error)
            if debug or not expected:
                raise
            say(f"error: {_message(error)}", program)
            return 2
    return 0


def add_command(
    commands: Any, name: str, run: Callable[[argparse.Namespace], None], help_: str
) -> argparse.ArgumentParser:
    """Adds a command, or an action of one; ``run_command`` of the parsed options is its function."""
    parser: argparse.ArgumentParser = commands.add_parser(name, help=help_, description=help_)
    # No default here: it would undo a --debug before the command.
    parser.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help="show an error's traceback")
    parser.set_defaults(command=name, run_command=run)
    return parser


def add_device_argument(parser: argparse.ArgumentParser) -> None:
    """Adds ``--device``."""
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps (default %(default)s)")


def add_device_arguments(parser: argparse.ArgumentParser, more: str = "") -> None:
    """Adds ``--device`` and ``--precision``; ``more`` goes to the help, after the precisions that all models have."""
    add_device_argument(parser)
    parser.add_argument(
        "--precision",
        default="auto",
        help=f"auto, float32, bfloat16 or float16{more} (default %(default)s: the fastest that the device has)",
    )


def add_engine_arguments(parser: argparse.ArgumentParser, backend: str = "auto") -> None:
    """Adds ``--device``, ``--precision`` and ``--backend``, the arguments of :func:`TumorSegLib.load_engine`.

    Args:
        parser: of a command.
        backend: the default.
    """
    add_device_arguments(parser, ", or int8 where the model has a copy in it")
    parser.add_argument(
        "--backend",
        default=backend,
        help="what runs the network on a CPU: torch, openvino, or auto, the fastest that is installed, measured once "
        "per computer and model (default %(default)s)",
    )


def _message(error: Exception) -> str:
    if isinstance(error, TumorSegError) or not is_out_of_memory(error):
        return str(error)
    return f"not enough memory{f': {error}' if str(error) else ''}"


def _run(arguments: Sequence[str] | None) -> None:
    require_memory(LEAST_GB, PROGRAM)
    from TumorSegLib.cli.parser import make_parser  # imports numpy and ITK, which may fail in all these ways

    options = make_parser().parse_args(arguments)
    options.run_command(options)


def _flush() -> None:
    """Finds out here, not at the end of Python, that standard output cannot be written."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError:
        print_no_more()
        raise
