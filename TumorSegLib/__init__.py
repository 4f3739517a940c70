"""TumorSegLib: tumour segmentation on CT, PET and MR, without Slicer and without Qt.

    >>> import TumorSegLib as ts
    >>> images = {"ct": ts.read_volume("CT", role="ct"), "pet": ts.read_volume("PET", role="pet")}
    >>> result = ts.load_engine("sts-auto").segment(images)
    >>> ts.write_mask(result.mask, "tumour.seg.nrrd")

Arrays are ``[k, j, i]``, voxel coordinates ``(i, j, k)``, world coordinates RAS millimetres. Names are loaded when
first used, so importing the package costs little and never imports torch. The logger ``TumorSegLib`` gets models,
devices, times, and roles and sizes of images; never anything of patients. Research software, not a medical device.
"""

from __future__ import annotations

import logging
from importlib import import_module
from typing import TYPE_CHECKING, Any

logging.getLogger(__name__).addHandler(logging.NullHandler())

if TYPE_CHECKING:
    from TumorSegLib.engines.load import load_engine as load_engine
    from TumorSegLib.errors import ArgumentError as ArgumentError
    from TumorSegLib.errors import Cancelled as Cancelled
    from TumorSegLib.errors import DownloadError as DownloadError
    from TumorSegLib.errors import GeometryError as GeometryError
    from TumorSegLib.errors import ModelError as ModelError
    from TumorSegLib.errors import ReadError as ReadError
    from TumorSegLib.errors import ResourceError as ResourceError
    from TumorSegLib.errors import RoleError as RoleError
    from TumorSegLib.errors import SuvError as SuvError
    from TumorSegLib.errors import TumorSegError as TumorSegError
    from TumorSegLib.errors import WriteError as WriteError
    from TumorSegLib.evaluation.labels import evaluate_labels as evaluate_labels
    from TumorSegLib.evaluation.metrics import evaluate as evaluate
    from TumorSegLib.geometry.grid import Grid as Grid
    from TumorSegLib.images.labels import Segment as Segment
    from TumorSegLib.images.labels import Segmentation as Segmentation
    from TumorSegLib.images.volume import Mask as Mask
    from TumorSegLib.images.volume import Volume as Volume
    from TumorSegLib.io.images import read_mask as read_mask
    from TumorSegLib.io.images import read_segmentation as read_segmentation
    from TumorSegLib.io.images import read_volume as read_volume
    from TumorSegLib.io.images import write_mask as write_mask
    from TumorSegLib.io.images import write_segmentation as write_segmentation
    from TumorSegLib.io.images import write_volume as write_volume
    from TumorSegLib.io.markups import read_prompts as read_prompts
    from TumorSegLib.lesions.split import split_lesions as split_lesions
    from TumorSegLib.measurements.tumour import Measurements as Measurements
    from TumorSegLib.measurements.tumour import measure as measure
    from TumorSegLib.models.registry import list_models as list_models
    from TumorSegLib.models.spec import ModelSpec as ModelSpec
    from TumorSegLib.phantom.patient import make_phantom as make_phantom
    from TumorSegLib.prompts.types import BoxPrompt as BoxPrompt
    from TumorSegLib.prompts.types import Click as Click
    from TumorSegLib.prompts.types import Line as Line
    from TumorSegLib.prompts.types import Prompts as Prompts
    from TumorSegLib.prompts.types import Scribble as Scribble
    from TumorSegLib.protocols import BoxOptions as BoxOptions
    from TumorSegLib.protocols import Result as Result
    from TumorSegLib.render.preview import write_preview as write_preview
    from TumorSegLib.render.surface import write_surface as write_surface
    from TumorSegLib.session.edit import Edit as Edit
    from TumorSegLib.session.overlap import Overlap as Overlap
    from TumorSegLib.session.session import Session as Session

__version__ = "0.1.0"

_HOMES = {
    "engines.load": ("load_engine",),
    "errors": (
        "ArgumentError",
        "Cancelled",
        "DownloadError",
        "GeometryError",
        "ModelError",
        "ReadError",
        "ResourceError",
        "RoleError",
        "SuvError",
        "TumorSegError",
        "WriteError",
    ),
    "geometry.grid": ("Grid",),
    "io.markups": ("read_prompts",),
    "lesions.split": ("split_lesions",),
    "measurements.tumour": ("Measurements", "measure"),
    "evaluation.labels": ("evaluate_labels",),
    "evaluation.metrics": ("evaluate",),
    "phantom.patient": ("make_phantom",),
    "render.preview": ("write_preview",),
    "prompts.types": ("BoxPrompt", "Click", "Line", "Prompts", "Scribble"),
    "protocols": ("BoxOptions", "Result"),
    "models.registry": ("list_models",),
    "models.spec": ("ModelSpec",),
    "session.edit": ("Edit",),
    "session.overlap": ("Overlap",),
    "session.session": ("Session",),
    "render.surface": ("write_surface",),
    "images.labels": ("Segment", "Segmentation"),
    "images.volume": ("Mask", "Volume"),
    "io.images": (
        "read_mask",
        "read_segmentation",
        "read_volume",
        "write_mask",
        "write_segmentation",
        "write_volume",
    ),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = sorted(_HOME_OF)  # noqa: PLE0605 - the table above is the one list


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME_OF})
