"""Merging box models of one architecture: MedSAMix (Yang et al. 2025)."""
