"""Benchmarks of models for boxes."""
