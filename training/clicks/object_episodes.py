"""Interactive training on objects of any kind: episodes in which a simulated user corrects the network's answers.

A pool of episodes is visited in turn. Each visit is one training step with one more prompt, so every forward pass also
trains, and prompts correct errors of the current network (Sofiiuk et al., ICIP 2022, "RITM"). Objects are drawn ahead
by other processes.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.ndimage import gaussian_filter, zoom

from training.clicks.prompts import DrawnPrompts
from training.clicks.simulate import ErrorRegion, largest_error, shifted, warped
from training.config.objects import NEXT_PROMPTS, ObjectSettings
from training.config.train import Configuration
from training.data.batches import Batch
from training.objects.draw import ObjectSources, drawn_from
from training.objects.library import read_suite
from training.objects.sample import ObjectSample
from TumorSegLib.errors import TumorSegError
from TumorSegLib.geometry.arrays import BoolArray, Float32Array
from TumorSegLib.prompts.encoding import PointPrompt, distance_map
from TumorSegLib.prompts.patch_prompts import VOXEL_MM, prompt_channels, segment_map

# Episodes per sample of a batch: steps between two visits of one.
POOL = 6
# A corrupted mask's boundary is moved by up to this share of the object's radius, over bumps of this many voxels.
CORRUPTION, CORRUPTION_LENGTH = 0.8, 14.0
CUBE = (1.0, 1.0, 1.0)

_sources: ObjectSources | TumorSegError | None = None


@dataclass(eq=False)
class Episode:
    """An object with the probability so far and the prompts so far; ``number`` is of its slot and within it."""

    number: tuple[int, int]
    sample: ObjectSample
    rounds: int
    probability: Float32Array
    prompts: DrawnPrompts = field(default_factory=DrawnPrompts)
    last: Float32Array | None = None


class ObjectEpisodes:
    """A pool of episodes as a source of batches, see :class:`training.data.batches.BatchSource`."""

    def __init__(self, configuration: Configuration, root: Path, rank: int) -> None:
        """Makes an empty pool.

        Args:
            configuration: its ``objects`` must be given.
            root: folder with ``suite.json`` and the sets it names.
            rank: number of this process.

        Raises:
            ReadError: the folder has no suite.
        """
        read_suite(root)
        self._configuration, self._root, self._rank = configuration, root, rank
        self._settings = configuration.objects or ObjectSettings()
        self._first_numbers = [0] * (POOL * configuration.optimisation.batch)
        self._episodes: list[Episode] = []
        self._visited: list[int] = []
        self._next: list[Future[ObjectSample]] = []

    def batches(self, first: int) -> Iterator[Batch]:
        """As :class:`training.data.batches.BatchSource`; checkpoints keep the number of each slot's episode alone."""
        settings = self._configuration.optimisation
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(
            settings.workers, context, _read_sources, (self._configuration, self._root)
        ) as self._producers:
            self._next = [self._ordered(slot, number) for slot, number in enumerate(self._first_numbers)]
            self._episodes = [self._begun(slot, number) for slot, number in enumerate(self._first_numbers)]
            for step in range(first, settings.steps):
                start = step * settings.batch % len(self._episodes)
                self._visited = list(range(start, start + settings.batch))
                rng = np.random.default_rng([settings.seed, step, self._rank, 1])
                inputs, labels, focus = zip(*(self._input(self._episodes[slot], rng) for slot in self._visited))
                yield Batch(torch.stack(inputs), torch.stack(labels), torch.stack(focus))

    def observe(self, logits: torch.Tensor) -> None:
        """Adds the next prompt to the episodes just visited, or begins others in their place."""
        for slot, answer in zip(self._visited, torch.sigmoid(logits[:, 0].detach().float()).cpu().numpy()):
            episode = self._episodes[slot]
            episode.probability = answer
            if len(episode.prompts) >= episode.rounds or not self._prompted(episode):
                self._episodes[slot] = self._begun(slot, episode.number[1] + 1)

    def state_dict(self) -> dict[str, Any]:
        """The number of each slot's episode; after a resumption these begin anew."""
        return {"numbers": [episode.number[1] for episode in self._episodes]}

    def load_state_dict(self, values: dict[str, Any]) -> None:
        """Restores what :meth:`state_dict` gave; a pool of another size begins with the same numbers in turn."""
        numbers = [int(number) + 1 for number in values["numbers"]]
        self._first_numbers = [numbers[slot % len(numbers)] for slot in range(len(self._first_numbers))]

    def _ordered(self, slot: int, number: int) -> Future[ObjectSample]:
        """The object of an episode, drawn by another process."""
        return self._producers.submit(_draw, (self._configuration.optimisation.seed, self._rank, slot, number))

    def _begun(self, slot: int, number: int) -> Episode:
        """The next episode of a slot with its first prompt; the object after it is ordered."""
        while True:
            sample = self._next[slot].result()
            self._next[slot] = self._ordered(slot, number + 1)
            rng = self._generator(slot, number, 0)
            rounds = min(1 + int(rng.exponential(self._settings.mean_rounds)), self._settings.most_rounds)
            episode = Episode((slot, number), sample, rounds, self._start(sample.truth, rng))
            if self._prompted(episode):
                return episode
            number += 1

    def _generator(self, slot: int, number: int, prompts: int) -> np.random.Generator:
        seed = self._configuration.optimisation.seed
        return np.random.default_rng([seed, self._rank, slot, number, prompts, 2])

    def _start(self, truth: BoolArray, rng: np.random.Generator) -> Float32Array:
        """The probability an episode begins with."""
        kind = drawn_from(self._settings.starts, rng)
        if kind == "empty":
            return np.zeros(truth.shape, dtype=np.float32)
        radius = (3 * truth.sum() / (4 * np.pi)) ** (1 / 3)
        if kind == "corrupted" and rng.random() < 0.3:
            moved: Float32Array = shifted(truth, CUBE, rng, max(float(radius) * 0.7, 1)).astype(np.float32)
            return moved
        distance = warped(truth, CUBE, rng, rng.uniform(0.1, 1) * CORRUPTION * float(radius), CORRUPTION_LENGTH)
        probability: Float32Array = 1 / (1 + np.exp(np.clip(-distance / np.float32(rng.uniform(0.3, 2)), -30, 30)))
        return _seen_near(probability, truth, rng) if kind == "near" else probability

    def _prompted(self, episode: Episode) -> bool:
        """Adds the next prompt; False where nothing is left to correct."""
        rng = self._generator(*episode.number, len(episode.prompts) + 1)
        truth, prompts = episode.sample.truth, episode.prompts
        error = largest_error(episode.probability > 0.5, truth)
        if error is None:
            return False
        kind = drawn_from(self._settings.next_prompts if len(prompts) else self._settings.first_prompts, rng)
        if kind in NEXT_PROMPTS:
            if not len(prompts) and not error.missed and rng.random() < 0.5:
                error = _whole(truth)
            prompts.add_correction(kind, error, rng.random() < self._settings.off_centre_share, rng)
            episode.last = distance_map(prompts.points[-1].points, _shape(truth), VOXEL_MM)
        else:
            prompts.add_shape(kind, truth, rng)
            episode.last = _map_of_shape(prompts, kind, _shape(truth))
        return True

    def _input(self, episode: Episode, rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Network input, labels and focus."""
        previous = episode.probability
        draw = rng.random()
        if draw < self._settings.previous_dropout:
            previous = np.zeros_like(previous)
        elif draw < 2 * self._settings.previous_dropout:
            previous = _seen_coarse(previous)
        images = episode.sample.images
        inputs = np.concatenate([images, prompt_channels(images, previous, episode.prompts.for_network())])
        focus = episode.last if episode.last is not None else np.ones_like(previous)
        return (
            torch.from_numpy(inputs.astype(np.float32, copy=False)),
            torch.from_numpy(episode.sample.truth.astype(np.int64)),
            torch.from_numpy(focus),
        )


def _read_sources(configuration: Configuration, root: Path) -> None:
    """Reads the images into a process that draws objects."""
    global _sources  # noqa: PLW0603  # a process of a pool has no other place for what its tasks share
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    torch.set_num_threads(1)
    try:
        _sources = ObjectSources.read(configuration, root)
    except TumorSegError as error:
        _sources = error  # for the process that trains: what a pool's beginning raises is lost


def _leave_with_parent() -> None:
    """Ends the process when the one that trains has ended in whatever way: killed, it cannot tell its producers."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _draw(number: tuple[int, ...]) -> ObjectSample:
    if _sources is None:
        raise RuntimeError("the process has no sources")
    if isinstance(_sources, TumorSegError):
        raise _sources
    return _sources.draw(np.random.default_rng(number))


def _shape(truth: BoolArray) -> tuple[int, int, int]:
    return truth.shape[0], truth.shape[1], truth.shape[2]


def _whole(truth: BoolArray) -> ErrorRegion:
    """The whole object, for a prompt that confirms it."""
    return ErrorRegion(truth, np.zeros(3, dtype=int), True)


def _map_of_shape(prompts: DrawnPrompts, kind: str, shape: tuple[int, int, int]) -> Float32Array:
    """Where a line or box matters most."""
    if kind == "line":
        start, end = prompts.lines[-1]
        return segment_map(start, end, shape)
    middle = PointPrompt(prompts.boxes[-1].mean(axis=0)[None], True)
    return distance_map(middle.points, shape, VOXEL_MM)


def _seen_near(probability: Float32Array, truth: BoolArray, rng: np.random.Generator) -> Float32Array:
    """What is left of a probability where only a patch half as large, around a voxel of the object, was answered."""
    voxels = np.argwhere(truth)
    centre = voxels[int(rng.integers(len(voxels)))]
    seen = np.zeros_like(probability)
    at = tuple(slice(max(int(c) - n // 4, 0), int(c) + n // 4) for c, n in zip(centre, probability.shape))
    seen[at] = gaussian_filter(probability, 0.5)[at]
    return seen


def _seen_coarse(probability: Float32Array) -> Float32Array:
    """A probability as an answer at twice the scale shows it."""
    coarse = zoom(probability, 0.5, order=1, mode="nearest", grid_mode=True)
    fine: Float32Array = zoom(
        coarse, np.divide(probability.shape, coarse.shape), order=1, mode="nearest", grid_mode=True
    )
    return np.clip(fine, 0, 1)
