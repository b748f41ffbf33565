"""Measuring a model on its test set."""
