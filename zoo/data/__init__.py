"""Data sets with labels and class names, split in train, validation and test."""
