"""The picture of an evaluation by clicks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import imread

from training.evaluation.plot import COLOURS, write_curve
from TumorSegLib.errors import WriteError

CURVES = [[0.0, 0.6, 0.8], [0.2, 0.8, 1.0]]
Panels = list[Axes]


def report_of(**subsets: dict[str, list[str]]) -> dict[str, Any]:
    """Methods by start by subset; every one has the same two curves."""
    entry = {"cases": [{"dice": curve} for curve in CURVES]}
    tables = {r: {start: dict.fromkeys(names, entry) for start, names in s.items()} for r, s in subsets.items()}
    return {"model": "tiny", "version": "1.2.3", "fold": None, "clicks": 2, "subsets": tables}


@pytest.fixture
def panels(monkeypatch: pytest.MonkeyPatch) -> Panels:
    """The axes of the figures drawn, which are written as well."""
    drawn: Panels = []
    save = Figure.savefig

    def remember(figure: Figure, *arguments: Any, **options: Any) -> None:
        drawn.extend(figure.axes)
        save(figure, *arguments, **options)

    monkeypatch.setattr(Figure, "savefig", remember)
    return drawn


def test_curves_are_means_over_cases_and_baselines_share_the_colour(tmp_path: Path, panels: Panels) -> None:
    path = tmp_path / "curve.png"
    report = report_of(
        ct={"automatic": ["refiner", "without previous map"], "nothing": ["refiner", "grow from seeds"]},
        pet={"automatic": ["refiner"], "nothing": ["refiner", "PET 41 %"]},
    )
    write_curve(report, path)
    assert path.read_bytes().startswith(b"\x89PNG")
    assert imread(path).shape[1] == pytest.approx(2 * 6.2 * 130, abs=2)
    assert [axis.get_title() for axis in panels] == ["from automatic", "from nothing"]
    labels = [[line.get_label() for line in axis.lines] for axis in panels]
    assert labels == [["ct", "ct, without previous map", "pet"], ["ct", "ct, grow from seeds", "pet", "pet, PET 41 %"]]
    first, baseline, second = panels[0].lines
    assert np.allclose(first.get_ydata(), [0.1, 0.7, 0.9])
    assert list(first.get_xdata()) == [0, 1, 2]
    assert first.get_color() == baseline.get_color() != second.get_color()
    assert first.get_linestyle() != baseline.get_linestyle()
    assert [len(axis.collections) for axis in panels] == [2, 2]  # a band for the refiner alone
    edges = panels[0].collections[0].get_paths()[0].vertices
    assert (edges[:, 1].min(), edges[:, 1].max()) == pytest.approx((0.0, 1.0))
    figure = panels[0].figure
    assert figure.get_suptitle() == "tiny 1.2.3, all folds, 2 cases, simulated clicks"


def test_a_subset_without_one_of_the_starts(tmp_path: Path, panels: Panels) -> None:
    report = {**report_of(ct={"nothing": ["refiner"]}, pet={"automatic": ["refiner"]}), "fold": 0}
    write_curve(report, tmp_path / "curve.png")
    assert [[line.get_label() for line in axis.lines] for axis in panels] == [["ct"], ["pet"]]
    assert "fold 0, 2 cases" in panels[0].figure.get_suptitle()


def test_more_subsets_than_colours_are_all_drawn(tmp_path: Path, panels: Panels) -> None:
    names = [f"role_{n}" for n in range(len(COLOURS) + 2)]
    write_curve(report_of(**{name: {"nothing": ["refiner"]} for name in names}), tmp_path / "curve.png")
    assert [line.get_label() for line in panels[0].lines] == names


def test_a_picture_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(WriteError, match=r"nowhere/curve\.png: cannot be written, the folder .* does not exist"):
        write_curve(report_of(ct={"nothing": ["refiner"]}), tmp_path / "nowhere" / "curve.png")
