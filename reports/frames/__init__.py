"""From the store to tidy data frames."""
