"""Fine-tuning the mask decoder of a box model (LiteMedSAM, MedSAM, SAM) on a data folder: one flat loop.

Image encoder and prompt encoder stay as they are, so every slice is encoded once, and its embedding kept on disk. The
decoder then learns from prompts as :class:`TumorSegLib.engines.box.engine.BoxEngine` gives them: sections of the
ellipsoid inscribed in a loose box in 3D, also on slices of the box where the tumour has ended. It learns slices along
k.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from training.config.finetune import FinetuneConfiguration
from training.data.cases import training_names
from training.data.layout import read_folds
from training.evaluation.boxes import ELLIPSOID, measure_loose_boxes
from training.loop.train import schedule
from training.sam.examples import Choice, Encoder, Example, encode_examples, make_batch
from training.sam.export import check_output, write_tuned_model
from TumorSegLib.engines.box.engine import BoxEngine
from TumorSegLib.engines.networks.sam import Sam
from TumorSegLib.engines.runtime import choose_runtime
from TumorSegLib.engines.weights import load_network
from TumorSegLib.errors import ArgumentError, ModelError, RoleError
from TumorSegLib.files import make_folder, write_text
from TumorSegLib.jobs import progress_bar
from TumorSegLib.memory import memory_errors
from TumorSegLib.models.folder import ModelFolder
from TumorSegLib.models.registry import find_model

LOG, EMBEDDINGS = "log.csv", "embeddings"
BEFORE, AFTER = "before", "after"
LOG_EVERY = 20
# Where no fold is for testing.
HELD_OUT_SHARE = 0.2


def finetune(
    configuration: FinetuneConfiguration, data: Path, run: Path, output: Path, device: str = "auto"
) -> dict[str, Any]:
    """Fine-tunes a box model, measures it before and after, and writes the new one.

    Args:
        configuration: what to train, on what, how long.
        data: data folder, see :mod:`training.data.cases`.
        run: folder for embeddings and log; an interrupted run finds there what it has encoded.
        output: the model folder, written last and in one step.
        device: as for ``load_engine``; training is in float32, the figures are in the device's own precision.

    Returns:
        JSON-ready: ``settings``, ``cases`` trained on, ``slices``, ``encoded`` (those not found in ``run``), ``loss``
        (mean of the first and of the last tenth of the steps), ``fold``, and as ``roles`` the figures of
        :func:`training.evaluation.boxes.measure_loose_boxes`.

    Raises:
        ReadError, GeometryError: data cannot be read.
        ArgumentError: there is no such fold, or nothing to train on or to test on.
        RoleError: no case has one of the roles.
        ModelError: there is no such base model, it is of another kind, or the loss is no longer a number.
        ResourceError: memory does not suffice.
        WriteError: the folders cannot be written; no model is left half-written.
    """
    base, network = load_sam(configuration.model.base)
    check_output(output, configuration.model.name)
    training, held_out = _split(configuration, data)
    _check_roles(configuration.roles, data, training, held_out)
    runtime = choose_runtime(device)
    engine = BoxEngine(base.spec, network, runtime)
    make_folder(run / EMBEDDINGS)

    choice = Choice(configuration.roles, configuration.data, configuration.optimisation.seed)
    examples, encoded = encode_examples(Encoder(engine, network, run / EMBEDDINGS), choice, data, training)
    tuned = copy.deepcopy(network).to(runtime.device)
    with memory_errors(f"for batches of {configuration.optimisation.batch}; a smaller batch needs less"):
        losses = train_decoder(tuned, examples, configuration, run)
    engines = {BEFORE: engine, AFTER: BoxEngine(base.spec, tuned, runtime)}
    report = {
        "settings": asdict(configuration),
        "cases": training,
        "slices": len(examples),
        "encoded": encoded,
        "loss": _first_and_last(losses),
        "fold": configuration.data.test_fold,
        "roles": measure_loose_boxes(engines, data, held_out, configuration.roles, configuration.data.ct_window),
    }
    write_tuned_model(base, tuned, configuration, report, output)
    return report


def _first_and_last(losses: Sequence[float]) -> dict[str, float]:
    """Mean loss of the first and of the last tenth of the steps."""
    tenth = max(len(losses) // 10, 1)
    return {"first": float(np.mean(losses[:tenth])), "last": float(np.mean(losses[-tenth:]))}


def train_decoder(
    network: Sam, examples: Sequence[Example], configuration: FinetuneConfiguration, run: Path
) -> list[float]:
    """Trains the mask decoder, nothing else; returns the loss of every step. Batches depend on (seed, step) alone."""
    settings, rows = configuration.optimisation, list[str]()
    losses, unread = list[float](), list[torch.Tensor]()  # reading a loss makes a GPU wait
    network.requires_grad_(False)
    decoder = network.mask_decoder.requires_grad_(True)
    device = next(decoder.parameters()).device
    optimiser = torch.optim.AdamW(decoder.parameters(), settings.learning_rate, weight_decay=settings.weight_decay)
    started = time.monotonic()
    with progress_bar("Training") as progress:
        for step in range(settings.steps):
            rng = np.random.default_rng([settings.seed, step])
            chosen = rng.choice(len(examples), settings.batch, replace=settings.batch > len(examples))
            embeddings, boxes, targets = make_batch([examples[n] for n in chosen], configuration.data, rng, device)
            rate = settings.learning_rate * schedule(step, settings.warm_up, settings.steps)
            for group in optimiser.param_groups:
                group["lr"] = rate

            logits, scores = network.decode(embeddings, boxes)
            loss = decoder_loss(logits[:, 0], scores[:, 0], targets)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(decoder.parameters(), settings.gradient_clip)
            optimiser.step()

            unread.append(loss.detach())
            progress(step + 1, settings.steps, f"loss {losses[-1]:.3f}" if losses else "")
            if (step + 1) % LOG_EVERY == 0 or step + 1 == settings.steps:
                losses += torch.stack(unread).tolist()
                unread.clear()
                _check_finite(losses)
                recent = float(np.mean(losses[-LOG_EVERY:]))
                rows.append(f"{step + 1},{recent:.6g},{rate:.6g},{time.monotonic() - started:.1f}")
                write_text(run / LOG, "\n".join(["step,loss,rate,seconds", *rows]) + "\n")
                print(f"step {step + 1} of {settings.steps}, loss {recent:.4f}", flush=True)
    return losses


def _check_finite(losses: Sequence[float]) -> None:
    for step, loss in enumerate(losses, start=1):
        if not math.isfinite(loss):
            raise ModelError(f"the loss is {loss} at step {step}; a lower learning_rate may help")


def decoder_loss(logits: torch.Tensor, scores: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Soft Dice loss and cross-entropy of the masks, and the squared error of the network's own score of them.

    Dice plus cross-entropy is what MedSAM was trained with (Ma et al., Nat Commun 2024), the squared error of the
    predicted intersection over union is that of SAM (Kirillov et al., ICCV 2023).

    Args:
        logits: float32 ``[n, q, q]``.
        scores: float32 ``[n]``, predicted intersection over union.
        targets: bool ``[n, q, q]``.

    Returns:
        A scalar, the mean over slices.
    """
    probability, truth = torch.sigmoid(logits), targets.float()
    shared, total = (probability * truth).sum((1, 2)), (probability + truth).sum((1, 2))
    dice = (2 * shared + 1) / (total + 1)
    found = logits.detach() > 0
    union = (found | targets).sum((1, 2))
    overlap = torch.where(union > 0, (found & targets).sum((1, 2)) / union.clamp(min=1), 1.0)  # nothing, rightly
    return 1 - dice.mean() + F.binary_cross_entropy_with_logits(logits, truth) + F.mse_loss(scores, overlap)


def format_report(report: Mapping[str, Any]) -> str:
    """Median and mean Dice by role, before and after, as lines of text."""
    methods = ELLIPSOID, BEFORE, AFTER
    lines = [f"{'Dice, median (mean)':<22}{'cases':>6}" + "".join(f"{method:>16}" for method in methods)]
    for role, rows in report["roles"].items():
        figures = "".join(f"{rows[m]['median']:>8.3f} ({rows[m]['mean']:.3f})" for m in methods)
        lines.append(f"{role:<22}{len(rows[AFTER]['cases']):>6}{figures}")
    return "\n".join(lines)


def load_sam(name_or_path: str) -> tuple[ModelFolder, Sam]:
    """A box model and its network, on the CPU; raises :class:`ModelError` where it is none."""
    base = find_model(name_or_path)
    if base.spec.kind != "box":
        raise ModelError(f"model {base.spec.name!r} is of kind {base.spec.kind!r}; one of kind 'box' is needed")
    network = load_network(base)
    if not isinstance(network, Sam):
        raise ModelError(f"model {base.spec.name!r}: its network {base.spec.network} has no mask decoder")
    return base, network


def _split(configuration: FinetuneConfiguration, data: Path) -> tuple[list[str], list[str]]:
    """Cases to train on, and those of them that are held out and evaluated."""
    folds, fold = read_folds(data), configuration.data.test_fold
    if fold is None:
        names = [name for one in folds for name in one]
        order = np.random.default_rng(configuration.optimisation.seed).permutation(len(names))
        held_out = [names[n] for n in sorted(order[: math.ceil(HELD_OUT_SHARE * len(names))])]
        training = [name for name in names if name not in held_out]
    else:
        training = training_names(folds, fold)
        held_out = folds[fold]
    for what, some in (("train", training), ("test", held_out)):
        if not some:
            raise ArgumentError(f"{data}: no case is left to {what} on; test_fold is {fold}")
    return training, held_out[: configuration.data.evaluation_cases or None]


def _check_roles(roles: Sequence[str], data: Path, training: Sequence[str], held_out: Sequence[str]) -> None:
    """Checks before hours of work that every role has cases to train and to test on."""
    for role in roles:
        for what, names in (("trained", training), ("tested", held_out)):
            if not any((data / f"{name}_{role}.nii.gz").is_file() for name in names):
                raise RoleError(f"{data}: none of the {len(names)} cases to be {what} on has an image {role!r}")
