"""The logger ``TumorSegLib``: models, devices, times, roles and sizes of images; nothing of a patient."""

from __future__ import annotations

import logging
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from Testing.fakes import noise_volume, tiny_network, tiny_spec, write_model
from Testing.unit.engines.box_cases import tiny_sam
from TumorSegLib.engines.clicks.engine import ClickEngine
from TumorSegLib.engines.load import load_engine
from TumorSegLib.engines.runtime import Runtime
from TumorSegLib.geometry.grid import Grid
from TumorSegLib.io.images import read_volume, write_volume
from TumorSegLib.prompts.types import BoxPrompt, Click
from TumorSegLib.session.session import Session


def test_log_names_model_device_and_seconds_and_nothing_of_the_patient(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "TumorSegLib")
    path = tmp_path / "DOE_JANE_19570312.nii.gz"
    write_volume(noise_volume(Grid.from_spacing((31, 33, 35), (1, 1, 1)), "mr_t1"), path)
    images = {"mr_t1": read_volume(path, "mr_t1")}
    spec = tiny_spec(roles=("mr_t1",), kind="clicks", spacing_mm=(2.0, 2.0, 2.0), patch=(16, 16, 16))
    auto = load_engine(write_model(tmp_path, tiny_spec(roles=("mr_t1",))), "cpu", "float32")
    clicks = ClickEngine(spec, tiny_network(spec), Runtime(torch.device("cpu"), torch.float32))
    session = Session(images, auto=auto, clicks=clicks, box=tiny_sam()[0])
    session.segment()
    session.add_click(Click((27, 13, 19)))
    session.add_box(BoxPrompt(((11, 23), (9, 26), (14, 28))))
    session.undo()
    session.add_segment("Jane")
    session.add_click(Click((13, 17, 19)))
    Session.from_json(session.to_json(), images)
    text = "\n".join(record.getMessage() for record in caplog.records)
    assert "tiny 1.2.3 is loaded on cpu in float32" in text
    assert re.search(r"tiny 1\.2\.3 ran on cpu in float32: seconds {.*'network': [\d.]+", text)
    assert re.search(r"bright 1\.2\.3 ran on cpu in float32: seconds {'encode'", text)
    for event in (
        "read a mr_t1 image (.nii.gz): (35, 33, 31) voxels, float32, in ",
        "tiny 1.2.3: weights.safetensors has the checksum of the description",
        "undone steps dropped for a new one: 1",
        "restored a session of version 4; segments: 2, steps: 3, of them done: 3",
    ):
        assert event in text, event
    for secret in ("DOE", "Jane", "1957", str(tmp_path), "27, 13", "13, 17", "11, 23"):
        assert secret not in text, secret


def test_log_is_silent_unless_the_application_wants_it() -> None:
    code = "import logging, TumorSegLib; logging.getLogger('TumorSegLib.engines.runtime').warning('unheard')"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == run.stderr == ""
