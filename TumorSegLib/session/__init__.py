"""One case being segmented: its segments, their history, saving it."""

from TumorSegLib.session.session import Session

__all__ = ["Session"]
