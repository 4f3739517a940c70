"""The report of an action that failed.

This module does not import Slicer, and so has no translator: messages of errors are English, as in the library.
"""

from __future__ import annotations

import traceback
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Failure:
    """Why an action has no result.

    Attributes:
        message: for the user; may name files and nodes, so it does not belong in the log.
        details: for the log: kinds of errors and places in the code, without values.
        cancelled: the user stopped the action.
        error: the exception.
        quiet: the status line is enough; no dialog is needed.
    """

    message: str
    details: str
    cancelled: bool
    error: BaseException
    quiet: bool = False

    @classmethod
    def of(cls, error: BaseException) -> Failure:
        """Puts an exception into words."""
        from TumorSegLib import Cancelled
        from TumorSegSlicer.quiet_errors import StatusLineError

        quiet = isinstance(error, StatusLineError)
        return cls(_message(error), _details(error), isinstance(error, Cancelled), error, quiet)


def _message(error: BaseException) -> str:
    from TumorSegLib import TumorSegError

    if isinstance(error, TumorSegError):
        return str(error)
    if isinstance(error, MemoryError):
        return "There is not enough memory for this; close other programs or choose a smaller image."
    if isinstance(error, ImportError):
        package = error.name or "a package"
        return f"The Python package {package} is missing or damaged; install TumorSeg's packages again."
    kind = type(error).__name__
    return f"Something went wrong that TumorSeg did not expect ({kind}): {error}. Details: View > Error Log."


def _details(error: BaseException) -> str:
    """Kinds of an error and its causes and their lines of code; messages, which may name patients, are left out."""
    lines: list[str] = []
    cause: BaseException | None = error
    while cause is not None and len(lines) < 100:  # causes may form a ring
        lines.append(type(cause).__name__)
        frames = traceback.extract_tb(cause.__traceback__)
        lines += [f"  {Path(frame.filename).name}:{frame.lineno} in {frame.name}" for frame in frames]
        cause = cause.__cause__ or cause.__context__
    return "\n".join(lines)
