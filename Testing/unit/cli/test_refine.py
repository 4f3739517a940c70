"""``tumorseg refine``: from nothing, from a mask, from an automatic model and from a session; refusals."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from Testing.fakes import any_image_spec, tiny_network, tiny_spec, write_model
from Testing.unit.cases.cli_cases import GRID, assert_refused, inputs, markups, points, save, write_images
from TumorSegLib.cli.entry import main
from TumorSegLib.engines.auto.engine import AutoEngine
from TumorSegLib.engines.load import load_engine
from TumorSegLib.geometry.grid import Grid
from TumorSegLib.images.volume import Images, Mask, Volume
from TumorSegLib.io.images import read_mask, read_volume, write_mask, write_volume
from TumorSegLib.prompts.types import Click, Line, Prompts, Scribble
from TumorSegLib.session.session import Session

CLICKS = (Click((12, 10, 9)), Click((20, 15, 6), False), Click((5, 20, 15)))


@pytest.fixture
def case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder, the current one, with images, a mask, clicks and the models ``clicks`` and ``auto``."""
    write_images(tmp_path)
    drawn = np.zeros(GRID.shape, np.uint8)
    drawn[5:12, 6:14, 8:17] = 3
    write_mask(Mask(GRID, drawn), tmp_path / "drawn.nii.gz")
    save(tmp_path / "clicks.json", Prompts(CLICKS).to_json())
    spacing = (3.0, 3.0, 3.0)
    clicks = tiny_spec("clicks", ("ct", "pet"), ("pet",), kind="clicks", spacing_mm=spacing)
    write_model(tmp_path / "models", clicks)
    auto = tiny_spec("auto", ("ct", "pet"), ("ct", "pet"), spacing_mm=spacing)
    write_model(tmp_path / "models", auto, tiny_network(auto, seed=3))
    monkeypatch.setenv("TUMORSEG_MODELS", str(tmp_path / "models"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refine(*more: str, clicks: str = "clicks.json", images: Sequence[str] = ("ct=ct.nii.gz", "pet=pet.nii.gz")) -> int:
    fixed = ["--model", "clicks", "--output", "out.nii.gz", "--device", "cpu", "--precision", "float32"]
    return main(["refine", *inputs(*images), "--clicks", clicks, *fixed, *more])


def expected(prompts: Sequence[Click | Scribble] = CLICKS, initial: str | None = None, auto: bool = False) -> Session:
    """The session that a user of the library would have had."""
    images: Images = {role: read_volume(f"{role}.nii.gz", role) for role in ("ct", "pet")}
    clicks = load_engine("clicks", "cpu", "float32", kind="clicks")
    first = load_engine("auto", "cpu", "float32", kind="auto") if auto else None
    session = Session(images, auto=first, clicks=clicks, initial=read_mask(initial) if initial else None)
    if auto:
        session.segment()
    for prompt in prompts:
        session.add_click(prompt) if isinstance(prompt, Click) else session.add_scribble(prompt)
    return session


def test_refine_from_an_empty_mask(case: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = set(case.rglob("*"))
    assert refine("--output", "out.seg.nrrd") == 0
    mask = read_mask("out.nii.gz")
    assert mask.grid == GRID
    assert np.array_equal(mask.array, expected().mask.array)
    assert [int(mask.array[click.ijk[::-1]]) for click in CLICKS] == [1, 0, 1]
    assert np.array_equal(read_mask("out.seg.nrrd").array, mask.array)
    assert set(case.rglob("*")) - before == {case / "out.nii.gz", case / "out.seg.nrrd"}
    captured = capsys.readouterr()
    assert captured.out.startswith("3 prompt(s), ")
    told = f": clicks marked {mask.volume_ml:.2g} ml; its purpose is not stated: check it\n"
    assert captured.out.endswith(f"{told}written to out.nii.gz, out.seg.nrrd\n")
    assert captured.err == ""


def test_refine_from_a_mask_with_any_label(case: Path) -> None:
    assert refine("--initial", "drawn.nii.gz") == 0
    mask = read_mask("out.nii.gz").array
    assert np.array_equal(mask, expected(initial="drawn.nii.gz").mask.array)
    assert refine() == 0
    assert not np.array_equal(mask, read_mask("out.nii.gz").array)


def test_refine_from_an_automatic_model(case: Path) -> None:
    assert refine("--auto", "auto") == 0
    mask = read_mask("out.nii.gz").array
    wanted = expected(auto=True)
    assert np.array_equal(mask, wanted.mask.array)
    for _ in CLICKS:
        wanted.undo()
    assert wanted.mask.array.any()  # there was something to correct
    assert not np.array_equal(mask, wanted.mask.array)


def test_refine_from_points_of_slicer(case: Path) -> None:
    clicked = points(GRID, CLICKS[0].ijk), points(GRID, CLICKS[1].ijk, name="negative"), points(GRID, CLICKS[2].ijk)
    save("points.mrk.json", markups(*clicked))
    assert refine(clicks="points.mrk.json") == 0
    assert np.array_equal(read_mask("out.nii.gz").array, expected().mask.array)


def test_refine_from_scribbles_and_points_in_mm(case: Path) -> None:
    drawn = np.zeros(GRID.shape, np.uint8)
    drawn[9, 10, 6:20] = 1
    line = Scribble.from_mask(Mask(GRID, drawn))
    entries = Prompts((line,)).to_json()["prompts"]
    ras = GRID.to_ras(CLICKS[1].ijk) + 0.6  # another point of the same voxel
    save("scribbles.json", {"prompts": [*entries, {"ras": ras.tolist(), "positive": False}]})
    assert refine(clicks="scribbles.json") == 0
    mask = read_mask("out.nii.gz").array
    assert np.array_equal(mask, expected((line, CLICKS[1])).mask.array)
    assert mask[9, 10, 6:20].all()


def test_refine_saves_and_continues_a_session(case: Path) -> None:
    """Two calls with one session give what one call with all clicks gives; each prompt can be undone."""
    save("first.json", Prompts(CLICKS[:2]).to_json())
    save("last.json", Prompts(CLICKS[2:]).to_json())
    assert refine("--initial", "drawn.nii.gz", "--session", "kept.json", clicks="first.json") == 0
    assert np.array_equal(read_mask("out.nii.gz").array, expected(CLICKS[:2], "drawn.nii.gz").mask.array)
    assert refine("--session", "kept.json", clicks="last.json") == 0
    wanted = expected(CLICKS, "drawn.nii.gz")
    assert np.array_equal(read_mask("out.nii.gz").array, wanted.mask.array)
    session = Session.from_json(json.loads(Path("kept.json").read_text()), wanted.images)
    assert session.prompts.items == CLICKS
    for _ in range(4):
        assert np.array_equal(session.mask.array, wanted.mask.array)
        assert session.can_undo == wanted.can_undo
        session.undo()
        wanted.undo()
    assert np.array_equal(session.mask.array, read_mask("drawn.nii.gz").array > 0)


def of_any_image(*more: str, out: str = "out.nii.gz") -> int:
    fixed = ["--model", "any", "--output", out, "--device", "cpu", "--precision", "float32"]
    return main(["refine", *inputs("mr_flair=pet.nii.gz"), *fixed, *more])


def test_refine_from_a_line_which_comes_before_the_clicks(case: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = any_image_spec()
    write_model(case / "models", spec, tiny_network(spec, seed=3))
    save("line.mrk.json", markups({**points(GRID, (4, 10, 9), (20, 10, 9)), "type": "Line"}))
    line = Line(((4, 10, 9), (20, 10, 9)))
    image: Images = {"mr_flair": read_volume("pet.nii.gz", "mr_flair")}
    session = Session(image, clicks=load_engine("any", "cpu", "float32", kind="clicks"))
    session.add(line)
    assert of_any_image("--line", "line.mrk.json") == 0
    assert np.array_equal(read_mask("out.nii.gz").array, session.mask.array)
    assert session.mask.array.any()
    assert of_any_image("--clicks", "clicks.json", "--line", "line.mrk.json", "--session", "kept.json") == 0
    kept = Session.from_json(json.loads(Path("kept.json").read_text()), image)
    assert kept.prompts.items == (line, *CLICKS)
    for click in CLICKS:
        session.add(click)
    assert np.array_equal(read_mask("out.nii.gz").array, session.mask.array)


def test_a_pet_that_is_not_in_suv_is_an_image_to_a_model_of_any_image(
    case: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = any_image_spec()
    write_model(case / "models", spec, tiny_network(spec, seed=3))
    pet = read_volume("pet.nii.gz", "pet")
    write_volume(Volume(pet.grid, pet.array * 1000, "pet"), "counts.nii.gz")
    fixed = ["--clicks", "clicks.json", "--output", "out.nii.gz", "--device", "cpu", "--precision", "float32"]
    assert main(["refine", *inputs("pet=counts.nii.gz"), "--model", "any", *fixed, "--session", "kept.json"]) == 0
    told = capsys.readouterr().err
    assert told.startswith("note: counts.nii.gz: PET must be in SUV (g/ml), but the 99.9th percentile")
    assert "; it is taken as an image in any unit, image_pet\n" in told
    image = {"image_pet": read_volume("counts.nii.gz", "image_pet")}
    session = Session(image, clicks=load_engine("any", "cpu", "float32", kind="clicks"))
    for click in CLICKS:
        session.add(click)
    assert np.array_equal(read_mask("out.nii.gz").array, session.mask.array)
    assert Session.from_json(json.loads(Path("kept.json").read_text()), image).prompts.items == CLICKS


@pytest.mark.parametrize("more", [["--model", "clicks"], ["--auto", "auto", "--model", "any"]])
def test_a_pet_that_is_not_in_suv_is_refused_where_a_model_needs_suv(
    case: Path, capsys: pytest.CaptureFixture[str], more: list[str]
) -> None:
    spec = any_image_spec()
    write_model(case / "models", spec, tiny_network(spec, seed=3))
    pet = read_volume("pet.nii.gz", "pet")
    write_volume(Volume(pet.grid, pet.array * 1000, "pet"), "counts.nii.gz")
    assert_refused(
        lambda: main(
            ["refine", *inputs("pet=counts.nii.gz"), "--clicks", "clicks.json", "--output", "out.nii.gz", *more]
        ),
        "counts.nii.gz: PET must be in SUV",
        case,
        capsys,
    )


def test_prompts_at_which_nothing_is_found_are_named(
    case: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("TumorSegLib.session.session.found_nothing", lambda _mask, prompt, *_: prompt == CLICKS[0])
    assert refine() == 0
    assert capsys.readouterr().err == (
        "tumorseg: note: click at voxel (12, 10, 9): the model found nothing there; click in the middle of the lesion, "
        "or give a line across it (refine --line)\n"
    )


def test_a_mask_that_stays_empty_is_told_with_what_may_help(case: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save("outside.json", {"prompts": [{"click": list(CLICKS[0].ijk), "positive": False}]})
    assert refine(clicks="outside.json") == 0
    assert not read_mask("out.nii.gz").array.any()
    assert capsys.readouterr().err == (
        "tumorseg: note: the mask is empty; click in the middle of the lesion, or give a line across it "
        "(refine --line)\n"
    )


def test_a_constant_image_is_refused(case: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = any_image_spec()
    write_model(case / "models", spec, tiny_network(spec, seed=3))
    write_volume(Volume(GRID, np.full(GRID.shape, 7.0), "image"), "flat.nii.gz")
    fixed = ["--model", "any", "--clicks", "clicks.json", "--output", "out.nii.gz"]
    words = "nothing to outline: every voxel of the image (image) has the same value, 7"
    assert_refused(lambda: main(["refine", *inputs("image=flat.nii.gz"), *fixed]), words, case, capsys)


def test_refine_needs_prompts(case: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert_refused(of_any_image, "nothing to refine by: give --clicks or --line", case, capsys)


WRONG: Mapping[str, tuple[list[str], str]] = {
    "clicks of another kind": (["--clicks", "other.json"], "other.json: contains neither prompts"),
    "box": (
        ["--clicks", "box.json"],
        "model 'clicks' takes clicks and scribbles, not the box ((1, 5), (2, 6), (3, 7))",
    ),
    "line": (
        ["--line", "line.json"],
        "model 'clicks' takes clicks and scribbles, not the line from voxel (4, 10, 9) to",
    ),
    "clicks as line": (
        ["--line", "clicks.json"],
        "--line clicks.json: has a click at voxel (12, 10, 9); give it as --cl",
    ),
    "line of one point": (["--line", "dot.mrk.json"], "a line has two points that are placed, this one has 1"),
    "line outside": (
        ["--line", "outside.json"],
        "outside.json: prompt 1: an end of a line, voxel (28, 10, 9), lies out",
    ),
    "no such family": (["--input", "foo=pet.nii.gz"], "role 'foo' is none: roles are a family (ct, pet, mr, image)"),
    "initial elsewhere": (["--initial", "elsewhere.nii.gz"], "the mask is not on the grid of the first image"),
    "automatic model for clicks": (["--model", "auto"], "model 'auto' is of kind 'auto', one of kind 'clicks'"),
    "click model as first stage": (["--auto", "clicks"], "model 'clicks' is of kind 'clicks', one of kind 'auto'"),
    "unknown role": (["--input", "mr_t2=pet.nii.gz"], "model 'clicks' does not take mr_t2"),
    "output is the clicks": (["--session", "clicks.json"], "clicks.json: cannot be written, it is an input"),
    "output is the initial mask": (["--initial", "d.nii.gz", "--output", "d.nii.gz"], "written, it is an input"),
    "suffix of session": (["--session", "kept.txt"], "kept.txt: cannot be written"),
    "session no JSON": (["--session", "broken.json"], "broken.json: it cannot be read as a session"),
    "session a list": (["--session", "list.json"], "list.json: a session is a JSON object, got a list"),
    "session of another image": (["--session", "foreign.json"], "foreign.json: the session was made on another image"),
    "session and initial": (["--session", "foreign.json", "--initial", "drawn.nii.gz"], "leave out --initial"),
    "session and automatic": (["--session", "foreign.json", "--auto", "auto"], "leave out --auto"),
}


@pytest.mark.parametrize(("arguments", "named"), WRONG.values(), ids=list(WRONG))
def test_refine_refusals(case: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], named: str) -> None:
    (case / "broken.json").write_text('{"prompts": [')
    save("other.json", {"points": []})
    save("list.json", [1, 2])
    save("box.json", {"prompts": [{"click": [1, 2, 3]}, {"box": [[1, 5], [2, 6], [3, 7]]}]})
    save("line.json", {"prompts": [{"line": [[4, 10, 9], [20, 10, 9]]}]})
    save("outside.json", {"prompts": [{"line": [[4, 10, 9], [28, 10, 9]]}]})
    save("dot.mrk.json", markups({**points(GRID, (4, 10, 9)), "type": "Line"}))
    elsewhere = Grid.from_spacing((20, 20, 20), (1, 1, 1))
    write_mask(Mask(elsewhere, np.ones(elsewhere.shape, np.uint8)), "elsewhere.nii.gz")
    save("foreign.json", Session({"ct": Volume(elsewhere, np.zeros(elsewhere.shape))}).to_json())
    assert_refused(lambda: refine(*arguments), named, case, capsys)


def test_a_required_role_that_is_missing_is_named_before_the_automatic_model_runs(
    case: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(AutoEngine, "segment", lambda *_, **__: pytest.fail("minutes of work for nothing"))
    assert_refused(
        lambda: refine("--auto", "auto", images=("pet=pet.nii.gz",)), "model 'clicks' needs ct", case, capsys
    )


def test_a_damaged_session_is_refused_and_not_overwritten(case: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert refine("--session", "kept.json") == 0
    damaged = json.loads(Path("kept.json").read_bytes())
    damaged["records"]["0"] = "AAAA"
    save("damaged.json", damaged)
    save("outside.json", {"prompts": [{"click": [28, 3, 3]}]})
    capsys.readouterr()
    assert_refused(lambda: refine("--session", "damaged.json"), "damaged.json: the session is damaged", case, capsys)
    outside = "outside.json: prompt 1: click, voxel (28, 3, 3), lies outside"
    assert_refused(lambda: refine("--session", "kept.json", clicks="outside.json"), outside, case, capsys)


def test_initial_mask_and_automatic_model_exclude_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        refine("--initial", "drawn.nii.gz", "--auto", "auto")
    assert "--auto: not allowed with argument --initial" in capsys.readouterr().err
