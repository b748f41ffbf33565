"""Catalogs of data sets, each read by a package of its own, and kept in our cache."""
