"""Data that lie elsewhere: files that their authors publish, catalogs of data sets, and the formats that these have."""
