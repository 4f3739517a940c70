"""The commands on several labels and on regions that overlap, with trainings of nnU-Net."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from Testing.unit.cases.cli_cases import assert_refused, save
from Testing.unit.cases.label_models import LABELS, REGIONS, LabelModel, label_model, middle, same
from TumorSegLib.cli.entry import main
from TumorSegLib.evaluation.labels import evaluate_labels
from TumorSegLib.evaluation.metrics import evaluate
from TumorSegLib.geometry.grid import Grid
from TumorSegLib.images.labels import Segment, Segmentation
from TumorSegLib.images.volume import Mask
from TumorSegLib.io.images import read_mask, read_segmentation, write_mask, write_segmentation
from TumorSegLib.measurements.tumour import measure
from TumorSegLib.prompts.types import Click, Prompts

ENGINE = ("--device", "cpu", "--precision", "float32", "--backend", "torch")


@pytest.fixture
def case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, the current one, with the models of the user in a folder of it."""
    monkeypatch.setenv("TUMORSEG_MODELS", str(tmp_path / "models"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def organs(case: Path) -> LabelModel:
    return label_model(LABELS, "organs")


@pytest.fixture
def regions(case: Path) -> LabelModel:
    return label_model(REGIONS, "regions")


def run(model: LabelModel, command: str, *more: str) -> int:
    given = [text for role, path in model.files.items() for text in ("--input", f"{role}={path}")]
    return main([command, *given, *ENGINE, *more])


def masks(path: str) -> dict[str, np.ndarray]:
    found = read_segmentation(path)
    return {name: found.mask_of(name).array for name in found.names}


def of(model: LabelModel) -> dict[str, np.ndarray]:
    result = model.result()
    return {name: result.mask_of(name).array for name in result.labels}


def clicks(*prompts: Click) -> str:
    save("clicks.json", Prompts(prompts).to_json())
    return "clicks.json"


def test_regions_are_written_filled_and_drawn_whole(regions: LabelModel, capsys: pytest.CaptureFixture[str]) -> None:
    fixed = ("--model", "regions", "--output", "out.seg.nrrd")
    assert run(regions, "segment", *fixed, "--output", "out.nii.gz", "--preview", "out.png") == 0
    assert same(masks("out.seg.nrrd"), of(regions))
    cut, whole = (read_mask("out.nii.gz").array == 1).sum(), of(regions)["whole"].sum()
    volume = regions.result().mask.grid.voxel_volume_ml
    (warning,) = [line for line in capsys.readouterr().err.splitlines() if "warning" in line]
    assert "out.nii.gz: with one label per voxel, parts that other labels cover are missing: " in warning
    assert f"whole has {cut * volume:.1f} of {whole * volume:.1f} ml" in warning
    assert cut < whole
    assert np.array_equal(read_mask("out.nii.gz").array, regions.result().mask.array)
    assert np.array_equal(read_mask("out.seg.nrrd").array, regions.result().mask.array)
    assert Path("out.png").stat().st_size > 20_000
    assert run(regions, "segment", *fixed, "--fill-holes", "--min-volume", "0.1", "--info", "out.json") == 0
    filled, before, (printed, said) = masks("out.seg.nrrd"), of(regions), capsys.readouterr()
    assert "warning" not in said
    for name, mask in filled.items():
        assert not (before[name] & ~mask & 1).any()
        assert f"{name} {read_segmentation('out.seg.nrrd').mask_of(name).volume_ml:.1f} ml" in printed
    union = np.any(list(filled.values()), axis=0)
    grid = regions.result().mask.grid
    report = json.loads(Path("out.json").read_text())
    assert report["volume_ml"] == pytest.approx(union.sum() * grid.voxel_volume_ml)
    volumes = {name: mask.sum() * grid.voxel_volume_ml for name, mask in filled.items()}
    assert report["labels_ml"] == pytest.approx(volumes)


def test_refine_says_that_a_model_has_several_labels(
    organs: LabelModel, case: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ("--auto", "organs", "--clicks", clicks(Click((10, 10, 6))), "--output", "out.seg.nrrd")
    words = "organs has several labels (liver, tumour, vessel); say which one to correct, e.g. --label liver"
    assert_refused(lambda: run(organs, "refine", *given), words, case, capsys)
    words = "--label 'node': there is no such label; there are liver, tumour, vessel"
    assert_refused(lambda: run(organs, "refine", *given, "--label", "node"), words, case, capsys)
    none = given[2:]
    words = "--label 'node': there is no such label; there are none by name"
    assert_refused(lambda: run(organs, "refine", *none, "--label", "node"), words, case, capsys)


def test_refine_corrects_one_label_of_a_model_and_the_others_go_along(
    organs: LabelModel, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = of(organs)
    at = middle(expected["liver"])
    given = ("--auto", "organs", "--clicks", clicks(Click(at)), "--session", "kept.json")
    assert run(organs, "refine", *given, "--label", "tumour", "--output", "out.seg.nrrd", "--output", "out.nii.gz") == 0
    assert "1 prompt(s) on 'tumour', " in capsys.readouterr().out
    found = masks("out.seg.nrrd")
    assert found["tumour"][at[::-1]]
    gained = found["tumour"] & ~expected["tumour"] & 1
    assert np.array_equal(found["liver"], expected["liver"] & ~gained)
    assert np.array_equal(found["vessel"], expected["vessel"] & ~gained)
    labels = read_mask("out.nii.gz").array
    assert all(np.array_equal(labels == value, found[name] > 0) for name, value in organs.engine.spec.labels.items())
    # the session goes on with the label that was corrected, or with another
    back = Click(at, positive=False)
    assert run(organs, "refine", "--session", "kept.json", "--clicks", clicks(back), "--output", "on.seg.nrrd") == 0
    assert not masks("on.seg.nrrd")["tumour"][at[::-1]]
    more = ("--session", "kept.json", "--clicks", clicks(Click(at)), "--output", "on.seg.nrrd")
    assert run(organs, "refine", *more, "--label", "3") == 0
    assert masks("on.seg.nrrd")["vessel"][at[::-1]]
    session = json.loads(Path("kept.json").read_text())
    assert [each["name"] for each in session["segments"]] == ["liver", "tumour", "vessel"]


def test_refine_corrects_a_region_of_a_layered_file_with_its_names_and_colours(regions: LabelModel) -> None:
    result = regions.result()
    colours = {"whole": (0.1, 0.2, 0.3), "core": (0.4, 0.5, 0.6), "enhancing": (0.7, 0.8, 0.9)}
    segments = [Segment(name, n, colours[name]) for name, n in (("whole", 7), ("core", 3), ("enhancing", 9))]
    write_segmentation(
        Segmentation.of_masks((each, result.mask_of(each.name)) for each in segments), "regions.seg.nrrd"
    )
    expected = of(regions)
    at = middle(expected["whole"] & ~expected["core"] & 1)
    given = ("--initial", "regions.seg.nrrd", "--clicks", clicks(Click(at)), "--session", "kept.json")
    assert run(regions, "refine", *given, "--output", "out.seg.nrrd", "--label", "core") == 0
    found = read_segmentation("out.seg.nrrd")
    assert [(each.name, each.label, each.colour) for each in found.segments] == [
        (each.name, each.label, each.colour) for each in segments
    ]
    assert found.mask_of("core").array[at[::-1]]
    for name in ("whole", "enhancing"):
        assert np.array_equal(found.mask_of(name).array, expected[name])
    # a kept session has the same numbers and colours
    again = ("--session", "kept.json", "--clicks", clicks(Click(at)), "--label", "3")
    assert run(regions, "refine", *again, "--output", "on.seg.nrrd", "--output", "on.nii.gz") == 0
    assert [(each.name, each.label, each.colour) for each in read_segmentation("on.seg.nrrd").segments] == [
        (each.name, each.label, each.colour) for each in segments
    ]
    assert set(np.unique(read_mask("on.nii.gz").array)) == {0, 7, 3, 9}


def test_a_session_whose_labels_are_damaged_is_refused(
    organs: LabelModel, case: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prompts = clicks(Click(middle(of(organs)["liver"])))
    given = ("--clicks", prompts, "--session", "kept.json", "--output", "out.seg.nrrd")
    assert run(organs, "refine", "--auto", "organs", *given, "--label", "tumour") == 0
    kept = json.loads(Path("kept.json").read_text())
    for labels in (
        {**kept["labels"], "tumour": {}},
        [],
        {name: {**one, "label": 0} for name, one in kept["labels"].items()},
    ):
        Path("kept.json").write_text(json.dumps({**kept, "labels": labels}))
        Path("out.seg.nrrd").unlink(missing_ok=True)
        capsys.readouterr()
        words = "kept.json: the session is damaged: its labels cannot be read"
        assert_refused(lambda: run(organs, "refine", *given), words, case, capsys)
    # without them, as sessions of a program that keeps none, labels are numbered in their order
    del kept["labels"]
    Path("kept.json").write_text(json.dumps(kept))
    assert run(organs, "refine", *given) == 0
    assert [each.label for each in read_segmentation("out.seg.nrrd").segments] == [1, 2, 3]


def test_refine_of_one_named_segment_keeps_its_name(organs: LabelModel) -> None:
    mask = organs.result().mask_of("liver")
    write_segmentation(Segmentation.of_masks([(Segment("GTV", 4, (0.1, 0.2, 0.3)), mask)]), "gtv.seg.nrrd")
    at = middle(mask.array)
    given = ("--initial", "gtv.seg.nrrd", "--clicks", clicks(Click(at, positive=False)), "--output", "out.seg.nrrd")
    assert run(organs, "refine", *given) == 0
    found = read_segmentation("out.seg.nrrd")
    assert [(each.name, each.label, each.colour) for each in found.segments] == [("GTV", 4, (0.1, 0.2, 0.3))]
    assert not found.mask_of("GTV").array[at[::-1]]


def rows(path: str) -> Sequence[dict[str, str]]:
    with Path(path).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_each_region_is_measured_whole(regions: LabelModel, capsys: pytest.CaptureFixture[str]) -> None:
    result = regions.result()
    write_segmentation(result.segmentation, "regions.seg.nrrd")
    assert main(["measure", "--segmentation", "regions.seg.nrrd", "--csv", "out.csv"]) == 0
    found = rows("out.csv")
    assert [(row["label"], row["name"]) for row in found] == [("1", "whole"), ("2", "core"), ("3", "enhancing")]
    for row in found:
        wanted = measure(result.mask_of(row["name"]))
        assert (float(row["volume_ml"]), int(row["lesions"])) == (wanted.volume_ml, wanted.lesions)
    capsys.readouterr()
    assert main(["measure", "--segmentation", "regions.seg.nrrd"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines[2:5]] == ["whole", "core", "enhancing"]


def moved(segmentation: Segmentation, by: int) -> Segmentation:
    """The same segments elsewhere along i, in the opposite order and with other labels."""
    return Segmentation.of_masks(
        (
            Segment(each.name, 20 + each.label),
            Mask(segmentation.grid, np.roll(segmentation.mask_of(each.name).array, by, axis=2)),
        )
        for each in reversed(segmentation.segments)
    )


def test_regions_are_evaluated_by_name(regions: LabelModel, case: Path, capsys: pytest.CaptureFixture[str]) -> None:
    reference = regions.result().segmentation
    prediction = moved(reference, 2)
    write_segmentation(reference, "reference.seg.nrrd")
    write_segmentation(prediction, "prediction.seg.nrrd")
    files = ["prediction.seg.nrrd", "reference.seg.nrrd"]
    assert main(["evaluate", *files, "--json", "m.json", "--csv", "m.csv"]) == 0
    captured = capsys.readouterr()
    assert captured.out.splitlines()[0].split() == ["all", "labels", "whole", "core", "enhancing"]
    assert captured.err == ""
    values, table = json.loads(Path("m.json").read_text()), rows("m.csv")
    assert [(row["label"], row["name"]) for row in table[:2]] == [("all", ""), ("1", "whole")]
    found = evaluate_labels(prediction, reference)
    for name in ("whole", "core", "enhancing"):
        wanted = evaluate(prediction.mask_of(name), reference.mask_of(name))
        assert found[name] == wanted
        assert 0 < wanted.dice < 1
        assert values["labels"][name] == wanted.to_dict()
        assert float(next(row for row in table if row["name"] == name)["dice"]) == wanted.dice
    assert values["dice"] == evaluate(prediction.foreground, reference.foreground).dice


def test_labels_of_a_file_without_names_are_evaluated_by_label(organs: LabelModel) -> None:
    result = organs.result()
    write_mask(result.mask, "labels.nii.gz")
    write_segmentation(result.segmentation, "named.seg.nrrd")
    assert main(["evaluate", "labels.nii.gz", "named.seg.nrrd", "--json", "m.json"]) == 0
    assert {name: one["dice"] for name, one in json.loads(Path("m.json").read_text())["labels"].items()} == {
        "liver": 1,
        "tumour": 1,
        "vessel": 1,
    }


def test_a_missing_segment_counts_as_empty(organs: LabelModel, capsys: pytest.CaptureFixture[str]) -> None:
    whole = organs.result().segmentation
    pair = [(each, whole.mask_of(each.name)) for each in whole.segments if each.name != "vessel"]
    write_segmentation(whole, "all.seg.nrrd")
    write_segmentation(Segmentation.of_masks(pair), "two.seg.nrrd")
    assert main(["evaluate", "two.seg.nrrd", "all.seg.nrrd", "--json", "m.json"]) == 0
    assert json.loads(Path("m.json").read_text())["labels"]["vessel"]["dice"] == 0
    assert (
        "note: the prediction has labels liver, tumour, the reference liver, tumour, vessel" in capsys.readouterr().err
    )


def test_folders_give_a_row_for_each_case_and_label(
    organs: LabelModel, case: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = organs.result()
    for folder in ("found", "wanted"):
        Path(folder).mkdir()
    for name, by in (("a", 0), ("b", 1)):
        write_segmentation(moved(result.segmentation, by), f"found/{name}.seg.nrrd")
        write_mask(moved(result.segmentation, 0).label_map(), f"wanted/{name}.nii.gz")
    write_mask(result.mask, "wanted/c.nii.gz")
    assert main(["evaluate", "found", "wanted", "--csv", "m.csv", "--json", "m.json"]) == 0
    captured = capsys.readouterr()
    assert captured.err.splitlines()[0] == "note: not in found: c"
    assert captured.err.splitlines()[1].startswith("note: b: 'vessel' of the prediction overlaps 'tumour'")
    found = [(row["case"], row["name"]) for row in rows("m.csv")]
    assert found == [(name, label) for name in "ab" for label in ("", "liver", "tumour", "vessel")]
    dice = {(row["case"], row["name"]): float(row["dice"]) for row in rows("m.csv")}
    assert dice["a", "liver"] == 1 > dice["b", "liver"] > 0
    assert len(captured.out.splitlines()) == 1 + 8
    assert json.loads(Path("m.json").read_text())["cases"]["b"]["labels"]["liver"]["dice"] == dice["b", "liver"]
    Path("empty").mkdir()
    words = "no mask in empty has the name of one in wanted"
    assert_refused(lambda: main(["evaluate", "empty", "wanted"]), words, case, capsys)


def test_folders_with_two_files_of_a_case_or_beside_a_file_are_refused(
    case: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mask = Mask(Grid.from_spacing((4, 4, 4), (1, 1, 1)), np.ones((4, 4, 4), np.uint8))
    for folder in ("found", "wanted"):
        Path(folder).mkdir()
        write_mask(mask, f"{folder}/a.nii.gz")
        Path(folder, "._a.nii.gz").write_bytes(b"of macOS")
    assert main(["evaluate", "found", "wanted"]) == 0
    write_mask(mask, "found/a.nrrd")
    capsys.readouterr()
    assert main(["evaluate", "found", "wanted", "--csv", "m.csv"]) == 2
    assert "found: a.nii.gz and a.nrrd are both of case a; keep one" in capsys.readouterr().err
    assert main(["evaluate", "found", "wanted/a.nii.gz", "--csv", "m.csv"]) == 2
    assert "found is a folder, and the other is not; give two files or two folders" in capsys.readouterr().err
    assert not Path("m.csv").exists()
