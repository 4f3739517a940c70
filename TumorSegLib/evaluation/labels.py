"""Agreement of segmentations segment by segment, also where segments overlap."""

from __future__ import annotations

from dataclasses import dataclass

from TumorSegLib.errors import GeometryError
from TumorSegLib.evaluation.metrics import Metrics, evaluate
from TumorSegLib.images.labels import Segment, Segmentation


@dataclass(frozen=True)
class Pair:
    """A segment of a prediction and the one of a reference that it is compared with; None where there is none."""

    prediction: Segment | None
    reference: Segment | None

    @property
    def shown(self) -> Segment:
        """The one that says more: with a name, of the reference."""
        both = [each for each in (self.reference, self.prediction) if each is not None]
        return next((each for each in both if each.named), both[0])


def pair_segments(prediction: Segmentation, reference: Segmentation) -> list[Pair]:
    """Pairs of segments, those of the reference first: by name where both have one in common, else by label."""
    named = [{each.name for each in one.segments if each.named} for one in (prediction, reference)]
    by_name = bool(named[0] & named[1])

    def key(segment: Segment) -> str | int:
        return segment.name if by_name else segment.label

    found = {key(each): each for each in prediction.segments}
    wanted = {key(each): each for each in reference.segments}
    keys = [*wanted, *(each for each in found if each not in wanted)]
    return [Pair(found.get(each), wanted.get(each)) for each in (keys if by_name else sorted(keys, key=int))]


def evaluate_labels(
    prediction: Segmentation, reference: Segmentation, *, nsd_tolerance_mm: float = 3.0
) -> dict[str, Metrics]:
    """Compares segmentations segment by segment; each is whole where others overlap it.

    Segments are paired by name where both segmentations have one in common, else by label. One that only one of the two
    has is compared with an empty mask.

    Args:
        prediction, reference: on the same grid.
        nsd_tolerance_mm: see :func:`TumorSegLib.evaluation.metrics.evaluate`.

    Returns:
        By name of the segment, that of the reference first.

    Raises:
        GeometryError, ArgumentError: as :func:`TumorSegLib.evaluation.metrics.evaluate`.
    """
    if prediction.grid != reference.grid:
        raise GeometryError(
            f"prediction and reference lie on different grids ({prediction.grid} and {reference.grid}): "
            f"{prediction.grid.difference(reference.grid)}; resample one of them first"
        )
    return {
        pair.shown.name: evaluate(
            prediction.mask_of_segment(pair.prediction),
            reference.mask_of_segment(pair.reference),
            nsd_tolerance_mm=nsd_tolerance_mm,
        )
        for pair in pair_segments(prediction, reference)
    }
