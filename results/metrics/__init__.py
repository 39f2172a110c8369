"""Discrimination, calibration and decision metrics of predicted probabilities."""
