"""Objects of any kind in images of any kind, for a class-agnostic prompt model."""
