"""Cells as files: the store, its folders, checksums and locks."""
