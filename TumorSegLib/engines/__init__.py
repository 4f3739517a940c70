"""Engines: networks and how they are run. The only part of the library that imports torch."""
