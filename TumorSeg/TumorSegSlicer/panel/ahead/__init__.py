"""What the panel does before it is asked for, while nothing else is done."""
