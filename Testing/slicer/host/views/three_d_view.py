"""A real 3D view: Slicer's displayable managers in a camera's view. The host has it only where one is added."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import slicer
import vtk

from Testing.slicer.host.views.rendered_view import RenderedView

MANAGERS = (
    "vtkMRMLCameraDisplayableManager",
    "vtkMRMLViewDisplayableManager",
    "vtkMRMLModelDisplayableManager",
    "vtkMRMLSegmentationsDisplayableManager3D",
    "vtkMRMLMarkupsDisplayableManager",
)


class ThreeDView(RenderedView):
    """``qMRMLThreeDView``, to be looked at: the mouse does nothing in it."""

    def __init__(self, application_logic: Any, scene: Any, name: str = "1") -> None:
        super().__init__()
        # vtkMRMLViewDisplayableManager wants an interactor style that has a camera, as the application's has.
        self._style = vtk.vtkInteractorStyleUser()
        self._interactor.SetInteractorStyle(self._style)
        self._logic = slicer.vtkMRMLViewLogic()
        self._logic.SetMRMLApplicationLogic(application_logic)
        self._logic.SetMRMLScene(scene)
        self._node = self._logic.AddViewNode(name)
        factory = slicer.vtkMRMLThreeDViewDisplayableManagerFactory.GetInstance()
        self._group = self.add_managers(application_logic, factory, MANAGERS)
        self._group.SetMRMLDisplayableNode(self._node)
        self._renderer.SetGradientBackground(True)
        self._renderer.SetBackground(self._node.GetBackgroundColor())
        self._renderer.SetBackground2(self._node.GetBackgroundColor2())

    def close_view(self) -> None:
        """Lets go of the scene, for another view; this one is of no use afterwards."""
        scene = self._logic.GetMRMLScene()
        self._group.SetMRMLDisplayableNode(None)
        self._logic.SetMRMLScene(None)
        if scene.IsNodePresent(self._node):
            scene.RemoveNode(self._node)
        super().close_view()

    # As in Slicer

    def mrmlViewNode(self) -> Any:
        return self._node

    def look(self, azimuth: float, elevation: float, bounds: Sequence[float]) -> None:
        """Turns the camera by angles in degrees and comes so near that RAS bounds in mm fill the view."""
        camera = self._renderer.GetActiveCamera()
        camera.Azimuth(azimuth)
        camera.Elevation(elevation)
        self._renderer.ResetCamera(bounds)
        self._changed()
