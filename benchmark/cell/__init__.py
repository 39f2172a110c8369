"""One cell: its inputs, its key, how it is computed, scored and recorded."""
