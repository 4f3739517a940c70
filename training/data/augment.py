"""One training sample: a random part of a case, deformed, at the network's spacing, with its channels altered.

Intensities are normalised with the statistics of the whole image, as in inference. Cropping, rotation, scaling,
mirroring and elastic deformation are one resampling from the native grid, so nothing is interpolated twice. Coordinates
are voxels of the crop; arrays and tensors are ``[k, j, i]``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from scipy.spatial.transform import Rotation

from training.config.loader import check_range
from training.data.cases import Case
from TumorSegLib.errors import ArgumentError
from TumorSegLib.geometry.arrays import Float64Array
from TumorSegLib.geometry.boxes import full_box
from TumorSegLib.geometry.grid import Box
from TumorSegLib.images.normalisation import Normalisation
from TumorSegLib.models.spec import ModelSpec


@dataclass(frozen=True)
class Augmentation:
    """Strengths; each random number is drawn uniformly unless said otherwise.

    Raises :class:`ArgumentError` for a value outside its domain.

    Attributes:
        tumour_share: probability that a patch is centred on a tumour voxel instead of anywhere in the window.
        window_margin_mm: smallest margin of the random window around the tumour; the largest is the image.
        cut_share: probability that the window need only hold the middle third of the tumour's box, so that it may cut
            through the tumour.
        rotation_degrees: largest rotation about the ``(i, j, k)`` axes.
        scale: smallest and largest magnification.
        elastic_mm: largest displacement of the control points of a smooth deformation.
        elastic_spacing_mm: distance of its control points.
        elastic_share, noise_share, blur_share: how often.
        noise: largest standard deviation of added noise, network units.
        suv_factor: PET is multiplied by exp(+-log(this)).
        gain, offset: multiplied with and added to CT and MR, network units, by normalisation method.
        role_subsets: relative frequency of the sets of roles given to the network, names joined with ``+``; empty: all.
    """

    tumour_share: float = 0.6
    window_margin_mm: float = 5.0
    cut_share: float = 0.1
    rotation_degrees: tuple[float, float, float] = (12.0, 12.0, 25.0)
    scale: tuple[float, float] = (0.8, 1.25)
    elastic_mm: float = 9.0
    elastic_spacing_mm: float = 48.0
    elastic_share: float = 0.5
    noise_share: float = 0.3
    noise: float = 0.15
    blur_share: float = 0.15
    suv_factor: float = 1.35
    gain: Mapping[str, float] = field(default_factory=lambda: {"linear": 0.1, "zscore": 0.25})
    offset: Mapping[str, float] = field(default_factory=lambda: {"linear": 0.12, "zscore": 0.25})
    role_subsets: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_range(self, 0, 1, "tumour_share", "cut_share", "elastic_share", "noise_share", "blur_share")
        check_range(self, 0, np.inf, "window_margin_mm", "elastic_mm", "noise")
        check_range(self, 1e-3, np.inf, "elastic_spacing_mm")
        check_range(self, 1, np.inf, "suv_factor")
        if not 0 < self.scale[0] <= self.scale[1]:
            raise ArgumentError(f"scale = {list(self.scale)} must be two positive numbers, the smaller first")
        if any(not 0 <= weight < np.inf for weight in self.role_subsets.values()):
            raise ArgumentError(
                f"role_subsets = {dict(self.role_subsets)} holds a frequency that is negative or infinite"
            )


TrainingSample = tuple[torch.Tensor, torch.Tensor]


def draw_sample(case: Case, spec: ModelSpec, settings: Augmentation, rng: np.random.Generator) -> TrainingSample:
    """Draws one training sample.

    Args:
        case: its images and reference.
        spec: roles, spacing, patch and normalisation of the model.
        settings: strengths.
        rng: the only source of randomness.

    Returns:
        Images float32 ``[roles, k, j, i]`` (0 for a role left out) and labels int64 ``[k, j, i]``.
    """
    part = case.cropped(random_window(case, settings, rng))
    lattice = _lattice(part, spec, settings, rng)
    chosen = choose_roles(sorted(part.images), settings.role_subsets, rng)
    channels = []
    for role in spec.roles:
        if role in chosen:
            rule = case.fitted(role, spec.volume_input.normalisation[role])
            channels.append(_channel(part.images[role].array, rule, settings, rng, lattice))
        else:
            channels.append(torch.zeros(spec.volume_input.patch))
    return torch.stack(channels), _labels(part, spec, lattice)


def random_window(case: Case, settings: Augmentation, rng: np.random.Generator) -> Box:
    """A window with a random margin on each side of the tumour, so that its position in the image gives nothing away.

    Images cropped around their tumour reveal its position, and a network would learn the crop, not the tumour. An
    image without a tumour stays whole.
    """
    size, spacing = case.reference.grid.size, case.reference.grid.spacing
    tumour = case.reference.bounding_box()
    if tumour is None:
        return full_box(case.reference.grid.shape)
    cut = rng.random() < settings.cut_share
    ranges = []
    for (low, high), n, step in zip(tumour, size, spacing):
        least = int(np.ceil(settings.window_margin_mm / step))
        inner_low, inner_high = max(low - least, 0), min(high + least, n)
        if cut:
            third = (high - low) // 3
            inner_low, inner_high = low + third, max(high - third, low + third + 1)
        ranges.append((int(rng.integers(0, inner_low + 1)), int(rng.integers(inner_high, n + 1))))
    return ranges[0], ranges[1], ranges[2]


def choose_roles(available: Sequence[str], subsets: Mapping[str, float], rng: np.random.Generator) -> set[str]:
    """Draws the roles given to the network; of a subset, roles that the case lacks are left out."""
    if not subsets:
        return set(available)
    options = [set(name.split("+")) & set(available) for name in subsets]
    weights = np.array(list(subsets.values())) * [bool(option) for option in options]
    if weights.sum() == 0:
        return set(available)
    return options[int(rng.choice(len(options), p=weights / weights.sum()))]


def _lattice(part: Case, spec: ModelSpec, settings: Augmentation, rng: np.random.Generator) -> torch.Tensor:
    """Where each patch voxel comes from, in ``grid_sample``'s coordinates: ``[1, k, j, i, 3]`` as (i, j, k)."""
    steps = [torch.arange(n) - (n - 1) / 2 for n in spec.volume_input.patch]
    k, j, i = torch.meshgrid(*steps, indexing="ij")
    offset_mm = torch.stack([i, j, k], dim=-1) * torch.tensor(spec.volume_input.spacing_mm)
    angles = rng.uniform(-1, 1, 3) * settings.rotation_degrees
    matrix = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
    matrix = matrix * rng.choice([-1.0, 1.0], 3) / rng.uniform(*settings.scale)
    if rng.random() < settings.elastic_share:
        offset_mm = offset_mm + _elastic(spec, settings, rng)
    place = offset_mm @ torch.tensor(matrix.T, dtype=torch.float32) / torch.tensor(part.reference.grid.spacing)
    place = place + torch.tensor(_centre(part, spec, settings, rng), dtype=torch.float32)
    size = torch.tensor(part.reference.grid.size)
    return ((2 * place + 1) / size - 1)[None].float()


def _elastic(spec: ModelSpec, settings: Augmentation, rng: np.random.Generator) -> torch.Tensor:
    extent = np.array(spec.volume_input.patch) * spec.volume_input.spacing_mm[::-1]
    points = [3, *np.maximum(np.ceil(extent / settings.elastic_spacing_mm).astype(int) + 1, 2)]
    control = torch.tensor(rng.uniform(-1, 1, points) * settings.elastic_mm, dtype=torch.float32)
    field_mm = F.interpolate(control[None], size=spec.volume_input.patch, mode="trilinear", align_corners=True)[0]
    return field_mm.movedim(0, -1)


def _centre(part: Case, spec: ModelSpec, settings: Augmentation, rng: np.random.Generator) -> Float64Array:
    if not part.reference.array.any():
        return _centre_inside(part, spec, rng)
    tumour = np.flatnonzero(part.reference.array) if rng.random() < settings.tumour_share else np.array([])
    if tumour.size:
        place = np.unravel_index(int(rng.choice(tumour)), part.reference.array.shape)
        return np.array(place[::-1], dtype=float)
    return rng.uniform(0, part.reference.grid.size)


def _centre_inside(part: Case, spec: ModelSpec, rng: np.random.Generator) -> Float64Array:
    """A centre whose patch does not leave the image where this is long enough, as the windows of inference."""
    size = np.array(part.reference.grid.size, dtype=float)
    patch = np.multiply(spec.volume_input.patch[::-1], spec.volume_input.spacing_mm) / part.reference.grid.spacing
    half = np.minimum(patch, size) / 2
    centre: Float64Array = rng.uniform(half, size - half) - 0.5  # voxel 0 begins at -0.5
    return centre


def _channel(
    raw: npt.NDArray[Any],
    rule: Normalisation,
    settings: Augmentation,
    rng: np.random.Generator,
    lattice: torch.Tensor,
) -> torch.Tensor:
    """Network input of one image ``[k, j, i]``; the rule is fitted to the whole image of which it may be a part."""
    if rule.method == "log1p":
        raw = raw * np.float32(np.exp(rng.uniform(-1, 1) * np.log(settings.suv_factor)))
    # Zero padding stands for "outside", so the value of outside is taken off before and put back after.
    image = torch.from_numpy(rule(raw)) - rule.fill
    channel = F.grid_sample(image[None, None], lattice, align_corners=False)[0, 0] + rule.fill
    method = "zscore" if rule.method == "fitted_zscore" else rule.method
    gain = 1 + rng.uniform(-1, 1) * settings.gain.get(method, 0.0)
    channel = channel * gain + rng.uniform(-1, 1) * settings.offset.get(method, 0.0)
    if rng.random() < settings.blur_share:
        coarse = F.interpolate(channel[None, None], scale_factor=float(rng.uniform(0.4, 0.9)), mode="trilinear")
        channel = F.interpolate(coarse, size=channel.shape, mode="trilinear")[0, 0]
    if rng.random() < settings.noise_share:
        noise = rng.standard_normal(channel.shape, dtype=np.float32) * np.float32(rng.uniform(0, settings.noise))
        channel = channel + torch.from_numpy(noise)
    return channel


def _labels(part: Case, spec: ModelSpec, lattice: torch.Tensor) -> torch.Tensor:
    labels = torch.from_numpy(part.reference.array.copy())
    maps = torch.stack([(labels == value).float() for value in sorted(spec.labels.values())])
    sampled = F.grid_sample(maps[None], lattice, align_corners=False)[0]
    best, label = sampled.max(dim=0)
    # Where two labels meet, either has half of a voxel, and the background nothing.
    return torch.where(best > 1 - sampled.sum(dim=0), label + 1, 0)
