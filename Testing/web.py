"""A small web server on this machine, for the tests of downloads."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Site:
    """The file of a server, its behaviour, and the ``Range`` header of every request.

    Attributes:
        stall_after: bytes that are sent before the server falls silent.
        stalled: whether it is silent now.
    """

    content: bytes
    ranges: bool = True
    status: int = 200
    says_length: bool = True
    cut_after: int | None = None
    stall_after: int | None = None
    release: threading.Event = field(default_factory=threading.Event)
    stalled: bool = False
    requests: list[str | None] = field(default_factory=list)
    url: str = ""


class Handler(BaseHTTPRequestHandler):
    site: Site

    def log_message(self, *arguments: Any) -> None:
        """Nothing on the console."""

    def do_GET(self) -> None:
        site, wanted = self.site, self.headers.get("Range")
        site.requests.append(wanted)
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and site.ranges else 0
        size = len(site.content)
        if site.status != 200 or start >= size:
            self.send_error(site.status if site.status != 200 else 416)
            return
        body = site.content[start:]
        self.send_response(206 if wanted and site.ranges else 200)
        if wanted and site.ranges:
            self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
        if site.says_length:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: min(x for x in (site.cut_after, site.stall_after, size) if x is not None)])
        if site.stall_after is not None:
            site.stalled = True
            site.release.wait(20)
            site.stalled = False


@contextmanager
def serving(content: bytes) -> Iterator[Site]:
    """A server that has one file; it ends with the context."""
    site = Site(content)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (Handler,), {"site": site}))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    site.url = f"http://127.0.0.1:{server.server_port}/model.pth"
    try:
        yield site
    finally:
        site.release.set()
        server.shutdown()
        thread.join()
        server.server_close()
