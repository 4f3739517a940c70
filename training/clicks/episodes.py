"""Interactive training: episodes in which a simulated user corrects the network's current predictions.

A pool of episodes is visited in turn. Each visit is one training step with one more click; while the network trains on
the others, the simulated user of the episode adds the next prompt. So every forward pass also trains, and prompts
always correct errors of the current network (iterative training: Sofiiuk et al., ICIP 2022, "RITM").
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import nn

from training.clicks.simulate import click_on, draw_scribble, largest_error, shifted, warped
from training.config.clicks import ClickSettings
from training.config.train import Configuration
from training.data.augment import draw_sample
from training.data.batches import Batch, Pools
from TumorSegLib.engines.clicks.patches import network_input, patch_origin, prompt_centre
from TumorSegLib.engines.networks.unets import probabilities
from TumorSegLib.engines.workers import new_pool
from TumorSegLib.geometry.arrays import BoolArray, Float32Array
from TumorSegLib.prompts.constraints import apply_constraints
from TumorSegLib.prompts.encoding import PointPrompt, distance_map

# Episodes per sample of a batch: steps between two visits of one, in which its next prompt is computed.
POOL = 8


@dataclass(eq=False)
class Episode:
    """A part of a case larger than a patch, with its target, the probability so far and the prompts so far."""

    number: tuple[int, int]
    images: torch.Tensor
    truth: BoolArray
    spacing_mm: tuple[float, float, float]
    rounds: int
    probability: Float32Array
    prompts: list[PointPrompt] = field(default_factory=list)


class Episodes:
    """A pool of episodes as a source of batches."""

    def __init__(
        self,
        configuration: Configuration,
        pools: Mapping[float, Pools],
        rank: int,
        first_stage: nn.Module | None = None,
    ) -> None:
        """Makes an empty pool.

        Args:
            configuration: its ``clicks`` must be given.
            pools: cases by zoom, each coarsened for the spacing at that zoom.
            rank: number of this process.
            first_stage: the automatic network whose answers some episodes start from; None if none do.
        """
        self._configuration, self._pools, self._rank, self._first_stage = configuration, pools, rank, first_stage
        self._settings = configuration.clicks or ClickSettings()
        self._count = POOL * configuration.optimisation.batch
        self._restored: list[dict[str, Any]] = []
        self._last: list[int] = []
        self._slots: list[Future[Episode]] = []

    def batches(self, first: int) -> Iterator[Batch]:
        """As :class:`training.data.batches.BatchSource`."""
        settings = self._configuration.optimisation
        with new_pool(settings.workers, 1) as self._users:
            if self._restored:
                self._slots = [self._users.submit(self._resumed, values) for values in self._restored]
            else:
                self._slots = [self._users.submit(self._begun, (slot, 0)) for slot in range(self._count)]
            for step in range(first, settings.steps):
                start = step * settings.batch % self._count
                self._last = list(range(start, start + settings.batch))
                rng = np.random.default_rng([settings.seed, step, self._rank])
                samples = [self._sample(self._slots[slot].result(), rng) for slot in self._last]
                inputs, labels, focus = zip(*samples)
                yield Batch(torch.stack(inputs), torch.stack(labels), torch.stack(focus))

    def observe(self, logits: torch.Tensor) -> None:
        """Adds the next prompt to the episodes just visited; threads fetch the answers, so that a GPU need not wait."""
        answers = torch.sigmoid(logits[:, 0].detach().float())
        for slot, answer in zip(self._last, answers):
            self._slots[slot] = self._users.submit(self._advanced, self._slots[slot].result(), answer)

    def state_dict(self) -> dict[str, Any]:
        """Per episode its number, answer and prompts; images are drawn again from the number."""
        return {"episodes": [_to_state(slot.result()) for slot in self._slots]}

    def load_state_dict(self, values: dict[str, Any]) -> None:
        """Restores the episodes of the first process, which alone are saved; further processes begin new ones."""
        if self._rank == 0:
            self._restored = values["episodes"]

    def _sample(self, episode: Episode, rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Network input, labels and focus in the patch around the last prompt."""
        shape, at = self._configuration.model.volume_input.patch, self._patch(episode)
        corner = [edge.start for edge in reversed(at)]
        prompts = [PointPrompt(prompt.points - corner, prompt.positive) for prompt in episode.prompts]
        previous = episode.probability[at]
        if rng.random() < self._settings.previous_dropout:
            previous = np.zeros_like(previous)
        inputs = network_input(episode.images.numpy()[(slice(None), *at)], previous, prompts, episode.spacing_mm)
        focus = torch.from_numpy(distance_map(prompts[-1].points, shape, episode.spacing_mm))
        return torch.from_numpy(inputs), torch.from_numpy(episode.truth[at].astype(np.int64)), focus

    def _patch(self, episode: Episode) -> tuple[slice, ...]:
        """Where the patch around the last prompt lies in the episode's images."""
        k, j, i = episode.truth.shape
        patch = self._configuration.model.volume_input.patch
        starts = patch_origin(prompt_centre(episode.prompts[-1].points), patch, (k, j, i))
        return tuple(slice(start, start + size) for start, size in zip(reversed(starts), patch))

    def _begun(self, number: tuple[int, int]) -> Episode:
        episode, rng = self._drawn(number)
        episode.probability = self._start(episode, rng)
        return self._with_prompt(episode)

    def _resumed(self, values: dict[str, Any]) -> Episode:
        episode, _ = self._drawn((int(values["number"][0]), int(values["number"][1])))
        episode.rounds = int(values["rounds"])
        episode.probability = values["probability"].numpy()
        prompts = [PointPrompt(points.numpy(), bool(positive)) for points, positive in values["hints"]]
        episode.prompts = prompts[:-1]
        return self._with_prompt(episode)

    def _drawn(self, number: tuple[int, int]) -> tuple[Episode, np.random.Generator]:
        """Image, target and number of rounds of an episode, and the generator as it stands after drawing them."""
        configuration, settings = self._configuration, self._settings
        rng = np.random.default_rng([configuration.optimisation.seed, self._rank, *number])
        zooms = [float(zoom) for zoom in settings.zooms]
        weights = np.array(list(settings.zooms.values()))
        zoom = zooms[int(rng.choice(len(zooms), p=weights / weights.sum()))]
        i, j, k = (edge * zoom for edge in configuration.model.volume_input.spacing_mm)
        augmentation = configuration.augmentation
        if rng.random() < settings.small_share:
            augmentation = replace(augmentation, scale=settings.small_scale)
        case = self._pools[zoom].draw(configuration.data, rng)
        depth, height, width = (edge + settings.context for edge in configuration.model.volume_input.patch)
        spec = configuration.model.with_input(spacing_mm=(i, j, k), patch=(depth, height, width))
        images, labels = draw_sample(case, spec, augmentation, rng)
        truth = (labels > 0).numpy()
        if rng.random() < settings.warp_share and truth.any():
            truth = warped(truth, (i, j, k), rng, rng.uniform(0, settings.warp_mm), settings.warp_length_mm) > 0
        rounds = min(1 + int(rng.exponential(settings.mean_rounds)), settings.most_rounds)
        return Episode(number, images, truth, (i, j, k), rounds, np.zeros(truth.shape, np.float32)), rng

    def _start(self, episode: Episode, rng: np.random.Generator) -> Float32Array:
        """The probability an episode begins with: the first stage's, a corrupted or shifted mask, or none."""
        settings, spacing = self._settings, episode.spacing_mm
        kinds = list(settings.starts)
        weights = np.array(list(settings.starts.values()))
        kind = kinds[int(rng.choice(len(kinds), p=weights / weights.sum()))]
        own = self._configuration.model.volume_input.spacing_mm
        if kind == "first_stage" and (self._first_stage is None or spacing != own):
            kind = "corrupted"
        if kind == "first_stage" and self._first_stage is not None:
            with torch.inference_mode():
                logits = self._first_stage(episode.images[None].to(next(self._first_stage.parameters()).dtype))
            return probabilities(logits[0]).sum(dim=0).numpy()
        if kind == "empty" or not episode.truth.any():
            return np.zeros(episode.truth.shape, dtype=np.float32)
        if kind == "shifted":
            moved = shifted(episode.truth, spacing, rng, settings.shift_mm)
            return moved.astype(np.float32)
        corruption = rng.uniform(0.2, 1) * settings.corruption_mm
        distance = warped(episode.truth, spacing, rng, corruption, settings.corruption_length_mm)
        softness = rng.uniform(0.3, 4)
        result: Float32Array = 1 / (1 + np.exp(np.clip(-distance / np.float32(softness), -30, 30)))
        return result

    def _advanced(self, episode: Episode, answer: torch.Tensor) -> Episode:
        """The episode with an answer pasted and the next prompt, or the next episode of its slot."""
        episode.probability[self._patch(episode)] = answer.cpu().numpy()
        apply_constraints(episode.probability, episode.prompts, episode.spacing_mm)
        if len(episode.prompts) >= episode.rounds:
            return self._begun((episode.number[0], episode.number[1] + 1))
        return self._with_prompt(episode)

    def _with_prompt(self, episode: Episode) -> Episode:
        """The episode with one more prompt; the next one where nothing is left to correct."""
        number, prediction = len(episode.prompts), episode.probability > 0.5
        seed = self._configuration.optimisation.seed
        rng = np.random.default_rng([seed, self._rank, *episode.number, number + 1])
        error = largest_error(prediction, episode.truth)
        if error is None:
            if number:
                return self._begun((episode.number[0], episode.number[1] + 1))
            # Nothing to correct from the start: the prompt confirms a random voxel, and the answer should stay.
            point = rng.integers(0, episode.truth.shape[::-1])
            prompt = PointPrompt(point[None].astype(float), bool(episode.truth[tuple(point[::-1])]))
        else:
            off_centre = rng.random() < self._settings.off_centre_share
            prompt = click_on(error, episode.spacing_mm, rng if off_centre else None)
            if rng.random() < self._settings.stroke_share:
                prompt = draw_scribble(error, prompt, rng)
        episode.prompts.append(prompt)
        return episode


def _to_state(episode: Episode) -> dict[str, Any]:
    return {
        "number": list(episode.number),
        "rounds": episode.rounds,
        "probability": torch.from_numpy(episode.probability),
        "hints": [(torch.from_numpy(prompt.points), prompt.positive) for prompt in episode.prompts],
    }
