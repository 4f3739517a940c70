"""The interfaces of engines: their answers, options and methods."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from TumorSegLib.errors import ArgumentError
from TumorSegLib.geometry.arrays import UInt8Array
from TumorSegLib.geometry.boxes import slices as box_slices
from TumorSegLib.geometry.grid import Box
from TumorSegLib.images.labels import Segment, Segmentation
from TumorSegLib.images.volume import Images, Mask, Volume
from TumorSegLib.jobs import Cancel, Progress
from TumorSegLib.models.spec import ModelSpec, check_kind
from TumorSegLib.prompts.types import BoxPrompt, Prompts


@dataclass(frozen=True, eq=False)
class RunInfo(Mapping[str, Any]):
    """What made an answer. Also a mapping of its fields and details by name; ``dict(info)`` is JSON-ready.

    Attributes:
        model, version, weights_sha256: the model and the checksum of its weights.
        device: where the network ran, e.g. ``cpu`` or ``cuda (NVIDIA H100)``.
        precision: number type it ran in, e.g. ``bfloat16``.
        backend: what ran it, ``torch`` or ``openvino``.
        roles: of the images it was given.
        resampled_roles: of those that lay on another grid than the first image.
        seconds: by stage.
        notes: sentences for the user: how images were read, and what did not run as wanted.
        details: JSON-ready; what only one kind of engine has, such as ``windows`` or ``slices``.
    """

    model: str = ""
    version: str = ""
    weights_sha256: str = ""
    device: str = ""
    precision: str = ""
    backend: str = ""
    roles: tuple[str, ...] = ()
    resampled_roles: tuple[str, ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    details: Mapping[str, Any] = field(default_factory=dict)

    def with_details(self, **details: Any) -> RunInfo:
        """A copy with some more details."""
        return replace(self, details={**self.details, **details})

    def __getitem__(self, name: str) -> Any:
        if name in self.details:
            return self.details[name]
        if name not in _RUN_FIELDS:
            raise KeyError(name)
        value = getattr(self, name)
        return list(value) if isinstance(value, tuple) else value

    def __iter__(self) -> Iterator[str]:
        yield from _RUN_FIELDS
        yield from (name for name in self.details if name not in _RUN_FIELDS)

    def __len__(self) -> int:
        return sum(1 for _ in self)


_RUN_FIELDS = tuple(one.name for one in fields(RunInfo) if one.name != "details")


#: What is less probable is left out of a label's answer.
LEAST_PROBABILITY = 5e-4


@dataclass(frozen=True, eq=False)
class LabelAnswer:
    """What a model says of one of its labels.

    Attributes:
        value: of the label in the mask.
        box: half-open voxel box that holds all voxels where the label has a probability of ``LEAST_PROBABILITY``.
        probability: float16 or float32 ``[k, j, i]`` of that part, from 0 to 1. All labels of a result take at most 512
            MiB of memory; what exceeds that is mapped from a temporary file.
        region: whether it may overlap other labels, so that the mask, with one value per voxel, shows a part of it.
    """

    value: int
    box: Box
    probability: npt.NDArray[np.floating[Any]]
    region: bool = False


@dataclass(frozen=True, eq=False)
class Result:
    """The segmentation of a case, on the grid of the first image given.

    Attributes:
        mask: labels as in the model's ``labels``; a voxel is foreground where its probability exceeds 0.5.
        probability: of any label, float32 from 0 to 1, role ``probability``. Of several labels of nnU-Net, that of the
            most probable one against the background, or the highest of regions.
        uncertainty: predictive entropy in bits, float32 from 0 to 1 for one label, role ``uncertainty``; None unless
            mirroring was asked for.
        info: what made it; its details are ``threads``, ``network_spacing_mm``, ``window``, ``overlap``, ``mirror``,
            ``windows`` and ``windows_skipped``.
        labels: by name, each label's own answer; empty where the model has one label and does not name its answer.
    """

    mask: Mask
    probability: Volume
    uncertainty: Volume | None = None
    info: RunInfo = field(default_factory=RunInfo)
    labels: Mapping[str, LabelAnswer] = field(default_factory=dict)

    def probability_of(self, label: str) -> Volume:
        """The probability of one label, float32 from 0 to 1; raises :class:`ArgumentError` for an unknown one."""
        answer, grid = self._answer(label), self.probability.grid
        array = np.zeros(grid.shape, np.float32)
        array[box_slices(answer.box)] = answer.probability
        return Volume(grid, array, "probability")

    def mask_of(self, label: str) -> Mask:
        """One label, 0 or 1, a region with the parts that others cover; raises :class:`ArgumentError` as above.

        A region has nothing outside the mask, so that what was removed from that is not in it.
        """
        answer = self._answer(label)
        array: npt.NDArray[np.bool_] = self.mask.array == answer.value
        if answer.region:
            at = box_slices(answer.box)
            array[at] |= (answer.probability > 0.5) & (self.mask.array[at] > 0)
        return Mask(self.mask.grid, array.view(np.uint8))

    @property
    def segmentation(self) -> Segmentation:
        """The labels by name, each with a colour; regions that overlap are whole. Without names: "label 1" ..."""
        segments = [Segment(name, answer.value) for name, answer in self.labels.items()]
        if not any(answer.region for answer in self.labels.values()):
            return Segmentation.of_labels(self.mask, segments)
        masks = [(each, self.mask_of(each.name)) for each in segments]
        found = Segmentation.of_masks(masks)
        if np.array_equal(found.label_map().array, self.mask.array):
            return found
        # Where a model does not say which region is on top in a label map, the smaller one is.
        return Segmentation.of_masks(sorted(masks, key=lambda each: -each[1].volume_ml))

    def _answer(self, label: str) -> LabelAnswer:
        if label not in self.labels:
            raise ArgumentError(f"there is no label {label!r}; there are {', '.join(self.labels) or 'none by name'}")
        return self.labels[label]


@dataclass(frozen=True, eq=False)
class Refinement:
    """A corrected part of a segmentation.

    Attributes:
        box: half-open voxel box of the part.
        probability: uint8 ``[k, j, i]`` of that part, 255 for 1; tumour from 128 on.
        info: what made it; of a box model its details are ``role`` and ``slices``.
    """

    box: Box
    probability: UInt8Array
    info: RunInfo = field(default_factory=RunInfo)


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


class AutoSegmenter(Engine, Protocol):
    """Segments without prompts."""

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
    """How a 2D model gets the image in a box.

    Attributes:
        role: of the image; the first one where empty.
        axes: 0, 1 or 2 for slices along i, j or k; answers along several are averaged.
        ct_window: name of the display window for CT, see :mod:`TumorSegLib.images.display_windows`.

    Raises:
        ArgumentError: the axes are not such numbers, each at most once.
    """

    role: str = ""
    axes: tuple[int, ...] = (2,)
    ct_window: str = "soft-tissue"

    def __post_init__(self) -> None:
        axes = tuple(self.axes) if isinstance(self.axes, Sequence) else ()
        if not axes or not set(axes) <= {0, 1, 2} or len(set(axes)) < len(axes):
            raise ArgumentError(f"axes {self.axes!r} must name some of 0, 1 and 2 (i, j, k), each once")
        object.__setattr__(self, "axes", axes)


PreparedCase = TypeVar("PreparedCase")


class ClickSegmenter(Engine, Protocol[PreparedCase]):
    """Corrects a segmentation from clicks and scribbles."""

    def prepare(self, images: Images) -> PreparedCase:
        """Prepares the images of a case for :meth:`refine`, once per case."""

    def refine(
        self, prepared: PreparedCase, probability: UInt8Array, prompts: Prompts, cancel: Cancel | None = None
    ) -> Refinement:
        """Answers the last prompt; see :class:`TumorSegLib.engines.clicks.engine.ClickEngine`."""


class BoxSegmenter(Engine, Protocol[PreparedCase]):
    """Segments the tumour in a box."""

    def prepare(self, images: Images, options: BoxOptions | None = None) -> PreparedCase:
        """Prepares the images of a case for :meth:`segment`, once per case, role and window."""

    def embed(
        self, prepared: PreparedCase, prompt: BoxPrompt, options: BoxOptions | None = None, cancel: Cancel | None = None
    ) -> int:
        """Embeds the slices of a box ahead; see :class:`TumorSegLib.engines.box.engine.BoxEngine`."""

    def segment(
        self,
        prepared: PreparedCase,
        prompt: BoxPrompt,
        options: BoxOptions | None = None,
        *,
        within: BoxPrompt | None = None,
        progress: Progress | None = None,
        cancel: Cancel | None = None,
    ) -> Refinement:
        """Segments the tumour in a box; see :class:`TumorSegLib.engines.box.engine.BoxEngine`."""
