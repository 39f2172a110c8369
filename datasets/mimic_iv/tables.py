"""The raw tables of a MIMIC-IV release, versions 2.2 to 3.1: folders ``hosp/`` and ``icu/``, moments as text."""

from __future__ import annotations

from pathlib import Path

from datasets.raw import tables
from datasets.raw.tables import text


def second(column: str) -> str:
    """Return SQL for a moment or a day (its first second) as whole seconds, rounded down, NULL where it is blank or unreadable.

    Dates are shifted per patient, so only differences within a patient mean anything.
    """
    return f"CAST(floor(epoch(TRY_CAST({text(column)} AS TIMESTAMP))) AS BIGINT)"


class Release(tables.Release):
    """The folder of one MIMIC-IV release.

    Raises:
        CohortError: where the folder does not exist.
    """

    owner = "subject_id"
    moment_form = "2150-03-01 12:00:00"
    read_moment = staticmethod(second)

    def __init__(self, root: Path) -> None:
        super().__init__(root, "hosp/ and icu/ of MIMIC-IV")

    def has(self, table: str, column: str) -> bool:
        """Return whether ``table`` has ``column``."""
        return column in self.header(table)
