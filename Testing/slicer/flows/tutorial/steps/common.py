"""Steps of several tasks: images come, the module opens, a lesion is found in the list."""

from __future__ import annotations

import numpy as np

from Testing.slicer.flows.tutorial.reader import Reader, step
from Testing.slicer.module import chosen, ras_of
from TumorSegLib import make_phantom
from TumorSegLib.images.volume import number_text
from TumorSegLib.phantom.lesions import make_brain_lesion, make_lung_nodules


@step(
    "Load the images: Sample Data > TumorSeg > **TumorSeg phantom (PET/CT and MR of a thigh)**. The CT is "
    "shown, with the PET over it."
)
def load_thigh(reader: Reader) -> None:
    reader.user.sample("TumorSeg phantom (PET/CT and MR of a thigh)")
    reader.lesions = [make_phantom(101, region="limb").tumour.array > 0]
    assert shown() == ["Phantom CT", "Phantom PET"]


@step("Load the image: Sample Data > TumorSeg > **TumorSeg phantom (CT of two lung nodules)**.")
def load_nodules(reader: Reader) -> None:
    reader.user.sample("TumorSeg phantom (CT of two lung nodules)")
    labels = make_lung_nodules(0).lesions.array
    reader.lesions = [labels == 1, labels == 2]
    assert shown() == ["Phantom CT"]


@step("Load the image: Sample Data > TumorSeg > **TumorSeg phantom (FLAIR of a brain lesion)**.")
def load_brain(reader: Reader) -> None:
    reader.user.sample("TumorSeg phantom (FLAIR of a brain lesion)")
    reader.lesions = [make_brain_lesion(0).lesions.array > 0]
    assert shown() == ["Phantom FLAIR"]


def shown() -> list[str]:
    """Names of the images in the views."""
    from TumorSegSlicer.mrml.overlays import shownImages

    return [volume.GetName() for volume in shownImages()]


@step("Open the module **TumorSeg**. It works on the images that the views show; Images at its top names them.")
def open_module(reader: Reader) -> None:
    reader.user.open()
    roles = {"Phantom CT": "ct", "Phantom PET": "pet", "Phantom FLAIR": "mr_flair"}
    for name in shown():
        assert chosen(reader.user.ui, roles[name]).GetName() == name


@step('Press the key **P**. The strip says "Click on the lesion in a slice view. Ctrl+click: not tumour."')
def take_points(reader: Reader) -> None:
    reader.user.key("P")
    assert reader.user.ui.pointButton.checked


@step("Click on its row in the list, **Tumour**: all views move to its middle.")
def click_row(reader: Reader) -> None:
    reader.user.click_row("Tumour")
    assert_in_view(reader)


def assert_in_view(reader: Reader) -> None:
    """The slice of each view cuts through the selected segment."""
    import slicer

    user = reader.user
    places = [ras_of(user.image, (i, j, k)) for k, j, i in np.argwhere(user.mask())]
    for name in ("Red", "Green", "Yellow"):
        matrix = slicer.util.arrayFromVTKMatrix(user.host.slice_view_node(name).GetSliceToRAS())
        along = (np.asarray(places) - matrix[:3, 3]) @ matrix[:3, 2]
        assert along.min() <= 0 <= along.max(), name


def assert_listed(reader: Reader) -> None:
    """The list has the volume of the selected segment."""
    from Testing.slicer.lesion_list import VOLUME

    lesions = reader.user.lesions
    shown = float(lesions.texts(VOLUME)[lesions.row_of(reader.user.segment)])
    voxel = float(np.prod(reader.user.image.GetSpacing())) / 1000
    assert abs(shown - reader.user.mask().sum() * voxel) < 0.06


def assert_said_volume(reader: Reader) -> None:
    """The strip names the volume of the selected segment."""
    voxel = float(np.prod(reader.user.image.GetSpacing())) / 1000
    assert f" {number_text(reader.user.mask().sum() * voxel)} ml" in reader.user.said
