"""What is done with a finished file: predict, place, time."""
