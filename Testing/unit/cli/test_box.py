"""``tumorseg box``: boxes of voxels and regions of 3D Slicer, in 3D and from one slice; and every wrong way."""

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
from TumorSegLib.cli.entry import main
from TumorSegLib.engines.importers.sam import import_checkpoint
from TumorSegLib.engines.load import load_engine
from TumorSegLib.engines.networks.sam import build_sam
from TumorSegLib.geometry.grid import Grid
from TumorSegLib.images.volume import Images
from TumorSegLib.io.images import read_mask, read_volume, write_volume
from TumorSegLib.prompts.types import BoxPrompt, Click, Prompts
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
    write_volume(noise_volume(GRID), folder / "ct.nii.gz")
    write_volume(noise_volume(GRID, "pet", seed=1), folder / "pet.nii.gz")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        sam = build_sam("SamViT", TINY, "sam")
    # Untrained it trusts none of its answers, and nothing would be followed.
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
    """A copy of it, the current folder."""
    folder = shutil.copytree(original, tmp_path / "case")
    monkeypatch.setenv("TUMORSEG_MODELS", str(folder / "models"))
    monkeypatch.chdir(folder)
    return folder


def save(path: Path | str, data: Any) -> None:
    Path(path).write_text(json.dumps(data), encoding="utf-8")


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


def points() -> dict[str, Any]:
    place = (GRID.to_ras((9, 9, 5)) * (-1, -1, 1)).tolist()
    return {"type": "Fiducial", "coordinateSystem": "LPS", "controlPoints": [{"label": "F-1", "position": place}]}


def markups(*items: dict[str, Any]) -> dict[str, Any]:
    return {"@schema": "https://slicer.org/markups-schema-v1.0.3.json#", "markups": items}


def box(*more: str, place: tuple[str, ...] = ("--box", TEXT)) -> int:
    fixed = ["--model", "sam", "--output", "out.nii.gz", "--device", "cpu", "--precision", "float32"]
    return main(["box", "--input", "ct=ct.nii.gz", "--input", "pet=pet.nii.gz", *place, *fixed, *more])


def expected(prompt: BoxPrompt = BOX, options: BoxOptions | None = None, clicks: bool = False, **more: Any) -> Session:
    """The session that a user of the library would have had."""
    images: Images = {role: read_volume(f"{role}.nii.gz", role) for role in ("ct", "pet")}
    refiner = load_engine("clicks", "cpu", "float32", kind="clicks") if clicks else None
    session = Session(images, box=load_engine("sam", "cpu", "float32", kind="box"), clicks=refiner)
    session.add_box(prompt, options=options, refine=clicks, **more)
    return session


def written(path: str = "out.nii.gz") -> np.ndarray:
    return np.asarray(read_mask(path).array)


def test_a_box_in_3d(case: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = set(case.rglob("*"))
    assert box("--output", "out.seg.nrrd") == 0
    mask = read_mask("out.nii.gz")
    assert mask.grid == GRID
    assert np.array_equal(mask.array, expected().mask.array)
    assert 0 < mask.array.sum() < 15 * 14 * 6
    assert np.array_equal(written("out.seg.nrrd"), mask.array)
    assert set(case.rglob("*")) - before == {case / "out.nii.gz", case / "out.seg.nrrd"}
    captured = capsys.readouterr()
    assert captured.out == (
        f"6 slices of ct: sam marked {mask.volume_ml:.1f} ml; nothing says what it was made for: check it\n"
        "written to out.nii.gz, out.seg.nrrd\n"
    )
    assert captured.err == ""


@pytest.mark.parametrize("model", ["clicks", "sam"])
def test_segmenting_with_a_model_of_another_kind_is_refused(
    case: Path, capsys: pytest.CaptureFixture[str], model: str
) -> None:
    before = set(case.rglob("*"))
    assert main(["segment", "--input", "ct=ct.nii.gz", "--model", model, "--output", "out.nii.gz"]) == 2
    kind = {"clicks": "clicks", "sam": "box"}[model]
    wanted = f"tumorseg: error: model '{model}' is of kind '{kind}', one of kind 'auto' is needed here\n"
    assert capsys.readouterr().err == wanted
    assert set(case.rglob("*")) == before


def test_a_region_of_slicer_says_the_same(case: Path) -> None:
    assert box(place=("--roi", "roi.mrk.json")) == 0
    mask = written()
    assert box() == 0
    assert np.array_equal(mask, written())


@pytest.mark.parametrize(("axis", "axes", "slices"), [("i", (0,), 15), ("j", (1,), 14), ("all", (0, 1, 2), 35)])
def test_along_another_axis_or_all(
    case: Path, capsys: pytest.CaptureFixture[str], axis: str, axes: tuple[int, ...], slices: int
) -> None:
    assert box("--axis", axis) == 0
    assert np.array_equal(written(), expected(options=BoxOptions(axes=axes)).mask.array)
    assert f"{slices} slices of ct: sam marked " in capsys.readouterr().out
    assert not np.array_equal(written(), expected().mask.array)


def test_another_image_and_another_window(case: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert box("--role", "pet") == 0
    assert "slices of pet" in capsys.readouterr().out
    assert np.array_equal(written(), expected(options=BoxOptions(role="pet")).mask.array)
    assert box("--ct-window", "liver") == 0
    assert np.array_equal(written(), expected(options=BoxOptions(ct_window="liver")).mask.array)
    assert not np.array_equal(written(), expected().mask.array)


@pytest.mark.parametrize(
    ("axis", "text", "prompt"),
    [
        ("k", "5,20,4,18", ((5, 20), (4, 18), (6, 7))),
        ("j", "5,20,3,9", ((5, 20), (6, 7), (3, 9))),
        ("i", "4,18,3,9", ((6, 7), (4, 18), (3, 9))),
    ],
)
def test_a_box_on_one_slice_is_followed_as_far_as_it_goes(case: Path, axis: str, text: str, prompt: Any) -> None:
    assert box("--slice", "6", "--axis", axis, place=("--box", text)) == 0
    mask = written()
    assert np.array_equal(mask, expected(BoxPrompt(prompt)).mask.array)
    along = mask.any(axis=tuple({0, 1, 2} - {2 - "ijk".index(axis)}))
    assert along[6]
    assert along.sum() > 1


@pytest.mark.parametrize("place", [("--box", TEXT), ("--roi", "roi.mrk.json")])
def test_three_ranges_with_a_slice_are_a_region_not_to_leave(case: Path, place: tuple[str, ...]) -> None:
    assert box("--slice", "5", place=place) == 0
    mask = written()
    thin = BoxPrompt((*BOX.box[:2], (5, 6)))
    assert np.array_equal(mask, expected(thin, within=BOX).mask.array)
    assert mask[5].any()
    inside = np.zeros(GRID.shape, dtype=bool)
    inside[3:9, 4:18, 5:20] = True
    assert not mask[~inside].any()
    assert expected(thin).mask.array[~inside].any()  # which it would have left


def test_a_flat_box_without_a_slice_is_not_left_either(case: Path) -> None:
    thin = BoxPrompt((*BOX.box[:2], (5, 6)))
    assert box(place=("--box", "5,20,4,18,5,6")) == 0
    mask = written()
    assert mask[5].any()
    assert not np.delete(mask, 5, axis=0).any()
    assert np.delete(expected(thin).mask.array, 5, axis=0).any()  # where the tumour would have been followed to


def test_an_image_on_another_grid_is_resampled_and_that_is_said(case: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = Grid.from_spacing((14, 20, 24), (2.5, 2.5, 3.0), (-10, 5, 7), np.diag([-1.0, -1.0, 1.0]))
    write_volume(noise_volume(other, "pet", seed=1), "pet.nii.gz")
    assert box("--role", "pet") == 0
    assert capsys.readouterr().out.startswith("resampled to the grid of ct: pet\n6 slices of pet: sam marked ")
    assert read_mask("out.nii.gz").grid == GRID
    assert box() == 0
    assert "resampled" not in capsys.readouterr().out


def test_a_correction_on_top(case: Path) -> None:
    assert box("--refine", "clicks") == 0
    assert np.array_equal(written(), expected(clicks=True).mask.array)
    assert not np.array_equal(written(), expected().mask.array)


def test_a_session_that_is_there_is_kept(case: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (case / "kept.json").write_text("{}")
    assert box("--session", "kept.json") == 2
    assert "--session kept.json exists and would be lost" in capsys.readouterr().err
    assert (case / "kept.json").read_text() == "{}"
    assert not (case / "out.nii.gz").exists()


def test_a_session_is_continued_by_refine(case: Path) -> None:
    assert box("--session", "kept.json") == 0
    click = Click((12, 10, 5), False)
    save("clicks.json", Prompts((click,)).to_json())
    inputs = ["--input", "ct=ct.nii.gz", "--input", "pet=pet.nii.gz", "--device", "cpu", "--precision", "float32"]
    more = ["--clicks", "clicks.json", "--model", "clicks", "--output", "more.nii.gz", "--session", "kept.json"]
    assert main(["refine", *inputs, *more]) == 0
    wanted = expected()
    wanted = Session.from_json(
        wanted.to_json(), wanted.images, clicks=load_engine("clicks", "cpu", "float32", kind="clicks")
    )
    wanted.add_click(click)
    assert np.array_equal(written("more.nii.gz"), wanted.mask.array)
    session = Session.from_json(json.loads(Path("kept.json").read_text()), wanted.images)
    assert session.prompts.items == (BOX, click)
    session.undo()
    assert np.array_equal(session.mask.array, written())
    session.undo()
    assert not session.mask.array.any()
    assert not session.can_undo


WRONG: Mapping[str, tuple[tuple[str, ...], list[str], str]] = {
    "no numbers": (("--box", "a,b,c,d,e,f"), [], "--box 'a,b,c,d,e,f' is not of the form I0,I1,J0,J1,K0,K1"),
    "no whole numbers": (("--box", "1.5,5,2,6,3,7"), [], "--box '1.5,5,2,6,3,7' is not of the form"),
    "five numbers": (("--box", "1,5,2,6,3"), [], "--box '1,5,2,6,3' is not of the form"),
    "eight numbers": (("--box", "1,5,2,6,3,7,1,5"), [], "--box '1,5,2,6,3,7,1,5' is not of the form"),
    "nothing": (("--box", ""), [], "--box '' is not of the form"),
    "four numbers without a slice": (("--box", "1,5,2,6"), [], "--box 1,5,2,6 has 2 ranges; without --slice three"),
    "one voxel wide": (
        ("--box", "5,20,7,8,3,9"),
        ["--slice", "5"],
        "one voxel wide: on its slice it must",
    ),
    "leaves the image": (("--box", "5,29,4,18,3,9"), [], "box range i = [5, 29) is empty or leaves the grid's [0, 28)"),
    "before the image": (("--box=-2,9,4,18,3,9",), [], "box range i = [-2, 9) is empty or leaves the grid's [0, 28)"),
    "empty range": (("--box", "5,20,18,4,3,9"), [], "box range j = [18, 4) is empty"),
    "slice behind": (("--box", TEXT), ["--slice", "12"], "--slice 12 is not one of the image's: 0 to 11"),
    "slice before": (("--box", "1,5,2,6"), ["--slice=-1"], "--slice -1 is not one of the image's: 0 to 11"),
    "slice of another axis": (
        ("--box", "1,5,2,6"),
        ["--slice", "24", "--axis", "j"],
        "--slice 24 is not one of the image's: 0 to 23",
    ),
    "slice outside the box": (
        ("--box", TEXT),
        ["--slice", "9"],
        "--slice 9 lies outside the box, whose range k is [3, 9)",
    ),
    "slice along all axes": (
        ("--box", TEXT),
        ["--slice", "5", "--axis", "all"],
        "--slice follows the tumour along one",
    ),
    "region missing": (("--roi", "no.mrk.json"), [], "no.mrk.json: no such file"),
    "region of points": (
        ("--roi", "points.mrk.json"),
        [],
        "points.mrk.json: holds 0 regions of interest; one is needed",
    ),
    "two regions": (("--roi", "two.mrk.json"), [], "two.mrk.json: holds 2 regions of interest; one is needed"),
    "region elsewhere": (("--roi", "elsewhere.mrk.json"), [], "elsewhere.mrk.json: markup 1: the ROI around RAS ("),
    "unknown model": (("--box", TEXT), ["--model", "nobody"], "no model 'nobody'"),
    "automatic model": (("--box", TEXT), ["--model", "auto"], "model 'auto' is of kind 'auto', one of kind 'box'"),
    "box model for clicks": (
        ("--box", TEXT),
        ["--refine", "sam"],
        "model 'sam' is of kind 'box', one of kind 'clicks'",
    ),
    "unknown role": (("--box", TEXT), ["--role", "mr_t1"], "--role mr_t1 is not one of the inputs: ct, pet"),
    "role the correction does not take": (
        ("--box", TEXT),
        ["--input", "mr_t2=pet.nii.gz", "--refine", "clicks"],
        "model 'clicks' does not take mr_t2",
    ),
    "image missing": (("--box", TEXT), ["--input", "mr_t2=no.nii.gz"], "no.nii.gz"),
    "suffix of output": (("--box", TEXT), ["--output", "out.doc"], "out.doc: cannot be written"),
    "output is the region": (
        ("--roi", "roi.mrk.json"),
        ["--session", "roi.mrk.json"],
        "roi.mrk.json: cannot be written, it is an input",
    ),
    "unknown device": (("--box", TEXT), ["--device", "abacus"], "device 'abacus'"),
}


def content(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(("place", "arguments", "named"), WRONG.values(), ids=list(WRONG))
def test_bad_input_is_one_line_and_status_2_and_nothing_written(
    case: Path, capsys: pytest.CaptureFixture[str], place: tuple[str, ...], arguments: list[str], named: str
) -> None:
    save("points.mrk.json", markups(points()))
    save("two.mrk.json", markups(roi(BOX), points(), roi(BOX)))
    save("elsewhere.mrk.json", markups(roi(BOX, by=500)))
    before = content(case)
    assert box(*arguments, place=place) == 2
    captured = capsys.readouterr()
    assert named in captured.err
    assert captured.err.startswith("tumorseg: error: ")
    assert captured.err.count("\n") == 1
    assert captured.out == ""
    assert content(case) == before


@pytest.mark.parametrize(
    ("place", "arguments", "named"),
    [
        (("--box", TEXT), ["--ct-window", "brain"], "invalid choice: 'brain'"),
        (("--box", TEXT), ["--axis", "x"], "invalid choice: 'x'"),
        (("--box", TEXT), ["--slice", "2.5"], "invalid int value: '2.5'"),
        (("--box", TEXT, "--roi", "roi.mrk.json"), [], "not allowed with argument --box"),
        ((), [], "one of the arguments --box --roi is required"),
    ],
)
def test_what_the_command_line_itself_refuses(
    case: Path, capsys: pytest.CaptureFixture[str], place: tuple[str, ...], arguments: list[str], named: str
) -> None:
    with pytest.raises(SystemExit, match="2"):
        box(*arguments, place=place)
    assert named in capsys.readouterr().err
    assert not Path("out.nii.gz").exists()


def test_a_region_beside_points_is_taken_alone(case: Path) -> None:
    save("both.mrk.json", markups(points(), roi(BOX)))
    assert box(place=("--roi", "both.mrk.json")) == 0
    assert np.array_equal(written(), expected().mask.array)
