"""One file a method, and what methods share."""
