"""Runs: written, read, listed, kept up."""
