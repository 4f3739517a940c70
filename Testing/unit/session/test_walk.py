"""Sessions: random work against a plain model that copies everything."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from Testing.fakes import BallEngine, EllipsoidEngine, voxels_of
from Testing.unit.cases.sessions import GRID, IMAGES, TwoLevels, cube, new_session, painted, scribble
from TumorSegLib.errors import ArgumentError, Cancelled
from TumorSegLib.geometry.boxes import EMPTY_BOX, bounding_box, clip_additions, slices
from TumorSegLib.geometry.grid import Box
from TumorSegLib.images.probability import EMPTY, TUMOUR
from TumorSegLib.images.volume import Mask
from TumorSegLib.prompts.types import BoxPrompt, Click, Prompt, Prompts, Scribble
from TumorSegLib.protocols import BoxOptions, Refinement
from TumorSegLib.session import history as history_module
from TumorSegLib.session.edit import Edit
from TumorSegLib.session.overlap import Overlap
from TumorSegLib.session.session import Session


@dataclass
class Reference:
    """What a session should be: whole arrays, and whole arrays before and after every step."""

    overlap: Overlap
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    prompts: dict[str, tuple] = field(default_factory=dict)
    begun: dict[str, np.ndarray] = field(default_factory=dict)
    done: list[tuple] = field(default_factory=list)
    undone: list[tuple] = field(default_factory=list)
    active: str = ""

    def add(self, name: str, mask: np.ndarray | None) -> None:
        self.arrays[name] = np.zeros(GRID.shape, np.uint8) if mask is None else 255 * (mask > 0).astype(np.uint8)
        self.begun[name], self.prompts[name], self.active = self.arrays[name].copy(), (), name

    def edit(self, wanted: np.ndarray, prompts: tuple) -> None:
        old, new = dict(self.arrays), dict(self.arrays)
        name, entered = self.active, (wanted >= TUMOUR) & (self.arrays[self.active] < TUMOUR)
        new[name] = wanted.copy()
        for other in set(self.arrays) - {name}:
            met = entered & (old[other] >= TUMOUR)
            if self.overlap is Overlap.KEEP:
                new[name][met] = old[name][met]
            elif self.overlap is Overlap.OVERWRITE:
                new[other] = np.where(met, 0, old[other])
        remaining = {each: uncontradicted(self.prompts[each], old[each], new[each]) for each in old} | {name: prompts}
        if remaining == self.prompts and all(np.array_equal(new[each], old[each]) for each in old):
            return  # nothing to undo, and what was undone can still be done again
        self.done.append((name, old, new, dict(self.prompts), remaining))
        self.undone.clear()
        self.arrays, self.prompts = new, remaining

    def back(self) -> str:
        step = self.done.pop()
        self.undone.append(step)
        return self._go(step[0], step[1], step[3])

    def forward(self) -> str:
        step = self.undone.pop()
        self.done.append(step)
        return self._go(step[0], step[2], step[4])

    def _go(self, name: str, arrays: dict[str, np.ndarray], prompts: dict[str, tuple]) -> str:
        self.arrays = {**self.arrays, **arrays}  # segments added since are not part of the step
        self.prompts = {**self.prompts, **prompts}
        return name


@cache
def near(prompt: Click | Scribble) -> np.ndarray:
    """The voxels within 3 mm of a prompt."""
    lattice = np.indices(GRID.shape).reshape(3, -1).T[:, None, ::-1]
    distance = np.linalg.norm((lattice - voxels_of(prompt)) * GRID.spacing, axis=-1).min(axis=1)
    return (distance <= 3 + 1e-6).reshape(GRID.shape)


def uncontradicted(prompts: tuple, old: np.ndarray, new: np.ndarray) -> tuple:
    """The prompts but those within 3 mm of which the mask changed to what they forbid; a box forbids nothing."""
    edited = (new >= TUMOUR) != (old >= TUMOUR)

    def stays(prompt: Prompt) -> bool:
        return isinstance(prompt, BoxPrompt) or not (edited & near(prompt) & ((new >= TUMOUR) != prompt.positive)).any()

    return tuple(filter(stays, prompts))


class Fickle(EllipsoidEngine):
    """Finds nothing in every third box on a slice."""

    def segment(self, prepared: Any, prompt: BoxPrompt, *arguments: Any, **more: Any) -> Refinement:
        answer = super().segment(prepared, prompt, *arguments, **more)
        nothing = prompt.thin_axis(GRID) is not None and sum(map(sum, prompt.box)) % 3 == 0
        return Refinement(EMPTY_BOX, EMPTY, answer.info) if nothing else answer


class Walk:
    """One random walk through everything a session can do, each step compared with the reference."""

    def __init__(self, seed: int, overlap: Overlap) -> None:
        self.random = np.random.default_rng(seed)
        self.engine, self.auto, self.boxes = BallEngine(), TwoLevels(), Fickle()
        initial = painted(cube((2, 3, 4))) if seed % 2 else None
        self.session = new_session(overlap, clicks=self.engine, auto=self.auto, box=self.boxes, initial=initial)
        self.reference = Reference(overlap)
        self.reference.add("tumour", None if initial is None else initial.array)
        self.records: dict[int, str] = {}
        self.kept: list[tuple[np.ndarray, np.ndarray]] = []

    def step(self) -> None:
        weighted = [
            (self.click, 8),
            (self.scribble, 2),
            (self.box, 2),
            (self.replace, 3),
            (self.back, 5),
            (self.forward, 4),
            (self.activate, 2),
            (self.stopped, 1),
            (self.automatic, 0.3),
            (self.reset, 0.5),
            (self.add, 0.3),
            (self.there_and_back, 0.2),
            (self.save, 0.1),
            (self.keep_masks, 3),
        ]
        shares = np.array([weight for _, weight in weighted])
        weighted[self.random.choice(len(weighted), p=shares / shares.sum())][0]()

    def voxel(self) -> tuple[int, int, int]:
        i, j, k = self.random.integers(0, GRID.size).tolist()
        return i, j, k

    def sign(self) -> bool:
        return bool(self.random.random() < 0.7)

    def random_box(self) -> Box:
        i, j, k = (tuple(sorted(self.random.choice(n + 1, 2, replace=False).tolist())) for n in GRID.size)
        return i, j, k

    def line(self) -> np.ndarray:
        i, j, k = self.voxel()
        array = np.zeros(GRID.shape, dtype=np.uint8)
        array[k, j, i : i + int(self.random.integers(1, 5))] = 1
        return array

    def expect(self, edit: Edit | None, name: str, old: dict[str, np.ndarray]) -> None:
        """Compares an edit with how the reference changed from ``old``, the arrays before."""
        assert edit is not None
        now = self.reference.arrays
        changed = [other for other in now if ((now[other] >= TUMOUR) != (old[other] >= TUMOUR)).any() and other != name]
        assert edit.segment == name
        assert sorted(edit.others) == sorted(changed)
        for each in (edit, *edit.others.values()):
            before, after = (arrays[each.segment] >= TUMOUR for arrays in (old, now))
            assert each.box == (bounding_box(before != after) or EMPTY_BOX)
            assert np.array_equal(each.before, before[slices(each.box)])
            assert np.array_equal(each.after, after[slices(each.box)])
        self.compare_cheaply()

    def compare_cheaply(self) -> None:
        assert self.session.segments == tuple(self.reference.arrays)
        assert self.session.active == self.reference.active
        assert self.session.prompts.items == self.reference.prompts[self.session.active]
        assert self.session.can_undo == bool(self.reference.done)
        assert self.session.can_redo == bool(self.reference.undone)
        now, begun = (arrays[self.session.active] for arrays in (self.reference.arrays, self.reference.begun))
        assert self.session.can_reset == bool(self.session.prompts.items or (now != begun).any())

    def compare(self) -> None:
        self.compare_cheaply()
        for name, array in self.reference.arrays.items():
            assert np.array_equal(self.session.mask_of(name).array, array >= TUMOUR)
        assert self.session.volume_ml == self.session.mask.volume_ml
        probability = self.session.probability.array
        assert probability.dtype == np.float32
        assert np.array_equal(np.rint(probability * 255), self.reference.arrays[self.session.active])
        for array, copy in self.kept:
            assert np.array_equal(array, copy)

    def refine(self, prompt: Click | Scribble, give: Callable[[], Edit]) -> None:
        reference, old = self.reference, dict(self.reference.arrays)
        prompts = (*reference.prompts[reference.active], prompt)
        answer = self.engine.refine(GRID, old[reference.active], Prompts(prompts))
        wanted = old[reference.active].copy()
        wanted[slices(answer.box)] = answer.probability
        edit = give()
        reference.edit(wanted, prompts)
        self.expect(edit, reference.active, old)
        assert edit.info == answer.info
        changed = np.logical_or.reduce([reference.arrays[name] != old[name] for name in old])
        changed[slices(answer.box)] = False
        assert not changed.any()

    def click(self) -> None:
        click = Click(self.voxel(), self.sign())
        self.prompt(click, lambda: self.session.add_click(click))

    def scribble(self) -> None:
        line = scribble(self.line(), self.sign())
        self.prompt(line, lambda: self.session.add_scribble(line))

    def box(self) -> None:
        """A box in 3D or on one slice, sometimes with a region, sometimes corrected by the click engine."""
        reference, old, region = self.reference, dict(self.reference.arrays), self.random_box()
        within, refine, axis = (BoxPrompt(region) if self.sign() else None), self.sign(), int(self.random.integers(3))
        if self.sign():
            region = (*region[:axis], (region[axis][0], region[axis][0] + 1), *region[axis + 1 :])
        box = BoxPrompt(region)
        answer = self.boxes.segment((GRID, BoxOptions()), box, within=within)
        prompts, at = (*reference.prompts[reference.active], box), slices(answer.box)
        wanted, info = old[reference.active].copy(), answer.info
        on_slice = box.thin_axis(GRID) is not None
        wanted[at] = np.maximum(wanted[at], answer.probability) if on_slice else answer.probability
        for prompt in prompts:
            if not isinstance(prompt, BoxPrompt):
                wanted[near(prompt)] = 255 * prompt.positive
        if refine:
            refined = self.engine.refine(GRID, wanted, Prompts(prompts))
            at, values, info = slices(refined.box), refined.probability, info.with_details(refined=dict(refined.info))
            wanted[at] = clip_additions(wanted[at], values, refined.box, within.box) if within else values
        edit = self.session.add_box(box, within=within, refine=refine)
        reference.edit(wanted, prompts)
        self.expect(edit, reference.active, old)
        assert edit.info == info

    def prompt(self, prompt: Click | Scribble, give: Callable[[], Edit]) -> None:
        reference = self.reference
        others = [a >= TUMOUR for name, a in reference.arrays.items() if name != reference.active]
        free = ~np.any([np.zeros(GRID.shape, bool), *others], axis=0)[tuple(voxels_of(prompt).T[::-1])]
        if reference.overlap is Overlap.KEEP and prompt.positive and not free.any():
            with pytest.raises(ArgumentError, match="keeps its voxels"):
                give()
            self.compare()
        else:
            self.refine(prompt, give)

    def replace(self) -> None:
        reference = self.reference
        mask = (reference.arrays[reference.active] >= TUMOUR).astype(np.uint8)
        for _ in range(2):
            i, j, k = self.voxel()
            mask[k : k + 3, j : j + 3, i : i + 3] = 7 * self.sign()
        old = dict(reference.arrays)
        wanted = old[reference.active].copy()
        wanted[(mask > 0) & (wanted < TUMOUR)] = 255
        wanted[(mask == 0) & (wanted >= TUMOUR)] = 0
        remaining = uncontradicted(reference.prompts[reference.active], old[reference.active], wanted)
        edit = self.session.replace_mask(Mask(GRID, mask))
        reference.edit(wanted, remaining)
        self.expect(edit, reference.active, old)

    def automatic(self) -> None:
        old = dict(self.reference.arrays)
        self.auto.low = float(self.random.choice([0.015, 0.5, 0.2]))
        faint_is_zero = {0.015: 0, 0.5: 127, 0.2: 51}  # else every undo step would be as large as the body
        found = np.full(GRID.shape, faint_is_zero[self.auto.low], dtype=np.uint8)
        found[:4, :4, :4] = 204
        edit = self.session.segment()
        self.reference.edit(found, ())
        self.expect(edit, self.reference.active, old)

    def reset(self) -> None:
        old, active = dict(self.reference.arrays), self.reference.active
        edit = self.session.reset()
        self.reference.edit(self.reference.begun[active], ())
        self.expect(edit, active, old)

    def back(self) -> None:
        self.go(self.session.undo, self.reference.done, self.reference.back)

    def forward(self) -> None:
        self.go(self.session.redo, self.reference.undone, self.reference.forward)

    def go(self, move: Callable[[], Edit | None], steps: list, model: Callable[[], str]) -> None:
        old = dict(self.reference.arrays)
        if steps:
            self.expect(move(), model(), old)
        else:
            assert move() is None
            self.compare_cheaply()

    def activate(self) -> None:
        name = str(self.random.choice(self.session.segments))
        self.session.activate(name)
        self.reference.active = name
        self.compare_cheaply()

    def add(self) -> None:
        if len(self.session.segments) == 4:
            return self.activate()
        name, mask = f"segment {len(self.session.segments)}", cube(self.voxel()) if self.sign() else None
        edit = self.session.add_segment(name, None if mask is None else Mask(GRID, mask))
        self.reference.add(name, None)
        old = dict(self.reference.arrays)
        if mask is not None:
            self.reference.edit(255 * mask, ())
        self.expect(edit, name, old)
        return self.compare()

    def stopped(self) -> None:
        answers = iter([False, True] if self.sign() else [True])
        click = Click(self.voxel(), False)
        with pytest.raises(Cancelled):
            self.session.add_click(click, cancel=lambda: next(answers))
        self.compare()

    def there_and_back(self) -> None:
        """Undo to the beginning, redo to the end."""
        position = len(self.reference.done), len(self.reference.undone)
        for move, times in (self.back, position[0]), (self.forward, sum(position)), (self.back, position[1]):
            for _ in range(times):
                move()
        self.compare()

    def save(self) -> None:
        """Saves the records that are new since the last time, and goes on with the session that these restore."""
        snapshot = self.session.snapshot()
        self.records |= snapshot.records(max(self.records, default=-1))
        self.records = {n: text for n, text in self.records.items() if n in (0, *snapshot.head["history"]["steps"])}
        data = {**snapshot.head, "records": {str(number): text for number, text in self.records.items()}}
        assert data == snapshot.to_json()
        text, engines = json.dumps(data, allow_nan=False), {"auto": self.auto, "clicks": self.engine, "box": self.boxes}
        self.session = Session.from_json(json.loads(text), IMAGES, **engines)
        assert self.session.to_json() == data
        self.compare()

    def keep_masks(self) -> None:
        """Masks that were handed out are compared at the end with copies of what they were."""
        arrays = self.session.mask.array, self.session.probability.array
        self.kept = [*self.kept, *((array, array.copy()) for array in arrays)][-40:]


@pytest.mark.parametrize("overlap", Overlap)
@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32), spill=st.booleans())
def test_random_edits_undo_and_redo_give_the_masks_of_a_reference_model(
    overlap: Overlap, seed: int, spill: bool
) -> None:
    """3 ways of overlapping x 20 walks x 170 operations; in half of the walks most undo steps lie on disk."""
    with pytest.MonkeyPatch.context() as patch:
        if spill:
            patch.setattr(history_module, "MEMORY_BUDGET", 500)
        walk = Walk(seed, overlap)
        for _ in range(170):
            walk.step()
        walk.compare()
        walk.there_and_back()
        while walk.session.can_undo:
            walk.back()
        for name in walk.session.segments:
            assert np.array_equal(walk.session.mask_of(name).array, walk.reference.begun[name] > 0)
