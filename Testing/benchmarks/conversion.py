"""What OpenVINO takes before its first window: to convert a network, and to read one that was kept."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import TemporaryDirectory

import torch

from Testing.benchmarks.measuring import format_row, timed_both
from TumorSegLib.engines.backends.openvino import OpenVinoNetwork, openvino_dtypes
from TumorSegLib.engines.networks.unets import channel_count
from TumorSegLib.engines.weights import load_network
from TumorSegLib.models.registry import find_model

MODELS = ("sts-auto", "lesion-clicks", "sts-clicks")
CACHE = "TUMORSEG_CACHE"


def run() -> None:
    """Prints seconds of converting, reading, compiling with the first window, and of the next window."""
    dtype = openvino_dtypes()[0]
    for name in MODELS:
        model = find_model(name)
        network, window = load_network(model), torch.zeros(1, channel_count(model.spec), *model.spec.patch)
        with _empty_cache():
            converting, _ = timed_both("convert", lambda: OpenVinoNetwork(model.spec, network, dtype))  # noqa: B023
            reading, kept = timed_both("read", lambda: OpenVinoNetwork(model.spec, network, dtype))  # noqa: B023
        first, _ = timed_both("first_window", lambda: kept(window))  # noqa: B023
        following, _ = timed_both("next_window", lambda: kept(window))  # noqa: B023
        print(f"{name} on OpenVINO: {format_row({**converting, **reading, **first, **following})}", flush=True)


@contextmanager
def _empty_cache() -> Iterator[None]:
    """A cache for a block of code, removed afterwards; the user's own is left alone."""
    before = os.environ.get(CACHE)
    with TemporaryDirectory() as folder:
        os.environ[CACHE] = folder
        try:
            yield
        finally:
            os.environ.pop(CACHE)
            if before is not None:
                os.environ[CACHE] = before
