"""What is run, in which order, on which rows."""
