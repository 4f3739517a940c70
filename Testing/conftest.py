"""Fixtures shared by all tests."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from Testing.web import Site, serving
from TumorSegLib.models import catalogue

REPOSITORY = Path(__file__).resolve().parents[1]
#: The model for boxes that is chosen at first; the only one that the fixture ``site`` publishes.
BOX_MODEL = "lite-medsam"
TINY_SAM = {"image_size": 64, "depth": 1, "width": 16, "heads": 2, "global_attention": [0], "channels": 16}


@pytest.fixture(scope="session", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A folder for converted networks that the processes of one run share, as converting takes seconds.

    TotalSegmentator, where it is installed, is not seen.
    """
    root = tmp_path_factory.getbasetemp()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TUMORSEG_CACHE", str((root.parent if "PYTEST_XDIST_WORKER" in os.environ else root) / "cache"))
        patch.setenv("TOTALSEG_WEIGHTS_PATH", str(root / "no weights"))
        yield


@pytest.fixture(scope="session")
def data_root() -> Path:
    """Folder of the public patient data; the test is skipped where it is absent. Mark such tests ``data``."""
    root = Path(os.environ.get("TUMORSEG_DATA", REPOSITORY.parent / "shared" / "data"))
    if not (root / "sts" / "splits.json").is_file():
        pytest.skip(f"no patient data at {root}; set TUMORSEG_DATA")
    return root


@pytest.fixture(scope="session")
def checkpoint() -> bytes:
    """Of a tiny SAM with random weights."""
    import torch

    from TumorSegLib.engines.networks.sam import build_sam

    torch.manual_seed(0)
    file = io.BytesIO()
    torch.save(build_sam("SamViT", TINY_SAM, "tiny").state_dict(), file)
    return file.getvalue()


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the user's models: none."""
    monkeypatch.setenv("TUMORSEG_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return tmp_path / "models"


@pytest.fixture
def site(checkpoint: bytes, models: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A server with the tiny SAM, which is all that is published, under the name of the model for boxes."""
    with serving(checkpoint) as site:
        digest = hashlib.sha256(checkpoint).hexdigest()
        about = {"sha256": digest, "size_bytes": len(checkpoint), "url": site.url, "wheel": None}
        entry = replace(catalogue.CATALOGUE[BOX_MODEL], **about)
        for module in ("models.catalogue", "engines.importers.sam"):
            monkeypatch.setattr(f"TumorSegLib.{module}.CATALOGUE", {BOX_MODEL: entry})
        yield site


@pytest.fixture
def one_thread() -> Iterator[None]:
    """PyTorch on one thread, as tests with real models may run beside each other."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
