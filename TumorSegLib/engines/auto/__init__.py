"""Automatic segmentation by sliding window."""
