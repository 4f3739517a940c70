"""Damaged saved sessions: refused with what is wrong, whatever the damage."""

from __future__ import annotations

import base64
import json
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from Testing.fakes import BallEngine
from Testing.unit.cases.saved_sessions import IMAGES, saved, worked_on
from TumorSegLib.errors import ReadError, TumorSegError
from TumorSegLib.prompts.types import Click
from TumorSegLib.session.overlap import Overlap
from TumorSegLib.session.session import Session


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
    sums = history["checksums"][: 1 + len(steps)]
    return {**data, "history": {**history, "steps": steps, "checksums": sums}, "records": records}


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


def test_a_missing_field_is_refused() -> None:
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
def test_arbitrary_values_are_refused_or_harmless(path: tuple, value: Any) -> None:
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


@pytest.mark.parametrize("version", [1, 6, None])
def test_a_session_of_another_version_is_refused(version: int | None) -> None:
    with pytest.raises(ReadError, match=f"a session of version {version} cannot be read; this program reads 2 to 5"):
        Session.from_json({**json.loads(saved()), "version": version}, IMAGES)


def packed(values: np.ndarray, cut: int = 0) -> str:
    """As voxels are saved, but for some bytes at the end."""
    compressed = zlib.compress(values.tobytes())
    return base64.b64encode(compressed[: len(compressed) - cut]).decode()


def version_3() -> dict:
    """The saved session as version 3 had it, without checksums."""
    data = intact()
    del data["history"]["checksums"]
    return {**data, "version": 3}


def edited(change: Callable[[dict], object]) -> dict:
    """Of version 3: damage that checksums would find first."""
    data = version_3()
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
def test_a_damaged_entry_is_named(message: str, change: Callable[[dict], object]) -> None:
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


def test_a_session_of_version_3_is_restored() -> None:
    session = Session.from_json(closed(version_3()), IMAGES)
    assert opened(session.to_json()) == intact()


def test_records_of_a_copy_of_the_session_that_was_edited_differently_are_refused() -> None:
    """Two copies of one saved session get different steps of the same number, one voxel and one prompt each."""
    copies = []
    for ijk in ((0, 6, 1), (0, 6, 2)):
        session = Session.from_json(json.loads(saved()), IMAGES, clicks=BallEngine())
        session.add_click(Click(ijk))
        copies.append(session.to_json())
    one, other = copies
    number = str(one["history"]["last"])
    assert one["history"]["steps"] == other["history"]["steps"]
    assert Session.from_json(one, IMAGES).to_json() == one
    mixed = {**one, "records": {**one["records"], number: other["records"][number]}}
    with pytest.raises(ReadError, match=f"records {number} do not match their checksums: of another session"):
        Session.from_json(mixed, IMAGES)


def test_a_mask_to_begin_with_that_has_other_values_does_not_match_its_checksum() -> None:
    data = intact()
    data["records"]["0"].update(values=packed(np.full(8, 254, np.uint8)))
    with pytest.raises(ReadError, match="records 0 do not match their checksums"):
        Session.from_json(closed(data), IMAGES)
