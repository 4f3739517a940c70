"""The list of lesions, which are the segments of the chosen segmentation."""
