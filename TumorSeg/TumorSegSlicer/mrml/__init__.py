"""The scene and the library: nodes to images, masks and prompts, and back. No Qt."""
