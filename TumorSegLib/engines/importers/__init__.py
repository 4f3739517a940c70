"""Foreign checkpoints made model folders."""
