"""Models of other programs, nnU-Net v2 and MONAI bundles, computed as those do."""
