"""What is computed from predictions and labels: metrics, calibration, intervals, tests."""
