"""Stored results to CSV and LaTeX. Imports ``results`` only, never torch."""
