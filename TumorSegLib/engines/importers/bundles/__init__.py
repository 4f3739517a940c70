"""MONAI bundles made into model folders; nothing in a bundle is executed."""
