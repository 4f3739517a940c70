"""Only the largest connected region of a label stays, as ``KeepLargestConnectedComponent`` of MONAI has it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from skimage.measure import label as number_regions

from TumorSegLib.geometry.arrays import BoolArray
from TumorSegLib.geometry.boxes import slices
from TumorSegLib.images.volume import Mask, Volume
from TumorSegLib.models.monai import MonaiLargest
from TumorSegLib.protocols import LabelAnswer, Result

# What is removed from the mask is less probable than that.
REMOVED = np.float32(0.49)


def keep_largest(result: Result, rule: MonaiLargest) -> Result:
    """The result with all but the largest region of labels removed, each for itself or all together."""
    masks = {name: result.mask_of(name).array > 0 for name in rule.labels}
    groups = [list(masks)] if rule.together else [[name] for name in masks]
    mask, labels = result.mask.array.copy(), dict(result.labels)
    for group in groups:
        removed = _smaller(np.logical_or.reduce([masks[name] for name in group]), rule.connectivity)
        for name in group:
            answer = labels[name]
            mask[removed & (mask == answer.value)] = 0
            labels[name] = _limited(answer, removed & masks[name])
    mask = _repainted(mask, labels)
    probability = result.probability.array.copy()
    np.minimum(probability, REMOVED, out=probability, where=(mask == 0) & (result.mask.array > 0))
    grid = result.mask.grid
    return replace(result, mask=Mask(grid, mask), probability=Volume(grid, probability, "probability"), labels=labels)


def _smaller(marked: BoolArray, connectivity: int) -> BoolArray:
    """What is not of the largest region; of several of one size the first stays."""
    numbers, count = number_regions(marked, connectivity=connectivity, return_num=True)
    if count < 2:
        return np.zeros_like(marked)
    sizes = np.bincount(numbers.ravel())
    sizes[0] = 0
    removed: BoolArray = marked & (numbers != sizes.argmax())
    return removed


def _limited(answer: LabelAnswer, removed: BoolArray) -> LabelAnswer:
    probability = answer.probability.copy()
    limit = probability.dtype.type(REMOVED)
    np.minimum(probability, limit, out=probability, where=removed[slices(answer.box)])
    return replace(answer, probability=probability)


def _repainted(mask: np.ndarray, labels: dict[str, LabelAnswer]) -> np.ndarray:
    """Regions that lay below one that was removed show again, the smallest first."""
    regions = [answer for answer in labels.values() if answer.region]
    for answer in sorted(regions, key=lambda each: int((each.probability > 0.5).sum())):
        part = mask[slices(answer.box)]
        part[(part == 0) & (answer.probability > 0.5)] = answer.value
    return mask
