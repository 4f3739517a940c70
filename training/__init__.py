"""Training of the models: run from a checkout as ``python -m training``."""
