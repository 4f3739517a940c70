"""What a model of nnU-Net v2 takes: the plan of its training, as far as inference needs it.

Isensee et al., "nnU-Net: a self-configuring method for deep learning-based biomedical image segmentation", Nature
Methods 2021. Axes of the network are those of the image, ``[k, j, i]``, in the order of ``transpose``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from TumorSegLib.errors import ModelError

#: By nnU-Net's name.
SCHEMES = {
    "CTNormalization": "ct",
    "ZScoreNormalization": "zscore",
    "RescaleTo01Normalization": "rescale",
    "RGBTo01Normalization": "rgb",
    "NoNormalization": "none",
}


@dataclass(frozen=True)
class NnunetChannel:
    """A channel of the network and how its image is normalised.

    Attributes:
        name: as in ``dataset.json``.
        scheme: ``ct`` (limited to ``low`` and ``high``, then ``(x - mean) / std``), ``zscore`` (mean 0, variance 1 over
            the image), ``rescale`` (0 to 1), ``rgb`` (divided by 255) or ``none``.
        masked: whether a z-score is taken over what is not zero, and applied there only.
        mean, std, low, high: of the training data, for ``ct``.

    Raises:
        ModelError: the scheme is unknown, or a number of ``ct`` impossible.
    """

    name: str
    scheme: str
    masked: bool = False
    mean: float = 0.0
    std: float = 1.0
    low: float = -1e30
    high: float = 1e30

    def __post_init__(self) -> None:
        if self.scheme not in SCHEMES.values():
            raise ModelError(
                f"channel {self.name!r}: scheme {self.scheme!r} is not one of {', '.join(SCHEMES.values())}"
            )
        if not (self.low <= self.high and self.std >= 0 and math.isfinite(self.mean) and math.isfinite(self.std)):
            raise ModelError(f"channel {self.name!r}: impossible intensities in {self}")


@dataclass(frozen=True)
class NnunetResampling:
    """How an array is brought to another spacing.

    Attributes:
        order: of the spline.
        order_z: of the spline along the axis with the thickest voxels, where that is resampled apart.
        separate_z: whether it is; None leaves it to the spacing: where the thickest edge of a voxel is more than three
            times as long as the thinnest.

    Raises:
        ModelError: an order is not 0 to 5.
    """

    order: int = 3
    order_z: int = 0
    separate_z: bool | None = None

    def __post_init__(self) -> None:
        if not (0 <= self.order <= 5 and 0 <= self.order_z <= 5):
            raise ModelError(f"orders of resampling {self.order} and {self.order_z} are not both from 0 to 5")


@dataclass(frozen=True)
class NnunetInput:
    """Images of a case on one lattice, prepared and cut into windows as nnU-Net v2 does.

    Attributes:
        channels: by role, in the order the network takes them.
        spacing_mm: voxel size that the network works at, in its axes; of two axes for a 2D configuration, which leaves
            the first one as it is.
        patch: window, in the network's axes; 1 voxel along the first axis for a 2D configuration.
        transpose: the axes of ``[k, j, i]`` in the order of the network.
        image_resampling, logits_resampling: of the input and of the network's answer.
        mirror_axes: of the network, along which training mirrored; none where mirroring would harm.
        regions: whether the labels are regions that may overlap, each with a sigmoid, and not the classes of a softmax.
        folds: how many networks the weights hold; their logits are averaged.
        reorient: whether the image is turned to the axes closest to right-anterior-superior first.

    Raises:
        ModelError: values contradict each other or are out of range.
    """

    kind: ClassVar[str] = "auto"
    images: ClassVar[str] = "volumes, prepared as nnU-Net does"
    channels: Mapping[str, NnunetChannel]
    spacing_mm: tuple[float, ...]
    patch: tuple[int, int, int]
    transpose: tuple[int, int, int] = (0, 1, 2)
    image_resampling: NnunetResampling = NnunetResampling()
    logits_resampling: NnunetResampling = NnunetResampling(order=1)
    mirror_axes: tuple[int, ...] = ()
    regions: bool = False
    folds: int = 1
    reorient: bool = False

    def __post_init__(self) -> None:
        axes = len(self.spacing_mm)
        checks = {
            "there are no channels": not self.channels,
            f"spacing_mm {self.spacing_mm} is not two or three positive numbers": axes not in (2, 3)
            or not all(0 < edge < math.inf for edge in self.spacing_mm),
            f"patch {self.patch} is not three positive whole numbers": min(self.patch) < 1,
            f"patch {self.patch} has more than one slice, spacing_mm {self.spacing_mm} is of a 2D configuration": axes
            == 2
            and self.patch[0] != 1,
            f"transpose {self.transpose} is not an order of 0, 1 and 2": sorted(self.transpose) != [0, 1, 2],
            f"mirror_axes {self.mirror_axes} are not some of 0, 1 and 2": not set(self.mirror_axes) <= {0, 1, 2}
            or len(set(self.mirror_axes)) < len(self.mirror_axes),
            f"folds {self.folds} is not a number from 1 up": self.folds < 1,
        }
        if problems := [text for text, wrong in checks.items() if wrong]:
            raise ModelError("; ".join(problems))

    @property
    def roles(self) -> tuple[str, ...]:
        """Roles of the images, in the network's order."""
        return tuple(self.channels)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)
