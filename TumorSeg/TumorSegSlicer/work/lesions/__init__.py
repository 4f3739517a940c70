"""Lesions as segments: one split into several, several merged into one, their figures for a list."""
