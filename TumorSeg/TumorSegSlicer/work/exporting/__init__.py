"""Segmentations written to files."""
