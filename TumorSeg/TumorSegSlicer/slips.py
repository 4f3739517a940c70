"""Errors that the panel shows without a dialog: slips of the hand, and what Slicer has shown already.

To be imported where they are raised or looked for, since the library may be missing when the module is loaded.
"""

from TumorSegLib.errors import ArgumentError, TumorSegError


class Slip(ArgumentError):
    """A click outside the image, or a segment that must not change: the status line says so."""


class Told(TumorSegError):
    """An error that Slicer itself has shown in a dialog with all details."""
