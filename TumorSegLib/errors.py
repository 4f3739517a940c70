"""The one exception tree of the library.

Every public entry raises a :class:`TumorSegError` for bad input; errors of SimpleITK, pydicom, torch and the
operating system are translated at the border where they occur, with the original as ``__cause__``.
"""

from __future__ import annotations


class TumorSegError(Exception):
    """Base of all errors of TumorSeg; the message names the bad value and what would be right."""


class ReadError(TumorSegError):
    """A file or folder is missing, unreadable, truncated or holds something other than one 3D image."""


class WriteError(TumorSegError):
    """A file could not be written; what was there before is unchanged."""


class GeometryError(TumorSegError):
    """A grid is impossible (spacing, direction, shape) or two grids do not belong together."""


class SuvError(TumorSegError):
    """A PET series lacks, or contradicts, what standardised uptake values are computed from."""


class RoleError(TumorSegError):
    """The channels given are not those a model takes."""


class ArgumentError(TumorSegError):
    """An argument has a value outside its domain."""


class ModelError(TumorSegError):
    """A model is unknown, incomplete, corrupt or tampered with."""


class DownloadError(TumorSegError):
    """A file could not be fetched, or is not the one it should be; what was there before is unchanged."""


class ResourceError(TumorSegError):
    """Memory, disk or a device ran out, after every cheaper way was tried."""


class Cancelled(TumorSegError):
    """The caller asked to stop; nothing was changed."""
