"""The copy of a network in 8-bit integers that a model folder may have beside its weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from TumorSegLib.errors import ModelError

#: OpenVINO's description of the network, and its weights.
INT8_NETWORK, INT8_WEIGHTS = "int8.xml", "int8.bin"
# What the copy may lose where it is used unasked: of the mean Dice to the reference, and of the mean Dice to the masks
# of the network itself; that must be higher where there is no reference.
MOST_LOSS, LEAST_AGREEMENT, LEAST_WITHOUT_REFERENCE = 0.002, 0.995, 0.998


@dataclass(frozen=True)
class Agreement:
    """Masks of the copy against those of the network in float32.

    Each figure is that of the subset of roles, or of the number of clicks, for which it is worst.

    Attributes:
        cases: how many were measured.
        mean: Dice between the two masks, mean over the cases.
        worst: of the case that agrees least.
        dice_loss: how much lower the mean Dice to the reference is than that of float32, negative where it is higher;
            None where a case has no reference.
    """

    cases: int
    mean: float
    worst: float
    dice_loss: float | None = None

    @property
    def holds(self) -> bool:
        """Whether the copy may be used in place of the network: see ``MOST_LOSS`` and ``LEAST_AGREEMENT``."""
        loss, least = self.dice_loss, LEAST_WITHOUT_REFERENCE if self.dice_loss is None else LEAST_AGREEMENT
        return self.cases > 0 and self.mean >= least and (loss is None or loss <= MOST_LOSS)

    def __str__(self) -> str:
        loss = "not measured" if self.dice_loss is None else f"{self.dice_loss:.4f}"
        return (
            f"cases {self.cases}, Dice to the masks of float32 {self.mean:.4f} (worst {self.worst:.4f}), "
            f"loss of Dice to the reference {loss}"
        )


@dataclass(frozen=True)
class Int8Copy:
    """What ``model.json`` says of the copy.

    Attributes:
        network_sha256, constants_sha256: of ``int8.xml`` and ``int8.bin``.
        weights_sha256: of the weights that the copy was made from; it is not used with others.
        made_with: versions of the packages that made it.
        calibration: JSON-ready; the cases that the ranges of values come from, and the number of windows.
        held_out: on cases of the same folder that are not among those of the calibration; None until it is measured.
        measured: by the command that measures it; the copy is used unasked only where all :attr:`Agreement.holds`,
            and one is on cases with a reference.

    Raises:
        ModelError: a checksum is missing.
    """

    network_sha256: str
    constants_sha256: str
    weights_sha256: str
    made_with: str
    calibration: Mapping[str, Any]
    held_out: Agreement | None = None
    measured: Mapping[str, Agreement] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not (self.network_sha256 and self.constants_sha256 and self.weights_sha256):
            raise ModelError("int8 lacks a checksum; set it to null in model.json to use the model without the copy")

    @property
    def holds(self) -> bool:
        """Whether measurements allow to use the copy unasked."""
        return not self.doubt

    @property
    def doubt(self) -> str:
        """Why measurements do not allow to use the copy unasked, as text; empty where they do."""
        failed = [f"{name}: {each}" for name, each in self.measured.items() if not each.holds]
        if not failed and not any(each.dice_loss is not None for each in self.measured.values()):
            return "it was not measured on cases with a reference"
        return "; ".join(failed)
