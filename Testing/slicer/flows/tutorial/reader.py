"""A reader of docs/slicer.md, who does what a step says and looks whether that is true which it says of the outcome."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from Testing.slicer.flows.tutorial.page import Picture, Step, Task

if TYPE_CHECKING:
    import pytest

    from Testing.slicer.flows.user import User
    from Testing.slicer.shelf import Shelf

#: Text of a step to what does it.
STEPS: dict[str, Callable[[Reader], None]] = {}
Place = tuple[int, int, int]


def step(text: str) -> Callable[[Callable[[Reader], None]], Callable[[Reader], None]]:
    """Names the step of the page that a function does, by its text without line breaks; several tasks may have it."""

    def register(function: Callable[[Reader], None]) -> Callable[[Reader], None]:
        if text in STEPS:
            raise ValueError(f"two functions do the step {text!r}")
        STEPS[text] = function
        return function

    return register


class Reader:
    """Somebody who follows the page.

    Attributes:
        user: of the application.
        folder: where files are written.
        lesions: the true lesions of the sample, bool ``[k, j, i]``; the one worked on is the first.
        step: the one being done.
        shelf: packages that stand in for those that are installed.
        patch: undone when the task is done.
    """

    shelf: Shelf

    def __init__(self, user: User, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.user, self.folder, self.patch = user, folder, patch
        self.lesions: list[np.ndarray] = []
        self.step = Step(0, "")

    @property
    def truth(self) -> np.ndarray:
        """The lesion worked on."""
        return self.lesions[0]

    def follow(self, task: Task, look: Callable[[Picture], None]) -> None:
        """Does a task from its first step to its last; ``look`` is called where the page has a picture."""
        for part in task.parts:
            if isinstance(part, Picture):
                look(part)
            else:
                self._do(part)

    def _do(self, step: Step) -> None:
        """What is bold on the page is what is used, nothing else; the strip says what the page says."""
        self.step = step
        self.user.used.clear()
        STEPS[step.text](self)
        assert set(self.user.used) == step.used, step.text
        for words in step.said:
            assert re.fullmatch(re.escape(words).replace("…", r"-?[\d.]+"), self.user.said), (words, self.user.said)

    # What is to be seen

    def agreement(self) -> float:
        """Dice of the selected segment and the lesion worked on."""
        return dice(self.user.mask(), self.truth)

    def missed(self) -> Place:
        """The voxel (i, j, k) deepest inside what the segment misses of the lesion."""
        return deepest(self.truth & ~self.user.mask())

    def wrong(self) -> Place:
        """The voxel (i, j, k) deepest inside what is marked and is not lesion."""
        return deepest(self.user.mask() & ~self.truth)

    def corners(self, margin: int = 2) -> tuple[Place, Place]:
        """Opposite corners of a box round the lesion on the axial slice with most of it."""
        k = self.widest()
        j, i = np.nonzero(self.truth[k])
        return (i.min() - margin, j.min() - margin, k), (i.max() + margin, j.max() + margin, k)

    def outline(self) -> list[Place]:
        """Round the lesion on the axial slice with most of it; between voxels."""
        from skimage.measure import find_contours

        k = self.widest()
        points = max(find_contours(self.truth[k].astype(float), 0.5), key=len)
        return [(i, j, k) for j, i in points[::2]]

    def widest(self) -> int:
        """The axial slice with most of the lesion."""
        return int(self.truth.sum(axis=(1, 2)).argmax())


def dice(one: np.ndarray, other: np.ndarray) -> float:
    return float(2 * (one & other).sum() / (one.sum() + other.sum()))


def deepest(inside: np.ndarray) -> Place:
    """The voxel (i, j, k) farthest from all that is not inside."""
    from scipy.ndimage import distance_transform_edt

    depth = distance_transform_edt(np.pad(inside, 1))[1:-1, 1:-1, 1:-1]
    k, j, i = np.unravel_index(int(depth.argmax()), depth.shape)
    return int(i), int(j), int(k)
