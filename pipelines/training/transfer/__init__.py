"""Starting from the weights of another model."""
