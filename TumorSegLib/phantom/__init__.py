"""Synthetic patients with tumours."""

from TumorSegLib.phantom.patient import Phantom, make_phantom

__all__ = ["Phantom", "make_phantom"]
