"""Images without a sarcoma: which of the suite are read for what, and the samples that are drawn from them."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from Testing.fakes import noise_volume
from Testing.training.objects.object_cases import save, task, write_suite
from Testing.training.training_runs import same
from training.config.negatives import NegativeSettings
from training.config.train import Configuration
from training.data.augment import Augmentation, draw_sample
from training.data.batches import Pools, Samples
from training.data.cases import Case, read_case
from training.loop.checkpoint import load_checkpoint
from training.loop.train import train
from training.objects.negatives import NegativeCases, beside_tumour, field_of_view, read_negatives
from training.objects.synthetic import synthetic_pet
from TumorSegLib.engines.weights import load_network
from TumorSegLib.errors import ArgumentError, ModelError, ReadError
from TumorSegLib.geometry.boxes import full_box, slices
from TumorSegLib.geometry.grid import Box, Grid
from TumorSegLib.images.volume import Mask, Volume
from TumorSegLib.io.images import write_volume
from TumorSegLib.models.folder import read_model_folder
from TumorSegLib.parsing import load_json
from TumorSegLib.prompts.encoding import Shape

ROLES = ("ct", "pet")
NEGATIVES = {
    "train": ["more/head", "other: what is not named below"],
    "validate": ["general/neck/n2 (ct, from the neck)"],
    "test": ["general/neck/n3", "other: CRLM-CT-1004"],
}
Configured = Callable[..., Configuration]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The made-up suite with lists of negatives, and the two images of the folder ``other``."""
    root = write_suite(tmp_path / "data", negatives=NEGATIVES)
    for set_, name in (("totalsegmentator", "example_ct"), ("crlm", "CRLM-CT-1004_ct")):
        (root / "other" / set_).mkdir(parents=True)
        grid = Grid.from_spacing((24, 24, 24), (4, 4, 4))
        write_volume(noise_volume(grid, "ct", 4), root / "other" / set_ / f"{name}.nii.gz")
    return root


def named(root: Path, use: str, *roles: str) -> list[tuple[str, str, list[str]]]:
    return [(one.set, one.case.name, list(one.case.images)) for one in read_negatives(root, use, roles)]


def change(root: Path, **changes: Any) -> None:
    save(root / "suite.json", {**load_json(root / "suite.json"), **changes})


def test_images_of_each_list_with_the_roles_of_the_model(root: Path) -> None:
    assert named(root, "validate", "ct", "pet") == [("neck", "n2", ["ct"])]
    assert named(root, "test", "ct") == [("neck", "n3", ["ct"]), ("crlm", "CRLM-CT-1004", ["ct"])]
    # n1 is of the suite's own list to train on; the head has no CT.
    assert named(root, "train", "ct") == [("totalsegmentator", "example_ct", ["ct"]), ("neck", "n1", ["ct"])]
    assert named(root, "train", "mr_t1", "pet") == [("head", "head", ["mr_t1"])]
    for negative in read_negatives(root, "train", ("ct",)):
        assert not negative.case.reference.array.any()
        assert negative.case.jitter_window == full_box(negative.case.reference.grid.shape)


def test_images_that_validate_or_test_never_train(root: Path) -> None:
    entry = {"root": "general", "set": "neck", "contours": False}
    suite = load_json(root / "suite.json")
    change(root, train=[{**entry, "case": name} for name in ("n1", "n2", "n3")])
    assert [name for _, name, _ in named(root, "train", "ct")] == ["example_ct", "n1"]
    change(root, tasks=[*suite["tasks"], task("n1", "larynx CT", 1, "test")])
    assert [name for _, name, _ in named(root, "train", "ct")] == ["example_ct"]
    change(root, negatives={**NEGATIVES, "train": ["general/neck/n3"]})
    with pytest.raises(ReadError, match=r"negative general/neck/n3 is named for training and evaluation"):
        read_negatives(root, "train", ROLES)


def test_share_alike_licences_do_not_train_but_may_be_measured(root: Path) -> None:
    index = load_json(root / "general" / "index.json")
    save(root / "general" / "index.json", {"cases": [{**one, "licence": "CC BY-SA 4.0"} for one in index["cases"]]})
    assert named(root, "validate", "ct") == [("neck", "n2", ["ct"])]
    with pytest.raises(ReadError, match=r"'n1' has the licence CC BY-SA 4\.0, and may not train"):
        read_negatives(root, "train", ("ct",))


@pytest.mark.parametrize(
    ("negatives", "words"),
    [
        ({**NEGATIVES, "test": ["general/neck/n9"]}, "has no case 'n9' of 'neck'"),
        ({"train": []}, "has no lists of negatives"),
        ({**NEGATIVES, "test": ["neck"]}, "has no lists of negatives"),
    ],
)
def test_wrong_lists_are_named(root: Path, negatives: dict[str, list[str]], words: str) -> None:
    change(root, negatives=negatives)
    with pytest.raises(ReadError, match=words):
        read_negatives(root, "test", ("ct",))


# Drawing


def with_tumour(name: str, box: Box | None, shape: Shape = (40, 40, 40), spacing: float = 3.0) -> Case:
    """A noisy CT; its tumour fills a box."""
    grid = Grid.from_spacing(shape, (spacing,) * 3)
    truth = np.zeros(grid.shape, np.uint8)
    if box is not None:
        truth[slices(box)] = 1
    return Case(name, {"ct": noise_volume(grid, "ct", 0)}, Mask(grid, truth), full_box(grid.shape))


def drawn(root: Path, configured: Configured, count: int, **settings: Any) -> list[Case]:
    sarcomas = [with_tumour(name, ((16, 24), (2, 38), (15, 25))) for name in "ab"]
    negatives = NegativeCases(NegativeSettings(**settings), configured().model, root, sarcomas)
    return [negatives.draw(np.random.default_rng(seed)) for seed in range(count)]


def test_sources_are_drawn_as_often_as_asked(root: Path, configured: Configured) -> None:
    sources = {"neck": 0.5, "phantoms": 0.25, "sarcomas": 0.25, "totalsegmentator": 0}
    cases = drawn(root, configured, 200, sources=sources, phantoms=1)
    names = [case.name for case in cases]
    shares = [names.count("n1"), names.count("trunk_000"), names.count("a") + names.count("b")]
    assert np.divide(shares, 200) == pytest.approx([0.5, 0.25, 0.25], abs=0.1)
    assert not any(case.reference.array.any() for case in cases)


def test_some_get_a_lesion(root: Path, configured: Configured) -> None:
    cases = drawn(root, configured, 30, sources={"totalsegmentator": 1}, lesion_share=0.5)
    changed = [case for case in cases if case.reference.array.any()]
    assert 6 <= len(changed) <= 22
    (original,) = (one for one in read_negatives(root, "train", ("ct",)) if one.set == "totalsegmentator")
    for case in changed:
        assert case.name == "example_ct with a lesion"
        inside = case.reference.array > 0
        before = original.case.images["ct"].array
        assert np.abs(case.images["ct"].array - before)[inside].mean() > 3 * (
            np.abs(case.images["ct"].array - before)[~inside].mean()
        )


def test_some_cts_get_a_synthetic_pet(root: Path, configured: Configured) -> None:
    cases = drawn(root, configured, 40, sources={"totalsegmentator": 1}, synthetic_pet=0.5)
    with_pet = [case for case in cases if "pet" in case.images]
    assert 10 <= len(with_pet) <= 30
    assert all(set(case.images) <= {"ct", "pet"} for case in cases)
    pets = {case.images["pet"].array.tobytes() for case in with_pet}
    assert len(pets) >= 2  # two of them, in several fields of view
    assert all(case.images["pet"].grid == case.reference.grid for case in with_pet)


def test_a_synthetic_pet_follows_the_tissues_of_the_ct() -> None:
    grid = Grid.from_spacing((30, 60, 60), (4, 4, 4))
    array = np.full(grid.shape, -1000, np.float32)
    array[:, 10:50, 10:50] = -100
    array[:, 20:40, 20:40] = 50
    pets = [synthetic_pet(Volume(grid, array, "ct"), np.random.default_rng(seed)) for seed in range(6)]
    for pet in pets:
        assert (pet.role, pet.grid, pet.array.dtype) == ("pet", grid, np.float32)
        assert pet.array.min() >= 0
        assert pet.array[:, :6].mean() < 0.2
    soft = [float(pet.array[:, 23:37, 23:37].mean()) for pet in pets]
    fat = [float(np.median(pet.array[:, 13:17, 13:47])) for pet in pets]
    assert np.median(soft) > 2 * np.median(fat)
    assert max(soft) > 1.2 * min(soft)


def test_a_source_without_images_is_refused(root: Path, configured: Configured) -> None:
    with pytest.raises(ArgumentError, match="'head' has no image; sets are phantoms, sarcomas, totalsegm"):
        drawn(root, configured, 1, sources={"head": 1})


def test_fields_of_view_lie_in_the_image() -> None:
    case = with_tumour("x", None, (30, 100, 120), 4.0)
    boxes = [field_of_view(case, np.random.default_rng(seed)) for seed in range(60)]
    for i, j, k in boxes:
        case.reference.grid.check_box((i, j, k))
        assert k == (0, 30)  # 120 mm, less than the smallest field
        assert 45 <= i[1] - i[0] <= 112  # 180 to 450 mm
    assert len({i for i, _, _ in boxes}) > 30


def test_parts_beside_a_tumour_have_none_of_it() -> None:
    case = with_tumour("x", ((20, 30), (2, 38), (15, 25)))
    boxes = {beside_tumour(case, np.random.default_rng(seed)) for seed in range(60)}
    all_ = (0, 40)
    # Beside it along j is less than 30 mm.
    assert boxes == {((0, 20), all_, all_), ((30, 40), all_, all_), (all_, all_, (0, 15)), (all_, all_, (25, 40))}
    assert not any(case.cropped(box).reference.array.any() for box in boxes)
    with pytest.raises(ArgumentError, match="'x' has no part of 30 mm beside its tumour"):
        beside_tumour(case.cropped(((20, 30), all_, (15, 25))), np.random.default_rng(0))


def test_patches_without_a_tumour_stay_inside_the_image(configured: Configured) -> None:
    case = with_tumour("x", None, (40, 40, 10), 2.0)
    case.images["ct"] = Volume(case.reference.grid, np.full((40, 40, 10), 40, np.float32), "ct")
    model = configured().model
    still = Augmentation(
        rotation_degrees=(0, 0, 0), scale=(1, 1), elastic_share=0, noise_share=0, blur_share=0, gain={}, offset={}
    )
    for seed in range(12):
        images, labels = draw_sample(case, model, still, np.random.default_rng(seed))
        assert not labels.any()
        inside = (images[0] > 0.5).float().mean(dim=(0, 1))  # 40 HU are 0.6
        assert inside.tolist() == [0] * 3 + [1] * 10 + [0] * 3  # along i the image has 10 voxels, a patch 16


def test_samples_come_from_negatives_as_often_as_asked(root: Path, data: Path, configured: Configured) -> None:
    text = "steps = 6", "steps = 60", "[data]", "[negatives]\nshare = 0.5\nsources = { neck = 1 }\n[data]"
    configuration = configured(*text)
    assert configuration.negatives is not None
    sarcoma = read_case(data, "a", ROLES)
    negatives = NegativeCases(configuration.negatives, configuration.model, root, [])
    with_, without = (list(Samples(configuration, Pools([sarcoma], []), 0, n).batches(0)) for n in (negatives, None))
    # Necks are of CT alone.
    shares = [np.mean([bool(batch.labels.any()) for batch in batches]) for batches in (with_, without)]
    assert shares[0] == pytest.approx(0.5 * shares[1], abs=0.17)
    assert any(not first.labels.equal(second.labels) for first, second in pairwise(with_))


def test_training_with_negatives_starts_from_the_model_named(
    root: Path, model: Path, configured: Configured, tmp_path: Path
) -> None:
    section = f"[negatives]\nstart_from = '{model}'\nsources = {{ neck = 1 }}\n[data]"
    still = "steps = 6", "steps = 2", "learning_rate = 1e-2", "learning_rate = 0", "test_fold = 2", "test_fold = 1"
    train(configured("[data]", section, *still), root / "sts", tmp_path / "run", "cpu", "float32")
    expected = load_network(read_model_folder(model)).state_dict()
    assert same(load_checkpoint(tmp_path / "run")["network"], expected)
    other = configured("[data]", section, "spacing_mm = [2.0, 2.0, 2.0]", "spacing_mm = [3.0, 3.0, 3.0]", *still)
    with pytest.raises(ModelError, match=r"start_from 'tiny' has spacing_mm .*; they must be the same"):
        train(other, root / "sts", tmp_path / "other", "cpu", "float32")
