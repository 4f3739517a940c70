"""``tumorseg box``: boxes of voxels and regions of 3D Slicer, in 3D and from one slice; refusals."""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from Testing.fakes import noise_volume, tiny_network, tiny_spec, write_model
from Testing.unit.cases.cli_cases import assert_refused, inputs, markups, points, save, write_images
from TumorSegLib.cli.entry import main
from TumorSegLib.engines.importers.sam import import_checkpoint
from TumorSegLib.engines.load import load_engine
from TumorSegLib.engines.networks.sam import build_sam
from TumorSegLib.geometry.grid import Grid
from TumorSegLib.images.volume import Images
from TumorSegLib.io.images import read_mask, read_volume, write_volume
from TumorSegLib.prompts.types import BoxPrompt
from TumorSegLib.protocols import BoxOptions
from TumorSegLib.session.session import Session

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("segment_anything") is None, reason="segment-anything is not installed"
)
GRID = Grid.from_spacing((12, 24, 28), (2.0, 2.0, 3.0), (-10, 5, 7), np.diag([-1.0, -1.0, 1.0]))
TINY = {"image_size": 64, "depth": 1, "width": 16, "heads": 2, "global_attention": [0], "channels": 16}
BOX = BoxPrompt(((5, 20), (4, 18), (3, 9)))
TEXT = "5,20,4,18,3,9"


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with images, a region and the models ``sam``, ``clicks`` and ``auto``."""
    folder = tmp_path_factory.mktemp("box") / "case"
    folder.mkdir()
    write_images(folder, GRID)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        sam = build_sam("SamViT", TINY, "sam")
    # The untrained network would give every slice a low quality, and nothing would be propagated.
    torch.nn.init.ones_(sam.mask_decoder.iou_prediction_head.layers[-1].bias)
    torch.save(sam.state_dict(), folder / "sam.pth")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TUMORSEG_MODELS", str(folder / "models"))
        import_checkpoint(folder / "sam.pth", "sam", "unit")
    for kind in ("clicks", "auto"):
        spec = tiny_spec(kind, ("ct", "pet"), ("ct", "pet"), kind=kind, spacing_mm=(3.0, 3.0, 3.0))
        write_model(folder / "models", spec, tiny_network(spec, seed=3))
    save(folder / "roi.mrk.json", markups(roi(BOX)))
    return folder


@pytest.fixture
def case(original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of ``original``, the current folder."""
    folder = shutil.copytree(original, tmp_path / "case")
    monkeypatch.setenv("TUMORSEG_MODELS", str(folder / "models"))
    monkeypatch.chdir(folder)
    return folder


def roi(box: BoxPrompt, by: float = 0.0) -> dict[str, Any]:
    """A box as 3D Slicer saves it, in LPS, moved by some mm along R."""
    low, high = (GRID.to_ras([limits[n] - 0.5 for limits in box.box]) for n in (0, 1))
    return {
        "type": "ROI",
        "coordinateSystem": "LPS",
        "coordinateUnits": "mm",
        "roiType": "Box",
        "center": (((low + high) / 2 + (by, 0, 0)) * (-1, -1, 1)).tolist(),
        "size": np.abs(high - low).tolist(),
        "orientation": [1, 0, 0, 0, 1, 0, 0, 0, 1],
    }


def box(*more: str, place: tuple[str, ...] = ("--box", TEXT)) -> int:
    fixed = ["--model", "sam", "--output", "out.nii.gz", "--device", "cpu", "--precision", "float32"]
    return main(["box", *inputs("ct=ct.nii.gz", "pet=pet.nii.gz"), *place, *fixed, *more])


def expected(prompt: BoxPrompt = BOX, options: BoxOptions | None = None, clicks: bool = False, **more: Any) -> Session:
    """The session that a user of the library would have had."""
    images: Images = {role: read_volume(f"{role}.nii.gz", role) for role in ("ct", "pet")}
    refiner = load_engine("clicks", "cpu", "float32", kind="clicks") if clicks else None
    session = Session(images, box=load_engine("sam", "cpu", "float32", kind="box"), clicks=refiner)
    session.add_box(prompt, options=options, refine=clicks, **more)
    return session


def written(path: str = "out.nii.gz") -> np.ndarray:
    return np.asarray(read_mask(path).array)


@pytest.mark.parametrize("place", [("--box", TEXT), ("--roi", "roi.mrk.json"), ("--roi", "both.mrk.json")])
def test_box_or_region_in_3d(case: Path, capsys: pytest.CaptureFixture[str], place: tuple[str, ...]) -> None:
    save("both.mrk.json", markups(points(GRID, (9, 9, 5)), roi(BOX)))
    before = set(case.rglob("*"))
    assert box("--output", "out.seg.nrrd", "--session", "session.json", place=place) == 0
    mask, wanted = read_mask("out.nii.gz"), expected()
    assert mask.grid == GRID
    assert np.array_equal(mask.array, wanted.mask.array)
    assert 0 < mask.array.sum() < 15 * 14 * 6
    assert np.array_equal(written("out.seg.nrrd"), mask.array)
    assert {path.name for path in set(case.rglob("*")) - before} == {"out.nii.gz", "out.seg.nrrd", "session.json"}
    captured = capsys.readouterr()
    assert captured.out == (
        f"6 slices of ct: sam marked {mask.volume_ml:.1f} ml; its purpose is not stated: check it\n"
        "written to out.nii.gz, out.seg.nrrd\n"
    )
    assert captured.err == ""
    session = Session.from_json(json.loads(Path("session.json").read_text()), wanted.images)
    assert (session.prompts.items, session.mask.array.sum()) == ((BOX,), mask.array.sum())
    session.undo()
    assert not session.mask.array.any()


@pytest.mark.parametrize(
    ("arguments", "options", "slices"),
    [
        (("--axis", "i"), BoxOptions(axes=(0,)), "15 slices of ct"),
        (("--axis", "all"), BoxOptions(axes=(0, 1, 2)), "35 slices of ct"),
        (("--role", "pet"), BoxOptions(role="pet"), "6 slices of pet"),
        (("--ct-window", "liver"), BoxOptions(ct_window="liver"), "6 slices of ct"),
    ],
)
def test_box_options_of_axis_role_and_window(
    case: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], options: BoxOptions, slices: str
) -> None:
    assert box(*arguments) == 0
    assert np.array_equal(written(), expected(options=options).mask.array)
    assert capsys.readouterr().out.startswith(f"{slices}: sam marked ")
    assert not np.array_equal(written(), expected().mask.array)


@pytest.mark.parametrize(
    ("axis", "text", "prompt"),
    [
        ("k", "5,20,4,18", ((5, 20), (4, 18), (6, 7))),
        ("j", "5,20,3,9", ((5, 20), (6, 7), (3, 9))),
        ("i", "4,18,3,9", ((6, 7), (4, 18), (3, 9))),
    ],
)
def test_a_box_on_one_slice_is_propagated_along_every_axis(case: Path, axis: str, text: str, prompt: Any) -> None:
    assert box("--slice", "6", "--axis", axis, place=("--box", text)) == 0
    mask = written()
    assert np.array_equal(mask, expected(BoxPrompt(prompt)).mask.array)
    along = mask.any(axis=tuple({0, 1, 2} - {2 - "ijk".index(axis)}))
    assert along[6]
    assert along.sum() > 1


@pytest.mark.parametrize("place", [("--box", TEXT), ("--roi", "roi.mrk.json")])
def test_three_ranges_with_a_slice_limit_the_propagation(case: Path, place: tuple[str, ...]) -> None:
    assert box("--slice", "5", place=place) == 0
    mask = written()
    thin = BoxPrompt((*BOX.box[:2], (5, 6)))
    assert np.array_equal(mask, expected(thin, within=BOX).mask.array)
    assert mask[5].any()
    inside = np.zeros(GRID.shape, dtype=bool)
    inside[3:9, 4:18, 5:20] = True
    assert not mask[~inside].any()
    assert expected(thin).mask.array[~inside].any()  # which it would have left


def test_a_box_one_slice_thick_is_not_propagated_without_a_slice(case: Path) -> None:
    thin = BoxPrompt((*BOX.box[:2], (5, 6)))
    assert box(place=("--box", "5,20,4,18,5,6")) == 0
    mask = written()
    assert mask[5].any()
    assert not np.delete(mask, 5, axis=0).any()
    assert np.delete(expected(thin).mask.array, 5, axis=0).any()  # where the tumour would have been followed to


def test_an_image_on_another_grid_is_resampled_with_a_note(case: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = Grid.from_spacing((14, 20, 24), (2.5, 2.5, 3.0), (-10, 5, 7), np.diag([-1.0, -1.0, 1.0]))
    write_volume(noise_volume(other, "pet", seed=1), "pet.nii.gz")
    assert box("--role", "pet") == 0
    assert capsys.readouterr().out.startswith("resampled to the grid of ct: pet\n6 slices of pet: sam marked ")
    assert read_mask("out.nii.gz").grid == GRID
    assert box() == 0
    assert "resampled" not in capsys.readouterr().out


def test_a_box_refined_by_the_click_model(case: Path) -> None:
    assert box("--refine", "clicks") == 0
    assert np.array_equal(written(), expected(clicks=True).mask.array)
    assert not np.array_equal(written(), expected().mask.array)


WRONG: Mapping[str, tuple[tuple[str, ...], list[str], str]] = {
    "no whole numbers": (("--box", "1.5,5,2,6,3,7"), [], "'1.5,5,2,6,3,7' is not of the form I0,I1,J0,J1,K0,K1"),
    "eight numbers": (("--box", "1,5,2,6,3,7,1,5"), [], "--box '1,5,2,6,3,7,1,5' is not of the form"),
    "four numbers without a slice": (("--box", "1,5,2,6"), [], "--box 1,5,2,6 has 2 ranges; without --slice three"),
    "one voxel wide": (("--box", "5,20,7,8,3,9"), ["--slice", "5"], "one voxel wide; on its slice it must"),
    "leaves the image": (("--box=-2,9,4,18,3,9",), [], "box range i = [-2, 9) is empty or leaves the grid's [0, 28)"),
    "slice behind": (("--box", TEXT), ["--slice", "12"], "--slice 12 is not one of the image's: 0 to 11"),
    "slice before": (("--box", "1,5,2,6"), ["--slice=-1"], "--slice -1 is not one of the image's: 0 to 11"),
    "slice of another axis": (("--box", "1,5,2,6"), ["--slice", "24", "--axis", "j"], "one of the image's: 0 to 23"),
    "slice outside the box": (("--box", TEXT), ["--slice", "9"], "9 lies outside the box, whose range k is [3, 9)"),
    "slice along all axes": (("--box", TEXT), ["--slice", "5", "--axis", "all"], "--axis must be i, j or k"),
    "region of points": (("--roi", "points.mrk.json"), [], "points.mrk.json: contains 0 regions of interest; one is"),
    "two regions": (("--roi", "two.mrk.json"), [], "two.mrk.json: contains 2 regions of interest; one is needed"),
    "region elsewhere": (("--roi", "elsewhere.mrk.json"), [], "elsewhere.mrk.json: markup 1: the ROI around RAS ("),
    "automatic model": (("--box", TEXT), ["--model", "auto"], "model 'auto' is of kind 'auto', one of kind 'box'"),
    "box model for clicks": (("--box", TEXT), ["--refine", "sam"], "'sam' is of kind 'box', one of kind 'clicks'"),
    "unknown role": (("--box", TEXT), ["--role", "mr_t1"], "--role mr_t1 is not one of the inputs: ct, pet"),
    "suffix of output": (("--box", TEXT), ["--output", "out.doc"], "out.doc: cannot be written"),
    "output is the region": (("--roi", "roi.mrk.json"), ["--session", "roi.mrk.json"], "written, it is an input"),
    "session exists": (("--box", TEXT), ["--session", "kept.json"], "--session kept.json exists and would be lost"),
}


@pytest.mark.parametrize(("place", "arguments", "named"), WRONG.values(), ids=list(WRONG))
def test_box_refusals(
    case: Path, capsys: pytest.CaptureFixture[str], place: tuple[str, ...], arguments: list[str], named: str
) -> None:
    save("kept.json", {})
    save("points.mrk.json", markups(points(GRID, (9, 9, 5))))
    save("two.mrk.json", markups(roi(BOX), roi(BOX)))
    save("elsewhere.mrk.json", markups(roi(BOX, by=500)))
    assert_refused(lambda: box(*arguments, place=place), named, case, capsys)


@pytest.mark.parametrize(
    ("place", "named"),
    [
        (("--box", TEXT, "--roi", "roi.mrk.json"), "not allowed with argument --box"),
        ((), "one of the arguments --box --roi is required"),
    ],
)
def test_box_or_region_is_required(capsys: pytest.CaptureFixture[str], place: tuple[str, ...], named: str) -> None:
    with pytest.raises(SystemExit, match="2"):
        box(place=place)
    assert named in capsys.readouterr().err
