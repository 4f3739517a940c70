"""Notes of engines on standard error."""

from __future__ import annotations

from dataclasses import replace

import pytest

from Testing.fakes import noise_volume
from TumorSegLib.cli.common import print_notes
from TumorSegLib.geometry.grid import Grid
from TumorSegLib.protocols import RunInfo

FALLBACK = "There was not enough memory on cuda for sts-auto: it ran on the CPU, slower."


def test_notes_of_runs_are_printed_once_and_those_of_images_not_again(capsys: pytest.CaptureFixture[str]) -> None:
    volume = replace(noise_volume(Grid.from_spacing((4, 4, 4), (1, 1, 1))), notes=("unit is assumed",))
    automatic = RunInfo("sts-auto", notes=(FALLBACK, "ct: unit is assumed"))
    box = RunInfo("lite-medsam").with_details(refined=dict(RunInfo("sts-clicks", notes=("another one",))))
    print_notes([automatic, automatic, box], {"ct": volume})
    printed = capsys.readouterr().err
    assert printed.count(FALLBACK) == printed.count("another one") == 1
    assert "unit is assumed" not in printed
