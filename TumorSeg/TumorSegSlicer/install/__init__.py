"""Packages that Slicer's Python lacks, installed on first use."""
