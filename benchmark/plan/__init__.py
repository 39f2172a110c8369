"""What a run intends: configuration, table rows, cells with their keys, tuning, and what is stored of them."""
