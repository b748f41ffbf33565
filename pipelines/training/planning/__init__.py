"""What is decided before a training: model, size, recipe by the data, epochs by a time, a learning rate by a test."""
