"""What engines give, and what they ask of their callers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

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
