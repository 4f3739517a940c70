"""Delay of a click while the session is saved after every edit, and the size of what is saved; see ``run``."""

from __future__ import annotations

import json
import threading
import time
import tracemalloc

import numpy as np

from Testing.fakes import BallEngine
from TumorSegLib import Click, Grid, Mask, Session, Volume

EDITS, CLICKS = 200, 40
RADIUS = 14  # voxels of the ragged ball that a click paints: 15 kB a step


def run(shape: tuple[int, int, int]) -> None:
    """Prints ms of a click alone and beside saving, seconds and MB of saving, of a session with 200 edits."""
    grid = Grid.from_spacing(shape, (0.8, 0.8, 1.5))
    body = np.zeros(shape, dtype=np.uint8)
    body[:, shape[1] // 4 : -shape[1] // 4, shape[2] // 4 : -shape[2] // 4] = 1
    image = Volume(grid, np.zeros(shape, dtype=np.int16))
    session = Session({"ct": image}, clicks=BallEngine(RADIUS), initial=Mask(grid, body))
    random = np.random.default_rng(0)
    low, high = np.full(3, RADIUS + 2), np.array(grid.size) - RADIUS - 2

    def click() -> float:
        i, j, k = random.integers(low, np.maximum(high, low + 1)).tolist()
        before = time.perf_counter()
        session.add(Click((i, j, k), bool(random.integers(0, 2))))
        session.undo()  # or each answer would depend on more prompts than the one before
        return 1000 * (time.perf_counter() - before)

    for _ in range(EDITS):
        click()
        session.redo()
    alone = sorted(click() for _ in range(CLICKS))
    stop, saving = threading.Event(), threading.Thread(target=lambda: _save_until(session, stop))
    saving.start()
    beside = sorted(click() for _ in range(CLICKS))
    stop.set()
    saving.join()
    before = time.perf_counter()
    sizes = [len(text) for _, text in session.snapshot().records()]
    seconds = time.perf_counter() - before
    tracemalloc.start()
    for _ in session.snapshot().records():
        pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    print(
        f"a click alone {alone[CLICKS // 2]:.0f} ms (worst {alone[-1]:.0f}), beside saving without a pause "
        f"{beside[CLICKS // 2]:.0f} ms (worst {beside[-1]:.0f})"
    )
    print(
        f"{len(sizes)} records, {sum(sizes) / 1e6:.1f} MB in {seconds:.2f} s, {peak / 1e6:.1f} MB of memory; head "
        f"{len(json.dumps(session.snapshot().head))} bytes; largest record {max(sizes) / 1e3:.0f} kB"
    )


def _save_until(session: Session, stop: threading.Event) -> None:
    """Saves all records again and again, which is more than the module does: it saves new ones once."""
    while not stop.is_set():
        for _ in session.snapshot().records():
            if stop.is_set():
                return
