"""Models measured on patients."""
