"""The numbers that the paper printed, beside those measured here."""
