"""Lattices of voxels and boxes of voxels."""

from TumorSegLib.geometry.arrays import Float64Array
from TumorSegLib.geometry.grid import LPS_TO_RAS, Box, Grid

__all__ = ["LPS_TO_RAS", "Box", "Float64Array", "Grid"]
