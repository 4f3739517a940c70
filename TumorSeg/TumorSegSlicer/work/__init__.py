"""Actions, sessions and the one thread that works. No Qt."""
