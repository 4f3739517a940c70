"""How segments and images are seen."""
