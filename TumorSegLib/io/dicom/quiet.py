"""Keeping pydicom and ITK from standard error while series are read; what matters in their warnings is raised here.

Both settings are of the whole process: they hold while any thread is inside, and are as before once the last has left.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import SimpleITK as sitk


class _WhileAnyThread:
    """A setting of the process that the first thread makes and the last one takes back."""

    def __init__(self, setting: Callable[[], AbstractContextManager[None]]) -> None:
        self._setting = setting
        self._made = setting()
        self._lock, self._threads = threading.Lock(), 0

    @contextmanager
    def __call__(self) -> Iterator[None]:
        with self._lock:
            if self._threads == 0:
                self._made = self._setting()
                self._made.__enter__()
            self._threads += 1
        try:
            yield
        finally:
            with self._lock:
                self._threads -= 1
                if self._threads == 0:
                    self._made.__exit__(None, None, None)


@contextmanager
def _without_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield


@contextmanager
def _without_display() -> Iterator[None]:
    displayed = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        yield
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(displayed)


#: Without pydicom's warnings of every value that breaks the standard, on reading and on first use.
quiet_pydicom = _WhileAnyThread(_without_warnings)
#: Without what ITK prints on standard error.
quiet_itk = _WhileAnyThread(_without_display)
