"""Actions that change the voxels of a segment, and take changes back."""
