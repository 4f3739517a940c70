"""PyTorch's shared libraries, loaded so that the application goes on meanwhile."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import sys
from pathlib import Path
from typing import Any

#: In the order in which importing torch loads them; the second brings all others along.
NAMES = {"linux": ("libtorch_global_deps.so", "libtorch.so"), "darwin": ("libtorch.dylib",)}


def load() -> list[str]:
    """Loads PyTorch's libraries and returns the names of those that are loaded now; does not import torch.

    Python's import holds the interpreter's lock while the system loads a library, which takes long where it has to come
    from a disk, and all of Slicer stands still. A function called through ctypes does not hold it. Importing torch then
    finds them loaded; what cannot be loaded here it tries itself, and says why where that fails. ``libtorch_python`` is
    left to the import, as it may want the lock. On Windows torch calls the system through ctypes anyway.
    """
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None or sys.platform not in NAMES:
        return []
    dlopen = ctypes.CDLL(None).dlopen
    dlopen.argtypes, dlopen.restype = [ctypes.c_char_p, ctypes.c_int], ctypes.c_void_p
    folder, how = Path(spec.origin).parent / "lib", os.RTLD_NOW | os.RTLD_LOCAL
    return [name for name in NAMES[sys.platform] if dlopen(os.fsencode(folder / name), how)]


def loadEngine(name: str, device: str, precision: str) -> Any:
    """Loads an engine, PyTorch's libraries first.

    Args:
        name, device, precision: as for :func:`TumorSegLib.load_engine`.

    Raises:
        TumorSegError: as :func:`TumorSegLib.load_engine`; where packages are missing, how to get them.
    """
    load()
    from TumorSegLib import ModelError, load_engine
    from TumorSegSlicer.install import packages

    try:
        return load_engine(name, device, precision)
    except ModelError as error:
        if packages.missingPackages():  # perhaps one that the model needs
            raise packages.lacking(error) from error
        raise
