"""DICOM series: which files, which voxels, which unit."""
