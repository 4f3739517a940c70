"""Standardised uptake value from the tags of a PET."""
