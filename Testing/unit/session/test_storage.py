"""Saving sessions: restored bit for bit with their undo steps, step by step beside clicks; damage is found."""

from __future__ import annotations

import base64
import json
import threading
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from Testing.fakes import BallEngine, noise_volume, tiny_spec
from TumorSegLib.errors import Cancelled, GeometryError, ReadError, ResourceError, RoleError, TumorSegError
from TumorSegLib.geometry.grid import Grid
from TumorSegLib.images.volume import Mask
from TumorSegLib.prompts.types import Click, Scribble
from TumorSegLib.session import history as history_module
from TumorSegLib.session import storage
from TumorSegLib.session.history import Step
from TumorSegLib.session.segments import Edit, Overlap
from TumorSegLib.session.session import Session

# Affines of real images: numbers without a short decimal form.
GRID = Grid.from_spacing((6, 7, 8), (0.9765625, 1 / 3, 2.7), (-31.4159, 2 / 3, 1e2), np.eye(3)[[2, 0, 1]])
IMAGES = {"pet": noise_volume(GRID, "pet")}


def cube(at: int, edge: int = 2) -> np.ndarray:
    array = np.zeros(GRID.shape, dtype=np.uint8)
    array[at : at + edge, at : at + edge, at : at + edge] = 1
    return array


def worked_on(overlap: Overlap = Overlap.OVERWRITE, losses: bool = True) -> Session:
    """Two segments with steps, one outside that lost a voxel; clicks, a scribble, a brush edit; one step undone."""
    session = Session(IMAGES, clicks=BallEngine(), initial=Mask(GRID, cube(1)), overlap=overlap)
    edit, voxel = session.add_click(Click((1, 2, 3))), np.ones((1, 1, 1), np.uint8)
    if losses:
        session.record_losses(edit, [Edit("organ", ((1, 2), (2, 3), (3, 4)), voxel, 0 * voxel)])
    session.add_scribble(Scribble.from_mask(Mask(GRID, cube(3)), positive=False))
    session.add_segment("node")
    session.add_click(Click((2, 2, 2), positive=False))
    session.add_click(Click((7, 6, 5)))
    session.activate("tumour")
    brushed = session.mask.array.copy()
    brushed[0, 0, 7] ^= 1  # far from the prompts, which still hold
    session.replace_mask(Mask(GRID, brushed))
    session.add_click(Click((5, 4, 4)))
    session.undo()
    return session


def through_text(session: Session) -> Session:
    data = json.loads(json.dumps(session.to_json(), allow_nan=False))
    return Session.from_json(data, IMAGES, clicks=BallEngine())


@cache
def saved() -> str:
    return json.dumps(worked_on().to_json())


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


# Restoring


@pytest.mark.parametrize("overlap", list(Overlap))
def test_a_session_is_restored_with_every_step(overlap: Overlap) -> None:
    session = worked_on(overlap)
    restored = through_text(session)
    assert state(restored) == state(session)
    assert restored.to_json() == session.to_json()
    assert walked(restored) == walked(session)
    for each in (session, restored):
        each.add_click(Click((0, 6, 1)))
        each.activate("node")
        each.add_click(Click((7, 6, 5)))
        each.reset()
        each.undo()
    assert restored.to_json() == session.to_json()
    assert state(restored) == state(session)
    assert walked(restored) == walked(session)


def test_a_restored_session_resets_to_what_the_first_one_began_with() -> None:
    restored = through_text(worked_on())
    restored.reset()
    assert np.array_equal(restored.mask.array, cube(1))


def test_a_session_without_steps_is_restored() -> None:
    for session in (Session(IMAGES), Session(IMAGES, initial=Mask(GRID, cube(2)), overlap="allow")):
        assert state(through_text(session)) == state(session)
        assert through_text(session).to_json() == session.to_json()


def test_steps_in_the_temporary_file_are_saved_too(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = saved()
    monkeypatch.setattr(history_module, "MEMORY_BUDGET", 0)
    session = worked_on()
    assert json.dumps(session.to_json()) == expected
    assert walked(through_text(session)) == walked(session)


def test_saving_changes_nothing() -> None:
    session = worked_on()
    data, before = session.to_json(), state(session)
    session.add_click(Click((0, 0, 0)))
    assert json.dumps(data) == saved()
    session.undo()
    assert state(session)[:4] == before[:4]


def test_a_session_without_engines_can_be_read_undone_and_brushed() -> None:
    restored = Session.from_json(json.loads(saved()), IMAGES)
    restored.undo()
    restored.replace_mask(Mask(GRID, cube(4)))
    assert np.array_equal(restored.mask.array, cube(4))


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


# Saving beside clicks


class Saver:
    """Saves a session by its new records only."""

    def __init__(self) -> None:
        self.head: Any = {}
        self.records: dict[int, str] = {}

    def save(self, session: Session, cancel: Callable[[], bool] | None = None) -> list[int]:
        """The numbers of the records added."""
        snapshot = session.snapshot()
        new = dict(snapshot.records(max(self.records, default=-1), cancel))
        self.head, self.records = snapshot.head, self.records | new
        listed = {0, *self.head["history"]["steps"]}
        self.records = {number: text for number, text in self.records.items() if number in listed}
        return list(new)

    def restored(self) -> Session:
        records = {str(number): text for number, text in self.records.items()}
        text = json.dumps({**self.head, "records": records}, allow_nan=False)
        return Session.from_json(json.loads(text), IMAGES, clicks=BallEngine())


def test_saving_after_every_edit_encodes_every_step_once(monkeypatch: pytest.MonkeyPatch) -> None:
    encoded, session, saver = [], Session(IMAGES, clicks=BallEngine()), Saver()
    to_json = storage.step_to_json
    monkeypatch.setattr(storage, "step_to_json", lambda step: encoded.append(step) or to_json(step))
    for n in range(5):
        session.add_click(Click((n, n, n)))
        assert saver.save(session) == ([0, 1] if n == 0 else [n + 1])
    assert saver.save(session) == []
    assert len(encoded) == 5
    assert len(json.dumps(saver.head)) < 600
    assert state(saver.restored()) == state(session)


def test_undone_steps_that_a_new_edit_drops_are_gone_from_the_saved_session() -> None:
    session, saver = Session(IMAGES, clicks=BallEngine()), Saver()
    for n in range(4):
        session.add_click(Click((n, n, n)))
    saver.save(session)
    for _ in range(3):
        session.undo()
    assert saver.save(session) == []
    assert state(saver.restored()) == state(session)
    session.add_click(Click((5, 5, 5)))
    assert saver.save(session) == [5]
    assert list(saver.records) == [0, 1, 5]
    reopened = saver.restored()
    assert walked(reopened) == walked(session)
    reopened.undo()
    reopened.add_click(Click((0, 1, 2)))
    assert saver.save(reopened) == [6]  # no number is given twice, although step 5 is dropped


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
    session, saver, asked = worked_on(), Saver(), iter([False, False, True])
    with pytest.raises(Cancelled, match="saving the session was cancelled"):
        saver.save(session, lambda: next(asked))
    assert next(asked, None) is None
    saver.save(session)
    assert walked(saver.restored()) == walked(session)


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


# Other images


def test_another_image_is_refused() -> None:
    data = json.loads(saved())
    with pytest.raises(RoleError, match="first image is 'pet', the first one given 'ct'"):
        Session.from_json(data, {"ct": noise_volume(GRID, "ct")})
    moved = Grid.from_spacing(GRID.shape, GRID.spacing, GRID.origin + 1, GRID.direction)
    with pytest.raises(GeometryError, match=r"made on another image, on 8 x 7 x 6 .*: first voxels 1\.73 mm apart"):
        Session.from_json(data, {"pet": noise_volume(moved, "pet")})


# Damage


def paths(data: Any, path: tuple = ()) -> Iterator[tuple]:
    """The way to every value inside parsed JSON."""
    inner = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in inner:
        yield (*path, key)
        yield from paths(value, (*path, key))


def parent(data: Any, path: tuple) -> Any:
    for key in path[:-1]:
        data = data[key]
    return data


def opened(data: dict) -> dict:
    """A saved session with its records as parsed JSON."""
    texts = data["records"].items()
    return {**data, "records": {n: json.loads(zlib.decompress(base64.b64decode(text))) for n, text in texts}}


def closed(data: dict) -> dict:
    """The reverse; what is no object stays as it is."""
    records = data.get("records")
    if not isinstance(records, dict):
        return data
    texts = {n: base64.b64encode(zlib.compress(json.dumps(record).encode())).decode() for n, record in records.items()}
    return {**data, "records": texts}


def without_undone(session: Session) -> dict:
    """A session without its undone steps, which nothing in it could contradict."""
    data = opened(session.to_json())
    history = data["history"]
    steps = history["steps"][: history["position"]]
    records = {n: record for n, record in data["records"].items() if int(n) in (0, *steps)}
    return {**data, "history": {**history, "steps": steps}, "records": records}


def is_harmless(data: dict) -> bool:
    """Whether damaged data are read as the undamaged session; raises what reading them raises."""
    return without_undone(Session.from_json(closed(data), IMAGES)) == without_undone(worked_on())


def intact() -> dict:
    return opened(json.loads(saved()))


PATHS = list(paths(intact()))
nonsense = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-3, 9),
        st.sampled_from([10**30, -(10**400), 1e308, -1e200, 1e-320]),
        st.floats(),
        st.text(max_size=5),
        st.sampled_from(["tumour", "node", "keep", "AAAA", "eJwDAAAAAAE=", base64.b64encode(b"x\x9c").decode()]),
    ),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=2),
    max_leaves=6,
)


def test_the_saved_session_has_all_kinds_of_fields() -> None:
    keys = {key for path in PATHS for key in path if isinstance(key, str)}
    assert keys >= {"roles", "active", "grid", "affine", "overlap", "segments", "voxels", "values", "last", "number"}
    assert keys >= {"history", "position", "steps", "kept", "removed", "added", "changes", "difference", "scribble"}
    assert any(parent(intact(), path)[path[-1]] is True for path in PATHS if path[-1] == "outside")


def is_refused(data: dict) -> bool:
    try:
        Session.from_json(closed(data), IMAGES)
    except TumorSegError:
        return True
    return False


def test_anything_missing_is_noticed() -> None:
    """All but signs, which default to positive, and items of lists in records, which have a checksum of their own."""
    for path in PATHS:
        if path[-1] != "positive" and not (path[0] == "records" and isinstance(path[-1], int)):
            data = intact()
            del parent(data, path)[path[-1]]
            assert is_refused(data), path


def test_an_unknown_key_is_refused_wherever_it_is() -> None:
    objects = [(), *(path for path in PATHS if isinstance(parent(intact(), (*path, 0)), dict))]
    assert len(objects) > 20
    for path in objects:
        data = intact()
        parent(data, (*path, 0))["postive"] = False
        with pytest.raises(ReadError, match=r"unknown key 'postive'|records .* are not those of the steps"):
            Session.from_json(closed(data), IMAGES)


@settings(max_examples=600, deadline=None)
@given(path=st.sampled_from(PATHS), value=nonsense)
@example(path=("roles",), value=[])
@example(path=("roles",), value={})
@example(path=("grid", "shape", 0), value=float("inf"))
@example(path=("grid", "shape", 0), value=10**400)
@example(path=("grid", "affine", 0, 0), value=10**400)
@example(path=("grid", "affine", 0, 0), value=1e200)
@example(path=("grid", "affine", 0, 3), value=1e308)
@example(path=("history", "position"), value=float("inf"))
@example(path=("history", "position"), value=4)
@example(path=("history", "last"), value=3)
@example(path=("history", "steps", 0), value=9)
@example(path=("records", "2", "kept"), value=-1)
@example(path=("records", "0", "box", 0), value=[0, float("inf")])
@example(path=("records", "0"), value={"number": 0, "box": [[0, 0]] * 3, "values": "eJwDAAAAAAE="})
@example(path=("segments", 0, "name"), value=None)
@example(path=("segments", 0, "prompts"), value=[])
def test_nonsense_is_found_or_does_no_harm(path: tuple, value: Any) -> None:
    """The only errors are the library's; what is read in spite of a damaged head is the same session."""
    assume(path != ("active",) or value not in ("tumour", "node"))  # another session, but a valid one
    assume(path != ("overlap",) or value not in tuple(Overlap))
    assume(path != ("history", "last") or not isinstance(value, int))
    data = intact()
    parent(data, path)[path[-1]] = value
    with suppress(TumorSegError):
        assert is_harmless(data) or path[0] == "records"


def test_a_record_with_any_character_changed_is_refused() -> None:
    for number in ("0", "3"):
        text = json.loads(saved())["records"][number]
        for n in range(0, len(text), 5):
            data = json.loads(saved())
            data["records"][number] = f"{text[:n]}{'B' if text[n] == 'A' else 'A'}{text[n + 1 :]}"
            with pytest.raises(ReadError, match="damaged"):
                Session.from_json(data, IMAGES)


@pytest.mark.parametrize("data", [None, [], "session", 5, {}, {"version": 2}], ids=str)
def test_data_that_are_not_a_session_are_refused(data: Any) -> None:
    with pytest.raises(ReadError, match='not a session: it must be a JSON object with "format": "tumorseg-session"'):
        Session.from_json(data, IMAGES)


@pytest.mark.parametrize("version", [1, 4, None])
def test_a_session_of_another_version_is_refused(version: int | None) -> None:
    with pytest.raises(ReadError, match=f"a session of version {version} cannot be read; this program reads 2 and 3"):
        Session.from_json({**json.loads(saved()), "version": version}, IMAGES)


def packed(values: np.ndarray, cut: int = 0) -> str:
    """As voxels are saved, but for some bytes at the end."""
    compressed = zlib.compress(values.tobytes())
    return base64.b64encode(compressed[: len(compressed) - cut]).decode()


def edited(change: Callable[[dict], object]) -> dict:
    data = intact()
    change(data)
    return closed(data)


@pytest.mark.parametrize(
    ("message", "change"),
    [
        ("position 9 is not within 6 steps", lambda d: d["history"].update(position=9)),
        ("'tumour' lead to", lambda d: d["history"].update(position=4)),
        ("KeyError: 'overlap'", lambda d: d.pop("overlap")),
        ("overlap 'mix' is not one of", lambda d: d.update(overlap="mix")),
        ("no segment 'lung'", lambda d: d.update(active="lung")),
        ("segment's name is text, not 5", lambda d: d["segments"][0].update(name=5)),
        ("two segments have one name: node, node", lambda d: d["segments"][0].update(name="node")),
        ("records .* are not those", lambda d: d["history"]["steps"].reverse()),
        ("records .* are not those", lambda d: d["records"].pop("4")),
        ("record 3 belongs to another step", lambda d: d["records"].update({"3": d["records"]["4"]})),
        ("last step is 7, not 6", lambda d: d["history"].update(last=6)),
        ("segments that are not there: lung", lambda d: d["records"]["2"].update(segment="lung")),
        ("a segment twice", lambda d: d["records"]["3"].update(changes=2 * d["records"]["3"]["changes"])),
        ("segments that are not there: lung", lambda d: d["records"]["2"]["prompts"][0].update(segment="lung")),
        ("not of 0 and 1", lambda d: d["records"]["3"]["changes"][0].update(outside=True)),
        ("box .* is not within the grid", lambda d: d["records"]["0"]["box"][0].reverse()),
        ("box .* is not within the grid", lambda d: d["records"]["0"].update(box=[[0, 9], [0, 1], [0, 1]])),
        ("voxels do not fill", lambda d: d["records"]["0"].update(values=packed(np.zeros(3)))),
        ("voxels do not fill", lambda d: d["records"]["0"].update(values=packed(np.full(8, 255, np.uint8), cut=3))),
        (
            "does not fit its prompts",
            lambda d: d["records"]["2"]["prompts"][0]["removed"]["prompts"].append({"click": [0, 0, 0]}),
        ),
        ("does not fit its prompts", lambda d: d["records"]["7"]["prompts"][0].update(kept=-2)),
        (
            "prompt 1.*outside",
            lambda d: d["records"]["5"]["prompts"][0]["added"]["prompts"][0].update(click=[99, 0, 0]),
        ),
        ("'tumour' lead to", lambda d: d["records"]["0"].update(values=packed(np.full(8, 3, np.uint8)))),
    ],
)
def test_damage_is_named(message: str, change: Callable[[dict], object]) -> None:
    with pytest.raises(ReadError, match=f"the session is damaged: .*({message})"):
        Session.from_json(edited(change), IMAGES)


def test_few_bytes_that_expand_to_gigabytes_are_refused() -> None:
    bomb = base64.b64encode(zlib.compress(bytes(50_000_000))).decode()
    data = json.loads(saved())
    record = {**data, "records": {**data["records"], "2": bomb}}
    tracemalloc.start()
    for damaged in (record, edited(lambda d: d["records"]["2"]["changes"][0].update(difference=bomb))):
        with pytest.raises(ReadError, match=r"do not fill|expands to more than"):
            Session.from_json(damaged, IMAGES)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 25_000_000


def test_a_full_disk_is_not_called_damage(monkeypatch: pytest.MonkeyPatch) -> None:
    data = json.loads(saved())

    def full(**_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(history_module, "MEMORY_BUDGET", 0)
    monkeypatch.setattr(history_module.tempfile, "TemporaryFile", full)
    with pytest.raises(ResourceError, match="No space left on device"):
        Session.from_json(data, IMAGES)


def test_the_click_engine_of_a_restored_session_sees_its_images() -> None:
    engine = BallEngine()
    session = Session.from_json(json.loads(saved()), IMAGES, clicks=engine)
    assert engine.spec == tiny_spec("balls", kind="clicks")
    session.add_click(Click((7, 6, 5)))
    assert engine.prepared == 1
