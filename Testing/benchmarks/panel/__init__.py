"""The panel: what it adds to the library, and how long its window stands still in large images."""
