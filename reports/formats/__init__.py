"""From tables and figures to bytes: CSV, LaTeX, HTML, SVG and PDF."""
