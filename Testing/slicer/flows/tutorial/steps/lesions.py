"""Any lesion: a nodule by clicks, a brain lesion by a lasso, a second lesion by a box."""

from __future__ import annotations

import numpy as np

from Testing.slicer.flows.tutorial.reader import Reader, dice, step
from Testing.slicer.flows.tutorial.steps.common import assert_in_view, assert_listed, assert_said_volume
from Testing.slicer.lesion_list import NAME
from Testing.slicer.module import voxels


@step(
    'Click in the middle of the nodule, in any slice view. The strip says "Added. Segment now: … ml", and the '
    "list has a row."
)
def click_nodule(reader: Reader) -> None:
    user = reader.user
    user.click(reader.missed())
    assert (user.actions, user.host.dialogs.texts) == (2, [])
    assert user.lesions.texts(NAME) == ["Tumour"]
    assert_said_volume(reader)
    assert_listed(reader)
    assert reader.agreement() > 0.5


@step('Where a part was missed, click on it, best in another view. The strip says "Added. Segment now: … ml"')
def click_again(reader: Reader) -> None:
    before = reader.agreement()
    reader.user.click(reader.missed(), view="Green")
    assert_said_volume(reader)
    assert reader.agreement() > before


@step("Press **Esc** to put the tool down: a click in a view adds nothing any more.")
def put_down(reader: Reader) -> None:
    reader.user.key("Esc")
    assert not reader.user.ui.pointButton.checked


# With a lasso


@step('Press the key **L**. The strip says "Draw round the lesion in a slice view. With Ctrl: not tumour."')
def take_lasso(reader: Reader) -> None:
    reader.user.key("L")


@step(
    'Draw round the lesion on one slice, with the left button held. The strip says "The model followed what '
    'you drew. Segment now: … ml": the lesion is outlined on the other slices, too.'
)
def draw_round(reader: Reader) -> None:
    user = reader.user
    user.draw(reader.outline())
    assert (user.actions, user.host.dialogs.texts) == (2, [])
    assert_said_volume(reader)
    assert user.mask().any(axis=(1, 2)).sum() > 2
    assert reader.agreement() > 0.8


@step('Press the key **Z** to take that back, and **Y** to have it again. The strip says "Redone. Segment now: … ml"')
def undo_and_redo(reader: Reader) -> None:
    user, drawn = reader.user, reader.user.mask()
    user.key("Z", edits=True)
    assert user.said == "Undone. Segment now: 0.0 ml"
    assert not user.mask().any()
    user.key("Y", edits=True)
    np.testing.assert_array_equal(user.mask(), drawn)
    assert_said_volume(reader)


# A second one


@step("Press the key **P** and click on the first nodule.")
def first(reader: Reader) -> None:
    reader.user.key("P")
    reader.user.click(reader.missed())
    assert reader.agreement() > 0.5


@step(
    'Press **New segment**. The strip says "New segment: click on the tumour, or draw a line across it, or a '
    'box or a lasso round it."'
)
def new_segment(reader: Reader) -> None:
    reader.user.press("New segment")
    assert reader.user.lesions.texts(NAME) == ["Tumour", "Tumour 2"]
    reader.lesions.reverse()


@step('Click on the second nodule: the tool is still in use. The strip says "Added. Segment now: … ml"')
def second(reader: Reader) -> None:
    user, former = reader.user, reader.lesions[1]
    user.click(reader.missed())
    assert (user.actions, user.host.dialogs.texts) == (4, [])
    assert not (user.mask() & former).any()
    assert (user.mask() & reader.truth).any()
    assert_said_volume(reader)


@step(
    "Where a click marks too little or too much, press the key **B** and click on two opposite corners of a "
    'box round the nodule. The strip says "Segmented in the box. Segment now: … ml"'
)
def box(reader: Reader) -> None:
    reader.user.key("B")
    reader.user.corners(*reader.corners())
    assert_said_volume(reader)
    assert reader.agreement() > 0.8


@step("Press the key **N** for the next lesion: the views move to it.")
def go_on(reader: Reader) -> None:
    second = reader.user.mask()
    reader.user.key("N")
    reader.lesions.reverse()
    assert_in_view(reader)
    assert dice(reader.user.mask(), second) < 0.1
    assert reader.agreement() > 0.5


@step("Double-click on its name **Tumour** in the list, type a name, and press Enter.")
def rename(reader: Reader) -> None:
    user = reader.user
    masks = [voxels(user.node, each, user.image) for each in user.node.GetSegmentation().GetSegmentIDs()]
    user.click_row("Tumour", to="Nodule 1")
    assert user.lesions.texts(NAME) == ["Nodule 1", "Tumour 2"]
    for each, mask in zip(user.node.GetSegmentation().GetSegmentIDs(), masks):
        np.testing.assert_array_equal(voxels(user.node, each, user.image), mask)
