"""Threads that compute several pieces of one image at once on a CPU."""

from __future__ import annotations

import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any, TypeVar

import torch

# Each piece needs memory of its own.
MOST_WORKERS = 8

Piece = TypeVar("Piece")
Computed = TypeVar("Computed")


class Workers:
    """Computes several pieces of one image at once on a CPU, each on its share of the threads.

    Two pieces on one core each take less time than one after the other on two cores: 0.8 of it with windows of sts-auto
    in bfloat16, 0.8 to 0.9 with slices of LiteMedSAM. Small layers cannot keep several cores busy.

    The threads belong to the process: they are started once, set their number of torch threads once, and all engines
    share them, so that no call changes the number of torch threads of another. A context manager: leaving it drops
    pieces not begun and waits for those being computed.
    """

    def __init__(self, device: torch.device, pieces: int) -> None:
        """Finds the threads.

        Args:
            device: where the pieces are computed; one at a time unless it is a CPU.
            pieces: how many there are; a single one gets all threads.
        """
        threads = torch.get_num_threads() if device.type == "cpu" else 1
        count = min(threads, MOST_WORKERS)
        if pieces < count:
            count = 1 << (max(pieces, 1).bit_length() - 1)  # a power of two, so that there are few pools
        self._count = count
        self._pool = _pools.get(count, threads) if count > 1 else None
        self._waiting: deque[Future[Any]] = deque()

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *_: object) -> None:
        for future in self._waiting:
            future.cancel()
        wait(self._waiting)

    def map(self, compute: Callable[[Piece], Computed], pieces: Sequence[Piece]) -> Iterator[Computed]:
        """Like ``map``; few pieces are computed ahead, so that other engines get their turn."""
        if self._pool is None:
            yield from map(compute, pieces)
            return
        for piece in pieces:
            self._waiting.append(self._pool.submit(compute, piece))
            if len(self._waiting) > self._count:
                yield self._next()
        while self._waiting:
            yield self._next()

    def _next(self) -> Any:
        result = self._waiting[0].result()  # stays in the queue until then: an interruption must not leave it running
        self._waiting.popleft()
        return result


class _Pools:
    """The process's pools by their number of threads and the number of torch threads these share."""

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        """Drops all pools, as a forked process must, which has none of its parent's threads."""
        self._pools: dict[tuple[int, int], ThreadPoolExecutor] = {}
        self.lock = threading.Lock()

    def get(self, count: int, threads: int) -> ThreadPoolExecutor:
        with self.lock:
            if (count, threads) not in self._pools:
                self._pools[count, threads] = new_pool(count, threads // count)
            return self._pools[count, threads]


_pools = _Pools()


def new_pool(count: int, threads: int) -> ThreadPoolExecutor:
    """Starts a pool whose threads are all running and compute on a number of torch threads each.

    The number of the caller's torch threads, which new threads begin with, stays, also where the start fails.

    Args:
        count: threads of the pool.
        threads: torch threads of each.

    Raises:
        RuntimeError, MemoryError: there is no memory for another thread.
    """
    number = torch.get_num_threads()
    pool, ready = ThreadPoolExecutor(count, "TumorSeg worker"), threading.Barrier(count + 1)

    def begin() -> None:
        torch.get_num_threads()  # the first call in a thread copies the process's number, later ones do not
        torch.set_num_threads(threads)
        ready.wait()

    try:
        for _ in range(count):
            pool.submit(begin)
        ready.wait()
    except BaseException:  # no memory for another thread, or Ctrl-C
        ready.abort()  # else the threads wait for ever, and the process for them at its end
        pool.shutdown(cancel_futures=True)  # none may set its number after the lines below
        raise
    finally:
        # A thread has a number of its own, but new threads begin with the one that was set last.
        torch.set_num_threads(number)
    return pool


if sys.platform != "win32":
    os.register_at_fork(after_in_child=_pools.renew)  # a forked process has none of its parent's threads
