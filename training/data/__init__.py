"""Cases, augmentation and batches."""
