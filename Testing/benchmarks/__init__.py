"""Benchmarks: ``make bench``, or ``python -m Testing.benchmarks [import] [speed] [accuracy]``. They only print."""
