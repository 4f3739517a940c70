"""The widgets of the module."""
