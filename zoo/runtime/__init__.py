"""Runs an exported file: numpy, onnxruntime and Pillow, nothing else."""
