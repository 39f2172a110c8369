"""Stored results to tables and figures, as CSV, LaTeX, HTML and text. Imports ``results`` only, never torch."""
