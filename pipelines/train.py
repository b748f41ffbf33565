"""`zoo train`."""
