"""The engine of models of nnU-Net: answers on the user's grid, label by label; its answers beside nnU-Net's own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from Testing.fakes import tiny_spec
from Testing.interop.comparison import agreements
from Testing.interop.fixture import Expected, read_expected
from Testing.unit.engines.importers.nnunet_cases import SHAPE
from TumorSegLib.cli.entry import main
from TumorSegLib.engines.imported.engine import ImportedEngine
from TumorSegLib.engines.importers.nnunet import import_nnunet
from TumorSegLib.engines.load import load_engine
from TumorSegLib.engines.networks.nnunet import build_nnunet
from TumorSegLib.engines.runtime import ON_CPU
from TumorSegLib.errors import ArgumentError, Cancelled, ModelError, RoleError
from TumorSegLib.geometry.grid import Grid
from TumorSegLib.images.volume import Mask, Volume
from TumorSegLib.io.images import read_mask, read_segmentation, write_segmentation
from TumorSegLib.io.nrrd import read_nrrd
from TumorSegLib.models.nnunet import NnunetChannel, NnunetInput
from TumorSegLib.models.spec import ModelSpec

GRID = Grid.from_spacing((10, 22, 26), (1.1, 1.0, 2.5), (-10, 5, 7), np.diag([-1.0, -1.0, 1.0]))


class Thresholds(torch.nn.Module):
    """Logits that rise with the image: the background, then each label more than the one before."""

    def __init__(self, labels: int, regions: bool) -> None:
        super().__init__()
        self.steps = torch.nn.Parameter(torch.arange(1.0, labels + 1))
        self.regions = regions

    def forward(self, windows: torch.Tensor) -> torch.Tensor:
        rises = [40 * (windows - step) for step in self.steps]
        if self.regions:
            return torch.cat(rises, dim=1)
        sums = [sum(rises[: n + 1]) for n in range(len(rises))]
        return torch.cat([torch.zeros_like(windows), *sums], dim=1)


def spec(regions: bool = False, labels: dict[str, int] | None = None, **changes: Any) -> ModelSpec:
    taken = NnunetInput(
        **{
            "channels": {"image": NnunetChannel("noNorm", "none")},
            "spacing_mm": (2.5, 1.0, 1.1),
            "patch": (8, 16, 16),
            "regions": regions,
            **changes,
        }
    )
    return replace(tiny_spec(), input=taken, network="PlainConvUNet", labels=labels or {"outer": 1, "inner": 2})


def stairs() -> dict[str, Volume]:
    """An image of 0, 1.5 and 2.5 in boxes one in the other."""
    array = np.zeros(GRID.shape, np.float32)
    array[2:9, 4:20, 3:24] = 1.5
    array[4:7, 8:14, 9:15] = 2.5
    return {"image": Volume(GRID, array, "image")}


def engine(model: ModelSpec) -> ImportedEngine:
    return ImportedEngine(model, Thresholds(len(model.labels), model.nnunet_input.regions), ON_CPU)


@pytest.mark.parametrize("transpose", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
@pytest.mark.parametrize("reorient", [False, True])
def test_labels_lie_where_the_image_is_bright(transpose: tuple[int, int, int], reorient: bool) -> None:
    edges = (2.5, 1.0, 1.1)
    model = spec(transpose=transpose, spacing_mm=tuple(edges[axis] for axis in transpose), reorient=reorient)
    images = stairs()
    result = engine(model).segment(images)
    expected = np.digitize(images["image"].array, [1, 2])
    assert np.array_equal(result.mask.array, expected)
    assert result.mask.grid == GRID
    assert np.array_equal(result.probability.array > 0.5, expected > 0)
    for value, name in enumerate(("outer", "inner"), start=1):
        assert np.array_equal(result.mask_of(name).array, expected == value)
        assert np.array_equal(result.probability_of(name).array > 0.5, expected == value)
    assert result.labels["inner"].box == ((9, 15), (8, 14), (4, 7))
    assert result.info["network_spacing_mm"] == [edges[axis] for axis in transpose]


def test_regions_overlap() -> None:
    model, images = spec(regions=True, labels={"whole": 3, "core": 1}), stairs()
    result = engine(model).segment(images)
    steps = np.digitize(images["image"].array, [1, 2])
    assert np.array_equal(result.mask.array, np.array([0, 3, 1])[steps])  # the later region covers the earlier one
    assert np.array_equal(result.mask_of("whole").array, steps > 0)
    assert np.array_equal(result.mask_of("core").array, steps > 1)
    assert np.array_equal(result.probability.array > 0.5, steps > 0)


def test_what_is_removed_from_the_mask_is_not_in_its_regions() -> None:
    """As ``segment --min-volume`` removes it."""
    result = engine(spec(regions=True, labels={"whole": 3, "core": 1})).segment(stairs())
    half = result.mask.array.copy()
    half[:, :11] = 0
    tidied = replace(result, mask=Mask(result.mask.grid, half))
    for label in ("whole", "core"):
        before, after = (each.mask_of(label).array for each in (result, tidied))
        assert before[:, :11].any()
        assert not after[:, :11].any()
        assert np.array_equal(after[:, 11:], before[:, 11:])


def test_regions_are_whole_in_a_segmentation_and_one_value_in_a_label_map(tmp_path: Path) -> None:
    result = engine(spec(regions=True, labels={"whole": 3, "core": 1})).segment(stairs())
    write_segmentation(result.segmentation, tmp_path / "labels.nii.gz")
    assert np.array_equal(read_mask(tmp_path / "labels.nii.gz").array, result.mask.array)
    write_segmentation(result.segmentation, tmp_path / "regions.seg.nrrd")
    stored = read_nrrd(tmp_path / "regions.seg.nrrd")
    assert stored.grid == GRID
    for number, (name, value) in enumerate((("whole", 3), ("core", 1))):
        assert stored.fields[f"Segment{number}_Name"] == name
        assert stored.fields[f"Segment{number}_Layer"] == str(number)
        assert stored.fields[f"Segment{number}_LabelValue"] == str(value)
        assert np.array_equal(stored.array[..., number] == value, result.mask_of(name).array)
    back = read_segmentation(tmp_path / "regions.seg.nrrd")
    assert [(each.name, each.label) for each in back.segments] == [("whole", 3), ("core", 1)]
    assert all(np.array_equal(back.mask_of(name).array, result.mask_of(name).array) for name in back.names)
    merged = read_mask(tmp_path / "regions.seg.nrrd")
    assert np.array_equal(merged.array, result.mask.array)
    shared = int(result.mask_of("core").array.sum())
    assert merged.notes == (f"segments (whole, core) overlap in {shared} voxels, which count for the later one",)
    assert stored.fields["Segment1_Extent"] == "9 14 8 13 4 6"


def test_labels_have_the_values_of_the_data_set() -> None:
    result = engine(spec(labels={"b": 2, "a": 1})).segment(stairs())
    assert np.array_equal(result.probability_of("b").array > 0.5, result.mask.array == 2)
    assert (result.mask.array == 2).sum() == 3 * 6 * 6
    with pytest.raises(ArgumentError, match="there is no label 'c'; there are b, a"):
        result.mask_of("c")


def test_mirroring_gives_the_uncertainty() -> None:
    plain, mirrored = (engine(spec(mirror_axes=(0, 2))).segment(stairs(), mirror=mirror) for mirror in (False, True))
    assert plain.uncertainty is None
    assert mirrored.uncertainty is not None
    assert mirrored.uncertainty.array.max() < 0.2
    assert np.array_equal(plain.mask.array, mirrored.mask.array)


def test_an_empty_image_gives_an_empty_answer() -> None:
    result = engine(spec()).segment({"image": Volume(GRID, np.zeros(GRID.shape, np.float32), "image")})
    assert not result.mask.array.any()
    assert not result.probability_of("inner").array.any()


def test_folds_are_averaged() -> None:
    model = replace(spec(folds=2), arguments={**vars(SHAPE)})
    both = build_nnunet(model).eval()
    window = torch.randn(1, 1, 8, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert torch.allclose(both(window), (both.folds[0](window) + both.folds[1](window)) / 2, atol=1e-6)


def test_images_of_another_kind_are_refused() -> None:
    with pytest.raises(RoleError, match="does not take ct; its roles are image"):
        engine(spec()).segment({"ct": Volume(GRID, np.zeros(GRID.shape), "ct")})


def test_cancelling_stops() -> None:
    with pytest.raises(Cancelled):
        engine(spec()).segment(stairs(), cancel=lambda: True)


@pytest.mark.parametrize(
    "changes",
    [
        {"patch": (2, 16, 16), "spacing_mm": (1.0, 1.0)},
        {"transpose": (0, 0, 1)},
        {"mirror_axes": (3,)},
        {"folds": 0},
        {"channels": {}},
        {"spacing_mm": (1.0, 0.0, 1.0)},
    ],
)
def test_impossible_descriptions_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ModelError):
        spec(**changes)


# Beside nnU-Net's own answers, which `make interop` writes

EXPECTED = read_expected()


def test_the_fixture_has_trainings_of_all_kinds() -> None:
    names = {f"{each.training.parent.name}/{each.training.name.partition('__')[2]}" for each in EXPECTED}
    plain, regions = "Dataset701_Labels/nnUNetPlans", "Dataset702_Regions/nnUNetPlans"
    residual = "Dataset701_Labels/nnUNetResEncUNetMPlans__3d_fullres"
    assert names == {f"{plain}__2d", f"{plain}__3d_fullres", f"{plain}__3d_lowres", residual, f"{regions}__3d_fullres"}
    assert {each.mirrored for each in EXPECTED} == {False, True}
    files = [path for path in Path(EXPECTED[0].training.parents[1]).rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 2e6


@pytest.mark.parametrize("expected", EXPECTED, ids=lambda each: f"{each.training.parent.name}/{each.training.name}")
def test_answers_are_those_of_nnunet(expected: Expected, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUMORSEG_MODELS", str(tmp_path))
    imported = import_nnunet(expected.training, "imported")
    loaded = load_engine("imported", "cpu", "float32", "torch", kind="auto")
    result = loaded.segment(expected.images(imported.spec.roles), mirror=expected.mirrored)
    found = agreements(result, expected.labels, expected.probabilities)
    assert len(found) == len(imported.spec.labels)
    assert [str(each) for each in found if not each.holds] == []


def test_the_command_writes_a_segment_with_its_name_for_each_label(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TUMORSEG_MODELS", str(tmp_path))
    expected = next(each for each in EXPECTED if each.training.name.endswith("__2d"))
    ct, t1 = sorted((expected.training.parent / "images").glob("*.nii.gz"))
    assert main(["models", "add", "liver", "--nnunet", str(expected.training)]) == 0
    output = tmp_path / "labels.seg.nrrd"
    line = ["segment", "--input", f"ct={ct}", "--input", f"mr_t1={t1}", "--model", "liver", "--output", str(output)]
    line += ["--mirror"] if expected.mirrored else []
    assert main([*line, "--device", "cpu", "--precision", "float32", "--backend", "torch"]) == 0
    assert "labels: liver " in capsys.readouterr().out
    header = output.read_bytes().partition(b"\n\n")[0].decode()
    for number, name in enumerate(("liver", "tumour", "vessel")):
        assert f"Segment{number}_Name:={name}\n" in header
        assert f"Segment{number}_LabelValue:={number + 1}\n" in header
    assert np.array_equal(read_mask(output).array, expected.labels)
