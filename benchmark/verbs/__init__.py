"""One file a verb of the command line: its ``arguments``, and ``run``. Heavy imports stand inside the functions."""
