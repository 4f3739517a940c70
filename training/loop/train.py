"""Training: one flat loop. One process on a CPU or GPU, or several under ``torchrun``; the same command."""

from __future__ import annotations

import copy
import csv
import math
import pickle
import time
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from training.clicks.episodes import Episodes
from training.clicks.first_stage import initialise, load_first_stage
from training.config.train import Configuration, differences, parse_configuration
from training.data.batches import Batch, Pools, Samples, Source
from training.data.cases import Case, coarsened, phantom_case, read_case, read_folds, training_names
from training.evaluation.automatic import validate
from training.loop.processes import joined_processes
from training.losses.dice_ce import dice_and_cross_entropy
from TumorSegLib.engines.networks.unets import build_network
from TumorSegLib.engines.runtime import Runtime, choose_runtime
from TumorSegLib.errors import ArgumentError, ModelError
from TumorSegLib.files import make_folder, replacing, write_text
from TumorSegLib.jobs import progress_bar

CHECKPOINT, LOG, CONFIGURATION = "last.pt", "log.csv", "config.toml"


@dataclass(frozen=True)
class State:
    """What changes while a network learns, and is saved; ``average`` has the averaged weights."""

    network: nn.Module
    optimiser: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    average: nn.Module

    def state_dict(self) -> dict[str, Any]:
        """Name to state of each part."""
        return {field.name: getattr(self, field.name).state_dict() for field in fields(self)}

    def load_state_dict(self, values: dict[str, Any]) -> None:
        """The reverse."""
        for field in fields(self):
            getattr(self, field.name).load_state_dict(values[field.name])


CONTENT = {"step", "configuration", "source", *(field.name for field in fields(State))}


def train(configuration: Configuration, data: Path, run: Path, device: str = "auto", precision: str = "auto") -> None:
    """Trains a model, or goes on where the checkpoint in ``run`` stopped: bit for bit, as if never interrupted.

    Samples depend on (seed, step, process) alone, so a checkpoint needs no random state. Of click training it holds the
    episodes of the first process; further processes begin new ones when a run goes on.

    Args:
        configuration: what to train, on what, how long.
        data: data folder, see :mod:`training.data.cases`.
        run: folder for checkpoint, log and configuration.
        device, precision: as for ``load_engine``.

    Raises:
        ReadError, GeometryError: data cannot be read.
        ArgumentError: there is no such fold, or nothing to train on.
        ModelError: the run began with another configuration, its checkpoint is damaged, or the loss is no longer a
            number.
        WriteError: the run cannot be written.
    """
    settings, spec = configuration.optimisation, configuration.model
    with joined_processes(device) as process, progress_bar("Training", visible=process.rank == 0) as progress:
        rank, world = process.rank, process.world
        runtime = choose_runtime(process.device, precision)
        torch.manual_seed(settings.seed)
        first_stage = load_first_stage(configuration)
        state = _new_state(configuration, runtime, first_stage)
        source, held_out = _new_source(configuration, data, rank, first_stage)
        first, network = _resume(run, configuration, state, source), state.network
        model = DistributedDataParallel(network) if world > 1 else network
        if rank == 0:
            _begin(run, configuration, first)

        model.train()
        started, losses = time.monotonic(), []
        for step, batch in enumerate(source.batches(first), start=first):
            torch.manual_seed(settings.seed + step * world + rank)  # of dropout, where the network has any
            rate = settings.learning_rate * schedule(step, settings.warm_up, settings.steps)
            logits, loss = _learn(state, model, batch, rate, settings.gradient_clip, runtime)
            update_average(state.average, network, settings.ema_decay, step)
            source.observe(logits)
            losses.append(loss)

            done = step + 1
            progress(done, settings.steps, f"loss {losses[-1]:.3f}")
            if rank == 0 and (done % settings.checkpoint_every == 0 or done == settings.steps):
                _check_loss(run, done, losses[-1], state)
                seconds = time.monotonic() - started
                row = {"step": done, "loss": float(np.mean(losses)), "rate": rate, "seconds": seconds}
                if settings.validate_every and (done % settings.validate_every == 0 or done == settings.steps):
                    row |= validate(spec, state.average, held_out, runtime)
                _log(run, row)
                _save(run, configuration, done, state, source)
                started, losses = time.monotonic(), []


def _learn(
    state: State, model: nn.Module, batch: Batch, rate: float, gradient_clip: float, runtime: Runtime
) -> tuple[torch.Tensor, float]:
    """One optimiser step; the logits before it, and their loss."""
    for group in state.optimiser.param_groups:
        group["lr"] = rate
    inputs, labels = batch.inputs.to(runtime.device), batch.labels.to(runtime.device)
    focus = None if batch.focus is None else batch.focus.to(runtime.device)
    with torch.autocast(runtime.device.type, runtime.dtype, enabled=runtime.dtype is not torch.float32):
        logits: torch.Tensor = model(inputs)
    loss = dice_and_cross_entropy(logits, labels, focus)
    state.optimiser.zero_grad(set_to_none=True)
    state.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
    state.scaler.unscale_(state.optimiser)
    nn.utils.clip_grad_norm_(state.network.parameters(), gradient_clip)
    state.scaler.step(state.optimiser)
    state.scaler.update()
    return logits, loss.item()


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


def _new_state(configuration: Configuration, runtime: Runtime, first_stage: nn.Module | None) -> State:
    settings = configuration.optimisation
    network = build_network(configuration.model)
    if first_stage is not None:
        initialise(network, first_stage)
    network = network.to(runtime.device)
    optimiser = torch.optim.AdamW(network.parameters(), settings.learning_rate, weight_decay=settings.weight_decay)
    scaler = torch.amp.GradScaler(runtime.device.type, enabled=runtime.dtype is torch.float16)
    return State(network, optimiser, scaler, copy.deepcopy(network).requires_grad_(False))


def _new_source(
    configuration: Configuration, data: Path, rank: int, first_stage: nn.Module | None
) -> tuple[Source, list[Case]]:
    """Where batches come from, and the cases held out; these as they are, since engines coarsen them themselves."""
    settings, roles = configuration.data, configuration.model.roles
    folds = read_folds(data)
    cases = [read_case(data, name, roles) for name in training_names(folds, settings.test_fold)]
    phantoms = [phantom_case(seed, roles) for seed in range(settings.phantoms)]
    if not cases and not (phantoms and settings.phantom_share == 1):
        raise ArgumentError(f"{data}: no case is left to train on outside fold {settings.test_fold}")
    held_out = [read_case(data, name, roles) for name in folds[settings.test_fold]]
    if configuration.clicks is None:
        return Samples(configuration, _pools(cases, phantoms, configuration.model.spacing_mm), rank), held_out
    pools = {}
    for zoom in map(float, configuration.clicks.zooms):
        pools[zoom] = _pools(cases, phantoms, [zoom * edge for edge in configuration.model.spacing_mm])
    if first_stage is not None:
        first_stage = first_stage.to(choose_runtime("cpu").dtype)
    return Episodes(configuration, pools, rank, first_stage), held_out


def _pools(cases: list[Case], phantoms: list[Case], spacing_mm: Sequence[float]) -> Pools:
    return Pools([coarsened(case, spacing_mm) for case in cases], [coarsened(case, spacing_mm) for case in phantoms])


def _begin(run: Path, configuration: Configuration, first: int) -> None:
    make_folder(run)
    write_text(run / CONFIGURATION, configuration.text)
    if first >= configuration.optimisation.steps:
        values = load_checkpoint(run)
        if values["configuration"] != configuration.text:  # an export reads the version there
            _write_checkpoint(run, {**values, "configuration": configuration.text})
        print(f"{run}: nothing left to do, {first} of {configuration.optimisation.steps} steps are done", flush=True)


def _check_loss(run: Path, done: int, loss: float, state: State) -> None:
    """Stops before a checkpoint of NaN replaces a good one; float16 may overflow once, its scaler skips such steps."""
    if not math.isfinite(loss) and not state.scaler.is_enabled():
        raise ModelError(f"{run}: the loss is {loss} at step {done}; a lower learning_rate may help")


def _log(run: Path, row: dict[str, Any]) -> None:
    path = run / LOG
    rows: list[dict[str, Any]] = []
    if path.is_file():
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    rows = [old for old in rows if int(old["step"]) < row["step"]]
    rows.append({key: f"{value:.6g}" if isinstance(value, float) else value for key, value in row.items()})
    names = list(dict.fromkeys(name for r in rows for name in r))
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, names, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    print(", ".join(f"{key} {value}" for key, value in rows[-1].items() if value != ""), flush=True)


def _save(run: Path, configuration: Configuration, step: int, state: State, source: Source) -> None:
    values = {"step": step, "configuration": configuration.text, "source": source.state_dict(), **state.state_dict()}
    _write_checkpoint(run, values)


def _write_checkpoint(run: Path, values: dict[str, Any]) -> None:
    with replacing(run / CHECKPOINT) as temporary:
        torch.save(values, temporary)


def _resume(run: Path, configuration: Configuration, state: State, source: Source) -> int:
    if not (run / CHECKPOINT).is_file():
        return 0
    values = load_checkpoint(run)
    differ = differences(parse_configuration(values["configuration"], str(run / CHECKPOINT)), configuration)
    if differ:
        raise ModelError(
            f"{run / CHECKPOINT} was trained with another configuration, which differs in {', '.join(differ)}; "
            "choose another --run-folder"
        )
    state.load_state_dict(values)
    source.load_state_dict(values["source"])
    return int(values["step"])


def load_checkpoint(run: Path) -> dict[str, Any]:
    """Reads the checkpoint of a run; raises :class:`ModelError` if there is none, or it is damaged."""
    path = run / CHECKPOINT
    if not path.is_file():
        raise ModelError(f"{run} holds no checkpoint {CHECKPOINT}")
    try:
        values = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise ModelError(f"{path}: damaged, or no checkpoint: {error}") from error
    if not isinstance(values, dict) or not values.keys() >= CONTENT:
        raise ModelError(f"{path}: no checkpoint of a training run; it must hold {', '.join(sorted(CONTENT))}")
    return values
