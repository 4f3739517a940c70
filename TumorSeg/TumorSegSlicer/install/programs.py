"""Programs of Slicer's Python, such as pip, run beside Slicer, which goes on meanwhile."""

from __future__ import annotations

import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from importlib import metadata

from slicer.i18n import tr as _

#: The first pip that can tell its progress line by line.
PROGRESS_SINCE = (24, 1)


class Program:
    """A module of Slicer's Python run as a program of its own; its lines are read by a thread."""

    def __init__(self, module: str, arguments: Sequence[str]) -> None:
        """Starts the program.

        Raises:
            TumorSegError: Slicer's Python was not found, or the program cannot be started.
        """
        from TumorSegLib import TumorSegError

        python = shutil.which("PythonSlicer")  # Slicer puts its folder into PATH
        if python is None:
            raise TumorSegError(_("Slicer's Python (PythonSlicer) was not found beside Slicer: install Slicer again."))
        # Slicer's own launchConsoleProcess cannot end what PythonSlicer starts, which is a launcher of another process.
        of_its_own = {"creationflags": 0x08000000} if sys.platform == "win32" else {"start_new_session": True}
        try:
            self._process = subprocess.Popen(
                [python, "-m", module, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                encoding="utf-8",
                errors="replace",
                env={**os.environ, **_environment()},
                **of_its_own,
            )
        except OSError as error:
            raise TumorSegError(
                _("{program} cannot be started: {error}").format(program=python, error=error)
            ) from error
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def status(self) -> int | None:
        """The exit status; None while the program runs, or has said what was not read by :meth:`lines` yet."""
        ended = self._process.poll()
        return None if self._reader.is_alive() or not self._lines.empty() else ended

    def lines(self) -> list[str]:
        """What the program has said since this was called last; does not wait."""
        found = []
        while not self._lines.empty():
            found.append(self._lines.get())
        return found

    def interrupt(self) -> None:
        """Asks the program to end, as Ctrl+C does: pip then takes back what it has half installed."""
        if sys.platform == "win32":
            self.kill()  # a program without a console gets no Ctrl+C
        else:
            self._signal(signal.SIGINT)

    def kill(self) -> None:
        """Ends the program and all that it has started, at once."""
        if sys.platform == "win32":
            command = ["taskkill", "/F", "/T", "/PID", str(self._process.pid)]
            subprocess.run(command, capture_output=True, check=False, creationflags=0x08000000)
        else:
            self._signal(signal.SIGKILL)
        self._process.wait()

    def _signal(self, number: int) -> None:
        if self._process.poll() is None:
            os.killpg(self._process.pid, number)

    def _read(self) -> None:
        with self._process.stdout as said:  # type: ignore[union-attr]
            for line in said:
                self._lines.put(line.rstrip())
        self._process.wait()


def _environment() -> dict[str, str]:
    """Settings by which pip says what it does as it goes, and asks nothing."""
    settings = {"PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8", "PIP_NO_INPUT": "1", "PIP_NO_COLOR": "1"}
    settings["PIP_DISABLE_PIP_VERSION_CHECK"] = "1"
    try:
        version = tuple(int(part) for part in metadata.version("pip").split(".")[:2])
    except (metadata.PackageNotFoundError, ValueError):
        version = (0,)
    settings["PIP_PROGRESS_BAR"] = "raw" if version >= PROGRESS_SINCE else "off"
    return settings
