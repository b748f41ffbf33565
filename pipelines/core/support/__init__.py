"""Files, locks, processes and text: helpers that know nothing of models."""
