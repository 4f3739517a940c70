"""Errors that need no dialog of the panel: slips of the hand, and what the user was shown already.

To be imported where they are raised or looked for, since the library may be missing when the module is loaded.
"""

from TumorSegLib.errors import ArgumentError, TumorSegError


class Slip(ArgumentError):
    """A click that went astray or a segment that must not change: the status line says it, and work goes on."""


class Told(TumorSegError):
    """What Slicer itself has shown in a dialog with all details."""
