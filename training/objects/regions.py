"""Pseudo-objects: regions that an image itself suggests, at random granularity.

As nnInteractive (Isensee et al. 2025) and ScribblePrompt (Wong et al., ECCV 2024) train on to become general.
"""

from __future__ import annotations

import warnings

import numpy as np
from scipy import ndimage as ndi
from skimage.segmentation import random_walker, slic, watershed

from training.objects.sample import is_visible
from TumorSegLib.geometry.arrays import BoolArray, Float32Array, Float64Array, IntArray

# Least contrast of a patch that shows anything, network units, and largest share of it that a region takes.
LEAST_DEVIATION, LARGEST_SHARE = 0.05, 0.15
# Objects are compact: their deepest voxel lies at least this share of the radius of a ball of their volume inside.
COMPACT, MUST_BE_COMPACT = 0.4, 0.8

# Random walker: nearest distance of seeds around as a share of the patch, and how hard edges are
# to cross; how much stronger edges at its surface are than within.
WALKED, BETA, AT_EDGES = (0.1, 0.35), (30.0, 300.0), 1.5


def draw_region(image: Float32Array, rng: np.random.Generator) -> BoolArray | None:
    """A region of an image ``[k, j, i]`` about its middle; None where it has none that can be seen."""
    if float(image.std()) < LEAST_DEVIATION:
        return None
    middle = tuple(int(n // 2 + rng.uniform(-0.1, 0.1) * n) for n in image.shape)
    kind = rng.random()
    if kind < 0.43:
        region = _basin(image, middle, rng)
    elif kind < 0.78:
        region = _alike(image, middle, rng)
    elif kind < 0.93:
        region = _walked(image, middle, rng)
    else:
        region = _superpixel(image, middle, rng)
    if region is None or not region[middle]:
        return None
    if rng.random() < 0.6:
        region = ndi.binary_opening(region) | _dot(region.shape, middle)
    parts, _ = ndi.label(region)
    region = ndi.binary_fill_holes(parts == parts[middle])
    if rng.random() < 0.5:
        region = ndi.gaussian_filter(region.astype(np.float32), 1) > 0.5
    if not is_visible(region) or region.mean() > LARGEST_SHARE:
        return None
    return region if rng.random() > MUST_BE_COMPACT or _is_compact(region) else None


def _basin(image: Float32Array, at: tuple[int, ...], rng: np.random.Generator) -> BoolArray | None:
    """A basin of the gradient's watershed, joined with those of a similar mean."""
    smooth = ndi.gaussian_filter(image, rng.choice([0.7, 1.2, 2.0, 3.0]))
    gradient = ndi.gaussian_gradient_magnitude(smooth, 0.8)
    seeds, count = ndi.label(gradient <= np.quantile(gradient[::2, ::2, ::2], rng.uniform(0.02, 0.25)))
    if count < 2:
        return None
    basins = watershed(gradient, seeds)
    return _joined(smooth, basins, count, at, rng)


def _superpixel(image: Float32Array, at: tuple[int, ...], rng: np.random.Generator) -> BoolArray | None:
    smooth = ndi.gaussian_filter(image, rng.choice([0.5, 1.0, 2.0]))
    pieces = slic(
        smooth, n_segments=int(rng.choice([12, 40, 120])), compactness=0.05, channel_axis=None, max_num_iter=4
    )
    return _joined(smooth, pieces, int(pieces.max()), at, rng)


def _joined(
    smooth: Float32Array, pieces: IntArray, count: int, at: tuple[int, ...], rng: np.random.Generator
) -> BoolArray:
    """The piece at a voxel with the connected ones whose mean differs by less than a random tolerance."""
    means = np.asarray(ndi.mean(smooth, pieces, np.arange(1, count + 1)))
    own = int(pieces[at])
    keep = np.abs(means - means[own - 1]) <= rng.choice([0.0, 0.15, 0.3]) * float(smooth.std())
    keep[own - 1] = True
    return np.asarray(keep[pieces - 1])


def _alike(image: Float32Array, at: tuple[int, ...], rng: np.random.Generator) -> BoolArray:
    """What has nearly the value at a voxel and is connected with it."""
    smooth = ndi.gaussian_filter(image, rng.uniform(0.6, 2))
    return np.asarray(np.abs(smooth - smooth[at]) < rng.uniform(0.15, 0.8) * float(image.std()))


def _walked(image: Float32Array, at: tuple[int, ...], rng: np.random.Generator) -> BoolArray | None:
    """What a random walker reaches from a voxel before it reaches seeds all around (Grady, PAMI 2006).

    It walks at half resolution: all voxels of a patch of 48^3 would take it seconds.
    """
    coarse = ndi.zoom(ndi.gaussian_filter(image, rng.uniform(0.5, 1.2)), 0.5, order=1).astype(np.float64)
    shape = np.array(coarse.shape)
    middle = np.minimum(np.array(at) // 2, shape - 1)
    far = np.linalg.norm(np.indices(coarse.shape) - middle[:, None, None, None], axis=0)
    reach = float(np.exp(rng.uniform(*np.log(WALKED)))) * shape.min()
    labels = np.zeros(coarse.shape, dtype=np.int8)
    around = np.flatnonzero((far > reach) & (far < 2 * reach + 2))
    labels.ravel()[rng.choice(around, min(int(rng.integers(8, 60)), len(around)), replace=False)] = 2
    alike = np.abs(coarse - coarse[tuple(middle)]) < 0.4 * coarse.std()
    labels[alike & (far <= rng.uniform(0, 0.7) * reach)] = 1
    beta = float(np.exp(rng.uniform(*np.log(BETA)))) / coarse.std()
    with warnings.catch_warnings():  # that it did not converge, which is seen below
        warnings.simplefilter("ignore", UserWarning)
        share = random_walker(coarse, labels, beta, tol=1e-4, return_full_prob=True)[0]
    if np.abs(share - 0.5).max() > 1 or not _ends_at_edges(coarse, share > 0.5):
        return None
    return np.asarray(ndi.zoom(share, np.divide(image.shape, shape), order=1) > 0.5)


def _ends_at_edges(image: Float64Array, region: BoolArray) -> bool:
    """Whether an image changes more at the surface of a region than within, as it does not where no edge stopped it."""
    steps = ndi.gaussian_gradient_magnitude(image, 0.7)
    core = ndi.binary_erosion(region)
    surface = ndi.binary_dilation(region) & ~core
    return bool(steps[surface].mean() > AT_EDGES * steps[core if core.any() else region].mean())


def _is_compact(region: BoolArray) -> bool:
    radius = (3 * float(region.sum()) / (4 * np.pi)) ** (1 / 3)
    return bool(ndi.distance_transform_edt(region).max() >= COMPACT * radius)


def _dot(shape: tuple[int, ...], at: tuple[int, ...]) -> BoolArray:
    dot = np.zeros(shape, dtype=bool)
    dot[at] = True
    return dot
