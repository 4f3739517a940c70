"""Converters from other projects' checkpoints to model folders."""
