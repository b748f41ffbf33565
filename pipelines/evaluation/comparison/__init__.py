"""Models side by side, and image by image."""
