"""The numbers that the paper printed, next to those measured here."""
