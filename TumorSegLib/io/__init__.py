"""Files of images, masks and prompts."""
