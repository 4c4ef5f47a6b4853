"""Score predictions: metrics, intervals, calibration, baselines and submission files."""
