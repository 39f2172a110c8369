"""The plan of a run: configuration, table rows, cells with their keys, tuning, and what is stored of them."""
