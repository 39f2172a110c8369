"""A store that a report reads: each record, statistics file and frame of groups is read once, however many tables need it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from results.cell import PlannedCell
from results.storage.store import Store


class Records(Store):
    """A store whose files are taken as they are at the first reading; what it gives is shared, and not to be changed."""

    def __init__(self, root: Path | str) -> None:
        super().__init__(root)
        self._records: dict[Path, dict[str, Any] | None] = {}
        self._statistics: dict[str, dict[str, Any] | None] = {}
        self._groups: dict[str, pd.DataFrame | None] = {}

    def record(self, planned: PlannedCell) -> dict[str, Any] | None:
        """Return what ``Store.record`` returns."""
        folder = self.folder(planned)
        if folder not in self._records:
            self._records[folder] = super().record(planned)
        return self._records[folder]

    def statistics(self, name: str) -> dict[str, Any] | None:
        """Return what ``Store.statistics`` returns."""
        if name not in self._statistics:
            self._statistics[name] = super().statistics(name)
        return self._statistics[name]

    def groups(self, name: str) -> pd.DataFrame | None:
        """Return what ``Store.groups`` returns."""
        if name not in self._groups:
            self._groups[name] = super().groups(name)
        return self._groups[name]
