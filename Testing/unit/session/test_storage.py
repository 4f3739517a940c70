"""Sessions as text: back bit for bit with their undo steps, and any damage found."""

from __future__ import annotations

import base64
import copy
import json
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from Testing.fakes import BallEngine, noise_volume, tiny_spec
from TumorSegLib.errors import GeometryError, ReadError, ResourceError, RoleError, TumorSegError
from TumorSegLib.geometry.grid import Grid
from TumorSegLib.images.volume import Mask
from TumorSegLib.prompts.types import Click, Scribble
from TumorSegLib.session import history as history_module
from TumorSegLib.session.segments import Overlap
from TumorSegLib.session.session import Session

# Affines of real images: numbers without a short decimal form.
GRID = Grid.from_spacing((6, 7, 8), (0.9765625, 1 / 3, 2.7), (-31.4159, 2 / 3, 1e2), np.eye(3)[[2, 0, 1]])
IMAGES = {"pet": noise_volume(GRID, "pet")}


def cube(at: int, edge: int = 2) -> np.ndarray:
    array = np.zeros(GRID.shape, dtype=np.uint8)
    array[at : at + edge, at : at + edge, at : at + edge] = 1
    return array


def worked_on(overlap: Overlap = Overlap.OVERWRITE) -> Session:
    """Two segments, each with steps; clicks, a stroke and a brush edit; one step undone."""
    session = Session(IMAGES, clicks=BallEngine(), initial=Mask(GRID, cube(1)), overlap=overlap)
    session.add_click(Click((1, 2, 3)))
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


# There and back


@pytest.mark.parametrize("overlap", list(Overlap))
def test_a_session_comes_back_with_every_step(overlap: Overlap) -> None:
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
    assert state(restored) == state(session)
    assert walked(restored) == walked(session)


def test_a_restored_session_resets_to_what_the_first_one_began_with() -> None:
    restored = through_text(worked_on())
    restored.reset()
    assert np.array_equal(restored.mask.array, cube(1))


def test_a_session_nobody_worked_on_comes_back() -> None:
    for session in (Session(IMAGES), Session(IMAGES, initial=Mask(GRID, cube(2)), overlap="allow")):
        assert state(through_text(session)) == state(session)
        assert through_text(session).to_json() == session.to_json()


def test_steps_that_lie_on_disk_are_saved_and_read_too(monkeypatch: pytest.MonkeyPatch) -> None:
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


def of_use(data: dict) -> dict:
    """The session without what was undone, which nothing in it could contradict."""
    history = data["history"]
    return {**data, "history": {**history, "steps": history["steps"][: history["position"]]}}


def harmless(data: Any) -> bool:
    """Whether damaged data say the same as the undamaged; raises what reading them raises."""
    return of_use(Session.from_json(data, IMAGES).to_json()) == of_use(json.loads(saved()))


PATHS = list(paths(json.loads(saved())))
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
    assert keys >= {"roles", "active", "grid", "affine", "overlap", "segments", "probability", "initial", "values"}
    assert keys >= {"history", "position", "steps", "kept", "removed", "added", "changes", "difference", "scribble"}


def without(path: tuple) -> dict:
    data = json.loads(saved())
    del parent(data, path)[path[-1]]
    return data


def is_refused(data: dict) -> bool:
    try:
        Session.from_json(data, IMAGES)
    except TumorSegError:
        return True
    return False


def test_whatever_is_gone_is_missed() -> None:
    """All but what is true when left out, and parts of the step that was undone."""
    undone = {(), ("changes", 0), ("changes", 1), ("prompts", 0), ("prompts", 1), ("prompts", 0, "added", "prompts", 0)}
    optional = {path for path in PATHS if path[-1] == "positive" and parent(json.loads(saved()), path)["positive"]}
    optional |= {path for path in PATHS if path[:3] == ("history", "steps", 5) and path[3:] in undone}
    assert len(optional) > len(undone)
    for path in PATHS:
        if path in optional:
            assert harmless(without(path)), path
        else:
            assert is_refused(without(path)), path


def test_a_key_that_no_session_has_is_refused_wherever_it_is() -> None:
    objects = [(), *(path for path in PATHS if isinstance(parent(json.loads(saved()), (*path, 0)), dict))]
    assert len(objects) > 20
    for path in objects:
        data = json.loads(saved())
        parent(data, (*path, 0))["postive"] = False
        with pytest.raises(ReadError, match="unknown key 'postive'"):
            Session.from_json(data, IMAGES)


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
@example(path=("history", "steps", 0, "kept"), value=-1)
@example(path=("history", "steps", 0, "kept"), value=9)
@example(path=("segments", 0, "probability", "box", 0), value=[0, float("inf")])
@example(path=("segments", 0, "name"), value=None)
@example(path=("segments", 0, "prompts"), value=[])
@example(path=("segments", 0, "initial"), value={"box": [[0, 0]] * 3, "values": "eJwDAAAAAAE="})
def test_nonsense_is_found_or_does_no_harm(path: tuple, value: Any) -> None:
    """The only errors are the library's; what is read in spite of the damage is the very session."""
    assume(path != ("active",) or value not in ("tumour", "node"))  # another session, but one without a flaw
    assume(path != ("overlap",) or value not in tuple(Overlap))
    data = json.loads(saved())
    parent(data, path)[path[-1]] = value
    with suppress(TumorSegError):
        assert harmless(data)


@pytest.mark.parametrize("data", [None, [], "session", 5, {}, {"version": 2}], ids=str)
def test_what_is_no_session_is_said_to_be_none(data: Any) -> None:
    with pytest.raises(ReadError, match='no session: it must be a JSON object with "format": "tumorseg-session"'):
        Session.from_json(data, IMAGES)


@pytest.mark.parametrize("version", [1, 3, None])
def test_a_session_of_another_version_is_refused(version: int | None) -> None:
    with pytest.raises(ReadError, match=f"a session of version {version} cannot be read; this program reads 2"):
        Session.from_json({**json.loads(saved()), "version": version}, IMAGES)


def packed(values: np.ndarray, cut: int = 0) -> str:
    """As voxels are saved, but for some bytes at the end."""
    compressed = zlib.compress(values.tobytes())
    return base64.b64encode(compressed[: len(compressed) - cut]).decode()


def edited(change: Callable[[dict], None]) -> dict:
    data = copy.deepcopy(json.loads(saved()))
    change(data)
    return data


@pytest.mark.parametrize(
    ("message", "change"),
    [
        ("position 9 is not within 6 steps", lambda d: d["history"].update(position=9)),
        ("do not fit its prompts|do not lead back", lambda d: d["history"].update(position=4)),
        ("KeyError: 'overlap'", lambda d: d.pop("overlap")),
        ("overlap 'mix' is not one of", lambda d: d.update(overlap="mix")),
        ("no segment 'lung'", lambda d: d.update(active="lung")),
        ("segment's name is text, not 5", lambda d: d["segments"][0].update(name=5)),
        ("'node' is empty or taken", lambda d: d["segments"][0].update(name="node")),
        ("segments that are not there: lung", lambda d: d["history"]["steps"][0].update(segment="lung")),
        (
            "an undo step changes a segment twice",
            lambda d: d["history"]["steps"][0].update(changes=2 * d["history"]["steps"][0]["changes"]),
        ),
        (
            "segments that are not there: lung",
            lambda d: d["history"]["steps"][0]["prompts"][0].update(segment="lung"),
        ),
        ("box .* is not within the grid", lambda d: d["segments"][0]["initial"]["box"][0].reverse()),
        ("box .* is not within the grid", lambda d: d["segments"][0]["initial"].update(box=[[0, 9], [0, 1], [0, 1]])),
        ("voxels do not fill", lambda d: d["segments"][0]["initial"].update(values=packed(np.zeros(3)))),
        (
            "voxels do not fill",
            lambda d: d["segments"][0]["initial"].update(values=packed(np.full(8, 255, np.uint8), cut=3)),
        ),
        (
            "do not fit its prompts",
            lambda d: d["history"]["steps"][0]["prompts"][0]["removed"]["prompts"].append({"click": [0, 0, 0]}),
        ),
        ("prompts of|do not fit its prompts", lambda d: d["segments"][1]["prompts"].pop()),
        ("do not fit its prompts", lambda d: d["history"]["steps"][-1]["prompts"][0].update(kept=-2)),
        ("do not fit its prompts", lambda d: d["segments"][0]["prompts"][0].update(positive=False)),
        ("segment 'node': prompt 1.*outside", lambda d: d["segments"][1]["prompts"][0].update(click=[99, 0, 0])),
        (
            "segment 'tumour' do not lead back",
            lambda d: d["segments"][0]["initial"].update(values=packed(np.full(8, 3, np.uint8))),
        ),
    ],
)
def test_damage_is_named(message: str, change: Callable[[dict], None]) -> None:
    with pytest.raises(ReadError, match=f"the session is damaged: .*({message})"):
        Session.from_json(edited(change), IMAGES)


def test_few_bytes_that_claim_to_be_gigabytes_are_not_unpacked() -> None:
    bomb = base64.b64encode(zlib.compress(bytes(50_000_000))).decode()
    data = edited(lambda d: d["history"]["steps"][0]["changes"][0].update(difference=bomb))
    tracemalloc.start()
    with pytest.raises(ReadError, match="do not fill"):
        Session.from_json(data, IMAGES)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5_000_000


def test_a_full_disk_is_no_damage(monkeypatch: pytest.MonkeyPatch) -> None:
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
