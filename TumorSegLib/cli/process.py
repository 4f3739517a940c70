"""The process that a command runs in: how it is interrupted, what memory it has, what libraries may print.

Nothing heavy is imported here: what these functions guard begins with the import of numpy.
"""

from __future__ import annotations

import logging
import os
import select
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import NoReturn, TextIO

from TumorSegLib.errors import ResourceError
from TumorSegLib.files import remove_unfinished

EXIT_INTERRUPTED = 130
INTERRUPTED_MESSAGE = "interrupted; no file is half-written"
PROGRAM = "tumorseg"
#: How long a command may take to stop by itself; then, or when interrupted again, it is ended.
GRACE_SECONDS = 0.3
#: Least address space in GB (10^9 bytes) that a command needs on one thread, one with a network, and one that draws:
#: OpenGL crashes for want of memory.
LEAST_GB, LEAST_NETWORK_GB, LEAST_PICTURE_GB = 0.75, 2.0, 3.0
#: What each further thread of OpenBLAS and PyTorch takes.
THREAD_GB = 0.25
_ending = threading.Lock()
SHOW_CURSOR = "\x1b[?25h"


@contextmanager
def interruptible(program: str, words: str) -> Iterator[bool]:
    """Lets Ctrl-C end the command within a second, also inside a library call; ``program`` then prints ``words``.

    Python raises KeyboardInterrupt only once a library returns, which on a busy machine may take half a minute: a
    thread that waits for the signal ends the process then. Files are written beside their target and moved into place
    last, so none is half-written. Without effect where this is not a process of its own, and on Windows;
    yields whether it has one.
    """
    in_main_thread = threading.current_thread() is threading.main_thread()
    if not _is_own(sys.stderr) or not in_main_thread or sys.platform == "win32":
        yield False
        return
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    former = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    threading.Thread(target=_watch, args=(reading, program, words), daemon=True).start()
    try:
        yield True
    finally:
        signal.set_wakeup_fd(former)
        os.close(writing)


def _watch(reading: int, program: str, words: str) -> None:
    """Reads the numbers of the signals that arrive until the command is over."""
    while number := os.read(reading, 1):
        if number[0] == signal.SIGINT and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            select.select([reading], [], [], GRACE_SECONDS)  # ends early where the command is over, or by a second one
            if not _is_over(reading):
                end_interrupted(program, words)
    os.close(reading)


def _is_over(reading: int) -> bool:
    readable, _, _ = select.select([reading], [], [], 0)
    return bool(readable) and not os.read(reading, 1)


def end_interrupted(program: str, words: str) -> NoReturn:
    """Says that the command was interrupted and ends the process.

    A normal exit of Python would wait for threads and free a loaded network, a second and more on a busy machine.
    """
    _ending.acquire()  # for good: two threads may come here
    remove_unfinished()
    cursor = SHOW_CURSOR if sys.stderr.isatty() else ""  # which a progress bar has hidden
    with suppress(OSError):
        os.write(sys.stderr.fileno(), f"{cursor}{program}: {words}\n".encode())
    os._exit(EXIT_INTERRUPTED)


@contextmanager
def quiet_libraries(program: str) -> Iterator[None]:
    """Keeps what C libraries print on standard error, and warnings of other packages, from standing beside our lines.

    ITK, HDF5, GDCM, VTK and the NIfTI library write to file descriptor 2; Python's ``sys.stderr`` moves to another one.
    Warnings of this library become a line each; what others log is left out, as by Matplotlib where the home folder is
    read-only. Without effect where ``sys.stderr`` is not the process's own.
    """
    if not _is_own(sys.stderr):
        yield
        return
    former = sys.stderr
    former.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    os.close(nowhere)
    last_resort, logging.lastResort = logging.lastResort, logging.NullHandler()
    sys.stderr = open(kept, "w", encoding=former.encoding, errors=former.errors, buffering=1)  # noqa: SIM115
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.filterwarnings("default", category=UserWarning, module=r"TumorSegLib\.")
            warnings.showwarning = lambda message, *_: say(f"warning: {message}", program)
            yield
    finally:
        logging.lastResort = last_resort
        os.dup2(kept, 2)
        own, sys.stderr = sys.stderr, former
        own.close()


def _is_own(stream: TextIO | None) -> bool:
    try:
        return stream is not None and stream.fileno() == 2
    except (OSError, ValueError):  # a stream of a test, or of a notebook
        return False


def say(text: str, program: str = PROGRAM) -> None:
    """A line on standard error, where there is one that can be written."""
    with suppress(OSError):
        print(f"{program}: {text}", file=sys.stderr)


def print_anything() -> None:
    """Makes standard output and error accept every character: those outside their encoding are printed as ``\\xNN``."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def print_no_more() -> None:
    """Standard output is lost, a closed pipe or a full disk: what is left of it must not fail again at the end."""
    if _fileno_of_output() is not None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _fileno_of_output() -> int | None:
    try:
        return 1 if sys.stdout is not None and sys.stdout.fileno() == 1 else None
    except (OSError, ValueError):
        return None


def require_memory(least_gb: float, what: str) -> None:
    """Refuses to begin where a limit (``ulimit -v``) leaves too little memory; with little, uses fewer threads.

    Below the limit libraries raise no clear error: they abort, hang or print a page.

    Args:
        least_gb: address space needed, GB.
        what: needs it, for the message.

    Raises:
        ResourceError: there is less.
    """
    limit = _address_space_gb()
    if limit is None:
        return
    if limit < least_gb:
        raise ResourceError(
            f"this shell allows {limit:.2f} GB of memory (ulimit -v); {what} needs at least {least_gb:g} GB"
        )
    threads = max(1, min(os.cpu_count() or 1, int((limit - least_gb) / THREAD_GB)))
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(name, str(threads))


def _address_space_gb() -> float | None:
    """The limit on the address space of this process; None where there is none."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    return None if limit == resource.RLIM_INFINITY else limit / 1e9
