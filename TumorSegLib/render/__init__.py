"""Pictures and surfaces."""
