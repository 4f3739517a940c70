"""Masks compared with references."""

from TumorSegLib.evaluation.metrics import evaluate

__all__ = ["evaluate"]
