"""Lattices of voxels and boxes of voxels."""

from TumorSegLib.geometry.grid import LPS_TO_RAS, Box, FloatArray, Grid

__all__ = ["LPS_TO_RAS", "Box", "FloatArray", "Grid"]
