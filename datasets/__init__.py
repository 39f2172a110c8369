"""What a cohort is, and how each one is built. Imports nothing else of this project."""
