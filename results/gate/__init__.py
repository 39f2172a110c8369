"""The gate: locked metrics, and which of a store's got worse."""
