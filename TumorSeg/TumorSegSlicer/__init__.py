"""What the Slicer module is made of, beside its panel; importing it imports neither torch nor the library."""
