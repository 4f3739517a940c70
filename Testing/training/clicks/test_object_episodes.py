"""Episodes on objects: what the network sees, how prompts follow its errors, and processes that draw."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from Testing.training.objects.object_cases import CONFIGURATION, any_configuration, write_suite
from Testing.training.training_runs import same
from training.clicks import object_episodes
from training.clicks.object_episodes import POOL, ObjectEpisodes
from training.data.batches import Batch
from TumorSegLib.errors import ReadError

REPOSITORY = Path(__file__).resolve().parents[3]
PREVIOUS, POSITIVE, NEGATIVE, BOX, LINE = range(4, 9)
LONG = ("steps = 2", "steps = 30")
SYNTHETIC = "sources = { synthetic = 1 }\nprevious_dropout = 0\n"


class InThisProcess(Executor):
    """Draws objects when they are ordered, as a process to be started takes seconds; two tests have real ones."""

    def __init__(self, _workers: int, _context: object, begin: Callable[..., None], arguments: tuple) -> None:
        begin(*arguments)

    def submit(self, call: Callable[..., Any], /, *arguments: Any, **more: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(call(*arguments, **more))
        return future


@pytest.fixture(autouse=True)
def _in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(object_episodes, "ProcessPoolExecutor", InThisProcess)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_suite(tmp_path_factory.mktemp("suite"))


def visits(source: ObjectEpisodes, count: int, first: int = 0, perfect: bool = False) -> Iterator[Batch]:
    """Batches, answered by a network that finds nothing, or by one that finds the object."""
    with closing(source.batches(first)) as batches:  # type: ignore[type-var]
        for _ in range(count):
            batch = next(batches)
            yield batch
            truth = batch.labels[:, None].float()
            source.observe(torch.where((truth > 0) & perfect, 9.0, -9.0))


def same_batches(first: list[Batch], second: list[Batch]) -> bool:
    return same([[b.inputs, b.labels, b.focus] for b in first], [[b.inputs, b.labels, b.focus] for b in second])


def test_batches_show_images_answer_and_prompts_and_depend_on_the_seed_alone(root: Path) -> None:
    configuration = any_configuration("starts = { empty = 1 }\nmean_rounds = 1000\noff_centre_share = 1\n", *LONG)
    seen = list(visits(ObjectEpisodes(configuration, root, 0), 2 * POOL))
    for batch in seen:
        assert batch.inputs.shape == (1, 11, 16, 16, 16)
        assert batch.labels.shape == (1, 16, 16, 16)
        assert batch.labels.any()
        assert not batch.inputs[0, PREVIOUS].gt(0.5).any()
        assert batch.inputs[0, POSITIVE : LINE + 1].any()
        assert batch.focus is not None
        assert 0 < batch.focus.max() <= 1
    # A blind network gets one prompt more at each visit of the same object.
    for before, after in zip(seen[:POOL], seen[POOL:]):
        assert torch.equal(before.labels, after.labels)
        assert not torch.equal(before.inputs[0, POSITIVE : LINE + 1], after.inputs[0, POSITIVE : LINE + 1])
    again = list(visits(ObjectEpisodes(configuration, root, 0), 2 * POOL))
    assert same_batches(seen, again)


def test_other_processes_and_seeds_draw_other_objects(root: Path) -> None:
    configuration = any_configuration(SYNTHETIC, *LONG)
    (mine,) = visits(ObjectEpisodes(configuration, root, 0), 1)
    (other,) = visits(ObjectEpisodes(configuration, root, 1), 1)
    (seeded,) = visits(ObjectEpisodes(any_configuration(SYNTHETIC, *LONG, "seed = 3", "seed = 4"), root, 0), 1)
    assert not torch.equal(mine.labels, other.labels)
    assert not torch.equal(mine.labels, seeded.labels)


def test_an_object_that_was_found_gives_way_to_another(root: Path) -> None:
    objects = SYNTHETIC + "starts = { empty = 1 }\nmean_rounds = 1000\n"
    seen = list(visits(ObjectEpisodes(any_configuration(objects, *LONG), root, 0), 2 * POOL, perfect=True))
    for before, after in zip(seen[:POOL], seen[POOL:]):
        assert not torch.equal(before.labels, after.labels)


@pytest.mark.parametrize(("kind", "channel"), [("click", POSITIVE), ("line", LINE), ("box", BOX), ("slice_box", BOX)])
def test_the_first_prompt_is_of_the_kind_asked_for(root: Path, kind: str, channel: int) -> None:
    objects = SYNTHETIC + f"starts = {{ empty = 1 }}\nfirst_prompts = {{ {kind} = 1 }}\n"
    (batch,) = visits(ObjectEpisodes(any_configuration(objects, *LONG), root, 0), 1)
    shown = [n for n in (POSITIVE, NEGATIVE, BOX, LINE) if batch.inputs[0, n].any()]
    assert shown == [channel]
    if kind == "slice_box":
        assert batch.inputs[0, BOX].any(dim=(1, 2)).sum() == 1
    if kind == "click":
        assert batch.labels[0][batch.inputs[0, POSITIVE] == 1].all()


def test_an_episode_may_begin_with_a_mask_that_is_nearly_right(root: Path) -> None:
    configuration = any_configuration(SYNTHETIC + "starts = { corrupted = 1 }\n", *LONG)
    overlaps = []
    for batch in visits(ObjectEpisodes(configuration, root, 0), POOL):
        start, truth = batch.inputs[0, PREVIOUS] > 0.5, batch.labels[0] > 0
        overlaps.append(float(2 * (start & truth).sum() / (start.sum() + truth.sum())))
        assert not torch.equal(start, truth)
    assert np.median(overlaps) > 0.4


def test_a_resumed_pool_goes_on_with_later_objects(root: Path) -> None:
    configuration = any_configuration(SYNTHETIC, *LONG)
    source = ObjectEpisodes(configuration, root, 0)
    seen = list(visits(source, POOL))
    values = source.state_dict()
    assert values == json.loads(json.dumps(values))
    assert len(values["numbers"]) == POOL
    later = ObjectEpisodes(configuration, root, 0)
    later.load_state_dict(values)
    resumed = list(visits(later, POOL, first=POOL))
    assert not any(torch.equal(a.labels, b.labels) for a in seen for b in resumed)
    # A pool of another size, as after a change of the batch, takes the numbers in turn.
    other = ObjectEpisodes(any_configuration(SYNTHETIC, *LONG, "batch = 1", "batch = 2"), root, 0)
    other.load_state_dict(values)
    (batch,) = visits(other, 1)
    assert batch.labels.shape[0] == 2


TRAINER = """
import sys
from pathlib import Path
from training.clicks.object_episodes import ObjectEpisodes
from training.config.train import parse_configuration

if __name__ == "__main__":
    import multiprocessing, time
    configuration = parse_configuration(Path(sys.argv[1]).read_text(), "any.toml")
    batches = ObjectEpisodes(configuration, Path(sys.argv[2]), 0).batches(0)
    next(batches)
    print(*(child.pid for child in multiprocessing.active_children()), flush=True)
    time.sleep(100)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="there are no such signals")
def test_processes_that_draw_end_with_a_trainer_that_is_killed(root: Path, tmp_path: Path) -> None:
    script, toml = tmp_path / "trainer.py", tmp_path / "any.toml"
    script.write_text(TRAINER)
    toml.write_text(CONFIGURATION.replace("OBJECTS", SYNTHETIC))
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(script), str(toml), str(root)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as trainer:
        assert trainer.stdout is not None
        producers = [int(pid) for pid in trainer.stdout.readline().split()]
        trainer.send_signal(signal.SIGKILL)
        trainer.wait(30)
    assert producers
    deadline = time.monotonic() + 30
    while any(map(is_running, producers)) and time.monotonic() < deadline:
        time.sleep(0.1)
    left = [pid for pid in producers if is_running(pid)]
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert not left


def is_running(pid: int) -> bool:
    """Whether a process has not ended; one that nobody has waited for has."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_what_is_wrong_with_the_data_reaches_who_trains(tmp_path: Path) -> None:
    with pytest.raises(ReadError, match=r"no suite\.json that names what may train"):
        ObjectEpisodes(any_configuration("", *LONG), tmp_path, 0)
    folder = write_suite(tmp_path)
    source = ObjectEpisodes(any_configuration("", *LONG), folder, 0)
    (folder / "sts" / "splits.json").write_text("{", encoding="utf-8")
    with pytest.raises(ReadError, match=r"splits\.json: not valid JSON"):
        next(iter(source.batches(0)))
