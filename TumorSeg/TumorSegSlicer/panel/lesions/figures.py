"""The figures in the list, computed quietly while nothing else is done."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import slicer

from TumorSegSlicer.mrml import volumes
from TumorSegSlicer.mrml.session_nodes import Input
from TumorSegSlicer.panel.shared.context import Context
from TumorSegSlicer.panel.shared.selection import SegmentationNode
from TumorSegSlicer.work.failures import Failure
from TumorSegSlicer.work.lesions.figures import Figures, MeasureBriefly, isMeasured, stampOf, volumeNow

#: Figures are computed so long after the last change.
SETTLED_MS = 200
#: What stands in the list until a figure is known.
UNKNOWN = "..."


@dataclass(frozen=True)
class _State:
    """What figures of a segment depend on.

    Attributes:
        stamp: see :func:`stampOf`; None for what cannot be measured, as under a transform that is not linear.
        pet: the PET in SUV; empty where there is none.
    """

    stamp: tuple[Any, ...] | None
    pet: dict[str, Input]


class ListFigures:
    """Keeps the figures of segments up to date; what is out of date is never given out."""

    def __init__(self, context: Context, onFound: Callable[[], None]) -> None:
        """Begins without figures; ``onFound`` is called when there are new ones."""
        self._context, self._onFound = context, onFound
        self._known: dict[str, Any] = {}  # by segment; of one that failed the stamp alone
        self._now: dict[str, _State] = {}  # by segment, when the list was last shown
        self._node: SegmentationNode | None = None
        self._measuring = False
        self._timer = context.tasks.timer(SETTLED_MS, self._measure)

    def update(self, node: SegmentationNode | None) -> None:
        """Looks after the segments of this segmentation, and of no other."""
        if node is not self._node:
            self._node, self._known = node, {}
        ids: Sequence[str] = node.GetSegmentation().GetSegmentIDs() if node is not None else ()
        self._now = {each: self._state(each) for each in ids}
        if any(self._isStale(*each) for each in self._now.items()):
            self._timer.start()

    def of(self, segmentId: str) -> Figures | None:
        """The figures of a segment as it is now; None where they are not known."""
        return self._found(segmentId, self._state(segmentId))

    def texts(self, segmentId: str) -> tuple[str, str, str]:
        """Volume, diameter and SUVmax of a segment, as it was at :meth:`update`, as text; empty where there is none."""
        state = self._now[segmentId]
        if state.stamp is None:
            return "", "", ""
        found = self._found(segmentId, state)
        volume = volumeNow(self._context.logic.bench.sessions, self._node, segmentId)
        if volume is None and found is not None:
            volume = found.volumeMl
        if volume == 0:
            return _number(0.0), "", ""
        unknown = "" if self._hasFailed(segmentId, state) else UNKNOWN
        first = unknown if volume is None else _number(volume)
        if found is None:
            return first, unknown, unknown if state.pet else ""
        return first, _number(found.diameterMm), _number(found.suvMax)

    def _found(self, segmentId: str, state: _State) -> Figures | None:
        found = self._known.get(segmentId)
        return found if isinstance(found, Figures) and found.stamp == state.stamp else None

    def _hasFailed(self, segmentId: str, state: _State) -> bool:
        unmeasured = state.stamp is None or not isMeasured(self._node, segmentId)
        return unmeasured or self._known.get(segmentId) == state.stamp

    def _isStale(self, segmentId: str, state: _State) -> bool:
        return self._found(segmentId, state) is None and not self._hasFailed(segmentId, state)

    def _state(self, segmentId: str) -> _State:
        from TumorSegLib import TumorSegError

        pet = self._pet(segmentId)
        try:
            return _State(stampOf(self._node, segmentId, pet), pet)
        except TumorSegError:
            return _State(None, pet)

    def _pet(self, segmentId: str) -> dict[str, Input]:
        """The PET in SUV that a segment is worked on with, or that is chosen; empty where there is none."""
        known = self._context.logic.inputs(self._node, segmentId).get("pet")
        chosen = self._context.selection.images().get("pet")
        # Who gives it that role says that it is in SUV.
        other = Input(chosen, not volumes.isSuv(chosen)) if chosen is not None else None
        pets = (each for each in (known, other) if each is not None and slicer.mrmlScene.IsNodePresent(each.node))
        pet = next(pets, None)
        return {"pet": pet} if pet is not None else {}

    def _stale(self) -> str | None:
        """The first segment whose figures are not known, the selected one before others."""
        ids: Sequence[str] = self._node.GetSegmentation().GetSegmentIDs() if self._node is not None else ()
        order = sorted(ids, key=lambda each: each != self._context.parameters.segmentId)
        return next((each for each in order if self._isStale(each, self._state(each))), None)

    def _measure(self) -> None:
        context, node = self._context, self._node
        if self._measuring or node is None or not slicer.mrmlScene.IsNodePresent(node):
            return
        if context.tasks.busy or not context.packages.complete:
            if context.tasks.busy:
                self._timer.start()
            return
        segmentId = self._stale()
        if segmentId is None:
            return
        state = self._state(segmentId)
        self._measuring = True
        run = context.tasks.startingQuietly(
            lambda found: self._onMeasured(node, segmentId, found),
            lambda failure: self._onStopped(node, segmentId, state.stamp, failure),
        )
        run(MeasureBriefly(node, segmentId, state.pet))

    def _onMeasured(self, node: SegmentationNode, segmentId: str, found: Figures) -> None:
        self._measuring = False
        if node is self._node:
            self._known[segmentId] = found
            self._onFound()

    def _onStopped(self, node: SegmentationNode, segmentId: str, stamp: Any, failure: Failure) -> None:
        """Tries again where the user did something else meanwhile; what fails is not tried again until it changes."""
        self._measuring = False
        if failure.cancelled:
            self._timer.start()
            return
        logging.info("TumorSeg: a segment was not measured for the list: %s", failure.details)
        if node is self._node:
            self._known[segmentId] = stamp
            self._onFound()


def _number(value: float | None) -> str:
    """As text; empty for None."""
    from TumorSegLib.images.volume import number_text

    return "" if value is None else number_text(value)
