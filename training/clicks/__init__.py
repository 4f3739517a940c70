"""Simulated clicks and episodes of them."""
