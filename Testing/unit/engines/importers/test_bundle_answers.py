"""Answers of imported MONAI bundles beside MONAI's own: its transforms, its inferer and its inversion as configured."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from skimage.measure import label as number_regions

from Testing.interop.comparison import agreements
from Testing.unit.engines.importers.bundle_cases import LAYOUTS, monai_answer, write_bundle, write_images
from TumorSegLib.cli.entry import main
from TumorSegLib.engines.importers.bundles.model import import_bundle
from TumorSegLib.engines.load import load_engine
from TumorSegLib.io.images import read_mask, read_volume

pytestmark = pytest.mark.filterwarnings("ignore:::monai")  # what MONAI's own defaults warn of
#: Those whose answer MONAI turns back as labels: it has no probabilities on the image.
AS_LABELS = ("whole body", "largest")


@pytest.mark.parametrize("name", LAYOUTS)
def test_answers_are_those_of_monai(name: str, tmp_path: Path, models: Path) -> None:
    layout = LAYOUTS[name]
    bundle, files = write_bundle(tmp_path, layout), write_images(tmp_path, layout.channels)
    spec = import_bundle(bundle, "imported").spec
    answer, probabilities = monai_answer(layout, bundle, files)
    labels = answer[0]
    engine = load_engine("imported", "cpu", "float32", "torch", kind="auto")
    result = engine.segment({role: read_volume(file, role) for role, file in zip(spec.roles, files)})
    for label in result.labels.values():
        assert (labels == label.value).sum() > 50
    if name in AS_LABELS:
        expected = [result.probability_of(label).array for label in result.labels]
    else:
        expected = [probabilities[channel] for channel in spec.monai_input.outputs.values()]
    assert [str(each) for each in agreements(result, labels, expected) if not each.holds] == []
    if spec.monai_input.largest is not None:
        most_probable = probabilities.argmax(axis=0).transpose(2, 1, 0)  # this bundle changes no lattice
        for answered in result.labels.values():
            inside = result.mask.array == answered.value
            assert number_regions(inside, connectivity=3, return_num=True)[1] == 1
        assert np.count_nonzero(result.mask.array) < np.count_nonzero(most_probable)
        assert np.array_equal(result.probability.array > 0.5, result.mask.array > 0)


def test_regions_overlap_and_the_label_map_is_the_bundles(tmp_path: Path, models: Path) -> None:
    layout = LAYOUTS["brats"]
    bundle, files = write_bundle(tmp_path, layout), write_images(tmp_path, layout.channels)
    spec = import_bundle(bundle, "brats").spec
    assert spec.labels == {"Whole tumor": 2, "Tumor core": 1, "Enhancing tumor": 4}
    assert spec.roles == ("mr_t1ce", "mr_t1", "mr_t2", "mr_flair")
    _, probabilities = monai_answer(layout, bundle, files)
    engine = load_engine("brats", "cpu", "float32", "torch", kind="auto")
    result = engine.segment({role: read_volume(file, role) for role, file in zip(spec.roles, files)})
    whole = result.mask_of("Whole tumor").array > 0
    theirs = probabilities[1] >= 0.5
    assert 2 * (whole & theirs).sum() / (whole.sum() + theirs.sum()) >= 0.999
    assert (whole & (result.mask_of("Tumor core").array > 0)).any()


@pytest.mark.parametrize("name", ["brats", "spleen in yaml", "cropped"])
def test_the_command_adds_a_bundle_and_segments_with_it(
    name: str, tmp_path: Path, models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    layout = LAYOUTS[name]
    bundle, files = write_bundle(tmp_path, layout), write_images(tmp_path, layout.channels)
    assert main(["models", "add", "it", "--monai", str(bundle)]) == 0
    assert "licence: not stated" in capsys.readouterr().out
    roles = {"brats": ("mr_t1ce", "mr_t1", "mr_t2", "mr_flair")}.get(name, ("ct",))
    outputs = [tmp_path / "labels.nii.gz", tmp_path / "labels.seg.nrrd"]
    line = ["segment", "--model", "it", "--device", "cpu", "--precision", "float32", "--backend", "torch"]
    line += [part for role, file in zip(roles, files) for part in ("--input", f"{role}={file}")]
    assert main([*line, *(part for output in outputs for part in ("--output", str(output)))]) == 0
    labels = monai_answer(layout, bundle, files)[0][0]
    found = read_mask(outputs[0]).array
    for value in np.unique(labels[labels > 0]):
        ours, theirs = found == value, labels == value
        assert 2 * (ours & theirs).sum() / (ours.sum() + theirs.sum()) >= 0.999
    header = outputs[1].read_bytes().partition(b"\n\n")[0].decode()
    names = layout.metadata["network_data_format"]["outputs"]["pred"]["channel_def"].values()
    for label in set(names) - {"background"}:
        assert f"_Name:={label}\n" in header
