"""The experiments, grouped by idea."""
