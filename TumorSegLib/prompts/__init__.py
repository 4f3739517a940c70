"""Clicks, scribbles and boxes; their encoding for networks; their constraints."""

from TumorSegLib.prompts.types import BoxPrompt, Click, Prompts, Scribble

__all__ = ["BoxPrompt", "Click", "Prompts", "Scribble"]
