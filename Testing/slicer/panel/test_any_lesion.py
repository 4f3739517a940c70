"""A lesion in a volume just loaded, by the model that ships: two actions make a segment, a line gives its extent."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from Testing.slicer.logic.test_end_to_end import PATIENCE, Desk, dice, missed
from Testing.slicer.module import SMALL, load_phantom, ras_of
from TumorSegLib import make_phantom, read_mask

if TYPE_CHECKING:
    from Testing.slicer.host.host import Host

pytestmark = pytest.mark.usefixtures("one_thread")


def ends_of(truth: np.ndarray) -> list[tuple[int, int, int]]:
    """The ends (i, j, k) of a long diameter on the axial slice with the largest section: of its longer side."""
    k = int(truth.sum(axis=(1, 2)).argmax())
    j, i = np.nonzero(truth[k])
    along = i if np.ptp(i) >= np.ptp(j) else j
    return [(int(i[at]), int(j[at]), k) for at in (along.argmin(), along.argmax())]


def outline(desk: Desk, volume: Any, truth: np.ndarray) -> tuple[float, float]:
    """Dice after a click deep in the lesion, and after a line across it in its place."""
    desk.host.show(volume)
    desk.ui.pointButton.click()
    clicked = desk.click("Red", missed(truth * 0, truth))
    desk.ui.lineButton.click()
    desk.press("undoButton")
    before = desk.answered
    for ijk in ends_of(truth):
        desk.host.click("Red", ras_of(volume, ijk))
    desk.host.wait_until(lambda: desk.answered > before and not desk.context.tasks.busy, "an answer", PATIENCE)
    drawn = desk.mask()
    print(f"click: Dice {dice(clicked, truth):.2f}, line: {dice(drawn, truth):.2f}; {desk.ui.statusLabel.text}")
    assert desk.host.dialogs.texts == []
    return dice(clicked, truth), dice(drawn, truth)


def test_a_click_or_a_line_outlines_the_tumour_of_the_phantom_in_one_image(host: Host) -> None:
    import slicer

    desk = Desk(host)
    volumes = load_phantom()
    for role in ("ct", "mr_t1"):
        slicer.mrmlScene.RemoveNode(volumes[role])
    truth = make_phantom(**SMALL).tumour.array.astype(bool)
    click, line = outline(desk, volumes["pet"], truth)
    assert desk.ui.role1Selector.currentText == "PET (SUV)"
    assert min(click, line) > 0.4


@pytest.mark.data
@pytest.mark.parametrize("case", ["more/lidc_nodules/LIDC-IDRI-0001", "more/ms_lesions_ljubljana/patient07"])
def test_a_lesion_that_no_automatic_model_knows(host: Host, data_root: Path, case: str) -> None:
    import slicer
    from scipy.ndimage import label

    desk = Desk(host)
    (path,) = [each for name in ("ct", "flair") for each in data_root.glob(f"{case}_{name}.nii.gz")]
    parts, _ = label(
        read_mask(path.with_name(path.name.replace("_ct.", "_label.").replace("_flair.", "_label."))).array
    )
    truth = parts == np.bincount(parts.ravel())[1:].argmax() + 1
    click, line = outline(desk, slicer.util.loadVolume(str(path), {"show": False}), truth)
    assert desk.ui.role1Selector.currentText in ("CT", "FLAIR MR")
    assert max(click, line) > 0.2  # what it is depends on the model, whose card has its figures
