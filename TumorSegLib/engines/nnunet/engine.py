"""The automatic engine of models of nnU-Net: images in, labels and their probabilities out, on the user's grid."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import torch

from TumorSegLib.engines.nnunet.answer import Answer
from TumorSegLib.engines.nnunet.preparation import PreparedCase, prepare
from TumorSegLib.engines.nnunet.windows import STEP, Windows, predict_logits
from TumorSegLib.engines.placement import CaseDevice, Network, PlacedEngine
from TumorSegLib.engines.runtime import Runtime
from TumorSegLib.errors import ResourceError
from TumorSegLib.images.volume import Images
from TumorSegLib.jobs import Cancel, Job, Progress
from TumorSegLib.memory import is_out_of_memory, memory_errors
from TumorSegLib.protocols import Result

# Voxels of the windows computed at once on a GPU: one window of three dimensions, several slices.
VOXELS_PER_PASS = 2**21


class NnunetEngine(PlacedEngine):
    """Segments a case without prompts, as nnU-Net would.

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
                default: up to eight times the work. Gives ``Result.uncertainty``.
            progress: called with (windows done, windows in all).
            cancel: asked between windows and, from any thread, between the mirror images of one.

        Raises:
            RoleError: the images are not what the model takes.
            GeometryError: an image does not overlap the first.
            Cancelled: ``cancel`` returned True.
            ResourceError: memory does not suffice.
        """
        job = Job(progress, cancel, "segmentation")
        taken = self.spec.nnunet_input
        with memory_errors(f"to run {self.spec.name!r}"):
            job.check("before it began")
            case = prepare(images, self.spec)
            job.lap("prepare")
            device = CaseDevice(self._placement)
            logits = _predict(device, case, Windows(taken.patch, taken.mirror_axes if mirror else ()), job)
            job.lap("network")
            job.check("after the last window")
            result = Answer(self.spec, case, with_uncertainty=mirror).of(logits, job)
            job.lap("restore")
        details = {
            "threads": torch.get_num_threads(),
            "network_spacing_mm": list(case.spacing_mm),
            "window": list(taken.patch),
            "overlap": 1 - STEP,
            "mirror": mirror,
            "windows": job.total,
            "windows_skipped": 0,
            "folds": taken.folds,
        }
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
