"""What executors hand around: a cell to compute, the limits it has, and what became of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from benchmark.place import Place
from results.cell import Cell, PlannedCell

BUSY = "busy"
"""Status of a cell that another run is computing."""


@dataclass(frozen=True)
class Work:
    """A cell to compute: where its inputs lie, and the hyper-parameters that a tuning chose for it."""

    planned: PlannedCell
    place: Place
    chosen: dict[str, Any] | None = None


@dataclass(frozen=True)
class Limits:
    """What one cell may take: ``minutes`` of wall time and ``gib`` of resident memory; None = no limit."""

    minutes: float | None = None
    gib: float | None = None

    def __bool__(self) -> bool:
        return self.minutes is not None or self.gib is not None


@dataclass(frozen=True)
class Outcome:
    """What became of a cell: its status (``busy`` where another run has it), the reason where it is not done, and its seconds."""

    cell: Cell
    status: str
    reason: str | None
    seconds: float

    @classmethod
    def of(cls, planned: PlannedCell, record: dict[str, Any]) -> Outcome:
        """What the record of a cell says became of it."""
        return cls(planned.cell, record["status"], record["reason"], record["provenance"]["seconds"]["total"])


class Attempt(Protocol):
    """What an executor calls for each cell, wherever it does so; ``wait`` for a cell that another run has in hand."""

    def __call__(self, work: Work, wait: bool) -> Outcome:
        """What became of the cell."""


@dataclass(frozen=True)
class Job:
    """All that a run wants computed, below ``store_root``, ``jobs`` at a time."""

    work: list[Work]
    store_root: Path
    jobs: int
    limits: Limits

    def of(self, work: Iterable[Work]) -> Job:
        """The same for other cells."""
        return Job(list(work), self.store_root, self.jobs, self.limits)
