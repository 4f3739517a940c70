"""Recognising lack of memory among errors of libraries: numpy raises MemoryError, ITK and PyTorch RuntimeError."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from TumorSegLib.errors import ResourceError

#: Parts of messages for lack of memory, in lower case: CUDA, PyTorch's allocators, cuDNN and cuBLAS, ITK, C++,
#: Linux, its loader, oneDNN and Python.
OUT_OF_MEMORY = (
    "out of memory",
    "can't allocate memory",
    "not enough memory",
    "alloc_failed",
    "failed to allocate memory",
    "bad_alloc",
    "cannot allocate memory",
    "failed to map segment",
    "could not create a primitive",
    "can't start new thread",
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error of any library means that the memory of the machine or of its GPU ran out."""
    return isinstance(error, MemoryError) or any(words in str(error).lower() for words in OUT_OF_MEMORY)


@contextmanager
def memory_errors(what: str) -> Iterator[None]:
    """Raises :class:`ResourceError` in place of any library's error for lack of memory."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise ResourceError(f"not enough memory {what}" + (f": {error}" if str(error) else "")) from error
