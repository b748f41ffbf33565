"""Classifier Zoo: dense, convolutional and hybrid image classifiers, and what runs their exported files."""
