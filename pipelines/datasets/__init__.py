"""What is in a data set: the check, its report and its plots."""
