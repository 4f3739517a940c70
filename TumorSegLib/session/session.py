"""A session: one case being contoured with undo and redo."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from TumorSegLib.errors import ArgumentError
from TumorSegLib.geometry.arrays import UInt8Array
from TumorSegLib.geometry.boxes import EMPTY_BOX
from TumorSegLib.geometry.grid import Box
from TumorSegLib.images.image_set import ImageSet
from TumorSegLib.images.labels import Segmentation
from TumorSegLib.images.probability import EMPTY
from TumorSegLib.images.volume import Images, Mask, Volume
from TumorSegLib.jobs import Cancel, Job, Progress, acquired
from TumorSegLib.memory import memory_errors
from TumorSegLib.prompts.types import BoxPrompt, Click, Prompt, Prompts, Scribble
from TumorSegLib.protocols import AutoSegmenter, BoxOptions, BoxSegmenter, ClickSegmenter, Result, RunInfo
from TumorSegLib.session.edit import Edit, found_nothing
from TumorSegLib.session.engine_set import EngineSet
from TumorSegLib.session.labels import begun_with, check_labels, commit_labels, whole_part
from TumorSegLib.session.overlap import Overlap
from TumorSegLib.session.parts import check_grid, constrained, corrected, part_from_mask, part_from_result
from TumorSegLib.session.storage import Snapshot, segments_from_json, take_snapshot


class Session:
    """One case: images, engines, and named segments with undo and redo.

    May be used from several threads: an edit waits until the one before it is done; properties and :meth:`snapshot`
    wait only while an edit is written or a mask is read. Arrays read from a session do not change later. An edit that
    fails or is cancelled changes nothing.
    """

    def __init__(
        self,
        images: Images,
        *,
        auto: AutoSegmenter | None = None,
        clicks: ClickSegmenter[Any] | None = None,
        box: BoxSegmenter[Any] | None = None,
        initial: Mask | Segmentation | Result | None = None,
        overlap: Overlap | str = Overlap.KEEP,
    ) -> None:
        """Begins with one segment, ``tumour``, or with one for each label of a result or segmentation.

        Args:
            images: role to image; masks lie on the first one's grid.
            auto, clicks, box: for :meth:`segment`; for :meth:`add_click` and :meth:`add_scribble`; for :meth:`add_box`.
            initial: to begin with, on the first image's grid or on a part of it (``Grid.crop``): a mask, in which what
                is not background is tumour; a segmentation; or a result.
            overlap: what happens where an edit of one segment meets another, see :class:`Overlap`. Where what it begins
                with overlaps, as regions of nnU-Net do, segments may overlap from then on.

        Raises:
            ArgumentError: there is no image, or no such overlap policy.
            RoleError: an image was read for another role than it is given as.
            ModelError: an engine is of another kind.
            GeometryError: the mask lies on another grid.
        """
        self.images = ImageSet.of(images)
        self.grid = self.images.grid
        self._engines = EngineSet(self.images, auto, clicks, box)
        self._writing = threading.Lock()
        self._segments = begun_with(initial, self.grid, overlap)
        self._active = self._segments.names[0]

    @property
    def segments(self) -> tuple[str, ...]:
        """Names of the segments, in the order they were added."""
        return self._segments.names

    @property
    def active(self) -> str:
        """The segment that edits go to."""
        return self._active

    @property
    def overlap(self) -> Overlap:
        """What happens where an edit of one segment meets another."""
        return self._segments.overlap

    @property
    def mask(self) -> Mask:
        """The active segment, 0 or 1, on the first image's grid."""
        return self.mask_of(self._active)

    def mask_of(self, segment: str) -> Mask:
        """As :attr:`mask`, of any segment; raises :class:`ArgumentError` if there is none of that name."""
        return Mask(self.grid, self._segments.mask(segment))

    @property
    def volume_ml(self) -> float:
        """Volume of the active segment in millilitres; takes no time, unlike ``mask.volume_ml``."""
        return self._segments.voxels(self._active) * self.grid.voxel_volume_ml

    @property
    def probability(self) -> Volume:
        """Probability of the active segment, float32 from 0 to 1 in steps of 1/255; tumour where it exceeds 0.5."""
        return Volume(self.grid, self._segments.scaled_probability(self._active), "probability")

    @property
    def prompts(self) -> Prompts:
        """Prompts of the active segment that no later edit contradicts."""
        return self._segments.prompts(self._active)

    @property
    def can_undo(self) -> bool:
        """Whether there is an edit to undo."""
        return self._segments.history.position > 0

    @property
    def can_redo(self) -> bool:
        """Whether there is an edit to do again."""
        return self._segments.history.position < len(self._segments.history)

    @property
    def can_reset(self) -> bool:
        """Whether the active segment has prompts, or other voxels than it began with."""
        return not self._segments.is_initial(self._active)

    def add_segment(self, name: str, initial: Mask | None = None) -> Edit:
        """Adds an empty segment, which undo does not remove, and makes it the active one.

        Args:
            name: not taken yet.
            initial: its mask, an edit under the overlap policy as :meth:`replace_mask`.

        Raises:
            ArgumentError: the name is empty or taken.
            GeometryError: the mask lies on another grid.
        """
        if initial is not None:
            check_grid(initial, self.grid)
        with self._editing():
            self._segments.add(name)
            self._active = name
            return self._replace(initial) if initial is not None else Edit(name, EMPTY_BOX, EMPTY, EMPTY)

    def activate(self, name: str) -> None:
        """Makes a segment the one that edits go to; raises :class:`ArgumentError` if there is none of that name."""
        with self._editing():
            self._segments.check_known(name)
            self._active = name

    def use_engines(
        self,
        *,
        auto: AutoSegmenter | None = None,
        clicks: ClickSegmenter[Any] | None = None,
        box: BoxSegmenter[Any] | None = None,
    ) -> None:
        """Replaces engines; those not given stay, as do images prepared for an engine that stays.

        Raises:
            ModelError: an engine is of another kind.
        """
        if not self._engines.has(auto, clicks, box):
            with self._editing():
                self._engines.replace(auto, clicks, box)

    def prepare(self) -> None:
        """Prepares the images for clicks now, so that the first click is as fast as the others.

        Raises:
            ArgumentError: the session has no click engine.
            RoleError: the images are not what its model takes.
        """
        with self._editing():
            self._engines.clicks()

    def segment(self, *, replace: bool = False, progress: Progress | None = None, cancel: Cancel | None = None) -> Edit:
        """Finds the tumour with the automatic engine; the answer replaces the active segment and its prompts.

        Of several labels each goes to the segment of its name, added where it is missing, all in one step: the edit is
        that of the first label, with the others in its ``others``. Regions overlap, so all segments may from then on.

        Args:
            replace: whether labels may replace segments of their names that are not empty.
            progress, cancel: as of the engine.

        Raises:
            ArgumentError: the session has no automatic engine; a segment of a label's name is not empty.
            TumorSegError: as :meth:`TumorSegLib.engines.auto.engine.AutoEngine.segment`.
        """
        with self._editing(cancel):
            engine = self._engines.auto()
            if len(engine.spec.labels) > 1:
                check_labels(self._segments, engine.spec.labels, replace)
            result = engine.segment(self.images, progress=progress, cancel=cancel)
            if len(result.labels) < 2:
                return self._commit(*part_from_result(result), Prompts(), result.info)
            edit = commit_labels(self._segments, result)
            if self._active not in result.labels:
                self._active = edit.segment
            return edit

    def take_label(self, result: Result, label: str) -> Edit:
        """Replaces the active segment and its prompts by one label of a result.

        Raises:
            ArgumentError: the result has no such label.
            GeometryError: it lies on another grid.
        """
        check_grid(result.mask, self.grid)
        with self._editing():
            return self._commit(*whole_part(result, label), Prompts(), result.info)

    def add(self, prompt: Prompt, *, by_clicks: bool = False, cancel: Cancel | None = None) -> Edit:
        """Corrects the active segment from one click, scribble or line more, or from a box; returns what changed.

        A box is answered as by :meth:`add_box` without options, or by the click engine where the session has no box
        engine and that one takes boxes.

        Args:
            prompt: see :class:`TumorSegLib.prompts.types.Prompt`.
            by_clicks: let the click engine answer a box even where there is a box engine.
            cancel: asked often; True stops with :class:`Cancelled`.

        Raises:
            ArgumentError: the session has no engine for the prompt; the images have the same value all over; the prompt
                lies outside the image, or it is positive and lies wholly in other segments, which keep their voxels.
            GeometryError: a scribble is not on the first image's grid.
            TumorSegError: as :meth:`TumorSegLib.engines.clicks.engine.ClickEngine.refine`.
        """
        if isinstance(prompt, BoxPrompt) and not (by_clicks or self._engines.boxes_by_clicks):
            return self.add_box(prompt, cancel=cancel)
        kind = getattr(prompt, "engine", None)
        if kind is None:
            raise ArgumentError(f"{prompt!r} is no prompt; prompts are clicks, scribbles, lines and boxes")
        if kind != "clicks" and not isinstance(prompt, BoxPrompt):
            raise ArgumentError(f"{prompt} needs an engine of kind {kind!r}, which no session can use for it")
        prompt.check_on(self.grid)
        with self._editing(cancel):
            engine, prepared = self._engines.clicks()
            if prompt.point_prompt() is None and not engine.spec.takes_shapes:
                raise ArgumentError(
                    f"{prompt} needs a click model that takes lines and boxes, {engine.spec.name!r} takes none"
                )
            self._segments.check_free(self._active, prompt)
            prompts = self.prompts.with_prompt(prompt)
            probability = self._segments.probability(self._active)
            answer = engine.refine(prepared, probability, prompts, cancel)
            edit = self._commit(answer.box, answer.probability, prompts, answer.info)
            nothing = found_nothing(probability, prompt, self.grid, self._engines.reach_mm)
            return dataclasses.replace(edit, nothing_found=nothing)

    def add_click(self, click: Click, *, cancel: Cancel | None = None) -> Edit:
        """As :meth:`add`."""
        return self.add(click, cancel=cancel)

    def add_scribble(self, scribble: Scribble, *, cancel: Cancel | None = None) -> Edit:
        """As :meth:`add`."""
        return self.add(scribble, cancel=cancel)

    def embed_box(self, box: BoxPrompt, options: BoxOptions | None = None, cancel: Cancel | None = None) -> int:
        """Precomputes slice embeddings for a box, and returns how many are new. Raises as :meth:`add_box`."""
        options = options or BoxOptions()
        with self._editing(cancel):
            engine, prepared = self._engines.box(options)
            return engine.embed(prepared, box, options, cancel)

    def add_box(
        self,
        box: BoxPrompt,
        *,
        within: BoxPrompt | None = None,
        options: BoxOptions | None = None,
        refine: bool = False,
        progress: Progress | None = None,
        cancel: Cancel | None = None,
    ) -> Edit:
        """Finds the tumour in a box, as the active segment.

        The answer replaces the segment in the box. From a box one slice thick, the tumour is propagated along that axis
        and added to the segment. Constraints of earlier clicks and scribbles still apply.

        Args:
            box: in voxels of the first image.
            within: region that limits the propagation.
            options: image, slice axes and display window.
            refine: let the click engine correct the answer; nothing is added outside a 3D box or ``within``.
            progress, cancel: as for :meth:`segment`.

        Raises:
            ArgumentError: the session has no box engine, or no click engine to refine with; the box leaves the image.
            TumorSegError: as :meth:`TumorSegLib.engines.box.engine.BoxEngine.segment`.
        """
        options = options or BoxOptions()
        with self._editing(cancel):
            refiner = self._engines.clicks() if refine else None
            engine, prepared = self._engines.box(options)
            answer = engine.segment(prepared, box, options, within=within, progress=progress, cancel=cancel)
            current, prompts = self._segments.probability(self._active), self.prompts.with_prompt(box)
            thin, reach_mm = box.thin_axis(self.grid) is not None, self._engines.reach_mm
            part = constrained(current, answer, prompts, self.grid, thin, reach_mm)
            if refiner is not None:
                part = corrected(current, part, refiner, prompts, within, cancel)
            edit = self._commit(part.box, part.probability, prompts, part.info)
            return dataclasses.replace(edit, nothing_found=found_nothing(current, box, self.grid))

    def replace_mask(self, mask: Mask) -> Edit:
        """Replaces the active segment by a mask edited with other tools; every label but background is tumour.

        Clicks and scribbles that the edit contradicts are dropped: it sets a voxel that they decide to the opposite.

        Raises:
            GeometryError: the mask is not on the first image's grid.
        """
        check_grid(mask, self.grid)
        with self._editing():
            return self._replace(mask)

    def reset(self) -> Edit:
        """Restores the active segment's first mask and drops its prompts, as one step that can be undone."""
        with self._editing():
            return self._segments.reset(self._active)

    def record_losses(self, edit: Edit, losses: Iterable[Edit]) -> Edit:
        """Adds voxels that segments outside the session lost by an edit to its step, and to the edit returned.

        Args:
            edit: of the newest step done, before anything else is edited or undone.
            losses: one per segment outside, which lost the voxels that are 1 before and 0 after.

        Raises:
            ArgumentError: the edit is not the newest step; a loss is empty, or of a segment of the session.
            GeometryError: a loss does not fit the grid.
        """
        with self._editing():
            return self._segments.record_losses(edit, losses)

    def undo(self) -> Edit | None:
        """Takes the last edit of any segment back; None if there is none. See :attr:`Edit.others`."""
        with self._editing():
            return self._segments.undo()

    def preview_undo(self) -> Edit | None:
        """What :meth:`undo` would return, while nothing changes: to see a segment as it was before its last edit."""
        return self._segments.preview_undo()

    def redo(self) -> Edit | None:
        """Does again what was undone last; None if there is nothing."""
        with self._editing():
            return self._segments.redo()

    def snapshot(self) -> Snapshot:
        """The session as it is now, for saving it step by step in another thread.

        A click waits while the snapshot is taken, not while its records are encoded.
        """
        return take_snapshot(self._segments, list(self.images), self._active)

    def to_json(self) -> dict[str, Any]:
        """All segments, prompts and undo steps, JSON-ready; images and engines are not in it."""
        return self.snapshot().to_json()

    @classmethod
    def from_json(
        cls,
        data: Mapping[str, Any],
        images: Images,
        *,
        auto: AutoSegmenter | None = None,
        clicks: ClickSegmenter[Any] | None = None,
        box: BoxSegmenter[Any] | None = None,
    ) -> Session:
        """The session that :meth:`to_json` saved, with its undo steps.

        Args:
            data: parsed JSON, also of earlier versions.
            images, auto, clicks, box: as for a new session; the first image must be the one it had.

        Raises:
            ReadError: the data are not a session, or damaged.
            GeometryError: the first image lies on another grid than the session's.
            RoleError: the first image has another role than the session's.
        """
        session = cls(images, auto=auto, clicks=clicks, box=box)
        session._segments, session._active = segments_from_json(data, session.grid, list(images))
        return session

    @contextmanager
    def _editing(self, cancel: Cancel | None = None) -> Iterator[None]:
        lock = acquired(self._writing, Job(cancel=cancel, name="the edit"), "while it waited for another edit")
        with memory_errors("to edit the segmentation"), lock:
            yield

    def _replace(self, mask: Mask) -> Edit:
        probability = self._segments.probability(self._active)
        return self._commit(*part_from_mask(probability, mask, self.prompts, self._engines.reach_mm))

    def _commit(self, box: Box, probability: UInt8Array, prompts: Prompts, info: RunInfo | None = None) -> Edit:
        """Writes a part of the active segment as one step."""
        return self._segments.commit(self._active, box, probability, prompts, info, self._engines.reach_mm)
