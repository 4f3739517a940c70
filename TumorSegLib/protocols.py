"""What engines give, and what they ask of their callers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from TumorSegLib.errors import ArgumentError
from TumorSegLib.geometry.grid import Box
from TumorSegLib.images.volume import Images, Mask, Volume
from TumorSegLib.jobs import Cancel, Progress
from TumorSegLib.models.spec import ModelSpec, check_kind
from TumorSegLib.prompts.types import BoxPrompt, Click, Prompts


@dataclass(frozen=True, eq=False)
class Result:
    """What a model says about a case, on the grid of the first image given.

    Attributes:
        mask: labels as in the model's ``labels``; a voxel is foreground where its probability exceeds 0.5.
        probability: of any label, float32 from 0 to 1, role ``probability``.
        uncertainty: predictive entropy in bits, float32 from 0 to 1 for one label, role ``uncertainty``; None unless
            mirroring was asked for.
        info: JSON-ready: model, version, roles, resampled roles, notes on how the images were read, device, precision,
            windows and timings in seconds.
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


def check_kinds(**engines: Engine | None) -> None:
    """Raises :class:`ModelError` where an engine is not of the kind it is given as: ``check_kinds(auto=engine)``."""
    for kind, engine in engines.items():
        if engine is not None:
            check_kind(engine.spec, kind)


class Engine(Protocol):
    """What all engines have."""

    @property
    def spec(self) -> ModelSpec:
        """The model this engine runs."""


class AutoSegmenter(Protocol):
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
        """Segments a case; see :class:`TumorSegLib.engines.auto.engine.AutoEngine`."""


@dataclass(frozen=True)
class BoxOptions:
    """How a box is looked into.

    Attributes:
        role: of the image shown; the first one where empty.
        axes: 0, 1 or 2 for slices along i, j or k; answers along several are averaged.
        ct_window: name of the window a CT is shown through, see :mod:`TumorSegLib.images.display_windows`.
        points: show the model the segment's clicks as points, each on its slice; LiteMedSAM and MedSAM have learnt from
            boxes alone.
        mask: show the model the segment as it is, as SAM's mask prompt; as with points.

    Raises:
        ArgumentError: the axes are not such numbers, each at most once.
    """

    role: str = ""
    axes: tuple[int, ...] = (2,)
    ct_window: str = "soft-tissue"
    points: bool = False
    mask: bool = False

    def __post_init__(self) -> None:
        axes = tuple(self.axes) if isinstance(self.axes, Sequence) else ()
        if not axes or not set(axes) <= {0, 1, 2} or len(set(axes)) < len(axes):
            raise ArgumentError(f"axes {self.axes!r} must name some of 0, 1 and 2 (i, j, k), each once")
        object.__setattr__(self, "axes", axes)


@dataclass(frozen=True, eq=False)
class BoxContext:
    """What goes with a box.

    Attributes:
        within: region around the box that a tumour followed from slice to slice does not leave; None for the image.
        clicks: shown as points, each on the slices it lies on.
        probability: uint8 ``[k, j, i]``, 0 to 255, of the whole image, shown as mask prompt; None for none.
    """

    within: BoxPrompt | None = None
    clicks: tuple[Click, ...] = ()
    probability: npt.NDArray[np.uint8] | None = None

    @classmethod
    def of(
        cls, prompts: Prompts, probability: npt.NDArray[np.uint8], options: BoxOptions, within: BoxPrompt | None
    ) -> BoxContext:
        """What the options want shown of a segment's prompts and probability."""
        clicks = prompts.of(Click) if options.points else ()
        return cls(within, clicks, probability if options.mask else None)


Prepared = TypeVar("Prepared")


class ClickSegmenter(Protocol[Prepared]):
    """Corrects a segmentation from clicks and strokes."""

    @property
    def spec(self) -> ModelSpec:
        """The model this engine runs."""

    def prepare(self, images: Images) -> Prepared:
        """What the engine needs of the images, computed once per case."""

    def refine(
        self, prepared: Prepared, probability: npt.NDArray[np.uint8], prompts: Prompts, cancel: Cancel | None = None
    ) -> Refinement:
        """Answers the last prompt; see :class:`TumorSegLib.engines.clicks.engine.ClickEngine`."""


class BoxSegmenter(Protocol[Prepared]):
    """Segments what a box holds."""

    @property
    def spec(self) -> ModelSpec:
        """The model this engine runs."""

    def prepare(self, images: Images, options: BoxOptions | None = None) -> Prepared:
        """What the engine needs of the images, computed once per case, role and window."""

    def embed(
        self, prepared: Prepared, prompt: BoxPrompt, options: BoxOptions | None = None, cancel: Cancel | None = None
    ) -> int:
        """Does ahead what a box will need; see :class:`TumorSegLib.engines.box.engine.BoxEngine`."""

    def segment(
        self,
        prepared: Prepared,
        prompt: BoxPrompt,
        options: BoxOptions | None = None,
        *,
        context: BoxContext | None = None,
        progress: Progress | None = None,
        cancel: Cancel | None = None,
    ) -> Refinement:
        """Segments the tumour in a box; see :class:`TumorSegLib.engines.box.engine.BoxEngine`."""
