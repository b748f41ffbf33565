"""Files, locks, processes and text: helpers that don't depend on models."""
