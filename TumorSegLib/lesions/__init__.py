"""Lesions: the separate tumours of one mask."""

from TumorSegLib.lesions.split import split_lesions

__all__ = ["split_lesions"]
