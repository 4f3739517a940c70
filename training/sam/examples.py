"""Slices for fine-tuning and merging box models: their choice, their embeddings on disk, and prompts for them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional as F

from training.config.finetune import FinetuneData
from training.data.cases import Case, read_case
from training.evaluation.boxes import AXIS, grown_box
from TumorSegLib.engines.box.embeddings import SLICES_PER_PASS, Embeddings
from TumorSegLib.engines.box.engine import BoxEngine
from TumorSegLib.engines.box.rectangles import SCALES, scaled, sections
from TumorSegLib.engines.box.slice_model import BoxCase
from TumorSegLib.engines.box.views import View
from TumorSegLib.engines.networks.sam import Sam
from TumorSegLib.errors import ReadError
from TumorSegLib.files import replacing
from TumorSegLib.geometry.arrays import BoolArray, Float32Array
from TumorSegLib.geometry.grid import Box, Grid
from TumorSegLib.jobs import Job, progress_bar
from TumorSegLib.protocols import BoxOptions


@dataclass(frozen=True)
class Choice:
    """Which slices to take.

    Attributes:
        roles: of the images, each slice from one.
        data: how many of each, and how their boxes are drawn.
        seed: of the choice.
    """

    roles: Sequence[str]
    data: FinetuneData
    seed: int


@dataclass(frozen=True, eq=False)
class Example:
    """One slice.

    Attributes:
        image: case and role that it is from.
        embedding: file of its embedding, float16 ``[channels, s, s]``.
        target: the tumour in the network's masks, bool ``[4 s, 4 s]``.
        view, number: how the slice is presented to the network, and its index.
        grid, tumour: of the case, and the box of its tumour.
    """

    image: str
    embedding: Path
    target: BoolArray
    view: View
    number: int
    grid: Grid
    tumour: Box


@dataclass(frozen=True, eq=False)
class BoxedImage:
    """One image of a case, the box of its tumour, and the loose one that decides what the network sees around it."""

    case: Case
    role: str
    tumour: Box
    box: Box


def make_batch(
    examples: Sequence[Example], settings: FinetuneData, rng: np.random.Generator, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Embeddings, boxes in pixels and targets; every visit of a slice has a box of its own."""
    embeddings = torch.from_numpy(np.stack([_load(example.embedding) for example in examples])).float()
    boxes = torch.cat([draw_prompt(example, settings, rng) for example in examples])
    targets = torch.from_numpy(np.stack([example.target for example in examples]))
    return embeddings.to(device), boxes.to(device), targets.to(device)


def draw_prompt(example: Example, settings: FinetuneData, rng: np.random.Generator) -> torch.Tensor:
    """The prompt that the box engine would use on a slice, from a box drawn at random.

    Returns:
        float32 ``[1, 4]`` as left, top, right, bottom in pixels of the network's input: the slice's section of the
        inscribed ellipsoid, at a scale between the engine's smallest and largest.
    """
    box = list(draw_box(example.tumour, example.grid, settings, rng))
    low, high = box[AXIS]
    box[AXIS] = min(low, example.number), max(high, example.number + 1)
    section = sections(example.view, (box[0], box[1], box[2]))[[example.number - box[AXIS][0]]]
    return example.view.to_pixels(scaled(section, rng.uniform(min(SCALES), max(SCALES))))


def draw_box(tumour: Box, grid: Grid, settings: FinetuneData, rng: np.random.Generator) -> Box:
    """The box of a tumour as a user would draw it, within the image."""
    return grown_box(tumour, grid, (settings.margin_mm, settings.jitter_mm), rng)


class Encoder:
    """Embeds slices as a box engine does, and keeps their embeddings in a folder."""

    def __init__(self, engine: BoxEngine, network: Sam, folder: Path) -> None:
        self.engine = engine
        #: Edge of the network's masks.
        self.edge = 4 * network.embedding_size
        self._folder = folder
        spec = engine.spec
        self._origin = f"{spec.weights_sha256} {spec.arguments} {spec.input} {engine.info['precision']}"

    def files(self, title: str, view: View, array: Float32Array, numbers: Sequence[int]) -> list[Path]:
        """Where embeddings of slices go. Names depend on weights, view and pixels: changed slices are encoded again."""
        stack, files = view.stack(array), []
        for number in numbers:
            digest = hashlib.sha256(f"{self._origin} {view}".encode())
            digest.update(np.ascontiguousarray(stack[number]).tobytes())
            files.append(self._folder / f"{title}_{number}_{digest.hexdigest()[:16]}.npy")
        return files

    def encode(self, case: BoxCase, view: View, missing: Sequence[tuple[int, Path]]) -> None:
        """Writes embeddings, each in one step; slices of one image go through the network a few at a time."""
        for first in range(0, len(missing), SLICES_PER_PASS):
            some = missing[first : first + SLICES_PER_PASS]
            fresh = replace(case, embeddings=Embeddings())
            embeddings = self.engine.model.encode(fresh, view, [number for number, _ in some], Job())
            for (_, file), embedding in zip(some, embeddings.cpu().numpy()):
                with replacing(file) as temporary:
                    np.save(temporary, embedding)


def encode_examples(
    encoder: Encoder,
    choice: Choice,
    data: Path,
    names: Sequence[str],
    say: Callable[[str], object] | None = None,
) -> tuple[list[Example], int]:
    """Chooses slices of every case and role, and encodes those that were not before; each case is said or printed.

    Returns:
        The slices, and how many were encoded.
    """
    examples, encoded, say = [], 0, say or partial(print, flush=True)
    with progress_bar("Encoding") as progress:
        for done, name in enumerate(names, start=1):
            case = read_case(data, name, choice.roles)
            tumour = case.tumour_box
            box = draw_box(tumour, case.reference.grid, choice.data, _seeded(choice, name))
            for role in case.images:
                some, new = _encode_case(encoder, choice, BoxedImage(case, role, tumour, box))
                examples += some
                encoded += new
            progress(done, len(names), name)
            say(f"{name}: {len(examples)} slices so far, {encoded} of them encoded now")
    return examples, encoded


def _encode_case(encoder: Encoder, choice: Choice, image: BoxedImage) -> tuple[list[Example], int]:
    settings, case = choice.data, image.case
    prepared = encoder.engine.prepare(case.images, BoxOptions(image.role, ct_window=settings.ct_window))
    view = encoder.engine.view(prepared, image.box, AXIS)
    rng = _seeded(choice, case.name, image.role)
    numbers = choose_slices(image.tumour[AXIS], case.reference.grid, settings, rng)
    title = f"{case.name}_{image.role}"
    files = encoder.files(title, view, prepared.array, numbers)
    missing = [(number, file) for number, file in zip(numbers, files) if not file.is_file()]
    encoder.encode(prepared, view, missing)
    targets = _targets(view, case.reference.array > 0, numbers, encoder.edge)
    return [
        Example(title, file, target, view, number, case.reference.grid, image.tumour)
        for file, target, number in zip(files, targets, numbers)
    ], len(missing)


def _seeded(choice: Choice, *names: str) -> np.random.Generator:
    """Random numbers of a case that do not depend on the others."""
    return np.random.default_rng([choice.seed, *"/".join(names).encode()])


def choose_slices(tumour: tuple[int, int], grid: Grid, settings: FinetuneData, rng: np.random.Generator) -> list[int]:
    """Slices along k to learn from: half of them in the middle half of the tumour, the others wherever boxes reach."""
    low, high = tumour
    reach = round((settings.margin_mm + settings.jitter_mm) / grid.spacing[AXIS])
    possible = np.arange(max(low - reach, 0), min(high + reach, grid.size[AXIS]))
    quarter = (high - low) / 4
    middle = possible[(possible + 0.5 >= low + quarter) & (possible + 0.5 <= high - quarter)]
    wanted = min(settings.slices_per_case, len(possible))
    chosen = rng.choice(middle, min((wanted + 1) // 2, len(middle)), replace=False)
    others = rng.choice(np.setdiff1d(possible, chosen), wanted - len(chosen), replace=False)
    return sorted(int(number) for number in (*chosen, *others))


def _load(file: Path) -> npt.NDArray[np.float16]:
    try:
        array: npt.NDArray[np.float16] = np.load(file)
    except (OSError, ValueError, EOFError) as error:
        raise ReadError(f"{file}: damaged embedding; delete it, and the same command makes it again") from error
    return array


def _targets(view: View, truth: BoolArray, numbers: Sequence[int], edge: int) -> BoolArray:
    """The tumour of slices in the network's masks ``[n, edge, edge]``: where it covers at least half a pixel."""
    shares = view.to_input(view.stack(truth.astype(np.float32))[list(numbers)])
    found: BoolArray = (F.adaptive_avg_pool2d(shares, edge)[:, 0] >= 0.5).numpy()
    return found
