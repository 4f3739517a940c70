"""Errors that the panel shows without a dialog.

They are imported where they are raised or caught, since the library may be missing when the module is loaded.
"""

from TumorSegLib.errors import ArgumentError


class StatusLineError(ArgumentError):
    """A small mistake, such as a click outside the image: the status line reports it."""
