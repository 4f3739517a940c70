"""Downloads against a small server on this machine: resumed, verified, in one step, and stopped at any moment."""

from __future__ import annotations

import errno
import hashlib
import shutil
import time
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from Testing.web import Site, serving
from TumorSegLib.errors import ArgumentError, Cancelled, DownloadError, ResourceError, WriteError
from TumorSegLib.models import download as module
from TumorSegLib.models.download import Source, download, require_space

CONTENT = np.random.default_rng(4).bytes(3 * module.BLOCK + 1234)
OTHER = CONTENT[::-1]


@pytest.fixture
def site() -> Iterator[Site]:
    with serving(CONTENT) as site:
        yield site


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def source_of(site: Site, content: bytes = CONTENT) -> Source:
    return Source(site.url, hashlib.sha256(content).hexdigest(), len(content), "CC0-1.0")


def part_of(target: Path) -> Path:
    return target.with_name(f".{target.name}.part")


def assert_only(target: Path, content: bytes = CONTENT) -> None:
    assert target.read_bytes() == content
    assert list(target.parent.iterdir()) == [target]


def test_a_file_is_fetched_into_a_new_folder_and_progress_tells_of_it(site: Site, tmp_path: Path) -> None:
    target, told = tmp_path / "new" / "model.pth", []
    assert download(source_of(site), target, lambda done, total: told.append((done, total))) == target
    assert_only(target)
    assert told[0] == (0, len(CONTENT))
    assert told[-1] == (len(CONTENT), len(CONTENT))
    assert told == sorted(told)
    assert len(told) > 3


def test_what_is_there_already_is_not_fetched_and_what_is_another_file_is_replaced(site: Site, tmp_path: Path) -> None:
    target = tmp_path / "model.pth"
    target.write_bytes(OTHER)
    download(source_of(site), target)
    download(source_of(site), target)
    assert_only(target)
    assert site.asked == [None]


def test_a_cut_connection_keeps_what_arrived_and_the_next_try_goes_on(site: Site, tmp_path: Path) -> None:
    target, told = tmp_path / "model.pth", []
    site.cut_after = 300_000
    with pytest.raises(DownloadError, match=r"model\.pth: .*http://127.*ended after 300000 of 787666 bytes.*are kept"):
        download(source_of(site), target)
    assert not target.exists()
    assert part_of(target).read_bytes() == CONTENT[:300_000]
    site.cut_after = None
    download(source_of(site), target, lambda done, total: told.append(done))
    assert_only(target)
    assert site.asked == [None, "bytes=300000-"]
    assert told[0] == 300_000


def test_a_whole_part_needs_no_request(site: Site, tmp_path: Path) -> None:
    part_of(tmp_path / "model.pth").write_bytes(CONTENT)
    download(source_of(site), tmp_path / "model.pth")
    assert_only(tmp_path / "model.pth")
    assert site.asked == []


def test_a_server_without_ranges_sends_all(site: Site, tmp_path: Path) -> None:
    site.ranges = False
    part_of(tmp_path / "model.pth").write_bytes(CONTENT[:1000])
    download(source_of(site), tmp_path / "model.pth")
    assert_only(tmp_path / "model.pth")
    assert site.asked == ["bytes=1000-"]


@pytest.mark.parametrize("kept", [OTHER[:1000], OTHER, OTHER + b"more"], ids=["shorter", "same length", "longer"])
def test_a_part_of_another_file_is_replaced(site: Site, tmp_path: Path, kept: bytes) -> None:
    part_of(tmp_path / "model.pth").write_bytes(kept)
    download(source_of(site), tmp_path / "model.pth")
    assert_only(tmp_path / "model.pth")
    assert site.asked[-1] is None


@pytest.mark.parametrize("now", [OTHER[:-1], OTHER + b"1", OTHER[:500]], ids=["shorter", "longer", "than the part"])
def test_a_file_that_became_another_on_the_server_is_refused(site: Site, tmp_path: Path, now: bytes) -> None:
    part_of(tmp_path / "model.pth").write_bytes(CONTENT[:1000])
    site.content = now
    with pytest.raises(DownloadError, match=f"it has {len(now)} bytes, it should have {len(CONTENT)}"):
        download(source_of(site), tmp_path / "model.pth")
    assert site.asked == ["bytes=1000-", None]
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_checksum_deletes_what_arrived_and_leaves_the_old_file(site: Site, tmp_path: Path) -> None:
    target = tmp_path / "model.pth"
    target.write_bytes(b"old")
    site.content = OTHER
    digest = hashlib.sha256(OTHER).hexdigest()
    with pytest.raises(DownloadError, match=f"model.pth: .*{site.url}.* sha256 is {digest}, it should be"):
        download(source_of(site), target)
    assert_only(target, b"old")
    site.content = CONTENT
    download(source_of(site), target)
    assert_only(target)


def test_more_than_stated_is_not_written_to_the_end(site: Site, tmp_path: Path) -> None:
    site.content, site.says_length = CONTENT + bytes(1_000_000), False
    with pytest.raises(DownloadError, match=f"more than the {len(CONTENT)} bytes"):
        download(source_of(site), tmp_path / "model.pth")
    assert list(tmp_path.iterdir()) == []


def test_less_than_stated_without_a_length_is_an_end_too_early(site: Site, tmp_path: Path) -> None:
    site.content, site.says_length = CONTENT[:999], False
    with pytest.raises(DownloadError, match="ended after 999 of"):
        download(source_of(site), tmp_path / "model.pth")


@pytest.mark.parametrize(("status", "words"), [(404, "answered 404, there is no such file"), (503, "answered 503")])
def test_an_error_of_the_server_keeps_the_part(site: Site, tmp_path: Path, status: int, words: str) -> None:
    site.status = status
    with pytest.raises(DownloadError, match=words):
        download(source_of(site), tmp_path / "model.pth")
    assert list(tmp_path.iterdir()) == []
    part_of(tmp_path / "model.pth").write_bytes(CONTENT[:10])
    with pytest.raises(DownloadError, match=f"{words}.*the 10 bytes that arrived are kept"):
        download(source_of(site), tmp_path / "model.pth")
    assert part_of(tmp_path / "model.pth").read_bytes() == CONTENT[:10]


def test_no_server(tmp_path: Path) -> None:
    source = Source("http://127.0.0.1:9/model.pth", "0" * 64, 5, "CC0-1.0")
    with pytest.raises(DownloadError, match=r"127\.0\.0\.1:9/model\.pth failed: the server cannot be reached"):
        download(source, tmp_path / "model.pth")
    assert list(tmp_path.iterdir()) == []


def test_a_proxy_of_the_environment_is_used(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_PROXY")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.setenv("http_proxy", site.url)
    source = Source("http://nowhere.invalid/model.pth", source_of(site).sha256, len(CONTENT), "CC0-1.0")
    download(source, tmp_path / "model.pth")
    assert_only(tmp_path / "model.pth")


def test_a_silent_server_is_given_up(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TIMEOUT_S", 0.3)
    site.stall_after = 500
    with pytest.raises(DownloadError, match=r"sent nothing for 0\.3 s; the 500 bytes that arrived are kept"):
        download(source_of(site), tmp_path / "model.pth")
    assert part_of(tmp_path / "model.pth").read_bytes() == CONTENT[:500]


def test_cancelling_does_not_wait_for_a_silent_server(site: Site, tmp_path: Path) -> None:
    site.stall_after = 500
    arrived: list[int] = []
    start = time.monotonic()
    with pytest.raises(Cancelled, match=r"model\.pth: .*cancelled after 500 bytes, which are kept"):
        download(
            source_of(site), tmp_path / "model.pth", lambda done, total: arrived.append(done), lambda: 500 in arrived
        )
    assert time.monotonic() - start < 2
    assert part_of(tmp_path / "model.pth").read_bytes() == CONTENT[:500]
    assert not (tmp_path / "model.pth").exists()


def test_cancelled_at_any_moment_a_later_try_succeeds(site: Site, tmp_path: Path) -> None:
    """Stops at the first, second, third ... question until none is left to say yes to."""
    target, questions = tmp_path / "model.pth", 0

    def cancel() -> bool:
        nonlocal left
        left -= 1
        return left < 0

    while not target.exists():
        assert questions < 100
        left = questions
        try:
            download(source_of(site), target, None, cancel)
        except Cancelled:
            assert not target.exists()
        questions += 1
    assert_only(target)
    assert questions > 3


def test_no_room_is_found_out_before_anything_is_asked(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**9, 10**9 - 700_000, 700_000))
    with pytest.raises(ResourceError, match=r"0\.8 MB are needed, 0\.7 MB are free"):
        download(source_of(site), tmp_path / "model.pth")
    assert site.asked == []
    part_of(tmp_path / "model.pth").write_bytes(CONTENT[:300_000])
    download(source_of(site), tmp_path / "model.pth")
    assert_only(tmp_path / "model.pth")


def test_room_is_looked_for_where_the_folder_will_be(tmp_path: Path) -> None:
    require_space(tmp_path / "not" / "yet", 1)
    with pytest.raises(ResourceError, match=r"not/yet: 1000000000000000\.0 MB are needed"):
        require_space(tmp_path / "not" / "yet", 10**21)


def test_a_disk_that_fills_up_keeps_the_part(site: Site, tmp_path: Path) -> None:
    def full(done: int, total: int) -> None:
        if done > 0:
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(ResourceError, match=r"model\.pth: the disk is full"):
        download(source_of(site), tmp_path / "model.pth", full)
    kept = part_of(tmp_path / "model.pth").read_bytes()
    assert kept
    assert CONTENT.startswith(kept)


def test_a_folder_that_cannot_be_written_is_found_out_before_anything_is_asked(site: Site, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(WriteError, match=r"file: the folder cannot be made"):
        download(source_of(site), tmp_path / "file" / "model.pth")
    part_of(tmp_path / "model.pth").mkdir()
    with pytest.raises(WriteError, match=r"model\.pth: cannot be written: Is a directory"):
        download(source_of(site), tmp_path / "model.pth")
    assert site.asked == []


@pytest.mark.parametrize("url", ["file:///etc/hostname", "ftp://host/model.pth", "model.pth"])
def test_other_addresses_are_refused(tmp_path: Path, url: str) -> None:
    with pytest.raises(ArgumentError, match=f"{url}.*https://"):
        download(Source(url, "0" * 64, 5, "CC0-1.0"), tmp_path / "model.pth")
