"""Models in the store and in its registry."""
