"""The command ``tumorseg``."""

from TumorSegLib.cli.entry import main

__all__ = ["main"]
