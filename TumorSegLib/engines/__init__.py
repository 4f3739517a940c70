"""The engines; the only code that imports torch."""
