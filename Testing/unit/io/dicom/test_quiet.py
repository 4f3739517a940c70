"""Warnings of libraries are kept back while any thread reads, and come back after the last."""

from __future__ import annotations

import warnings

import SimpleITK as sitk

from TumorSegLib.io.dicom.quiet import quiet_itk, quiet_pydicom


def test_warnings_come_back_when_the_last_of_overlapping_readers_has_ended() -> None:
    shown, filters = sitk.ProcessObject.GetGlobalWarningDisplay(), list(warnings.filters)
    first, second = (quiet_itk(), quiet_pydicom()), (quiet_itk(), quiet_pydicom())
    for reader in (*first, *second):
        reader.__enter__()
    for reader in first:  # ends before the second, as in two threads
        reader.__exit__(None, None, None)
    assert not sitk.ProcessObject.GetGlobalWarningDisplay()
    assert warnings.filters[0][0] == "ignore"
    for reader in second:
        reader.__exit__(None, None, None)
    assert sitk.ProcessObject.GetGlobalWarningDisplay() == shown
    assert list(warnings.filters) == filters
