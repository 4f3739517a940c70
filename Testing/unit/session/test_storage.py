"""Saving sessions, step by step beside clicks, and what restores them; test_damage.py has damaged ones."""

from __future__ import annotations

import json
import threading
import tracemalloc
import zlib
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from Testing.fakes import BallEngine, noise_volume
from Testing.unit.cases.saved_sessions import GRID, IMAGES, cube, saved, through_text, worked_on
from TumorSegLib.errors import Cancelled, GeometryError, ReadError, ResourceError, RoleError
from TumorSegLib.geometry.grid import Grid
from TumorSegLib.images.volume import Mask
from TumorSegLib.prompts.types import Click, Scribble
from TumorSegLib.session import history as history_module
from TumorSegLib.session import storage
from TumorSegLib.session.history import Step
from TumorSegLib.session.session import Session


def state(session: Session) -> list:
    session_wide = [session.active, session.overlap, session.segments, session.can_undo, session.can_redo]
    arrays = [session.mask_of(name).array.tobytes() for name in session.segments]
    return [*session_wide, *arrays, session.probability.array.tobytes(), session.prompts]


def walked(session: Session) -> list[list]:
    """All states from here to the beginning, to the end, and back."""
    states = []
    for move in (session.undo, session.redo, session.undo, session.redo):
        while move():
            states.append(state(session))
    return states


# Restoring: what random walks in test_walk.py do not do


def test_a_session_without_steps_is_restored() -> None:
    for session in (Session(IMAGES), Session(IMAGES, initial=Mask(GRID, np.ones(GRID.shape)), overlap="allow")):
        assert state(through_text(session)) == state(session)
        assert through_text(session).to_json() == session.to_json()


def test_other_channels_may_come_and_go() -> None:
    more = {**IMAGES, "ct": noise_volume(GRID, "ct")}
    restored = Session.from_json(json.loads(saved()), more)
    assert restored.to_json()["roles"] == ["pet", "ct"]


def test_a_session_of_version_2_is_restored() -> None:
    """The file was written by the program that wrote version 2, from the steps of worked_on."""
    data = json.loads((Path(__file__).parent / "session_v2.json").read_text())
    session = worked_on(losses=False)
    restored = Session.from_json(data, IMAGES, clicks=BallEngine())
    assert state(restored) == state(session)
    for each in (session, restored):
        each.add_click(Click((0, 6, 1)))
    assert walked(through_text(restored)) == walked(session)
    data["segments"][0]["probability"]["values"] = data["segments"][0]["initial"]["values"]
    with pytest.raises(ReadError, match=r"do not fill|do not lead to its voxels"):
        Session.from_json(data, IMAGES)


def test_a_second_segment_of_version_2_that_began_with_a_mask_is_saved_and_restored() -> None:
    data = json.loads((Path(__file__).parent / "session_v2.json").read_text())
    tumour, node = data["segments"]
    node.update(prompts=[], probability=tumour["initial"], initial=tumour["initial"])
    tumour.update(prompts=[], probability=tumour["initial"])
    data["history"].update(position=0)
    restored = Session.from_json(data, IMAGES)
    assert restored.mask_of("node").array.sum() == restored.mask_of("tumour").array.sum() > 0
    assert state(through_text(restored)) == state(restored)
    data["history"].update(position=-1)
    with pytest.raises(ReadError, match="position -1"):
        Session.from_json(data, IMAGES)


def test_scribbles_packed_by_another_build_of_zlib_keep_their_bytes() -> None:
    """Else a session that is saved again would have checksums that its older records do not match."""
    scribble = Scribble.from_mask(Mask(GRID, cube(2, 4)))
    packed = zlib.compress(zlib.decompress(scribble.packed), 0)
    session = Session(IMAGES, clicks=BallEngine())
    session.add_scribble(replace(scribble, packed=packed))
    assert packed != scribble.packed
    assert through_text(session).prompts.items[0].packed == packed
    assert through_text(session).to_json() == session.to_json()


def test_another_image_is_refused() -> None:
    data = json.loads(saved())
    with pytest.raises(RoleError, match="first image is 'pet', the first one given 'ct'"):
        Session.from_json(data, {"ct": noise_volume(GRID, "ct")})
    moved = Grid.from_spacing(GRID.shape, GRID.spacing, GRID.origin + 1, GRID.direction)
    with pytest.raises(GeometryError, match=r"made on another image, on 8 x 7 x 6 .*: first voxels 1\.73 mm apart"):
        Session.from_json(data, {"pet": noise_volume(moved, "pet")})


def test_a_full_disk_is_not_called_damage(monkeypatch: pytest.MonkeyPatch) -> None:
    data = json.loads(saved())

    def full(**_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(history_module, "MEMORY_BUDGET", 0)
    monkeypatch.setattr(history_module.tempfile, "TemporaryFile", full)
    with pytest.raises(ResourceError, match="No space left on device"):
        Session.from_json(data, IMAGES)


# Saving beside clicks


def test_every_step_is_encoded_once_however_often_a_session_is_saved(monkeypatch: pytest.MonkeyPatch) -> None:
    encoded, session, last = [], Session(IMAGES, clicks=BallEngine()), -1
    to_json = storage.step_to_json
    monkeypatch.setattr(storage, "step_to_json", lambda step: encoded.append(step) or to_json(step))
    for n in range(5):
        session.add_click(Click((n, n, n)))
        snapshot = session.snapshot()
        assert [number for number, _ in snapshot.records(last)] == ([0, 1] if n == 0 else [n + 1])
        last = snapshot.head["history"]["last"]
    assert dict(session.snapshot().records(last)) == {}
    assert len(encoded) == 5
    assert len(json.dumps(snapshot.head)) < 600


def test_clicks_are_added_while_a_session_is_encoded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every record is encoded while another thread clicks; what is saved is the session before these clicks."""
    session, to_json = worked_on(), storage.step_to_json
    expected, prompts = session.to_json(), len(session.prompts)

    def slow(step: Step) -> dict:
        thread = threading.Thread(target=session.add_click, args=(Click((5, 4, 4), positive=False),))
        thread.start()
        thread.join(timeout=20)
        assert not thread.is_alive()
        return to_json(step)

    monkeypatch.setattr(storage, "step_to_json", slow)
    monkeypatch.setattr(history_module, "MEMORY_BUDGET", 0)  # so that steps move to the file meanwhile
    assert session.to_json() == expected
    assert len(session.prompts) == prompts + len(expected["history"]["steps"])


def test_a_session_is_saved_while_a_click_is_being_answered() -> None:
    session = worked_on()
    before, saved_meanwhile = session.to_json(), []
    session.add_click(Click((0, 0, 0)), cancel=lambda: bool(saved_meanwhile.append(session.to_json())))
    assert saved_meanwhile == [before] * len(saved_meanwhile) != []


def test_saving_is_cancelled_between_steps_and_goes_on_later() -> None:
    records: dict[int, str] = {}
    snapshot, asked = worked_on().snapshot(), iter([False, False, True])
    with pytest.raises(Cancelled, match="saving the session was cancelled"):
        records.update(snapshot.records(cancel=lambda: next(asked)))
    assert len(records) == 2
    assert records | dict(snapshot.records(since=max(records))) == dict(snapshot.records())


@pytest.mark.parametrize("part", ["initial mask", "step"])
def test_saving_is_cancelled_within_a_large_record(part: str) -> None:
    grid = Grid.from_spacing((120, 200, 200), (1, 1, 1))
    noise = Mask(grid, np.random.default_rng(0).integers(0, 2, grid.shape, dtype=np.uint8))
    session = Session({"ct": noise_volume(grid)}, initial=noise if part == "initial mask" else None)
    session.replace_mask(noise)
    snapshot, asked = session.snapshot(), count()
    records = snapshot.records(-1 if part == "initial mask" else 0, cancel=lambda: next(asked) == 2)
    with pytest.raises(Cancelled):
        next(records)


def test_steps_in_the_temporary_file_are_read_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history_module, "MEMORY_BUDGET", 0)
    grid = Grid.from_spacing((40, 50, 50), (1, 1, 1))
    session, random = Session({"ct": noise_volume(grid)}), np.random.default_rng(0)
    for _ in range(60):
        session.replace_mask(Mask(grid, random.integers(0, 2, grid.shape, dtype=np.uint8)))
    tracemalloc.start()
    sizes = [len(text) for _, text in session.snapshot().records()]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20 * max(sizes) < sum(sizes)
