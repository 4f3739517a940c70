"""``tumorseg refine``: from nothing, from a mask, from an automatic model and from a session; and every wrong way."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from Testing.fakes import tiny_network, tiny_spec, write_model
from TumorSegLib.cli.entry import main
from TumorSegLib.engines.auto.engine import AutoEngine
from TumorSegLib.engines.load import load_engine
from TumorSegLib.errors import ReadError
from TumorSegLib.geometry.grid import Grid
from TumorSegLib.images.volume import Images, Mask, Volume
from TumorSegLib.io.images import read_mask, read_volume, write_mask, write_volume
from TumorSegLib.prompts.types import Click, Prompts, Scribble
from TumorSegLib.session.session import Session

GRID = Grid.from_spacing((20, 24, 28), (2.0, 2.0, 3.0), (-10, 5, 7), np.diag([-1.0, -1.0, 1.0]))
CLICKS = (Click((12, 10, 9)), Click((20, 15, 6), False), Click((5, 20, 15)))


@pytest.fixture
def case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder, the current one, with images, a mask, clicks and the models ``clicks`` and ``auto``."""
    rng = np.random.default_rng(0)
    write_volume(Volume(GRID, rng.normal(40, 20, GRID.shape).astype(np.int16), "ct"), tmp_path / "ct.nii.gz")
    write_volume(Volume(GRID, rng.random(GRID.shape, dtype=np.float32) * 5, "pet"), tmp_path / "pet.nii.gz")
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


def save(path: Path | str, data: Any) -> None:
    Path(path).write_text(json.dumps(data), encoding="utf-8")


def refine(*more: str, clicks: str = "clicks.json", inputs: Sequence[str] = ("ct=ct.nii.gz", "pet=pet.nii.gz")) -> int:
    given = [text for entry in inputs for text in ("--input", entry)]
    fixed = ["--model", "clicks", "--output", "out.nii.gz", "--device", "cpu", "--precision", "float32"]
    return main(["refine", *given, "--clicks", clicks, *fixed, *more])


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


def test_from_nothing(case: Path, capsys: pytest.CaptureFixture[str]) -> None:
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
    told = f": clicks marked {mask.volume_ml:.1f} ml; nothing says what it was made for: check it\n"
    assert captured.out.endswith(f"{told}written to out.nii.gz, out.seg.nrrd\n")
    assert captured.err == ""


def test_from_a_mask_whatever_its_labels(case: Path) -> None:
    assert refine("--initial", "drawn.nii.gz") == 0
    mask = read_mask("out.nii.gz").array
    assert np.array_equal(mask, expected(initial="drawn.nii.gz").mask.array)
    assert refine() == 0
    assert not np.array_equal(mask, read_mask("out.nii.gz").array)


def test_from_an_automatic_model(case: Path) -> None:
    assert refine("--auto", "auto") == 0
    mask = read_mask("out.nii.gz").array
    wanted = expected(auto=True)
    assert np.array_equal(mask, wanted.mask.array)
    for _ in CLICKS:
        wanted.undo()
    assert wanted.mask.array.any()  # there was something to correct
    assert not np.array_equal(mask, wanted.mask.array)


def markups(negative: str = "not tumour, negative") -> dict[str, Any]:
    """The three clicks as 3D Slicer saves two point lists, in LPS."""

    def points(name: str, *clicks: Click) -> dict[str, Any]:
        lps = [(GRID.to_ras(click.ijk) * (-1, -1, 1)).tolist() for click in clicks]
        controls = [{"label": f"F-{n}", "position": place} for n, place in enumerate(lps)]
        return {"type": "Fiducial", "name": name, "coordinateSystem": "LPS", "controlPoints": controls}

    lists = [points("tumour", CLICKS[0]), points(negative, CLICKS[1]), points("tumour", CLICKS[2])]
    return {"@schema": "https://slicer.org/markups-schema-v1.0.3.json#", "markups": lists}


def test_points_of_slicer_say_the_same(case: Path) -> None:
    save("points.mrk.json", markups())
    assert refine(clicks="points.mrk.json") == 0
    assert np.array_equal(read_mask("out.nii.gz").array, expected().mask.array)
    save("points.mrk.json", markups(negative="more"))
    assert refine(clicks="points.mrk.json") == 0
    assert read_mask("out.nii.gz").array[CLICKS[1].ijk[::-1]] == 1


def test_scribbles_and_points_in_millimetres(case: Path) -> None:
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


def test_session_is_kept_and_continued(case: Path) -> None:
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


def test_optional_role_may_be_left_out(case: Path) -> None:
    assert refine(inputs=("ct=ct.nii.gz",)) == 0
    assert read_mask("out.nii.gz").array[CLICKS[0].ijk[::-1]] == 1


WRONG: Mapping[str, tuple[list[str], str]] = {
    "image missing": (["--input", "mr_t2=no.nii.gz"], "no.nii.gz"),
    "clicks missing": (["--clicks", "no.json"], "no.json: no such file"),
    "clicks no JSON": (["--clicks", "broken.json"], "broken.json: not a JSON file"),
    "clicks of another kind": (["--clicks", "other.json"], "other.json: contains neither prompts"),
    "no clicks": (["--clicks", "none.json"], "none.json: contains no prompts"),
    "click outside": (["--clicks", "outside.json"], "outside.json: prompt 2: click, voxel (28, 3, 3), lies outside"),
    "box": (["--clicks", "box.json"], "box.json: holds a box, ((1, 5), (2, 6), (3, 7)); this command takes clicks"),
    "initial missing": (["--initial", "no.nii.gz"], "no.nii.gz"),
    "initial elsewhere": (
        ["--initial", "elsewhere.nii.gz"],
        "elsewhere.nii.gz: the mask is not on the grid of the first image",
    ),
    "unknown model": (["--model", "nobody"], "no model 'nobody'"),
    "automatic model for clicks": (["--model", "auto"], "model 'auto' is of kind 'auto', one of kind 'clicks'"),
    "click model as first stage": (["--auto", "clicks"], "model 'clicks' is of kind 'clicks', one of kind 'auto'"),
    "unknown role": (["--input", "mr_t2=pet.nii.gz"], "model 'clicks' does not take mr_t2"),
    "no role": (["--input", "ct.nii.gz"], "'ct.nii.gz' is not of the form ROLE=PATH"),
    "suffix of output": (["--output", "out.doc"], "out.doc: cannot be written"),
    "folder of output": (["--output", "no/out.nii.gz"], "the folder no does not exist"),
    "output is the clicks": (["--session", "clicks.json"], "clicks.json: cannot be written, it is an input"),
    "output is the initial mask": (
        ["--initial", "drawn.nii.gz", "--output", "drawn.nii.gz"],
        "drawn.nii.gz: cannot be written, it is an input",
    ),
    "output twice": (["--output", "./out.nii.gz"], "out.nii.gz: cannot be written, another output goes there"),
    "suffix of session": (["--session", "kept.txt"], "kept.txt: cannot be written"),
    "session no JSON": (["--session", "broken.json"], "broken.json: no session could be read from it"),
    "session a list": (["--session", "list.json"], "list.json: a session is a JSON object, got a list"),
    "session of another kind": (["--session", "other.json"], "other.json: not a session"),
    "session of another image": (["--session", "foreign.json"], "foreign.json: the session was made on another image"),
    "session of another role": (["--session", "pet.json"], "pet.json: the session's first image is 'pet'"),
    "session and initial": (
        ["--session", "foreign.json", "--initial", "drawn.nii.gz"],
        "--session foreign.json exists and holds a mask already; leave out --initial",
    ),
    "session and automatic": (["--session", "foreign.json", "--auto", "auto"], "leave out --auto"),
    "unknown device": (["--device", "abacus"], "device 'abacus'"),
    "unknown precision": (["--precision", "int3"], "precision 'int3'"),
}


@pytest.fixture
def wrong_files(case: Path) -> Path:
    (case / "broken.json").write_text('{"prompts": [')
    save("other.json", {"points": []})
    save("list.json", [1, 2])
    save("none.json", {"prompts": []})
    save("outside.json", {"prompts": [{"click": [1, 2, 3]}, {"click": [28, 3, 3]}]})
    save("box.json", {"prompts": [{"click": [1, 2, 3]}, {"box": [[1, 5], [2, 6], [3, 7]]}]})
    elsewhere = Grid.from_spacing((20, 20, 20), (1, 1, 1))
    write_mask(Mask(elsewhere, np.ones(elsewhere.shape, np.uint8)), "elsewhere.nii.gz")
    save("foreign.json", Session({"ct": Volume(elsewhere, np.zeros(elsewhere.shape))}).to_json())
    save("pet.json", Session({"pet": Volume(GRID, np.zeros(GRID.shape), "pet")}).to_json())
    return case


def content(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(("arguments", "named"), WRONG.values(), ids=list(WRONG))
def test_bad_input_is_one_line_and_status_2_and_nothing_written(
    wrong_files: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], named: str
) -> None:
    before = content(wrong_files)
    assert refine(*arguments) == 2
    captured = capsys.readouterr()
    assert named in captured.err
    assert captured.err.startswith("tumorseg: error: ")
    assert captured.err.count("\n") == 1
    assert captured.out == ""
    assert content(wrong_files) == before


def test_a_required_role_that_is_missing_is_named(
    case: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the automatic model, which could do without, is put to work."""
    monkeypatch.setattr(AutoEngine, "segment", lambda *_, **__: pytest.fail("minutes of work for nothing"))
    assert refine("--auto", "auto", inputs=("pet=pet.nii.gz",)) == 2
    assert "model 'clicks' needs ct" in capsys.readouterr().err
    assert not Path("out.nii.gz").exists()


def test_a_session_that_could_not_be_continued_stays_as_it_was(case: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert refine("--session", "kept.json") == 0
    Path("out.nii.gz").unlink()
    kept = Path("kept.json").read_bytes()
    damaged = json.loads(kept)
    damaged["records"]["0"] = "AAAA"
    save("damaged.json", damaged)
    before = content(case)
    assert refine("--session", "damaged.json") == 2
    assert "damaged.json: the session is damaged" in capsys.readouterr().err
    assert content(case) == before
    save("outside.json", {"prompts": [{"click": [28, 3, 3]}]})
    before = content(case)
    assert refine("--session", "kept.json", clicks="outside.json") == 2
    assert content(case) == before


@pytest.mark.parametrize(
    "arguments",
    [
        ["--input", "ct=ct.nii.gz", "--output", "out.nii.gz"],
        ["--input", "ct=ct.nii.gz", "--clicks", "clicks.json"],
        ["--clicks", "clicks.json", "--output", "out.nii.gz"],
    ],
)
def test_what_must_be_given(case: Path, capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["refine", *arguments])
    assert "are required" in capsys.readouterr().err


def test_one_start_alone(case: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        refine("--initial", "drawn.nii.gz", "--auto", "auto")
    assert "--auto: not allowed with argument --initial" in capsys.readouterr().err


def test_debug_shows_the_traceback(case: Path) -> None:
    with pytest.raises(ReadError, match=r"no\.json: no such file"):
        refine("--debug", clicks="no.json")
