"""The automatic engine of imported models: images in, labels and their probabilities out, on the user's grid."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import torch

from TumorSegLib.engines.imported import monai_preparation, nnunet_preparation
from TumorSegLib.engines.imported.answer import Answer, Reading
from TumorSegLib.engines.imported.case import PreparedCase
from TumorSegLib.engines.imported.monai_largest import keep_largest
from TumorSegLib.engines.imported.windows import STEP, MonaiBlending, Windows, predict_logits
from TumorSegLib.engines.placement import CaseDevice, Network, PlacedEngine
from TumorSegLib.engines.runtime import Runtime
from TumorSegLib.errors import ResourceError
from TumorSegLib.images.volume import Images
from TumorSegLib.jobs import Cancel, Job, Progress
from TumorSegLib.memory import is_out_of_memory, memory_errors
from TumorSegLib.models.monai import MonaiInput, MonaiLargest
from TumorSegLib.models.spec import ModelSpec
from TumorSegLib.protocols import Result

# Voxels of the windows computed at once on a GPU: one window of three dimensions, several slices.
VOXELS_PER_PASS = 2**21


@dataclass(frozen=True)
class Method:
    """How the program that trained a model computes.

    Attributes:
        prepare: images to the input of the network.
        windows: without mirror images.
        mirror_axes: along which mirror images may be averaged.
        reading: of the answer.
        activate_first: whether probabilities and not logits are restored to the image.
        overlap: smallest share of a window that the next one covers.
        folds: networks whose answers are averaged.
        largest: what of the answer stays; None where all does.
    """

    prepare: Callable[[Images, ModelSpec], PreparedCase]
    windows: Windows
    reading: Reading
    mirror_axes: tuple[int, ...] = ()
    activate_first: bool = False
    overlap: float = 1 - STEP
    folds: int = 1
    largest: MonaiLargest | None = None

    @classmethod
    def of(cls, spec: ModelSpec) -> Method:
        """That of a model; raises :class:`ModelError` where it is of no other program."""
        if isinstance(spec.input, MonaiInput):
            return cls._of_monai(spec, spec.input)
        taken, names = spec.nnunet_input, list(spec.labels)
        outputs = {name: number for number, name in enumerate(names)} if taken.regions else dict(spec.labels)
        reading = Reading(spec.labels, outputs, taken.regions)
        windows = Windows(taken.patch)
        return cls(nnunet_preparation.prepare, windows, reading, taken.mirror_axes, folds=taken.folds)

    def details(self, case: PreparedCase) -> dict[str, Any]:
        """What is said of a run beside what all engines say."""
        return {
            "threads": torch.get_num_threads(),
            "network_spacing_mm": list(case.spacing_mm),
            "window": list(self.windows.size),
            "overlap": self.overlap,
            "windows_skipped": 0,
            "folds": self.folds,
        }

    @classmethod
    def _of_monai(cls, spec: ModelSpec, taken: MonaiInput) -> Method:
        blending = MonaiBlending(taken.overlap, taken.gaussian, taken.sigma_scale, taken.padding, taken.padding_value)
        return cls(
            monai_preparation.prepare,
            Windows(taken.patch, blending=blending),
            Reading(spec.labels, taken.outputs, taken.regions, taken.ordered),
            activate_first=taken.activate_first,
            overlap=min(taken.overlap),
            largest=taken.largest,
        )


class ImportedEngine(PlacedEngine):
    """Segments a case without prompts, as nnU-Net or MONAI would.

    One engine may serve many cases, from several threads. The weights are kept in the runtime's precision.
    """

    def segment(
        self,
        images: Images,
        *,
        mirror: bool = False,
        progress: Progress | None = None,
        cancel: Cancel | None = None,
    ) -> Result:
        """Segments a case.

        Args:
            images: role to image, all roles of the model. Images on other grids are brought to the first one's; the
                result is on the first one's grid.
            mirror: average over the mirror images along the axes that the training mirrored, as nnU-Net does by
                default: up to eight times the work; a MONAI bundle names none. Gives ``Result.uncertainty``.
            progress: called with (windows done, windows in all).
            cancel: asked between windows and, from any thread, between the mirror images of one.

        Raises:
            RoleError: the images are not what the model takes.
            GeometryError: an image does not overlap the first.
            Cancelled: ``cancel`` returned True.
            ResourceError: memory does not suffice.
        """
        job, method = Job(progress, cancel, "segmentation"), Method.of(self.spec)
        with memory_errors(f"to run {self.spec.name!r}"):
            job.check("before it began")
            case = method.prepare(images, self.spec)
            job.lap("prepare")
            device = CaseDevice(self._placement)
            windows = replace(method.windows, mirror_axes=method.mirror_axes if mirror else ())
            logits = _predict(device, case, windows, job)
            job.lap("network")
            job.check("after the last window")
            collected = Answer(method.reading, case, with_uncertainty=mirror)
            result = collected.of(logits, job, activate_first=method.activate_first)
            if method.largest is not None:
                result = keep_largest(result, method.largest)
            job.lap("restore")
        details = {"mirror": mirror, "windows": job.total, **method.details(case)}
        notes = [f"{role}: {note}" for role, volume in images.items() for note in volume.notes]
        info = device.info(job, roles=tuple(images), resampled_roles=case.resampled, notes=notes, details=details)
        return replace(result, info=info)


def _predict(device: CaseDevice, case: PreparedCase, windows: Windows, job: Job) -> torch.Tensor:
    """The network's logits, with as many windows at once as memory suffices for."""

    def settings(runtime: Runtime) -> Iterable[Windows]:
        voxels = windows.size[0] * windows.size[1] * windows.size[2]
        most = max(VOXELS_PER_PASS // voxels, 1) if runtime.device.type == "cuda" else 1
        return [replace(windows, batch=batch) for batch in dict.fromkeys((most, 1))]

    def compute(network: Network, runtime: Runtime, setting: Windows) -> torch.Tensor:
        return predict_logits(network, case.array, setting, runtime, job)

    try:
        return device.run(compute, settings, job)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise ResourceError(
            f"not enough memory to run windows of {windows.size} voxels on an image of {case.array.shape[1:]}: {error}"
        ) from error
