"""What is computed from answers and labels: scores, calibration, intervals, tests."""
