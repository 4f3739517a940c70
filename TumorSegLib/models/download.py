"""Fetching files over HTTP.

A download is compared with a SHA-256 known beforehand and moved into place in one step, so a file of that name is
always complete and correct. The proxies of the environment (``HTTPS_PROXY``) are used.
"""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import shutil
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from TumorSegLib.errors import ArgumentError, DownloadError, ResourceError, WriteError
from TumorSegLib.files import BLOCK, digest_of, make_folder
from TumorSegLib.jobs import Cancel, Job, Progress

#: Seconds a server may stay silent, and between two checks of ``cancel``.
TIMEOUT_S, POLL_S = 30.0, 0.1
NO_SPACE = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}  # Windows has no quota error
OK, PARTIAL, BEYOND_THE_END = 200, 206, 416

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RemoteFile:
    """A file on a web server.

    Attributes:
        url: http or https address; redirections are followed.
        sha256: of the file, 64 hexadecimal digits in lower case.
        size_bytes: its length.
        licence: SPDX name of its licence.
    """

    url: str
    sha256: str
    size_bytes: int
    licence: str


def download(source: RemoteFile, target: Path, progress: Progress | None = None, cancel: Cancel | None = None) -> Path:
    """Fetches a file; resumes an interrupted download from ``.NAME.part`` beside the target.

    Ranges are requested as in RFC 9110, section 14. If the server ignores them, or its file has changed, the whole file
    is requested again. Nothing is fetched if the target is the right file already.

    Args:
        source: what to fetch.
        target: file to write; its folder is created.
        progress: called with (bytes done, bytes in all), kept bytes included, after every block.
        cancel: asked at least ten times a second, even while the server is silent.

    Returns:
        The target.

    Raises:
        ArgumentError: the address is not http or https.
        DownloadError: the server cannot be reached, has no such file, stops sending (what has arrived is kept), or
            sends other than what the source says (what has arrived is deleted, so that the next try starts anew).
        ResourceError: the disk has no room for it.
        WriteError: the folder cannot be written.
        Cancelled: ``cancel`` returned True; what has arrived is kept.
    """
    target = Path(target)
    if not source.url.lower().startswith(("https://", "http://")):
        raise ArgumentError(f"{source.url!r} cannot be downloaded: an address starts with https:// or http://")
    job = Job(progress, cancel, name=f"{target}: the download")
    with writing(target):
        transfer = _Transfer(source, target, job)
        if not (target.is_file() and target.stat().st_size == source.size_bytes and transfer.is_in(target)):
            transfer.run()
    return target


def require_space(folder: Path, size_bytes: int) -> None:
    """Checks that the disk of a folder, which need not exist yet, has room for so many bytes.

    Raises:
        ResourceError: the space does not suffice; the message states both figures.
    """
    folder = Path(folder).absolute()
    existing = next((path for path in (folder, *folder.parents) if path.is_dir()), folder)
    free = shutil.disk_usage(existing).free
    if free < size_bytes:
        raise ResourceError(
            f"{folder}: {size_bytes / 1e6:.1f} MB are needed, {free / 1e6:.1f} MB are free on this disk; "
            "make room or choose another folder"
        )


@contextmanager
def writing(target: Path) -> Iterator[None]:
    """Makes the folder of a target; errors of the file system become the library's.

    Raises:
        ResourceError: the disk is full.
        WriteError: anything else went wrong with the files.
    """
    make_folder(target.parent)
    try:
        yield
    except OSError as error:
        if error.errno in NO_SPACE:
            raise ResourceError(f"{target}: the disk is full; make room and try again") from error
        raise WriteError(f"{target}: cannot be written: {error.strerror or error}") from error


@dataclass
class _Transfer:
    """The state of a download: how much has arrived, and its checksum so far."""

    source: RemoteFile
    target: Path
    job: Job
    done: int = 0
    digest: hashlib._Hash = field(default_factory=hashlib.sha256)
    response: Any = None

    @property
    def part(self) -> Path:
        return self.target.with_name(f".{self.target.name}.part")

    def is_in(self, path: Path) -> bool:
        return digest_of(path, self._check).hexdigest() == self.source.sha256

    def run(self) -> None:
        try:
            kept = self._resume()
            self._receive()
            if kept and not self._is_right():  # the kept part may be of another file: once more without it
                self._forget()
                self._receive()
            if not self._is_right():
                found = self.digest.hexdigest()
                self._forget()
                raise self._failure(f"its sha256 is {found}, it should be {self.source.sha256}")
            os.replace(self.part, self.target)
            _log.info("downloaded %d bytes, %d of them by an earlier try; the checksum is right", self.done, kept)
        finally:
            if self.part.is_file() and self.part.stat().st_size == 0:
                self.part.unlink()

    def _resume(self) -> int:
        """Reads the part that an earlier download left; returns the number of its bytes."""
        if self.part.is_file() and self.part.stat().st_size <= self.source.size_bytes:
            self.digest = digest_of(self.part, self._check)
            self.done = self.part.stat().st_size
        else:
            self._forget()
        self.part.touch()  # an unwritable folder is noticed before anything is requested
        self.job.step(self.done, self.source.size_bytes)
        return self.done

    def _receive(self) -> None:
        """Gets the missing bytes; at most twice, since the second request is for the whole file."""
        missing = self.source.size_bytes - self.done
        if not missing:
            return
        require_space(self.part.parent, missing)
        self.response = response = self._in_background(self._open)
        try:
            if response.status not in ((OK, PARTIAL, BEYOND_THE_END) if self.done else (OK,)):
                raise self._refused(response.status)
            if self.done and not self._continues(response):
                self._forget()
            usable = response.status == (PARTIAL if self.done else OK)
            if usable:
                self._write(response)
        finally:
            if self.response is not None:
                self.response.close()
                self.response = None
        if not usable:
            self._receive()

    def _open(self) -> Any:
        """The server's response; closed if it is an error status."""
        opener = urllib.request.build_opener()  # urlopen would keep the proxies that were set when it was first called
        try:
            return opener.open(self._request(), timeout=TIMEOUT_S)
        except urllib.error.HTTPError as error:
            error.close()
            return error

    def _in_background(self, call: Callable[[], Any]) -> Any:
        """The result of a call that may block; it runs in a thread so that cancelling need not wait for the server."""
        future: Future[Any] = Future()
        threading.Thread(target=_resolve, args=(future, call), daemon=True).start()
        try:
            while not future.done():
                self._check()
                wait([future], POLL_S)
        except BaseException:  # closing would wait for the thread, which may block for long
            future.add_done_callback(partial(_close, self.response))
            self.response = None
            raise
        error = future.exception()
        if error is not None:
            raise self._broken(error) from error
        return future.result()

    def _request(self) -> urllib.request.Request:
        headers = {"User-Agent": "TumorSeg", "Accept-Encoding": "identity"}
        if self.done:
            headers["Range"] = f"bytes={self.done}-"
        return urllib.request.Request(self.source.url, headers=headers)

    def _continues(self, response: Any) -> bool:
        """Whether a response has exactly the missing bytes of a file of the right length."""
        size = self.source.size_bytes
        wanted = f"bytes {self.done}-{size - 1}/{size}"
        return bool(response.status == PARTIAL and response.headers.get("Content-Range", "").strip() == wanted)

    def _write(self, response: Any) -> None:
        size = self.source.size_bytes
        length = response.headers.get("Content-Length", "")
        if length.isdecimal() and self.done + int(length) != size:
            raise self._failure(f"it has {self.done + int(length)} bytes, it should have {size}")
        with self.part.open("ab") as file:
            while block := self._in_background(partial(response.read1, BLOCK)):
                if self.done + len(block) > size:
                    break
                file.write(block)
                self.digest.update(block)
                self.done += len(block)
                self.job.step(self.done, size)
            else:
                if self.done < size:
                    raise self._failure(f"the connection ended after {self.done} of {size} bytes")
                return
        self._forget()
        raise self._failure(f"it has more than the {size} bytes it should have")

    def _forget(self) -> None:
        self.part.unlink(missing_ok=True)
        self.done, self.digest = 0, hashlib.sha256()

    def _is_right(self) -> bool:
        return self.digest.hexdigest() == self.source.sha256

    def _check(self) -> None:
        self.job.check(f"after {self.done} bytes, which are kept for the next try" if self.done else "")

    def _kept(self) -> str:
        return f"; the {self.done} bytes that arrived are kept, the next try goes on from there" if self.done else ""

    def _failure(self, reason: str) -> DownloadError:
        return DownloadError(f"{self.target}: download from {self.source.url} failed: {reason}{self._kept()}")

    def _refused(self, status: int) -> DownloadError:
        explanation = ", there is no such file" if status in (404, 410) else ""
        return self._failure(f"the server answered {status}{explanation}")

    def _broken(self, error: BaseException) -> DownloadError:
        reason = getattr(error, "reason", None) or error
        if isinstance(reason, TimeoutError):
            return self._failure(f"the server sent nothing for {TIMEOUT_S:g} s")
        if isinstance(error, urllib.error.URLError):
            return self._failure(f"the server cannot be reached ({reason}); is there a network, is a proxy needed?")
        return self._failure(f"the connection broke ({reason or type(reason).__name__})")


def _resolve(future: Future[Any], call: Callable[[], Any]) -> None:
    try:
        future.set_result(call())
    except Exception as error:  # of any kind: the caller's thread raises it
        future.set_exception(error)


def _close(response: Any, ended: Future[Any]) -> None:
    """Closes the response that a thread was reading or has just received."""
    if response is None and ended.exception() is None:
        response = ended.result()
    if response is not None:
        response.close()
