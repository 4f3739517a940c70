"""Fine-tuning of SAM models for boxes."""
