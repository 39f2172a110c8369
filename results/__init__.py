"""What a result is: cells, store, metrics, statistics. Imports nothing else of this project, and never torch."""
