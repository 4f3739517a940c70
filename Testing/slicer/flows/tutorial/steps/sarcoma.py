"""Sarcoma on PET/CT: marked by itself, and corrected."""

from __future__ import annotations

from Testing.slicer.flows.tutorial.reader import Reader, step
from Testing.slicer.flows.tutorial.steps.common import assert_said_volume
from Testing.slicer.lesion_list import NAME


@step(
    'Press **Segment automatically**. The strip says "Marked … ml by sts-auto, which was made for soft-tissue '
    'sarcoma of the limbs and trunk wall; check it." The list has a new row.'
)
def segment(reader: Reader) -> None:
    user = reader.user
    user.press("Segment automatically", edits=True)
    assert (user.actions, user.host.dialogs.texts) == (1, [])
    assert user.lesions.texts(NAME) == ["Tumour"]
    assert_said_volume(reader)
    assert reader.agreement() > 0.8


@step('Where tumour was missed, click on it without Ctrl. The strip says "Added. Segment now: … ml"')
def add(reader: Reader) -> None:
    before, place = reader.agreement(), reader.missed()
    reader.user.click(place)
    assert contains(reader, place)
    assert_said_volume(reader)
    assert reader.agreement() > before


@step(
    "Where something else was marked, press the key **P**, hold **Ctrl** and click on it. The strip says "
    '"Removed. Segment now: … ml"'
)
def remove(reader: Reader) -> None:
    before, place = reader.agreement(), reader.wrong()
    reader.user.key("P")
    reader.user.click(place, ctrl=True)
    assert not contains(reader, place)
    assert_said_volume(reader)
    assert reader.agreement() > before


def contains(reader: Reader, place: tuple[int, int, int]) -> bool:
    """Whether the segment holds a voxel (i, j, k)."""
    return bool(reader.user.mask()[place[::-1]])


@step(
    "Open **View** and press **Jump to next uncertain region**: the views move to where the model is least "
    'certain. The strip says "Uncertain region at RAS …, …, … mm; … more."'
)
def look_at_doubt(reader: Reader) -> None:
    before = reader.user.host.slice_offsets()
    reader.user.press("View")
    reader.user.press("Jump to next uncertain region")
    assert reader.user.host.slice_offsets() != before


@step("Tick **Show in 3D**.")
def show_surface(reader: Reader) -> None:
    reader.user.press("Show in 3D")
    assert reader.user.node.GetSegmentation().ContainsRepresentation("Closed surface")
