"""The images and the segment that the user has chosen."""

from __future__ import annotations

from collections.abc import Collection
from typing import TypeAlias

import slicer
from slicer.i18n import tr as _

from TumorSegSlicer.logic import TumorSegLogic
from TumorSegSlicer.mrml.overlays import shownImages
from TumorSegSlicer.panel.shared.settings import Settings
from TumorSegSlicer.panel.shared.signals import Signal
from TumorSegSlicer.parameters import IMAGES, ROLES, ImageRole

SegmentationNode: TypeAlias = slicer.vtkMRMLSegmentationNode
VolumeNode: TypeAlias = slicer.vtkMRMLScalarVolumeNode


class Selection:
    """The images and the segment that the user has chosen.

    Attributes:
        onTarget: emitted when another segment is selected.
    """

    def __init__(self, settings: Settings, logic: TumorSegLogic) -> None:
        """Begins with what the scene has selected."""
        self._settings, self._logic = settings, logic
        self.onTarget = Signal()
        self.restart()

    def restart(self) -> None:
        """Takes what the scene has selected, without emitting onTarget; for after a scene was closed or read."""
        parameters = self._settings.parameters
        self._selected = (parameters.segmentation, parameters.segmentId)

    def chosen(self) -> dict[int, tuple[VolumeNode, ImageRole]]:
        """Number of a selector, from 0, to its image and role; an image that is chosen twice counts once."""
        found: dict[int, tuple[VolumeNode, ImageRole]] = {}
        parameters = self._settings.parameters
        for number, (image, role) in enumerate(zip(IMAGES, ROLES)):
            node = getattr(parameters, image)
            if node is not None and all(node is not other for other, _role in found.values()):
                found[number] = node, getattr(parameters, role)
        return found

    def images(self) -> dict[str, VolumeNode]:
        """Role to image, in order; of two images with one role the second has a number in its role."""
        images: dict[str, VolumeNode] = {}
        for node, role in self.chosen().values():
            names = (f"{role.value}_{number}" if number > 1 else role.value for number in range(1, len(IMAGES) + 1))
            images[next(name for name in names if name not in images)] = node
        return images

    @staticmethod
    def otherShown(images: Collection[VolumeNode]) -> str:
        """That the views show another image than those that are worked on, and what to do; empty where they do not."""
        shown = shownImages()
        if not shown or not images or shown[0] in images:
            return ""
        words = _("The views show '{shown}', but '{chosen}' is segmented: choose the image under Images.")
        return words.format(shown=shown[0].GetName(), chosen=next(iter(images)).GetName())

    def target(self) -> tuple[SegmentationNode, str] | None:
        """Segmentation and id of the selected segment; None where there is none."""
        node, segmentId = self._settings.parameters.segmentation, self._settings.parameters.segmentId
        if node is None or node.GetSegmentation().GetSegment(segmentId) is None:
            return None
        return node, segmentId

    def setTarget(self, node: SegmentationNode | None, segmentId: str) -> None:
        """Selects a segment; one that does not exist means none."""
        if node is None or node.GetSegmentation().GetSegment(segmentId) is None:
            segmentId = ""
        if (node, segmentId) == self._selected:
            return
        self._selected = (node, segmentId)
        self._settings.setQuietly(segmentation=node, segmentId=segmentId)
        self.onTarget.emit()

    def volumeInWords(self, target: tuple[SegmentationNode, str] | None) -> str:
        """Volume of a segment, with its name if it is not the selected one; empty if it has no session."""
        from TumorSegLib.images.volume import number_text

        volume = self._logic.volumeMl(*target) if target is not None else None
        if target is None or volume is None:
            return ""
        segment = target[0].GetSegmentation().GetSegment(target[1])
        if segment is None or target == self.target():
            return _("{volume} ml").format(volume=number_text(volume))
        return _("{segment}: {volume} ml").format(segment=segment.GetName(), volume=number_text(volume))
