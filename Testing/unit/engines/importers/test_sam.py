"""The import and the download of checkpoints of SAM as model folders, and their commands."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from Testing.fakes import noise_volume
from Testing.web import Site, serving
from TumorSegLib.cli.entry import main
from TumorSegLib.engines.box.engine import BoxEngine
from TumorSegLib.engines.importers.sam import download_model, import_checkpoint
from TumorSegLib.engines.load import load_engine
from TumorSegLib.engines.networks.sam import build_sam
from TumorSegLib.engines.runtime import Runtime
from TumorSegLib.errors import ArgumentError, Cancelled, ModelError
from TumorSegLib.geometry.grid import Grid
from TumorSegLib.models import catalogue
from TumorSegLib.models.folder import CARD_FILE, read_model_folder, sha256_of
from TumorSegLib.models.formats import PIXELS
from TumorSegLib.models.registry import list_models
from TumorSegLib.models.spec import SliceInput
from TumorSegLib.prompts.types import BoxPrompt

UNIT = SliceInput(**PIXELS["unit"])
TINY = {"image_size": 64, "depth": 1, "width": 16, "heads": 2, "global_attention": [0], "channels": 16}


@pytest.fixture(autouse=True)
def _models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUMORSEG_MODELS", str(tmp_path / "models"))


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """Of a tiny SAM with random weights, as Meta's program saves them."""
    torch.manual_seed(0)
    path = tmp_path / "tiny.pth"
    torch.save(build_sam("SamViT", TINY, "tiny").state_dict(), path)
    return path


def test_a_checkpoint_becomes_a_model_with_its_weights(checkpoint: Path) -> None:
    model = import_checkpoint(checkpoint, "tiny-sam", "imagenet")
    model.verify()
    assert read_model_folder(model.path).spec == model.spec
    assert (model.spec.name, model.spec.kind, model.spec.network) == ("tiny-sam", "box", "SamViT")
    assert (model.spec.made_for, model.spec.plausible_volume_ml) == ("", None)
    assert model.spec.arguments == TINY
    assert model.spec.input == SliceInput(**PIXELS["imagenet"])
    saved, given = load_file(model.weights), torch.load(checkpoint, weights_only=True)
    assert saved.keys() == given.keys()
    assert all(torch.equal(saved[name], value) for name, value in given.items())
    card = (model.path / CARD_FILE).read_text(encoding="utf-8")
    assert sha256_of(checkpoint) in card
    assert "Research software" in card
    assert "its licence is unknown" in card


def test_pixel_statistics_must_be_stated(checkpoint: Path) -> None:
    with pytest.raises(ArgumentError, match="'tiny': say whether it takes pixels from 0 to 1"):
        import_checkpoint(checkpoint, "tiny", "")
    (checkpoint.parent / "text.pth").write_text("no tensors")
    with pytest.raises(ArgumentError, match="pixels 'raw' is not one of unit, imagenet"):
        import_checkpoint(checkpoint.parent / "text.pth", "tiny", "raw")  # before gigabytes are read
    with pytest.raises(ModelError, match=r"text\.pth"):
        import_checkpoint(checkpoint.parent / "text.pth", "tiny", "unit")
    assert not (checkpoint.parent / "models").exists()


@pytest.mark.parametrize("taken", ["tiny", "sts-auto"])
def test_a_name_that_is_taken_keeps_its_model(checkpoint: Path, taken: str) -> None:
    import_checkpoint(checkpoint, "tiny", "unit")
    with pytest.raises(ArgumentError, match=f"there is a model '{taken}' already"):
        import_checkpoint(checkpoint, taken, "imagenet")
    assert [m.spec.input for m in list_models() if m.spec.kind == "box"] == [UNIT]


def test_the_name_of_a_published_model_is_for_its_own_checkpoint(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ModelError, match="is not the published medsam-vit-b"):
        import_checkpoint(checkpoint, "medsam-vit-b")
    entry = replace(catalogue.CATALOGUE["medsam-vit-b"], sha256=sha256_of(checkpoint))
    monkeypatch.setattr("TumorSegLib.engines.importers.sam.CATALOGUE", {"medsam-vit-b": entry})
    with pytest.raises(ArgumentError, match="'medsam-vit-b' was trained with pixels 'unit'; 'imagenet' would"):
        import_checkpoint(checkpoint, "medsam-vit-b", "imagenet")
    model = import_checkpoint(checkpoint, "medsam-vit-b")
    assert (model.spec.licence, model.spec.input) == ("Apache-2.0", UNIT)
    assert "Nature Communications" in (model.path / CARD_FILE).read_text(encoding="utf-8")


def test_command_adds_and_lists(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "add", "tiny", "--weights", str(checkpoint)]) == 2
    assert "say whether it takes pixels" in capsys.readouterr().err
    assert main(["models", "add", "tiny", "--weights", str(checkpoint), "--pixels", "unit"]) == 0
    assert "tiny: SamViT, ready in" in capsys.readouterr().out
    assert main(["models", "verify", "tiny"]) == 0
    assert main(["models", "list"]) == 0
    assert "tiny             box" in capsys.readouterr().out


@pytest.fixture
def site(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A server of the tiny checkpoint, which is the only published model."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    entry = replace(
        catalogue.CATALOGUE["sam-vit-b"],
        file=checkpoint.name,
        sha256=sha256_of(checkpoint),
        size_bytes=checkpoint.stat().st_size,
    )
    with serving(checkpoint.read_bytes()) as site:
        published = {"sam-vit-b": replace(entry, url=site.url)}
        for module in ("models.catalogue", "engines.importers.sam", "cli.models"):
            monkeypatch.setattr(f"TumorSegLib.{module}.CATALOGUE", published)
        yield site


def test_a_model_is_downloaded_once_with_progress(site: Site) -> None:
    reported: list[tuple[int, int]] = []
    model = download_model("sam-vit-b", lambda *numbers: reported.append(numbers))
    with pytest.raises(ArgumentError, match="there is a model 'sam-vit-b' already"):
        download_model("sam-vit-b")
    model.verify()
    assert reported[-1] == (len(site.content), len(site.content))
    assert list(model.path.parent.rglob("*.pth")) == []
    assert site.requests == [None]  # the name is checked before the download


def test_a_download_that_is_cancelled_makes_no_model(site: Site, checkpoint: Path) -> None:
    site.stall_after = 1000
    reported: list[int] = []
    with pytest.raises(Cancelled, match="after 1000 bytes, which are kept"):
        download_model("sam-vit-b", lambda done, _: reported.append(done), lambda: 1000 in reported)
    assert [path.name for path in (checkpoint.parent / "models").iterdir()] == [".downloads"]


def test_command_downloads_once(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "download", "sam-vit-b"]) == 0
    printed = capsys.readouterr().out
    for words in ("licence: Apache-2.0", hashlib.sha256(site.content).hexdigest(), "sam-vit-b: SamViT, ready in"):
        assert words in printed
    assert main(["models", "download", "sam-vit-b"]) == 0
    assert "already there" in capsys.readouterr().out
    assert len(site.requests) == 1


def test_command_lists_the_models_to_download(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "download", "sts-auto"]) == 2
    assert "no model 'sts-auto' can be downloaded; there are lite-medsam, sam-vit-b" in capsys.readouterr().err
    assert main(["models", "download", "medsam-vit-b"]) == 2
    assert "models add medsam-vit-b --weights" in capsys.readouterr().err


def test_an_imported_model_segments_as_its_checkpoint_does(checkpoint: Path) -> None:
    model = import_checkpoint(checkpoint, "tiny", "imagenet")
    engine = load_engine("tiny", "cpu", "float32", kind="box")
    assert isinstance(engine, BoxEngine)
    original = build_sam("SamViT", TINY, "tiny")
    original.load_state_dict(torch.load(checkpoint, weights_only=True))
    volume = noise_volume(Grid.from_spacing((12, 20, 24), (1, 1.5, 2)))
    answers = []
    for each in (engine, BoxEngine(model.spec, original, Runtime(torch.device("cpu"), torch.float32))):
        prepared = each.prepare({"ct": volume})
        answers.append(each.segment(prepared, BoxPrompt(((4, 20), (3, 17), (2, 10)))))
    assert answers[0].info["model"] == "tiny"
    assert answers[0].info["weights_sha256"] == model.spec.weights_sha256
    assert np.ptp(answers[0].probability) > 10
    assert np.array_equal(answers[0].probability, answers[1].probability)
