"""Segmentation of the tumour in a box, slice by slice."""
