"""Commands on the tracking store."""
