"""What reading DICOM logs: modality, numbers of files, size; no path and no other tag."""

from __future__ import annotations

import logging
from pathlib import Path

import pydicom
import pytest

from Testing.unit.cases.dicom_series import write_series
from TumorSegLib.io.images import read_volume

#: Value types of text, identifiers and dates; numbers of a tag may be equal to a size by chance.
TEXTS = {"AE", "DA", "DT", "LO", "LT", "PN", "SH", "ST", "TM", "UI", "UT"}


def test_log_of_a_dicom_folder_has_sizes_and_no_path_or_tag_of_the_patient(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "TumorSegLib")
    folder = tmp_path / "DOE_JANE_19570312"
    write_series(
        folder,
        names=[f"DOE{n}.dcm" for n in range(5)],
        PatientName="DOE^JANE",
        PatientID="MRN-4711",
        PatientBirthDate="19570312",
        SeriesDescription="Jane Doe chest",
        StudyInstanceUID="1.2.840.4711",
    )
    (folder / "DOE.txt").write_text("JANE")
    size = read_volume(folder).grid.size
    text = "\n".join(f"{record.getMessage()} {record.args}" for record in caplog.records)
    assert "DICOM series (modality, slices): [('CT', 5)]; left out: 1 other files, 0 damaged" in text
    assert f"read a ct image (DICOM): {size} voxels, " in text
    elements = list(pydicom.dcmread(folder / "DOE0.dcm"))
    values = {str(one.value) for one in elements if one.VR in TEXTS and one.value}
    assert values >= {"DOE^JANE", "MRN-4711", "19570312", "Jane Doe chest", "1.2.840.4711"}
    for secret in (*values, "DOE", "JANE", str(tmp_path)):
        assert secret not in text, secret
