"""Training configurations: TOML to typed values."""
