"""Stand-ins shared by tests: tiny models and synthetic images; no trained weights, no patient data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.ndimage import gaussian_filter
from scipy.spatial.transform import Rotation

from TumorSegLib.errors import ArgumentError, Cancelled, RoleError
from TumorSegLib.geometry.boxes import slices
from TumorSegLib.geometry.grid import Grid
from TumorSegLib.images.image_set import ImageSet
from TumorSegLib.images.normalisation import Normalisation
from TumorSegLib.images.volume import Images, Mask, Volume
from TumorSegLib.jobs import Cancel, Progress
from TumorSegLib.models.folder import CARD_FILE, write_description, write_model_folder
from TumorSegLib.models.formats import PIXELS
from TumorSegLib.models.spec import AnyImageInput, ModelSpec, PromptedVolumeInput, SliceInput, VolumeInput
from TumorSegLib.prompts.types import BoxPrompt, Prompt, Prompts
from TumorSegLib.protocols import BoxOptions, Refinement, Result, RunInfo

if TYPE_CHECKING:  # tests of the light part of the library must not load torch through this file
    from torch import nn

RULES = {
    "ct": Normalisation("linear", low=-160, high=240, offset=-20, scale=100, outside=-1000),
    "pet": Normalisation("log1p", low=0, high=30),
    "mr_t1": Normalisation("zscore", low=0),
}


def tiny_spec(
    name: str = "tiny",
    roles: Sequence[str] = ("ct",),
    optional: Sequence[str] = (),
    *,
    kind: str = "auto",
    spacing_mm: tuple[float, float, float] = (1.0, 1.0, 1.0),
    patch: tuple[int, int, int] = (16, 16, 16),
    pixels: str = "unit",
    **changes: Any,
) -> ModelSpec:
    """A valid description of a tiny residual U-Net with one label; ``changes`` replaces any other attribute.

    Of kind ``box`` it has the pixel statistics named, and no roles, spacing and patch.
    """
    rules = {role: RULES[role] for role in roles}
    volume = PromptedVolumeInput if kind == "clicks" else VolumeInput
    spec = ModelSpec(
        name=name,
        version="1.2.3",
        licence="CC-BY-4.0",
        description="A tiny network for tests",
        input=SliceInput(**PIXELS[pixels])
        if kind == "box"
        else volume(tuple(roles), tuple(optional), spacing_mm, patch, rules),
        labels={"tumour": 1},
        network="ResidualDynUNet",
        arguments={"filters": [4, 8, 8]},
        training_data=({"name": "noise", "licence": "CC0-1.0", "attribution": "none"},),
        results={"dice": 0.5},
    )
    return replace(spec, **changes)


def any_image_spec(
    name: str = "any",
    *,
    patch: tuple[int, int, int] = (16, 16, 16),
    scales_mm: tuple[float, float] = (0.3, 8.0),
    **changes: Any,
) -> ModelSpec:
    """The same of a model of any image; its image channels are ct, ct_wide, pet and mr."""
    wide = Normalisation("linear", low=-1000, high=1000, scale=500, outside=-1000)
    rules = {"ct": RULES["ct"], "ct_wide": wide, "pet": RULES["pet"], "mr": Normalisation("zscore")}
    return replace(tiny_spec(name, **changes), input=AnyImageInput(rules, patch, scales_mm))


def tiny_network(spec: ModelSpec, seed: int = 0) -> nn.Module:
    """The network a description asks for with reproducible random weights, in evaluation mode."""
    import torch

    from TumorSegLib.engines.networks.unets import build_network

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build_network(spec).eval()


def write_model(root: Path, spec: ModelSpec, network: nn.Module | None = None) -> Path:
    """Writes a valid model folder ``root/<name>`` and returns it; random weights unless a network is given."""
    from TumorSegLib.engines.weights import write_weights

    save = partial(write_weights, tiny_network(spec) if network is None else network)
    return write_model_folder(root / spec.name, spec, save, f"# {spec.name}\n").path


def write_spec(folder: Path, spec: ModelSpec) -> Path:
    """Writes ``model.json`` and the card, but no weights, into a folder and returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    write_description(folder, spec)
    (folder / CARD_FILE).write_text(f"# {spec.name}\n", encoding="utf-8")
    return folder


def noise_volume(grid: Grid, role: str = "ct", seed: int = 0) -> Volume:
    """Smooth random values in the range of a role, float32."""
    values = gaussian_filter(np.random.default_rng(seed).normal(size=grid.shape), 1.5)
    values = (values - values.min()) / np.ptp(values)
    low, high = {"ct": (-150, 230), "pet": (0.5, 20)}.get(role, (100, 900))
    return Volume(grid, (low + (high - low) * values).astype(np.float32), role)


def rotation(angles: Sequence[float], mirror: bool = False) -> np.ndarray:
    """Orthonormal ``(3, 3)`` of Euler angles in radians about x, y, z; left-handed with ``mirror``."""
    matrix: np.ndarray = Rotation.from_euler("xyz", angles).as_matrix()
    return matrix @ np.diag([1, 1, -1]) if mirror else matrix


class PaintingEngine:
    """An automatic engine that applies a rule to its images and records them."""

    def __init__(self, spec: ModelSpec, rule: Callable[[Images], np.ndarray]) -> None:
        self.spec = spec
        self.rule = rule
        self.images: list[Images] = []

    def segment(
        self, images: Images, *, mirror: bool = False, progress: Progress | None = None, cancel: Cancel | None = None
    ) -> Result:
        """Applies the rule, which maps the images to an array ``[k, j, i]`` of label values."""
        self.images.append(images)
        grid = ImageSet.of(images).grid
        labels = np.asarray(self.rule(images)).astype(np.uint8)
        return Result(Mask(grid, labels), Volume(grid, (labels > 0).astype(np.float32), "probability"))


class BallEngine:
    """A click engine that paints a reproducible soft ball about the last prompt, constrained by all prompts."""

    def __init__(self, radius: int = 2) -> None:
        self.spec = tiny_spec("balls", kind="clicks")
        self.radius = radius
        self.prepared = 0

    def prepare(self, images: Images) -> Grid:
        """The grid of the first image; counts its calls."""
        self.prepared += 1
        return ImageSet.of(images).grid

    def refine(
        self, prepared: Grid, probability: np.ndarray, prompts: Prompts, cancel: Cancel | None = None
    ) -> Refinement:
        """Paints about the last prompt, of a box about its middle."""
        _stop_if(cancel)
        last = voxels_of(prompts.items[-1])
        low = np.maximum(last.min(axis=0) - self.radius - 1, 0)
        high = np.minimum(last.max(axis=0) + self.radius + 2, prepared.size)
        i, j, k = ((int(a), int(b)) for a, b in zip(low, high))
        values = probability[slices((i, j, k))].copy()
        lattice = np.stack(np.meshgrid(*map(np.arange, values.shape), indexing="ij"), axis=-1)[..., ::-1] + low
        near = np.linalg.norm(lattice[..., None, :] - last, axis=-1).min(axis=-1) <= self.radius
        noise = np.random.default_rng([len(prompts), *last[0]]).integers(0, 128, near.sum())
        values[near] = noise + 128 * getattr(prompts.items[-1], "positive", True)
        for prompt in prompts.point_prompts():
            inside = prompt.points.astype(int)
            inside = inside[((inside >= low) & (inside < high)).all(axis=1)] - low
            values[tuple(inside.T[::-1])] = 255 * prompt.positive
        _stop_if(cancel)
        return Refinement((i, j, k), values, RunInfo(self.spec.name, seconds={"network": 0.0}))


class EllipsoidEngine:
    """A box engine that paints the ellipsoid inscribed in a box, in reproducible noise, and records its calls.

    A box on one slice is propagated for ``reach`` slices to both sides, within the region.
    """

    def __init__(self, reach: int = 2) -> None:
        self.spec = tiny_spec("ellipsoids", kind="box")
        self.reach = reach
        self.prepared: list[BoxOptions] = []
        self.segmented: list[tuple[BoxPrompt, BoxPrompt | None]] = []
        self.embedded: list[BoxPrompt] = []

    def prepare(self, images: Images, options: BoxOptions | None = None) -> tuple[Grid, BoxOptions]:
        """The grid of the first image, and the options; RoleError where there is no image of that role."""
        options = options or BoxOptions()
        if options.role and options.role not in images:
            raise RoleError(f"there is no image {options.role!r}")
        self.prepared.append(options)
        return ImageSet.of(images).grid, options

    def embed(
        self,
        prepared: tuple[Grid, BoxOptions],
        prompt: BoxPrompt,
        options: BoxOptions | None = None,
        cancel: Cancel | None = None,
    ) -> int:
        """1 for a new box, 0 for one embedded before."""
        _stop_if(cancel)
        if prompt in self.embedded:
            return 0
        self.embedded.append(prompt)
        return 1

    def segment(
        self,
        prepared: tuple[Grid, BoxOptions],
        prompt: BoxPrompt,
        options: BoxOptions | None = None,
        *,
        within: BoxPrompt | None = None,
        progress: Progress | None = None,
        cancel: Cancel | None = None,
    ) -> Refinement:
        """Paints; ArgumentError where the box leaves the image."""
        grid, options = prepared[0], options or prepared[1]
        _stop_if(cancel)
        if any(low < 0 or high > n for (low, high), n in zip(prompt.box, grid.size)):
            raise ArgumentError(f"box {prompt.box} leaves the image")
        self.segmented.append((prompt, within))
        ranges, axis = list(prompt.box), prompt.thin_axis(grid)
        if axis is not None:
            low, high = within.box[axis] if within else (0, grid.size[axis])
            first, end = prompt.box[axis]
            ranges[axis] = (max(first - self.reach, low), min(end + self.reach, high))
        shape = [high - low for low, high in ranges[::-1]]
        squared = [(((np.arange(n) + 0.5) / n * 2 - 1) ** 2) for n in shape]
        inside = squared[0][:, None, None] + squared[1][:, None] + squared[2] <= 1
        noise = np.random.default_rng([number for limits in prompt.box for number in limits]).integers(0, 128, shape)
        if progress is not None:
            progress(shape[0], shape[0])
        _stop_if(cancel)
        info = RunInfo(self.spec.name, details={"slices": shape[0], "role": options.role or "ct"})
        return Refinement((ranges[0], ranges[1], ranges[2]), (noise + 128 * inside).astype(np.uint8), info)


def voxels_of(prompt: Prompt) -> np.ndarray:
    """The voxels ``[n, 3]`` as ``(i, j, k)`` that a prompt is about; of a box the one in its middle."""
    points = prompt.point_prompt()
    return np.array([[sum(limits) // 2 for limits in prompt.box]]) if points is None else points.points.astype(int)


def _stop_if(cancel: Cancel | None) -> None:
    if cancel is not None and cancel():
        raise Cancelled("stopped")
