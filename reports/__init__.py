"""Stored results to tables and figures, as CSV, LaTeX and HTML. Imports ``results`` only, never torch."""
