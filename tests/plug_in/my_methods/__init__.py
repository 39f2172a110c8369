"""A little package of methods from outside the repository: one that works and two that do not."""
