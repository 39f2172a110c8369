"""What executors are given and give back: cells to compute, their limits, their outcomes, and what is stored of them already."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from results.cell import Cell, PlannedCell, is_finished

if TYPE_CHECKING:
    from benchmark.cell.record import Frames
    from results.storage.store import Store

BUSY = "busy"
"""Status of a cell that another run is computing."""


@dataclass(frozen=True)
class Work:
    """A cell to compute: its inputs, the hyper-parameters that a tuning chose for it, and ``how`` to compute it if not as a run does.

    ``how`` takes the work and the store, and gives the record and the frames to be stored.
    """

    planned: PlannedCell
    inputs: Any
    chosen: dict[str, Any] | None = None
    how: Callable[[Work, Store], tuple[dict[str, Any], Frames]] | None = None


@dataclass(frozen=True)
class Limits:
    """The limits of one cell: ``minutes`` of wall time and ``gib`` of resident memory; None = no limit."""

    minutes: float | None = None
    gib: float | None = None

    def __bool__(self) -> bool:
        return self.minutes is not None or self.gib is not None


@dataclass(frozen=True)
class Outcome:
    """The outcome of a cell: its status (``busy`` where another run has it), the reason where it is not done, and its seconds.

    Cells of one name may differ by their key: an experiment's arms, true and shuffled outcomes.
    """

    planned: PlannedCell
    status: str
    reason: str | None
    seconds: float

    @property
    def cell(self) -> Cell:
        """The cell."""
        return self.planned.cell

    @classmethod
    def from_record(cls, planned: PlannedCell, record: dict[str, Any]) -> Outcome:
        """Return the outcome that the record of a cell states."""
        return cls(planned, record["status"], record["reason"], record["provenance"]["seconds"]["total"])


@dataclass(frozen=True)
class StoredCell:
    """The stored state of a cell: its ``record`` where every file matches its checksum, and the names of the files that do not.

    Nothing is stored where there is neither.
    """

    record: dict[str, Any] | None
    faults: list[str]

    @property
    def finished(self) -> bool:
        """Whether no run computes the cell again."""
        return is_finished(self.record)


def read_stored_cell(store: Store, planned: PlannedCell) -> StoredCell:
    """Return what the store has of a cell; every file of it is hashed."""
    faults = store.faults(planned)
    return StoredCell(None if faults else store.record(planned), faults)


@dataclass(frozen=True)
class Job:
    """The cells that a run computes, below ``store_root``, ``jobs`` at a time."""

    work: list[Work]
    store_root: Path
    jobs: int
    limits: Limits

    def with_work(self, work: Iterable[Work]) -> Job:
        """Return the same job for other cells."""
        return Job(list(work), self.store_root, self.jobs, self.limits)
