"""Downloads against a small server on this machine: resumed, verified, in one step, and stopped at any moment."""

from __future__ import annotations

import errno
import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from Testing.web import Site, serving
from TumorSegLib.errors import ArgumentError, Cancelled, DownloadError, ResourceError, WriteError
from TumorSegLib.models import download as module
from TumorSegLib.models.download import RemoteFile, download, require_space

CONTENT = np.random.default_rng(4).bytes(3 * module.BLOCK + 1234)
OTHER = CONTENT[::-1]


@pytest.fixture
def site() -> Iterator[Site]:
    with serving(CONTENT) as site:
        yield site


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "model.pth"


def source_of(site: Site, content: bytes = CONTENT) -> RemoteFile:
    return RemoteFile(site.url, hashlib.sha256(content).hexdigest(), len(content), "CC0-1.0")


def part_of(target: Path) -> Path:
    return target.with_name(f".{target.name}.part")


def assert_only(target: Path, content: bytes = CONTENT) -> None:
    assert target.read_bytes() == content
    assert list(target.parent.iterdir()) == [target]


def test_a_file_is_fetched_into_a_new_folder_with_progress(site: Site, tmp_path: Path) -> None:
    target, reported = tmp_path / "new" / "model.pth", []
    assert download(source_of(site), target, lambda done, total: reported.append((done, total))) == target
    assert_only(target)
    assert reported[0] == (0, len(CONTENT))
    assert reported[-1] == (len(CONTENT), len(CONTENT))
    assert reported == sorted(reported)
    assert len(reported) > 3


def test_the_same_file_is_not_fetched_again_and_another_one_is_replaced(site: Site, target: Path) -> None:
    target.write_bytes(OTHER)
    download(source_of(site), target)
    download(source_of(site), target)
    assert_only(target)
    assert site.requests == [None]


@pytest.mark.parametrize(("kept", "requests"), [(len(CONTENT), []), (1000, ["bytes=1000-"])])
def test_a_complete_part_needs_no_request_and_a_server_without_ranges_sends_all(
    site: Site, target: Path, kept: int, requests: list[str]
) -> None:
    site.ranges = False
    part_of(target).write_bytes(CONTENT[:kept])
    download(source_of(site), target)
    assert_only(target)
    assert site.requests == requests


def test_a_download_is_resumed_after_a_cut_connection(site: Site, target: Path) -> None:
    reported: list[int] = []
    site.cut_after = 300_000
    with pytest.raises(DownloadError, match=r"model\.pth: .*http://127.*ended after 300000 of 787666 bytes.*are kept"):
        download(source_of(site), target)
    assert not target.exists()
    assert part_of(target).read_bytes() == CONTENT[:300_000]
    site.cut_after = None
    download(source_of(site), target, lambda done, total: reported.append(done))
    assert_only(target)
    assert site.requests == [None, "bytes=300000-"]
    assert reported[0] == 300_000


@pytest.mark.parametrize("kept", [OTHER[:1000], OTHER, OTHER + b"more"], ids=["shorter", "same length", "longer"])
def test_a_part_of_another_file_is_replaced(site: Site, target: Path, kept: bytes) -> None:
    part_of(target).write_bytes(kept)
    download(source_of(site), target)
    assert_only(target)
    assert site.requests[-1] is None


@pytest.mark.parametrize("now", [OTHER[:-1], OTHER + b"1", OTHER[:500]], ids=["shorter", "longer", "than the part"])
def test_a_file_of_another_size_on_the_server_is_refused(site: Site, target: Path, now: bytes) -> None:
    part_of(target).write_bytes(CONTENT[:1000])
    site.content = now
    with pytest.raises(DownloadError, match=f"it has {len(now)} bytes, it should have {len(CONTENT)}"):
        download(source_of(site), target)
    assert site.requests == ["bytes=1000-", None]
    assert list(target.parent.iterdir()) == []


def test_a_wrong_checksum_deletes_the_download_and_leaves_the_old_file(site: Site, target: Path) -> None:
    target.write_bytes(b"old")
    site.content = OTHER
    digest = hashlib.sha256(OTHER).hexdigest()
    with pytest.raises(DownloadError, match=f"model.pth: .*{site.url}.* sha256 is {digest}, it should be"):
        download(source_of(site), target)
    assert_only(target, b"old")
    site.content = CONTENT
    download(source_of(site), target)
    assert_only(target)


@pytest.mark.parametrize(
    ("content", "words", "kept"),
    [
        (CONTENT + bytes(1_000_000), f"more than the {len(CONTENT)} bytes", []),
        (CONTENT[:999], "ended after 999 of", [".model.pth.part"]),
    ],
)
def test_more_and_fewer_bytes_than_stated_from_a_server_that_states_no_length(
    site: Site, target: Path, content: bytes, words: str, kept: list[str]
) -> None:
    site.content, site.says_length = content, False
    with pytest.raises(DownloadError, match=words):
        download(source_of(site), target)
    assert [path.name for path in target.parent.iterdir()] == kept


@pytest.mark.parametrize(("status", "words"), [(404, "answered 404, there is no such file"), (503, "answered 503")])
def test_an_error_of_the_server_keeps_the_part(site: Site, target: Path, status: int, words: str) -> None:
    site.status = status
    with pytest.raises(DownloadError, match=words):
        download(source_of(site), target)
    assert list(target.parent.iterdir()) == []
    part_of(target).write_bytes(CONTENT[:10])
    with pytest.raises(DownloadError, match=f"{words}.*the 10 bytes that arrived are kept"):
        download(source_of(site), target)
    assert part_of(target).read_bytes() == CONTENT[:10]


def test_a_proxy_of_the_environment_is_used(site: Site, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_PROXY")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.setenv("http_proxy", site.url)
    source = RemoteFile("http://nowhere.invalid/model.pth", source_of(site).sha256, len(CONTENT), "CC0-1.0")
    download(source, target)
    assert_only(target)


def test_a_silent_server_is_given_up(site: Site, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TIMEOUT_S", 0.3)
    site.stall_after = 500
    with pytest.raises(DownloadError, match=r"sent nothing for 0\.3 s; the 500 bytes that arrived are kept"):
        download(source_of(site), target)
    assert part_of(target).read_bytes() == CONTENT[:500]


def test_cancelling_does_not_wait_for_a_silent_server(site: Site, target: Path) -> None:
    site.stall_after = 500
    arrived: list[int] = []
    with pytest.raises(Cancelled, match=r"model\.pth: .*cancelled after 500 bytes, which are kept"):
        download(source_of(site), target, lambda done, total: arrived.append(done), lambda: 500 in arrived)
    assert site.stalled, "the server was waited for"
    assert part_of(target).read_bytes() == CONTENT[:500]
    assert not target.exists()


def test_cancelled_at_any_moment_a_later_try_succeeds(site: Site, target: Path) -> None:
    """Cancelled at the first, second, third ... call of ``cancel`` until the download ends before that."""
    calls = 0

    def cancel() -> bool:
        nonlocal left
        left -= 1
        return left < 0

    while not target.exists():
        assert calls < 100
        left = calls
        try:
            download(source_of(site), target, None, cancel)
        except Cancelled:
            assert not target.exists()
        calls += 1
    assert_only(target)
    assert calls > 1  # how many depends on the speed of the server


def test_free_space_is_checked_before_the_first_request(
    site: Site, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=700_000))
    with pytest.raises(ResourceError, match=r"0\.8 MB are needed, 0\.7 MB are free"):
        download(source_of(site), target)
    assert site.requests == []
    part_of(target).write_bytes(CONTENT[:300_000])
    download(source_of(site), target)
    assert_only(target)


def test_a_disk_that_fills_up_keeps_the_part(site: Site, target: Path) -> None:
    def full(done: int, total: int) -> None:
        if done > 0:
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(ResourceError, match=r"model\.pth: the disk is full"):
        download(source_of(site), target, full)
    kept = part_of(target).read_bytes()
    assert kept
    assert CONTENT.startswith(kept)


def test_the_folder_is_checked_before_the_first_request(site: Site, target: Path) -> None:
    blocker = target.with_name("file")
    blocker.touch()
    with pytest.raises(WriteError, match=r"file: the folder cannot be made"):
        download(source_of(site), blocker / "model.pth")
    part_of(target).mkdir()
    with pytest.raises(WriteError, match=r"model\.pth: cannot be written: Is a directory"):
        download(source_of(site), target)
    assert site.requests == []


def test_free_space_is_that_of_the_nearest_folder_that_exists(tmp_path: Path) -> None:
    require_space(tmp_path / "not" / "yet", 1)
    with pytest.raises(ResourceError, match=r"not/yet: 1000000000000000\.0 MB are needed"):
        require_space(tmp_path / "not" / "yet", 10**21)


@pytest.mark.parametrize(
    ("url", "error", "words"),
    [
        ("file:///etc/hostname", ArgumentError, "file:///etc/hostname.*https://"),
        ("ftp://host/model.pth", ArgumentError, "ftp://host/model.pth.*https://"),
        ("model.pth", ArgumentError, "model.pth.*https://"),
        ("http://127.0.0.1:9/model.pth", DownloadError, r":9/model\.pth failed: the server cannot be reached"),
    ],
)
def test_wrong_and_unreachable_addresses_are_named(target: Path, url: str, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        download(RemoteFile(url, "0" * 64, 5, "CC0-1.0"), target)
    assert list(target.parent.iterdir()) == []
