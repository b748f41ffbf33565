"""Known data sets, one file each."""
