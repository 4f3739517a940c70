"""Markups as 3D Slicer writes them, and a grid they lie on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from scipy.spatial.transform import Rotation

from TumorSegLib.geometry.grid import Grid

SCHEMA = "https://raw.githubusercontent.com/slicer/slicer/master/Modules/Loadable/Markups/Resources/Schema/"
# RAS 0 to 40, 0 to 60, 0 to 90 mm between the outer faces of 40 x 30 x 30 voxels of 1 x 2 x 3 mm.
GRID = Grid.from_spacing((30, 30, 40), (1.0, 2.0, 3.0), (0.5, 1.0, 1.5))
TURN = Rotation.from_euler("xyz", [20, -35, 50], degrees=True).as_matrix()
IDENTITY = [1.0, 0, 0, 0, 1, 0, 0, 0, 1]


def point(position: Any, label: str = "F-1", **more: Any) -> dict[str, Any]:
    return {"label": label, "description": "", "position": position, "positionStatus": "defined"} | more


def points(*controls: Any, **more: Any) -> dict[str, Any]:
    return {"type": "Fiducial", "coordinateSystem": "LPS", "coordinateUnits": "mm", "controlPoints": controls} | more


def roi(center: Any, size: Any, orientation: Any = IDENTITY, **more: Any) -> dict[str, Any]:
    box = {"type": "ROI", "coordinateSystem": "RAS", "coordinateUnits": "mm", "roiType": "Box"}
    return box | {"center": center, "size": size, "orientation": list(orientation)} | more


def line(*positions: Any, **more: Any) -> dict[str, Any]:
    return points(*map(point, positions), type="Line") | more


def saved(folder: Path, *markups: Any, name: str = "case.mrk.json") -> Path:
    path = folder / name
    path.write_text(json.dumps({"@schema": SCHEMA + "markups-schema-v1.0.3.json#", "markups": markups}))
    return path
