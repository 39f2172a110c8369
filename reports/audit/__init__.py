"""The report of the audit: its tables, figure, document and simulations."""
