"""How many actions the flows of the module take, from images in the views to a lesion, with the models that ship."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from Testing.slicer.flows.user import User
from TumorSegLib.phantom.lesions import make_brain_lesion, make_lung_nodules

if TYPE_CHECKING:
    from Testing.slicer.host.host import Host

pytestmark = pytest.mark.usefixtures("one_thread")


def middle_of(inside: np.ndarray) -> tuple[int, int, int]:
    """The voxel (i, j, k) in the middle of a lesion."""
    k, j, i = np.argwhere(inside).mean(axis=0).round().astype(int).tolist()
    return i, j, k


def dice(one: np.ndarray, other: np.ndarray) -> float:
    return float(2 * (one & other).sum() / (one.sum() + other.sum()))


@pytest.fixture
def user(host: Host) -> User:
    return User(host)


def test_a_lesion_in_a_loaded_image_takes_two_actions(user: User) -> None:
    user.sample("FLAIR of a brain lesion")
    truth = make_brain_lesion(0).lesions.array > 0
    user.open()
    user.key("P")
    user.click(middle_of(truth))
    assert user.actions == 2
    assert dice(user.mask(), truth) > 0.7
    assert user.host.dialogs.texts == []


def test_a_pet_ct_is_segmented_at_one_press(user: User) -> None:
    user.sample("PET/CT and MR of a thigh")
    user.open()
    user.press("segmentButton", edits=True)
    assert user.actions == 1
    assert user.mask().any()
    assert "Marked" in user.said
    assert user.host.dialogs.texts == []


def test_a_second_lesion_takes_two_more_actions_and_leaves_the_first(user: User) -> None:
    user.sample("CT of two lung nodules")
    labels = make_lung_nodules(0).lesions.array
    user.open()
    user.key("P")
    user.click(middle_of(labels == 1))
    first, before = user.context.parameters.segmentId, user.mask()
    user.press("newSegmentButton")
    user.click(middle_of(labels == 2))
    assert user.actions == 4
    second = user.mask()
    assert (second & (labels == 2)).any()
    assert not (second & (labels == 1)).any()
    user.key("N")
    assert user.context.parameters.segmentId == first
    np.testing.assert_array_equal(user.mask(), before)
