"""A first look has the figures of the main table."""

from reports.sections.table1 import section

__all__ = ["section"]
