"""Data that lie elsewhere: files that their authors publish, and the formats that these have."""
