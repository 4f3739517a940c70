"""SAM's networks: import without torchvision, prompts of many slices in one pass, precision, checkpoints."""

from __future__ import annotations

import copy
import importlib
import importlib.machinery
import importlib.util
import os
import pickle
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType

import pytest
import torch

from TumorSegLib.engines.importers.checkpoints import architecture_of, read_checkpoint
from TumorSegLib.engines.networks import sam as sam_module
from TumorSegLib.engines.networks.sam import (
    build_sam,
    import_segment_anything,
)
from TumorSegLib.engines.weights import load_network
from TumorSegLib.errors import ArgumentError, ModelError
from TumorSegLib.models.registry import find_model, list_models

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("segment_anything") is None, reason="segment-anything is not installed"
)
TINY = {"image_size": 64, "depth": 2, "width": 16, "heads": 2, "global_attention": [1], "channels": 16}
BASE = {"image_size": 1024, "depth": 12, "width": 768, "heads": 12, "global_attention": [2, 5, 8, 11], "channels": 256}
LARGE = BASE | {"depth": 24, "width": 1024, "heads": 16, "global_attention": [5, 11, 17, 23]}
HUGE = BASE | {"depth": 32, "width": 1280, "heads": 16, "global_attention": [7, 15, 23, 31]}


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(3)
    return build_sam("SamViT", TINY, "tiny").eval()


@pytest.fixture(scope="module")
def embeddings(network):
    with torch.inference_mode():
        return network.encode(torch.randn(3, 3, 64, 64, generator=torch.Generator().manual_seed(1)))


BOXES = torch.tensor([[4.0, 8, 40, 50], [10, 10, 20, 30], [0, 0, 63, 63]])


@torch.inference_mode()
def test_many_slices_in_one_pass_equal_metas_own_loop(network, embeddings):
    assert (network.image_size, network.embedding_size, embeddings.shape) == (64, 4, (3, 16, 4, 4))
    logits, overlap = network.decode(embeddings, BOXES)
    assert logits.shape == (3, 1, 16, 16)
    assert overlap.shape == (3, 1)
    for n in range(3):
        sparse, dense = network.prompt_encoder(points=None, boxes=BOXES[n : n + 1], masks=None)
        position = network.prompt_encoder.get_dense_pe()
        expected = network.mask_decoder(embeddings[n : n + 1], position, sparse, dense, False)
        torch.testing.assert_close(logits[n], expected[0][0], rtol=0, atol=1e-5)
        torch.testing.assert_close(overlap[n], expected[1][0], rtol=0, atol=1e-5)
    assert (logits[0] - logits[1]).abs().max() > 1e-3


def test_images_and_embeddings_of_another_size_are_refused(network, embeddings):
    with pytest.raises(ArgumentError, match=r"\(1, 3, 32, 64\); \[n, 3, 64, 64\]"):
        network.encode(torch.zeros(1, 3, 32, 64))
    with pytest.raises(ArgumentError, match=r"not \[n, 16, 4, 4\]"):
        network.decode(embeddings[:, :8], BOXES)
    with pytest.raises(ArgumentError, match=r"boxes of 3 slices have shape \(1, 4\), not \(3, 4\)"):
        network.decode(embeddings, BOXES[:1])


def test_gradients_reach_encoder_and_decoder(network):
    parts = network.image_encoder.patch_embed.proj.weight, network.mask_decoder.mask_tokens.weight
    logits, _ = network.decode(network.encode(torch.randn(2, 3, 64, 64)), boxes=BOXES[:2])
    assert all(gradient.any() for gradient in torch.autograd.grad(logits.square().mean(), parts))


@torch.inference_mode()
def test_bfloat16_keeps_the_prompt_encoder_exact(network, embeddings):
    low = copy.deepcopy(network).to(torch.bfloat16)
    for name, tensor in low.prompt_encoder.state_dict().items():
        assert torch.equal(tensor, network.prompt_encoder.state_dict()[name]), name
    assert low.mask_decoder.iou_token.weight.dtype == torch.bfloat16
    assert low.encode(torch.zeros(1, 3, 64, 64)).dtype == torch.bfloat16
    with torch.autocast("cpu", torch.bfloat16):
        assert all(torch.equal(a, b) for a, b in zip(network._prompts(BOXES), low._prompts(BOXES)))
    exact, rounded = network.decode(embeddings, BOXES)[0], low.decode(embeddings, BOXES)[0]
    assert rounded.dtype == torch.float32
    assert (exact.sigmoid() - rounded.sigmoid()).abs().max() < 0.02


@pytest.mark.parametrize(
    ("network", "arguments", "message"),
    [
        ("Other", {}, "'Other' is not one of LiteMedSAM, SamViT"),
        ("LiteMedSAM", {"depth": 2}, "LiteMedSAM cannot be built"),
        ("SamViT", {}, "SamViT cannot be built"),
        ("SamViT", TINY | {"window": 7}, "window"),
        ("SamViT", TINY | {"image_size": 72}, "multiples of 16"),
        ("SamViT", TINY | {"heads": 3}, "heads"),
        ("SamViT", TINY | {"depth": 0}, "depth 0"),
        ("SamViT", TINY | {"width": 16.0}, r"width 16\.0"),
        ("SamViT", TINY | {"global_attention": [2]}, "blocks from 0 to 1"),
    ],
)
def test_wrong_arguments_are_named(network, arguments, message):
    with pytest.raises(ModelError, match=f"'mine'.*{message}"):
        build_sam(network, arguments, "mine")


@pytest.mark.parametrize(
    ("name", "arguments", "weights"),
    [
        ("SamViT", TINY, 40_014),
        ("SamViT", BASE, 93_735_728),
        ("SamViT", LARGE, 312_343_088),
        ("SamViT", HUGE, 641_090_864),
        ("LiteMedSAM", {}, 9_801_439),
    ],
    ids=["tiny", "vit_b", "vit_l", "vit_h", "lite"],
)
def test_architecture_is_read_from_the_shapes(name, arguments, weights):
    with torch.device("meta"):
        state = build_sam(name, arguments, "any").state_dict()
    assert architecture_of(state) == (name, arguments)
    assert sum(tensor.numel() for tensor in state.values()) == weights


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("mask_decoder.iou_token.weight"), r"iou_token.weight missing \(expected \(1, 16\)\)"),
        (lambda state: state.update(extra=torch.zeros(2)), r"extra \(2,\) \(expected none\)"),
        (lambda state: state.pop("image_encoder.pos_embed"), "no image_encoder.pos_embed"),
        (lambda state: state.update({"image_encoder.pos_embed": torch.zeros(3)}), r"shape \(3,\)"),
        (lambda state: state.update({"image_encoder.pos_embed": torch.zeros(1, 0, 0, 16)}), "image_size 0"),
        (lambda state: state.clear() or state.update(weight=torch.zeros(1)), "it holds weight"),
    ],
)
def test_other_tensors_are_named(network, change, message):
    state = dict(network.state_dict())
    change(state)
    with pytest.raises(ModelError, match=message):
        architecture_of(state)


@pytest.mark.parametrize("wrap", [dict, lambda s: {"model": s, "epoch": 3}, lambda s: {"state_dict": s}])
def test_checkpoints_are_read_in_every_wrapping(network, tmp_path, wrap):
    state = {f"module.{name}": tensor for name, tensor in network.state_dict().items()}
    torch.save(wrap(state | {"module.pixel_mean": torch.zeros(3, 1, 1)}), tmp_path / "a.pth")
    tensors = read_checkpoint(tmp_path / "a.pth")
    other = build_sam(*architecture_of(tensors), "read")
    other.load_state_dict(tensors, strict=True)
    assert all(torch.equal(a, b) for a, b in zip(other.state_dict().values(), network.state_dict().values()))


class Harmful:
    def __reduce__(self):
        return os.mkdir, ("harm",)


def test_bad_checkpoints_are_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"a": torch.zeros(1000)}, "good.pth")
    contents = {
        "cut.pth": (tmp_path / "good.pth").read_bytes()[:2000],
        "empty.pth": b"",
        "text.pth": b"not a checkpoint",
        "code.pth": pickle.dumps({"model": Harmful()}),
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ModelError, match=f"{name}: is not a checkpoint, is damaged") as refused:
            read_checkpoint(name)
        assert "weights_only" not in str(refused.value)  # torch's advice to load it unchecked
    assert not (tmp_path / "harm").exists()
    for wrong in ({"epoch": 3}, {"model": {}}, [torch.zeros(1)]):
        torch.save(wrong, "none.pth")
        with pytest.raises(ModelError, match=r"none\.pth: contains no named tensors"):
            read_checkpoint("none.pth")
    for missing in ("absent.pth", tmp_path):
        with pytest.raises(ModelError, match="no such file"):
            read_checkpoint(missing)


@pytest.fixture
def forgotten(monkeypatch):
    """As if nothing had been imported; afterwards as before."""
    for name in [name for name in sys.modules if "segment_anything" in name]:
        monkeypatch.delitem(sys.modules, name)
    sam_module._modeling.cache_clear()
    yield
    sam_module._modeling.cache_clear()


def test_import_in_threads_never_changes_the_package_in_sys_modules(forgotten, monkeypatch):
    """Another thread reads ``sys.modules`` meanwhile, as its own import of segment_anything would."""
    stop, found_in_modules = threading.Event(), set()

    def watch():
        while not stop.is_set():
            found_in_modules.update(name for name in list(sys.modules) if name.split(".")[0] == "segment_anything")

    watcher = threading.Thread(target=watch, daemon=True)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    watcher.start()
    try:
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(lambda _: import_segment_anything(), range(4)))
    finally:
        stop.set()
        watcher.join()
        sys.setswitchinterval(interval)
    assert len({id(module) for module in found}) == 1
    assert found[0].MaskDecoder.__module__.endswith(".mask_decoder")
    assert found_in_modules == set()


def test_an_imported_package_stays_in_sys_modules(forgotten, monkeypatch):
    package = ModuleType("segment_anything")
    package.__spec__ = importlib.machinery.PathFinder.find_spec("segment_anything")
    monkeypatch.setitem(sys.modules, "segment_anything", package)
    assert import_segment_anything().MaskDecoder
    assert sys.modules["segment_anything"] is package


@pytest.mark.parametrize(
    ("module", "words"),
    [
        (None, "pip install segment-anything"),
        (ModuleType("segment_anything"), "module 'segment_anything' without __spec__; remove that module or restart"),
    ],
    ids=["missing", "without __spec__"],
)
def test_a_package_that_cannot_be_located_is_named(forgotten, monkeypatch, module, words):
    monkeypatch.setitem(sys.modules, "segment_anything", module)
    with pytest.raises(ModelError, match=words):
        import_segment_anything()


def test_networks_build_where_torchvision_is_missing(forgotten, monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision", None)
    with pytest.raises(ImportError, match="torchvision"):
        importlib.import_module("segment_anything")
    assert build_sam("SamViT", TINY, "tiny").image_size == 64


@pytest.mark.slow
@torch.inference_mode()
def test_published_lite_med_sam_finds_a_disc():
    if all(model.spec.name != "lite-medsam" for model in list_models()):
        pytest.skip("needs the published model: tumorseg models download lite-medsam")
    network = load_network(find_model("lite-medsam"))
    row, column = torch.meshgrid(torch.arange(256.0), torch.arange(256.0), indexing="ij")
    disc = (row - 120).square() + (column - 140).square() < 40**2
    image = 0.3 + 0.4 * disc + 0.02 * torch.randn(256, 256, generator=torch.Generator().manual_seed(0))
    logits, overlap = network.decode(network.encode(image.expand(1, 3, -1, -1)), torch.tensor([[98.0, 78, 182, 162]]))
    found = logits[0, 0] > 0
    assert 2 * (found & disc).sum() / (found.sum() + disc.sum()) > 0.95
    assert overlap.item() > 0.8
