"""From tidy frames to the tables of a report, with their captions."""
