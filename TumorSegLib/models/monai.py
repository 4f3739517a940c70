"""What a model of a MONAI bundle takes: what its configuration says, as plain data, as far as inference needs it.

Cardoso et al., "MONAI: An open-source framework for deep learning in healthcare", arXiv 2211.02701. Axes of the network
are those of MONAI's arrays, ``[i, j, k]`` of the image until a step turns them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from TumorSegLib.errors import ModelError

ORIENTATION, SPACING, CROP = "Orientation", "Spacing", "CropForeground"
#: Steps of the preparation by MONAI's name, and the arguments each takes.
STEPS: Mapping[str, tuple[str, ...]] = {
    ORIENTATION: ("axcodes",),
    SPACING: ("pixdim", "nearest"),
    CROP: ("above", "margin", "k_divisible", "allow_smaller", "value"),
    "NormalizeIntensity": ("subtrahend", "divisor", "nonzero", "channel_wise"),
    "ScaleIntensity": ("minv", "maxv", "factor", "channel_wise"),
    "ScaleIntensityRange": ("a_min", "a_max", "b_min", "b_max", "clip"),
    "ScaleIntensityRangePercentiles": ("lower", "upper", "b_min", "b_max", "clip", "relative", "channel_wise"),
    "ThresholdIntensity": ("threshold", "above", "cval"),
}
SOFTMAX, SIGMOID = "softmax", "sigmoid"
PADDINGS = ("constant", "replicate")


@dataclass(frozen=True)
class MonaiStep:
    """A step of the preparation.

    Attributes:
        name: of :data:`STEPS`.
        arguments: numbers, lists of numbers, true, false or none; of an orientation text, as in ``RAS``.

    Raises:
        ModelError: step or argument is unknown, or a value is none of these.
    """

    name: str
    arguments: Mapping[str, Any]

    def __post_init__(self) -> None:
        if self.name not in STEPS:
            raise ModelError(f"step {self.name!r} is not supported; {', '.join(STEPS)} are")
        for key, value in self.arguments.items():
            if key not in STEPS[self.name]:
                raise ModelError(f"{self.name}: argument {key!r} is not supported; {', '.join(STEPS[self.name])} are")
            if key == "axcodes":
                _check_codes(value)
            elif not (value is None or all(map(_is_number, value if isinstance(value, list | tuple) else [value]))):
                raise ModelError(f"{self.name}: {key} = {str(value)[:60]!r} is not a number or a list of numbers")
        if self.name == SPACING:
            _check_spacing(self.arguments.get("pixdim"))


def _check_codes(value: object) -> None:
    pairs = {"R": 0, "L": 0, "A": 1, "P": 1, "S": 2, "I": 2}
    if not isinstance(value, str) or sorted(pairs.get(letter, -1) for letter in value) != [0, 1, 2]:
        raise ModelError(f"{ORIENTATION}: axcodes = {str(value)[:60]!r} are not three letters as in RAS or LPS")


def _check_spacing(value: object) -> None:
    numbers = value if isinstance(value, list | tuple) else []
    if len(numbers) != 3 or not all(_is_number(edge) and 0 < edge < math.inf for edge in numbers):
        raise ModelError(f"{SPACING}: pixdim = {str(value)[:60]} is not three positive numbers")


def _is_number(value: object) -> bool:
    return isinstance(value, bool) or (isinstance(value, int | float) and math.isfinite(value))


@dataclass(frozen=True)
class MonaiLargest:
    """Keeps the largest connected region, as ``KeepLargestConnectedComponent`` of MONAI does.

    Attributes:
        labels: names of those it is done for.
        together: whether the labels are one object of which the largest region stays, not each for itself.
        connectivity: steps along the axes to a neighbour: 1 for faces, 2 for edges too, 3 for corners too.
    """

    labels: tuple[str, ...]
    together: bool = False
    connectivity: int = 3

    def __post_init__(self) -> None:
        if not 1 <= self.connectivity <= 3:
            raise ModelError(f"connectivity {self.connectivity} is not 1, 2 or 3")


@dataclass(frozen=True)
class MonaiInput:
    """Images of a case on one lattice, prepared and cut into windows as a MONAI bundle's configuration says.

    Attributes:
        channels: the bundle's name by role, in the order the network takes them.
        steps: of the preparation, in order.
        patch: window, in the network's axes.
        outputs: the network's channel by label.
        activation: ``softmax``, of which channel 0 is the background, or ``sigmoid``, of regions that may overlap.
        activate_first: whether probabilities and not logits are turned back to the image.
        nearest: whether they are turned back by the nearest voxel, not linearly.
        overlap: share of a window that the next one covers, per axis.
        gaussian: whether a window counts more in its middle.
        sigma_scale: standard deviation of the Gaussian as a share of the window.
        padding, padding_value: ``constant`` or ``replicate``: what surrounds an image smaller than a window.
        ordered: whether a later label of the model covers earlier ones in a label map; else the smaller the larger one.
        largest: labels of which the largest connected region stays; None where all stays.

    Raises:
        ModelError: values contradict each other or are out of range.
    """

    kind: ClassVar[str] = "auto"
    images: ClassVar[str] = "volumes, prepared as a MONAI bundle says"
    channels: Mapping[str, str]
    steps: tuple[MonaiStep, ...]
    patch: tuple[int, int, int]
    outputs: Mapping[str, int]
    activation: str = SOFTMAX
    activate_first: bool = True
    nearest: bool = False
    overlap: tuple[float, float, float] = (0.25, 0.25, 0.25)
    gaussian: bool = False
    sigma_scale: float = 0.125
    padding: str = PADDINGS[0]
    padding_value: float = 0.0
    ordered: bool = True
    largest: MonaiLargest | None = None

    def __post_init__(self) -> None:
        numbers = sorted(self.outputs.values())
        first = 1 if self.activation == SOFTMAX else 0
        checks = {
            "there are no channels": not self.channels,
            f"patch {self.patch} is not three positive whole numbers": min(self.patch) < 1,
            f"activation {self.activation!r} is not {SOFTMAX} or {SIGMOID}": self.activation not in (SOFTMAX, SIGMOID),
            f"outputs {dict(self.outputs)} do not count up": numbers != list(range(first, first + len(numbers))),
            f"overlap {self.overlap} is not three shares from 0 to less than 1": not all(
                0 <= share < 1 for share in self.overlap
            ),
            f"sigma_scale {self.sigma_scale} is not a positive number": not 0 < self.sigma_scale < math.inf,
            f"padding {self.padding!r} is not one of {', '.join(PADDINGS)}": self.padding not in PADDINGS,
            "voxels get another spacing more than once": [step.name for step in self.steps].count(SPACING) > 1,
            "labels of the largest region are not all the model's": self.largest is not None
            and not set(self.largest.labels) <= set(self.outputs),
        }
        if problems := [text for text, wrong in checks.items() if wrong]:
            raise ModelError("; ".join(problems))

    @property
    def roles(self) -> tuple[str, ...]:
        """Roles of the images, in the network's order."""
        return tuple(self.channels)

    @property
    def regions(self) -> bool:
        """Whether the labels may overlap."""
        return self.activation == SIGMOID

    @property
    def out_channels(self) -> int:
        """Channels of the network's answer."""
        return max(self.outputs.values()) + 1

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)
