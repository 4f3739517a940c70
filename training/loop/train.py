"""Training: one flat loop. One process on a CPU or GPU, or several under ``torchrun``; the same command."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from training.clicks.episodes import Episodes
from training.clicks.first_stage import initialise, load_auto, load_first_stage, start_objects_from
from training.clicks.object_episodes import ObjectEpisodes
from training.config.train import Configuration, Optimisation
from training.data.batches import Batch, BatchSource, Pools, Samples
from training.data.cases import Case, coarsened, phantom_case, read_named, training_names
from training.data.layout import read_folds
from training.evaluation.automatic import validate
from training.loop.checkpoint import State, begin, resume, save, write_row
from training.loop.gradients import check_gradients
from training.loop.processes import joined_processes
from training.losses.by_name import LOSSES
from training.objects.negatives import NegativeCases
from TumorSegLib.engines.networks.unets import build_network, check_patch
from TumorSegLib.engines.runtime import Runtime, choose_runtime
from TumorSegLib.errors import ArgumentError, ModelError
from TumorSegLib.jobs import progress_bar


def train(
    configuration: Configuration,
    data: Path,
    run: Path,
    device: str = "auto",
    precision: str = "auto",
    minutes: float = math.inf,
) -> None:
    """Trains a model, or resumes from the checkpoint in ``run``, with the same bits as an uninterrupted run.

    Samples depend on (seed, step, process) alone, so a checkpoint needs no random state. Of click training it has the
    episodes of the first process; further processes begin new ones when a run is resumed.

    Args:
        configuration: what to train, on what, how long.
        data: data folder, see :mod:`training.data.cases`.
        run: folder for checkpoint, log and configuration.
        device, precision: as for ``load_engine``.
        minutes: of training after which a checkpoint is written and the function returns; for one process alone.

    Raises:
        ReadError, GeometryError: data cannot be read.
        ArgumentError: there is no such fold, nothing to train on, or no time to.
        ModelError: the run began with another configuration, its checkpoint is damaged, or the loss is not a number.
        WriteError: the run cannot be written.
    """
    settings = configuration.optimisation
    with joined_processes(device) as process, progress_bar("Training", visible=process.rank == 0) as progress:
        rank, world = process.rank, process.world
        _check_minutes(minutes, world)
        runtime = choose_runtime(process.device, precision)
        state, source, held_out = _prepare(configuration, data, rank, runtime)
        log = _Log(run, configuration, runtime, held_out)
        first = resume(run, configuration, state, source)
        model = DistributedDataParallel(state.network) if world > 1 else state.network
        if rank == 0:
            begin(run, configuration, first)
        model.train()
        end = time.monotonic() + 60 * minutes
        for step, batch in enumerate(source.batches(first), start=first):
            torch.manual_seed(settings.seed + step * world + rank)  # of dropout, where the network has any
            logits, loss = _learn(state, model, batch, step, settings, runtime)
            source.observe(logits)
            log.losses.append(loss)
            done, stops = step + 1, time.monotonic() > end
            if rank == 0 and (done % settings.checkpoint_every == 0 or done == settings.steps or stops):
                log.checkpoint(done, state, source)
            progress(done, settings.steps, log.remark)
            if stops:
                break


@dataclass
class _Log:
    """The log of a run, with a row per checkpoint; ``losses`` are of the steps since the last."""

    run: Path
    configuration: Configuration
    runtime: Runtime
    held_out: list[Case]
    losses: list[torch.Tensor] = field(default_factory=list)
    started: float = field(default_factory=time.monotonic)
    remark: str = ""

    def checkpoint(self, done: int, state: State, source: BatchSource) -> None:
        """Writes a row, with the figures of the held-out cases where they are due, and then the checkpoint."""
        settings, rate = self.configuration.optimisation, state.optimiser.param_groups[0]["lr"]
        mean = _mean_loss(self.run, done, self.losses, state)
        row = {"step": done, "loss": mean, "rate": rate, "seconds": time.monotonic() - self.started}
        if settings.validate_every and (done % settings.validate_every == 0 or done == settings.steps):
            row |= validate(self.configuration.model, state.average, self.held_out, self.runtime)
        write_row(self.run, row)
        save(self.run, self.configuration, done, state, source)
        self.started, self.remark = time.monotonic(), f"loss {mean:.3f}"
        self.losses.clear()


def _check_minutes(minutes: float, processes: int) -> None:
    if not minutes > 0:
        raise ArgumentError(f"--minutes {minutes:g} must be above 0")
    if processes > 1 and minutes < math.inf:  # each has its own clock
        raise ArgumentError(f"--minutes {minutes:g} is for one process, here are {processes}")


def _mean_loss(run: Path, done: int, losses: Sequence[torch.Tensor], state: State) -> float:
    """The mean loss since the last checkpoint, for the log.

    Stops before a checkpoint of NaN replaces a good one; float16 may overflow once, its scaler skips such steps.
    """
    values = torch.stack(tuple(losses)).tolist()
    if not math.isfinite(values[-1]) and not state.scaler.is_enabled():
        raise ModelError(f"{run}: the loss is {values[-1]} at step {done}; a lower learning_rate may help")
    return float(np.mean(values))


def _learn(
    state: State, model: nn.Module, batch: Batch, step: int, settings: Optimisation, runtime: Runtime
) -> tuple[torch.Tensor, torch.Tensor]:
    """One optimiser step; the logits before it, and their loss, a scalar on the device: reading it makes a GPU wait."""
    for group in state.optimiser.param_groups:
        group["lr"] = settings.learning_rate * schedule(step, settings.warm_up, settings.steps)
    inputs, labels = batch.inputs.to(runtime.device), batch.labels.to(runtime.device)
    focus = None if batch.focus is None else batch.focus.to(runtime.device)
    with torch.autocast(runtime.device.type, runtime.dtype, enabled=runtime.dtype is not torch.float32):
        logits: torch.Tensor = model(inputs)
    loss = LOSSES[settings.loss](logits, labels, focus)
    state.optimiser.zero_grad(set_to_none=True)
    state.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
    state.scaler.unscale_(state.optimiser)
    nn.utils.clip_grad_norm_(state.network.parameters(), settings.gradient_clip)
    state.scaler.step(state.optimiser)
    state.scaler.update()
    update_average(state.average, state.network, settings.ema_decay, step)
    return logits, loss.detach()


def schedule(step: int, warm_up: int, steps: int) -> float:
    """Share of the peak learning rate at a step: linear up, then half a cosine down to 0."""
    if step < warm_up:
        return (step + 1) / warm_up
    return 0.5 * (1 + math.cos(math.pi * (step - warm_up) / max(steps - warm_up, 1)))


def update_average(average: nn.Module, network: nn.Module, decay: float, step: int) -> None:
    """Moves the exponential average of the weights; early on it follows faster, so the start is soon forgotten."""
    share = 1 - min(decay, (step + 1) / (step + 10))
    for mean, value in zip(average.parameters(), network.parameters()):
        mean.lerp_(value.detach(), share)
    for buffer, current in zip(average.buffers(), network.buffers()):
        buffer.copy_(current)


def _prepare(
    configuration: Configuration, data: Path, rank: int, runtime: Runtime
) -> tuple[State, BatchSource, list[Case]]:
    """The state of the first step, the batches of a process, and the held-out cases."""
    torch.manual_seed(configuration.optimisation.seed)
    first_stage = load_first_stage(configuration)
    state = _new_state(configuration, runtime, first_stage)
    if configuration.objects is not None:
        return state, ObjectEpisodes(configuration, data, rank), []
    return state, *_new_source(configuration, data, rank, first_stage)


def _new_state(configuration: Configuration, runtime: Runtime, first_stage: nn.Module | None) -> State:
    settings = configuration.optimisation
    check_patch(configuration.model)
    check_gradients(configuration.model, runtime)
    network = build_network(configuration.model)
    if first_stage is not None:
        initialise(network, first_stage)
    if configuration.objects is not None and configuration.objects.start_from:
        start_objects_from(network, configuration.model, configuration.objects.start_from)
    if configuration.negatives is not None and configuration.negatives.start_from:
        initialise(network, load_auto(configuration.negatives.start_from, configuration.model, "start_from"))
    network = network.to(runtime.device)
    optimiser = torch.optim.AdamW(network.parameters(), settings.learning_rate, weight_decay=settings.weight_decay)
    scaler = torch.amp.GradScaler(runtime.device.type, enabled=runtime.dtype is torch.float16)
    return State(network, optimiser, scaler, copy.deepcopy(network).requires_grad_(False))


def _new_source(
    configuration: Configuration, data: Path, rank: int, first_stage: nn.Module | None
) -> tuple[BatchSource, list[Case]]:
    """The source of batches, and the held-out cases at full resolution, since engines coarsen them themselves."""
    settings, roles = configuration.data, configuration.model.roles
    folds = read_folds(data)
    cases = read_named(data, training_names(folds, settings.test_fold), roles)
    phantoms = [phantom_case(seed, roles) for seed in range(settings.phantoms)]
    if not cases and not (phantoms and settings.phantom_share == 1):
        raise ArgumentError(f"{data}: no case is left to train on outside fold {settings.test_fold}")
    held_out = read_named(data, folds[settings.test_fold], roles)
    spacing_mm = configuration.model.volume_input.spacing_mm
    if configuration.clicks is None:
        pool, negatives = _pools(cases, phantoms, spacing_mm), None
        if configuration.negatives is not None:
            negatives = NegativeCases(configuration.negatives, configuration.model, data.absolute().parent, pool.cases)
        return Samples(configuration, pool, rank, negatives), held_out
    pools = {}
    for zoom in map(float, configuration.clicks.zooms):
        pools[zoom] = _pools(cases, phantoms, [zoom * edge for edge in spacing_mm])
    if first_stage is not None:
        first_stage = first_stage.to(choose_runtime("cpu").dtype)
    return Episodes(configuration, pools, rank, first_stage), held_out


def _pools(cases: list[Case], phantoms: list[Case], spacing_mm: Sequence[float]) -> Pools:
    return Pools([coarsened(case, spacing_mm) for case in cases], [coarsened(case, spacing_mm) for case in phantoms])
