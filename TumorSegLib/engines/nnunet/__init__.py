"""Models of nnU-Net v2, computed as nnU-Net does."""
