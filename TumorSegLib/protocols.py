"""What engines give, and what they ask of their callers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

from TumorSegLib.geometry import Box
from TumorSegLib.prompts import Prompts
from TumorSegLib.registry import ModelSpec
from TumorSegLib.volume import Images, Mask, Volume

#: Called with (steps done, steps in all) after every window.
Progress: TypeAlias = Callable[[int, int], None]
#: Asked between windows; True stops the work with :class:`TumorSegLib.errors.Cancelled`.
Cancel: TypeAlias = Callable[[], bool]


@dataclass(frozen=True, eq=False)
class Result:
    """What a model says about a case, on the grid of the first image given.

    Attributes:
        mask: labels as in the model's ``labels``; a voxel is foreground where its probability exceeds 0.5.
        probability: of any label, float32 from 0 to 1, role ``probability``.
        uncertainty: predictive entropy in bits, float32 from 0 to 1 for one label, role ``uncertainty``; None unless
            mirroring was asked for.
        info: JSON-ready: model, version, roles, resampled roles, device, precision, windows and timings in seconds.
    """

    mask: Mask
    probability: Volume
    uncertainty: Volume | None = None
    info: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Refinement:
    """A corrected part of a segmentation.

    Attributes:
        box: half-open voxel box of the part.
        probability: uint8 ``[k, j, i]`` of that part, 255 for 1; tumour from 128 on.
        info: JSON-ready: model, version, roles, device, precision and timings in seconds.
    """

    box: Box
    probability: npt.NDArray[np.uint8]
    info: Mapping[str, Any] = field(default_factory=dict)


class AutoEngine(Protocol):
    """Segments without any hint from the user."""

    @property
    def spec(self) -> ModelSpec:
        """The model this engine runs."""

    def segment(
        self,
        images: Images,
        *,
        mirror: bool = False,
        progress: Progress | None = None,
        cancel: Cancel | None = None,
    ) -> Result:
        """Segments a case; see :class:`TumorSegLib.engines.auto.AutoEngine`."""


Prepared = TypeVar("Prepared")


class ClickEngine(Protocol[Prepared]):
    """Corrects a segmentation from clicks and strokes."""

    @property
    def spec(self) -> ModelSpec:
        """The model this engine runs."""

    def prepare(self, images: Images) -> Prepared:
        """What the engine needs of the images, computed once per case."""

    def refine(
        self, prepared: Prepared, probability: npt.NDArray[np.uint8], prompts: Prompts, cancel: Cancel | None = None
    ) -> Refinement:
        """Answers the last prompt; see :class:`TumorSegLib.engines.clicks.ClickEngine`."""
