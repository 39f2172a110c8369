"""What may leave a site: counts and frames with small cells suppressed."""
