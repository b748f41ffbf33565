"""Folders, lists and arrays of images."""
