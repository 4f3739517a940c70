"""What the parts of the panel share: settings, selection, tasks, packages, edited segments, messages."""
