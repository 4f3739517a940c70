"""Sessions as JSON: a small head, and a record for every step, which never changes once written.

Who saves a session often keeps the records of earlier times and takes only the new ones of a :class:`Snapshot`; records
that its head no longer lists belong to dropped steps and may be deleted.
"""

from __future__ import annotations

import json
import logging
import operator
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from TumorSegLib.errors import GeometryError, ReadError, ResourceError, RoleError, TumorSegError
from TumorSegLib.geometry.boxes import EMPTY_BOX
from TumorSegLib.geometry.grid import Grid
from TumorSegLib.images.probability import EMPTY
from TumorSegLib.jobs import Cancel, Job
from TumorSegLib.parsing import check_keys
from TumorSegLib.session import version2
from TumorSegLib.session.entries import (
    Begun,
    Contents,
    checked_name,
    compressed,
    decoded,
    encoded,
    step_from_json,
    step_to_json,
    voxels_from_json,
    voxels_to_json,
)
from TumorSegLib.session.history import History, Step, StoredStep
from TumorSegLib.session.segments import Segments, checksum

FORMAT, VERSION = "tumorseg-session", 5
# Version 5 is written where several segments began with voxels, else version 4. Version 3 had no checksums in its head,
# version 2 every step in one document.
READABLE = (2, 3, 4, VERSION)
HEAD_KEYS = ("format", "version", "roles", "active", "grid", "overlap", "segments", "history")
#: What programs may keep beside a session, and sessions pass over: numbers and colours of its segments in files.
BESIDE = "labels"
#: Number of the record with the voxels that segments began with; steps have larger numbers.
INITIAL = 0
# A record expands to at most this many times its size, and a megabyte: a few bytes may claim to be gigabytes.
MOST_EXPANSION = 200

_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Snapshot:
    """A session as it was at one time; edits made since do not change it. Use it from any thread.

    Attributes:
        head: JSON-ready: format, version, roles, active segment, grid, overlap, segments (name, number of voxels and of
            prompts), and the history: numbers of the steps, how many are done, the last number given to any step, and
            the checksums (CRC-32 of the contents) of record 0 and of the steps in order.
    """

    head: Mapping[str, Any]
    _begun: Begun
    _history: History
    _steps: Mapping[int, Step | StoredStep]

    def records(self, since: int = -1, cancel: Cancel | None = None) -> Iterator[tuple[int, str]]:
        """The records with a number larger than ``since``, encoded one at a time while they are asked for.

        A record is the same text at all times, and no other record ever has its number. ``since`` is thus the ``last``
        of the head that was saved before.

        Args:
            since: -1 for all records.
            cancel: asked before every record, and every few milliseconds while a large one is compressed.

        Yields:
            Number and text in base 64.

        Raises:
            Cancelled: ``cancel`` returned True.
            ResourceError: the temporary file with old steps cannot be read.
        """
        job = Job(cancel=cancel, name="saving the session")
        if since < INITIAL:
            job.check()
            begun = {name: voxels_to_json(*part, job) for name, part in self._begun.items()}
            first = next(iter(begun.values())) if self.head["version"] < VERSION else {"segments": begun}
            yield INITIAL, _record(INITIAL, first, job)
        for number, step in self._steps.items():
            if number > since:
                job.check()
                yield number, _record(number, step_to_json(self._history.load(step)), job)

    def to_json(self) -> dict[str, Any]:
        """Head and all records, JSON-ready."""
        return {**self.head, "records": {str(number): text for number, text in self.records()}}


def take_snapshot(segments: Segments, roles: Sequence[str], active: str) -> Snapshot:
    """The segments as they are now; waits while an edit is written or a mask is read, not for an engine."""
    grid = segments.grid
    with segments.lock:
        history, steps = segments.history, segments.history.numbered()
        names = segments.names
        # Those that are added later begin empty: so these stay the same.
        begun = {name: segments.initial(name) for name in names if name == names[0] or segments.initial(name)[1].size}
        several = len(begun) > 1
        head = {
            "format": FORMAT,
            "version": VERSION if several else VERSION - 1,
            "roles": list(roles),
            "active": active,
            "grid": {"shape": list(grid.shape), "affine": grid.affine.tolist()},
            "overlap": segments.overlap.value,
            "segments": [
                {"name": name, "voxels": segments.voxels(name), "prompts": len(segments.prompts(name))}
                for name in names
            ],
            "history": {
                "steps": list(steps),
                "position": history.position,
                "last": history.last,
                "checksums": [_begun_checksum([segments.initial_checksum(n) for n in begun]), *history.checksums],
            },
        }
    return Snapshot(head, begun, history, steps)


def segments_from_json(data: Any, grid: Grid, roles: Sequence[str]) -> tuple[Segments, str]:
    """Rebuilds the segments of a session.

    Args:
        data: as :meth:`Snapshot.to_json`, or of an earlier version from 2 on.
        grid: of the first image.
        roles: of the images, the first one first.

    Returns:
        The segments and the name of the active one.

    Raises:
        ReadError: the data are not a session, have an unknown key, or contradict each other, e.g. a record is of
            another session.
        GeometryError: the session's grid is another one.
        RoleError: the first role is another one.
        ResourceError: there is no room for the undo steps.
    """
    if not isinstance(data, Mapping) or data.get("format") != FORMAT:
        raise ReadError(f'not a session: it must be a JSON object with "format": "{FORMAT}"')
    version = data.get("version")
    if version not in READABLE:
        raise ReadError(f"a session of version {version!r} cannot be read; this program reads 2 to {VERSION}")
    try:
        check_keys(data, HEAD_KEYS if version == 2 else (*HEAD_KEYS, "records", BESIDE), "session")
        _check_images(data, grid, roles)
        contents = version2.contents(data, grid) if version == 2 else _contents(data, grid)
        segments = _rebuilt(contents, Segments(grid, data["overlap"]))
        check_result = version2.check_result if version == 2 else _check_result
        check_result(data, segments)
        active = checked_name(data["active"])
        segments.check_known(active)
    except (GeometryError, RoleError, ResourceError):
        raise
    except (TumorSegError, LookupError, TypeError, ValueError, ArithmeticError, AttributeError, zlib.error) as error:
        raise ReadError(f"the session is damaged: {type(error).__name__}: {error}") from error
    names, history = segments.names, segments.history
    _log.info(
        "restored a session of version %d; segments: %d, steps: %d, of them done: %d",
        *(version, len(names), len(history), history.position),
    )
    return segments, active


def _contents(data: Mapping[str, Any], grid: Grid) -> Contents:
    history, records = data["history"], data["records"]
    known = ("steps", "position", "last")
    check_keys(history, known if data["version"] == 3 else (*known, "checksums"), "history")
    numbers = [operator.index(number) for number in history["steps"]]
    if numbers != sorted(set(numbers)) or set(records) != {str(number) for number in (INITIAL, *numbers)}:
        raise ValueError(f"the records {', '.join(records)} are not those of the steps {numbers}")
    last = operator.index(history["last"])
    if last < max(numbers, default=INITIAL):
        raise ValueError(f"the last step is {numbers[-1]}, not {last}")
    for entry in data["segments"]:
        check_keys(entry, ("name", "voxels", "prompts"), "segment")
    names = [checked_name(entry["name"]) for entry in data["segments"]]
    if len(set(names)) < len(names):
        raise ValueError(f"two segments have one name: {', '.join(names)}")
    first = _entry(INITIAL, records[str(INITIAL)])
    if data["version"] < VERSION:
        own = {names[0]: voxels_from_json(first, grid)}
    else:
        check_keys(first, ("segments",), "record 0")
        own = {checked_name(name): voxels_from_json(entry, grid) for name, entry in first["segments"].items()}
    if not set(own) <= set(names):
        raise ValueError(f"record 0 has segments that are not there: {', '.join(sorted(set(own) - set(names)))}")
    begun = dict.fromkeys(names, (EMPTY_BOX, EMPTY)) | own
    steps = {number: step_from_json(_entry(number, records[str(number)]), grid, names) for number in numbers}
    if data["version"] != 3:
        start = _begun_checksum([checksum(*part) for part in own.values()])
        found = [start, *(step.checksum for step in steps.values())]
        _check_checksums(history["checksums"], dict(zip((INITIAL, *numbers), found)))
    return Contents(begun, steps, operator.index(history["position"]), last)


def _begun_checksum(sums: Sequence[int]) -> int:
    """One checksum of what segments began with, from those of each; of one segment its own."""
    return sums[0] if len(sums) == 1 else zlib.crc32(str(list(sums)).encode("ascii"))


def _check_checksums(saved: Sequence[int], found: Mapping[int, int]) -> None:
    """Raises ValueError unless records, by number, have the checksums of the head."""
    if len(saved) != len(found):
        raise ValueError(f"there are {len(saved)} checksums for {len(found)} records")
    others = [number for number, value in zip(found, saved) if found[number] != value]
    if others:
        raise ValueError(f"records {', '.join(map(str, others))} do not match their checksums: of another session?")


def _rebuilt(contents: Contents, segments: Segments) -> Segments:
    """The segments after the steps done, with the history of all steps."""
    for name, (box, values) in contents.begun.items():
        segments.add(name, box, values)
    steps, position = list(contents.steps.values()), contents.position
    if not 0 <= position <= len(steps):
        raise ValueError(f"position {position} is not within {len(steps)} steps")
    for step in steps[:position]:
        segments.replay(step)
    prompts = {name: segments.prompts(name) for name in segments.names}
    for change in (change for step in steps[position:] for change in step.prompts):
        prompts[change.segment] = change.applied(prompts[change.segment], undo=False)
    segments.history = History(contents.steps, position, contents.last)
    return segments


def _check_result(data: Mapping[str, Any], segments: Segments) -> None:
    """Raises ValueError unless the steps lead to as many voxels and prompts as the head says."""
    for entry, name in zip(data["segments"], segments.names):
        found = segments.voxels(name), len(segments.prompts(name))
        if found != (entry["voxels"], entry["prompts"]):
            raise ValueError(
                f"the steps of segment {name!r} lead to {found[0]} voxels and {found[1]} prompts, not "
                f"{entry['voxels']} and {entry['prompts']}"
            )


def _check_images(data: Mapping[str, Any], grid: Grid, roles: Sequence[str]) -> None:
    check_keys(data["grid"], ("shape", "affine"), "grid")
    k, j, i = (operator.index(n) for n in data["grid"]["shape"])
    with np.errstate(over="ignore", invalid="ignore"):  # of damaged numbers, which make the grids differ
        saved = Grid((k, j, i), np.array(data["grid"]["affine"], dtype=float))
        difference = "" if saved == grid else saved.difference(grid)
    if difference:
        raise GeometryError(f"the session was made on another image, on {saved}, not {grid}: {difference}")
    if data["roles"][:1] != list(roles[:1]):
        raise RoleError(f"the session's first image is {data['roles'][0]!r}, the first one given {roles[0]!r}")


def _record(number: int, entry: Mapping[str, Any], job: Job) -> str:
    """The text of a record; it contains its number, so that a record in the place of another one is named."""
    return encoded(compressed(json.dumps({"number": number, **entry}).encode("ascii"), job))


def _entry(number: int, text: str) -> dict[str, Any]:
    packed, stream = decoded(text), zlib.decompressobj()
    expanded = stream.decompress(packed, 2**20 + MOST_EXPANSION * len(packed))
    if not stream.eof:
        raise ValueError(f"record {number} is cut short, or expands to more than {len(expanded)} bytes")
    try:
        entry = dict(json.loads(expanded))
    except RecursionError as error:
        raise ValueError(f"record {number} is nested too deeply") from error
    if entry.pop("number") != number:
        raise ValueError(f"record {number} belongs to another step")
    return entry
