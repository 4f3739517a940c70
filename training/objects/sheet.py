"""A contact sheet of what a source of objects gives, to be looked at."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from training.config.objects import SOURCES
from training.config.train import Configuration
from training.objects.draw import ObjectSources
from training.objects.sample import ObjectSample
from TumorSegLib.files import make_folder, replacing

COLUMNS, ROWS = 6, 4


def write_sheets(configuration: Configuration, root: Path, folder: Path) -> list[Path]:
    """Writes one PNG per source, with 24 of its objects, the contour in red; makes the folder.

    There is none of suggested objects where the configuration names no folder of them.

    Raises:
        WriteError: the folder cannot be made.
        TumorSegError: as :meth:`ObjectSources.read`.
    """
    sources = ObjectSources.read(configuration, root)
    make_folder(folder)
    paths = []
    for source in SOURCES:
        if source == "suggested" and not sources.settings.suggested:
            continue
        rng = np.random.default_rng([configuration.optimisation.seed, SOURCES.index(source)])
        samples = [sources.draw(rng, source) for _ in range(COLUMNS * ROWS)]
        path = folder / f"{source}.png"
        _write(path, samples, source)
        paths.append(path)
    return paths


def _write(path: Path, samples: list[ObjectSample], title: str) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(ROWS, COLUMNS, figsize=(2.2 * COLUMNS, 2.3 * ROWS))
    for axis, sample in zip(axes.ravel(), samples):
        channel = int(np.argmax(sample.images.std(axis=(1, 2, 3))))
        k = int(sample.truth.sum(axis=(1, 2)).argmax())
        axis.imshow(sample.images[channel, k], cmap="gray")
        axis.contour(sample.truth[k], [0.5], colors="red", linewidths=0.8)
        axis.set_title(f"channel {channel}, {int(sample.truth.sum())} voxels", fontsize=7)
        axis.axis("off")
    figure.suptitle(title)
    figure.tight_layout()
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=80)
    plt.close(figure)
