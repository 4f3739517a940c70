"""Engines used from several threads: the same bits as one after the other, and the torch threads as they were."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, TypeVar

import numpy as np
import pytest
import torch

from Testing.fakes import noise_volume, tiny_network, tiny_spec
from Testing.unit.engines.box_cases import tiny_sam
from TumorSegLib.engines import placement, workers
from TumorSegLib.engines.auto.engine import AutoEngine
from TumorSegLib.engines.clicks.engine import ClickEngine
from TumorSegLib.engines.runtime import Runtime
from TumorSegLib.engines.workers import Workers
from TumorSegLib.errors import Cancelled
from TumorSegLib.geometry.grid import Grid
from TumorSegLib.images.volume import Images
from TumorSegLib.jobs import Job
from TumorSegLib.prompts.types import BoxPrompt, Click
from TumorSegLib.session.session import Session

pytestmark = pytest.mark.usefixtures("two_threads")

CPU = torch.device("cpu")
FLOAT32 = Runtime(CPU, torch.float32)
GRID = Grid.from_spacing((32, 32, 32), (1, 1, 1))
CASES = [{"ct": noise_volume(GRID, seed=seed)} for seed in (1, 2)]
BOX = BoxPrompt(((9, 24), (9, 24), (9, 24)))
CLICKS = Click((12, 20, 20)), Click((25, 18, 22), False)

LIMIT_S = 60.0
Answer = TypeVar("Answer")
Run = Callable[[Any, Images], np.ndarray]


def auto_engine(seed: int = 0) -> AutoEngine:
    spec = tiny_spec(patch=(16, 16, 16))
    return AutoEngine(spec, tiny_network(spec, seed), FLOAT32)


def click_engine(seed: int = 0) -> ClickEngine:
    spec = tiny_spec(kind="clicks", spacing_mm=(2.0, 2.0, 2.0), patch=(16, 16, 16))
    return ClickEngine(spec, tiny_network(spec, seed), FLOAT32)


def segmented(engine: AutoEngine, images: Images) -> np.ndarray:
    return Session(images, auto=engine).segment().after


def clicked(engine: ClickEngine, images: Images) -> np.ndarray:
    session = Session(images, clicks=engine)
    for click in CLICKS:
        session.add_click(click)
    return session.probability.array


def boxed(engine: Any, images: Images) -> np.ndarray:
    return engine.segment(engine.prepare(images), BOX).probability


KINDS = pytest.mark.parametrize(
    ("make", "run"),
    [(auto_engine, segmented), (click_engine, clicked), (lambda _=0: tiny_sam()[0], boxed)],
    ids=["automatic", "clicks", "box"],
)


def begin(work: Callable[[], Answer]) -> Future[Answer]:
    """Runs in a new thread, which does not keep the tests from ending where it never ends."""
    future: Future[Answer] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future


def at_once(work: Sequence[Callable[[], np.ndarray]]) -> list[np.ndarray]:
    """Runs in as many threads, all begun together."""
    ready = threading.Barrier(len(work))

    def run(one: Callable[[], np.ndarray]) -> np.ndarray:
        torch.set_num_threads(2)
        ready.wait(LIMIT_S)
        return one()

    return [future.result(LIMIT_S) for future in [begin(lambda one=one: run(one)) for one in work]]


def threads_of_a_new_thread() -> int:
    return begin(torch.get_num_threads).result(LIMIT_S)


@KINDS
@pytest.mark.parametrize("engines", [1, 2], ids=["one engine", "two engines"])
def test_two_sessions_in_two_threads_get_the_bits_of_one_after_the_other(
    make: Callable[..., Any], run: Run, engines: int
) -> None:
    made = [make(seed) for seed in range(engines)]
    pairs = [(made[number % engines], CASES[number % 2]) for number in range(2)]
    expected = [run(engine, images) for engine, images in pairs]
    answers = at_once([lambda engine=engine, images=images: run(engine, images) for engine, images in pairs])
    assert not np.array_equal(expected[0], expected[1])
    assert all(np.array_equal(one, other) for one, other in zip(answers, expected))
    assert torch.get_num_threads() == threads_of_a_new_thread() == 2


def test_a_click_while_the_automatic_model_runs_gets_the_same_bits_before_it_ends() -> None:
    auto, clicks, begun, go_on = auto_engine(), click_engine(), threading.Event(), threading.Event()
    expected = segmented(auto, CASES[0]), clicked(clicks, CASES[1])

    def pause(done: int, _: int) -> None:
        if done == 3:
            begun.set()
            assert go_on.wait(LIMIT_S), "the click waited for the automatic model"

    segmenting = begin(lambda: Session(CASES[0], auto=auto).segment(progress=pause).after)
    assert begun.wait(LIMIT_S)
    corrected = clicked(clicks, CASES[1])
    go_on.set()
    assert np.array_equal(corrected, expected[1])
    assert np.array_equal(segmenting.result(LIMIT_S), expected[0])


def test_a_case_waits_for_another_with_the_same_engine_and_can_be_cancelled() -> None:
    engine, begun, go_on, calls = auto_engine(), threading.Event(), threading.Event(), []

    def pause(*_: int) -> None:
        begun.set()
        assert go_on.wait(LIMIT_S)

    def cancel() -> bool:
        calls.append(True)
        return len(calls) > 1  # the first call comes before the wait

    first = begin(lambda: engine.segment(CASES[0], progress=pause))
    assert begun.wait(LIMIT_S)
    second = begin(lambda: engine.segment(CASES[1], cancel=cancel))
    with pytest.raises(Cancelled, match="while it waited for another case"):
        second.result(LIMIT_S)
    go_on.set()
    first.result(LIMIT_S)


@pytest.mark.parametrize("box", [False, True], ids=["automatic", "box"])
def test_a_progress_callback_may_compute_another_case_with_the_same_engine(box: bool) -> None:
    engine, nested = (tiny_sam()[0] if box else auto_engine()), list[Any]()

    def run(images: Images, progress: Callable[[int, int], None] | None = None) -> Any:
        if box:
            return engine.segment(engine.prepare(images), BOX, progress=progress).probability
        return Session(images, auto=engine).segment(progress=progress).after

    def compute(*_: int) -> None:
        if not nested:
            nested.append(None)
            nested[0] = run(CASES[1])

    expected = [run(images) for images in CASES]
    assert np.array_equal(begin(lambda: run(CASES[0], compute)).result(LIMIT_S), expected[0])
    assert np.array_equal(nested[0], expected[1])


def test_a_callback_that_moves_its_own_case_to_the_cpu_leaves_the_cpu_to_the_outer_work() -> None:
    spec = tiny_spec()
    device = placement.Placement(spec, tiny_network(spec), Runtime(torch.device("meta"), torch.float32)).case(
        threading.Event()
    )

    def compute(_: Any, where: Runtime, nest: bool) -> str:
        if where == FLOAT32:
            return "on the CPU"
        if nest:
            assert device.run(compute, lambda _: [False], Job()) == "on the CPU"
        raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")

    assert begin(lambda: device.run(compute, lambda _: [True], Job())).result(LIMIT_S) == "on the CPU"


FORK = """
import os, threading, time
import numpy as np
from Testing.unit.engines.test_concurrency import CASES, auto_engine, begin, segmented
from TumorSegLib.engines import workers
import torch

torch.set_num_threads(2)
engine, begun = auto_engine(), threading.Event()
expected = segmented(engine, CASES[0])

def pause(*_):
    begun.set()
    threading.Event().wait()

begin(lambda: engine.segment(CASES[1], progress=pause))
assert begun.wait(60)
with workers._pools.lock:  # as where another thread starts a pool
    child = os.fork()
if child == 0:
    os._exit(0 if np.array_equal(segmented(engine, CASES[0]), expected) else 3)
for _ in range(300):
    ended, status = os.waitpid(child, os.WNOHANG)
    if ended:
        os._exit(os.waitstatus_to_exitcode(status))
    time.sleep(0.1)
os.kill(child, 9)
os._exit(4)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_process_forked_while_another_thread_computes_uses_the_engine() -> None:
    ended = subprocess.run([sys.executable, "-c", FORK], check=False, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize("failure", [KeyboardInterrupt, RuntimeError], ids=["Ctrl-C", "no thread"])
def test_a_failed_start_of_a_pool_ends_its_threads_and_keeps_the_number_of_torch_threads(
    failure: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    barriers: list[threading.Barrier] = []
    if failure is KeyboardInterrupt:
        main, wait = threading.current_thread(), threading.Barrier.wait

        def interrupted(barrier: threading.Barrier, timeout: float | None = None) -> int:
            barriers.append(barrier)
            if threading.current_thread() is main:
                raise KeyboardInterrupt
            return wait(barrier, timeout)

        monkeypatch.setattr(threading.Barrier, "wait", interrupted)
    else:
        submit, calls = workers.ThreadPoolExecutor.submit, []

        def refused(*args: Any) -> Any:
            calls.append(args)
            if len(calls) > 1:
                raise RuntimeError("can't start new thread")
            return submit(*args)

        monkeypatch.setattr(workers.ThreadPoolExecutor, "submit", refused)
    before = set(threading.enumerate())
    with pytest.raises(failure):
        workers.new_pool(2, 1)
    started = set(threading.enumerate()) - before
    for thread in started:
        thread.join(1)
    alive = [thread for thread in started if thread.is_alive()]
    for barrier in barriers:  # threads that still wait would keep the tests from ending
        barrier.abort()
    assert not alive
    assert torch.get_num_threads() == threads_of_a_new_thread() == 2


def test_workers_keep_the_order_and_are_the_same_threads_every_time() -> None:
    names: set[str] = set()

    def square(number: int) -> int:
        names.add(threading.current_thread().name)
        assert torch.get_num_threads() == 1
        threading.Event().wait(0.01)
        return number**2

    for _ in range(3):
        with Workers(CPU, 20) as workers:
            assert list(workers.map(square, range(20))) == [n**2 for n in range(20)]
    assert len(names) == 2
    assert torch.get_num_threads() == threads_of_a_new_thread() == 2


def test_no_piece_is_computed_after_the_caller_failed() -> None:
    begun: list[int] = []
    ended: list[int] = []

    def compute(number: int) -> None:
        begun.append(number)
        threading.Event().wait(0.1 * (number > 0))
        ended.append(number)

    def fail() -> None:
        with Workers(CPU, 1000) as workers:
            for number in workers.map(compute, range(1000)):
                raise KeyError(number)

    with pytest.raises(KeyError):
        fail()
    assert len(begun) == len(ended) < 10


def test_a_single_piece_is_computed_in_the_callers_thread_with_all_threads() -> None:
    with Workers(CPU, 1) as workers:
        assert list(workers.map(lambda _: (threading.current_thread(), torch.get_num_threads()), [0])) == [
            (threading.current_thread(), 2)
        ]
