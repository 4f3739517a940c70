"""Drawing an object from the mix of sources; a sample depends on the seed and its number alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy.ndimage import gaussian_filter

from training.config.objects import ObjectSettings
from training.config.train import Configuration
from training.objects.intensities import Rules, channels_of, draw_images, to_channels
from training.objects.lesions import insert_lesion
from training.objects.library import Library, TrainingCase, read_library
from training.objects.patches import Frame, limited, magnified, object_scale
from training.objects.regions import draw_region
from training.objects.sample import ObjectSample, edge_seen, is_visible
from training.objects.shapes import NEAR, draw_slices, sliced
from training.objects.suggestions import with_suggestions
from training.objects.synthetic import draw_synthetic
from TumorSegLib.errors import ArgumentError
from TumorSegLib.geometry.arrays import BoolArray, Float32Array, Float64Array
from TumorSegLib.prompts.encoding import Shape

# Scales in mm of patches that no contour decides, the coarser the rarer.
SCALES_MM = (0.5, 5.0)
# A region or a lesion put into an image must show at least this share of its surface and take at most this share of the
# patch, but for some: what nobody sees teaches a network to mark a little of anything.
SURFACE_SEEN, LARGEST_LESION, UNSEEN = 0.6, 0.4, 0.08
# A lesion is put into lungs this often, where a CT has any: they take little of the images, and many lesions lie there.
IN_LUNG = 0.3
# Where images of all sets are drawn, a set counts as at most so many cases.
MOST_OF_A_SET = 14


@dataclass(frozen=True)
class ObjectSources:
    """All sources of objects; ``rules`` are the image channels of the model in order, ``shape`` its patch."""

    library: Library
    settings: ObjectSettings
    rules: Rules
    shape: Shape

    @classmethod
    def read(cls, configuration: Configuration, root: Path) -> ObjectSources:
        """The sources of a configuration.

        Args:
            configuration: with a section ``[objects]``.
            root: folder with ``suite.json`` and the sets it names.

        Raises:
            ArgumentError: there is no such section, or the folder of suggested objects is missing or empty.
            ReadError: a file is missing or damaged, or does not fit its case.
        """
        settings = configuration.objects
        if settings is None:
            raise ArgumentError("the configuration has no section [objects]")
        library = read_library(root, configuration.data.test_fold)
        if settings.suggested:
            library = with_suggestions(library, Path(settings.suggested))
        spec = configuration.model.any_image_input
        return cls(library, settings, spec.normalisation, spec.patch)

    def draw(self, rng: np.random.Generator, source: str = "") -> ObjectSample:
        """One object; of a random source unless one of ``SOURCES`` is named."""
        while True:
            chosen = source or drawn_from(self.settings.sources, rng)
            sample = self._from(chosen, rng)
            if sample is not None:
                return sample

    def _from(self, source: str, rng: np.random.Generator) -> ObjectSample | None:
        if source == "synthetic":
            return draw_synthetic(self.shape, self.rules, rng)
        if source in ("sarcomas", "contours", "suggested"):
            cases = [case for case in getattr(self.library, source) if case.contours]
            if not cases:
                raise ArgumentError(f"the source {source!r} has no contours; give it no frequency in [objects]")
            return self._contoured(cases[int(rng.integers(len(cases)))], rng)
        # Other sets are few beside the sarcomas, and bring the other anatomy.
        others, sarcomas = self.library.contours, self.library.sarcomas
        pool = others if others and (rng.random() < 0.65 or not sarcomas) else sarcomas
        sample = self._suggested(pool[int(rng.choice(len(pool), p=shares_of(pool)))], source, rng)
        if sample is None or rng.random() < UNSEEN:
            return sample
        seen = edge_seen(sample.images, sample.truth) > SURFACE_SEEN
        return sample if seen and sample.truth.mean() < LARGEST_LESION else None

    def _contoured(self, case: TrainingCase, rng: np.random.Generator) -> ObjectSample | None:
        contour = case.contours[int(rng.integers(len(case.contours)))]
        scale = object_scale(contour, case, self.shape, rng)
        shift = rng.uniform(-0.2, 0.2, 3) * self.shape[::-1] * scale / np.array(case.grid.spacing)
        frame = Frame.around(case.grid, contour.voxel(rng) + shift, scale, self.shape, rng)
        truth = frame.truth(contour, case.grid)
        if not is_visible(truth):
            return None
        images = draw_images(case, self._roles(case, rng, contour.role), frame, rng)
        return ObjectSample(to_channels(images, case, self.rules, rng), truth)

    def _suggested(self, case: TrainingCase, source: str, rng: np.random.Generator) -> ObjectSample | None:
        """A region that an image suggests, or a lesion put into it, anywhere."""
        centre = rng.uniform(0.1, 0.9, 3) * np.array(case.grid.size)
        if source == "lesions" and len(case.lung) and rng.random() < IN_LUNG:
            centre = case.lung[int(rng.integers(len(case.lung)))].astype(float)
        scale = limited(float(np.exp(rng.uniform(*np.log(SCALES_MM)))), case)
        frame = Frame.around(case.grid, centre, scale, self.shape, rng)
        images = draw_images(case, self._roles(case, rng), frame, rng)
        if not any(_shows_tissue(raw) for raw in images.values()):
            return None
        if source == "lesions":
            truth, slices = insert_lesion(images, case, self.rules, rng), draw_slices(rng)
            if truth is not None and slices is not None:
                truth = sliced(truth.astype(np.float32), slices) > 0.5
                images = {role: sliced(raw, slices) for role, raw in images.items()}
            if truth is None or not is_visible(truth):
                return None
            return ObjectSample(to_channels(images, case, self.rules, rng), truth)
        channels = to_channels(images, case, self.rules, rng)
        given = [channel for channel in channels if channel.any()]
        truth = draw_region(given[int(rng.integers(len(given)))], rng)
        if truth is None or rng.random() > NEAR:
            return None if truth is None else ObjectSample(channels, truth)
        return self._too_near(case, list(images), frame, truth, rng)

    def _too_near(
        self, case: TrainingCase, roles: list[str], frame: Frame, truth: BoolArray, rng: np.random.Generator
    ) -> ObjectSample | None:
        """An object seen from so near that the patch does not hold it; None where the image is no finer."""
        extent = max(np.ptp(np.argwhere(truth), axis=0) + 1) / max(self.shape)
        times = frame.scale_mm / limited(frame.scale_mm * extent / float(rng.uniform(0.7, 2.5)), case)
        if times < 1:
            return None
        voxels = np.argwhere(truth)
        voxel = voxels[int(rng.integers(len(voxels)))].astype(float)
        smooth = torch.from_numpy(gaussian_filter(truth.astype(np.float32), 0.7))
        near = magnified(smooth[None], voxel, times)[0].numpy() > 0.5
        if not is_visible(near):
            return None
        images = draw_images(case, roles, frame.nearer(voxel, times), rng)
        return ObjectSample(to_channels(images, case, self.rules, rng), near)

    def _roles(self, case: TrainingCase, rng: np.random.Generator, wanted: str = "") -> list[str]:
        """Some roles of a case, at most one of each family, and the wanted one in any case."""
        order = [list(case.images)[n] for n in rng.permutation(len(case.images))]
        order.sort(key=lambda role: role != wanted)
        frequencies = np.array(self.settings.roles)
        count = 1 + int(rng.choice(3, p=frequencies / frequencies.sum()))
        chosen: list[str] = []
        for role in order:
            same = [one for one in chosen if channels_of(one, self.rules) == channels_of(role, self.rules)]
            if not same and len(chosen) < count:
                chosen.append(role)
        return chosen


def shares_of(cases: Sequence[TrainingCase]) -> Float64Array:
    """How often each case is drawn: a large set counts as at most so many cases, or one part of the body drowns all."""
    sizes = Counter(case.set for case in cases)
    weights = np.array([min(1.0, MOST_OF_A_SET / sizes[case.set]) for case in cases])
    return np.asarray(weights / weights.sum())


def drawn_from(frequencies: Mapping[str, float], rng: np.random.Generator) -> str:
    """A name, as often as its frequency says."""
    names, weights = list(frequencies), np.array(list(frequencies.values()))
    return names[int(rng.choice(len(names), p=weights / weights.sum()))]


def _shows_tissue(raw: Float32Array) -> bool:
    """Whether the middle of an image is not air, or beyond the image."""
    k, j, i = (slice(n // 2 - 4, n // 2 + 4) for n in raw.shape)
    return bool((raw[k, j, i] > raw.min() + 0.05 * (np.quantile(raw[::4, ::4, ::4], 0.99) - raw.min())).mean() > 0.5)
