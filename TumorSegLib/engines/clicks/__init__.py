"""Segmentation by clicks and scribbles."""
