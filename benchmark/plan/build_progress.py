"""How far the building of a dataset is, from the lines that its builder says."""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib import import_module

from benchmark.show import format_duration, format_progress
from datasets.registry import DatasetInfo

PACKAGES = {"eicu": "eicu", "mimic": "mimic_iv"}
FINISHED = re.compile(r".*: [\d,]+ (rows kept( for .+)?|stays, [\d,]+ features)")
"""Lines that a builder says when it has read a table, or built the cohort of a landmark."""


class BuildProgress:
    """Takes the lines that a builder says, passes them on, and counts the tables and landmarks done among them."""

    def __init__(self, info: DatasetInfo, say: Callable[[str], None] | None) -> None:
        self._info, self._say = info, say
        self._done, self._last = 0, ""

    def say(self, line: str) -> None:
        """Take a line of the builder."""
        self._done += FINISHED.fullmatch(line) is not None
        self._last = line
        if self._say is not None:
            self._say(line)

    def describe(self, seconds: float) -> str:
        """Return a line that says how far the building is after so many seconds."""
        last = f" ({self._last})" if self._last else ""
        if self._info.kind not in PACKAGES or not self._done:
            return f"preparing {self._info.name}: {format_duration(seconds)} so far{last}"
        left = max(0, self._count_steps() - self._done)
        return f"building {self._info.name}: tables and landmarks {format_progress(self._done, 0, left, seconds)}{last}"

    def _count_steps(self) -> int:
        package = f"datasets.{PACKAGES[self._info.kind]}"
        sources = import_module(f"{package}.sources")
        tables = sum(len(getattr(sources, group, ())) for group in ("WIDE", "VITALS", "LONG"))
        return tables + len(import_module(f"{package}.build").LANDMARKS)
