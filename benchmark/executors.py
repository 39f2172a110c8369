"""Where cells are computed: one generator that yields each as it finishes, stored by the process that computed it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from joblib import Parallel, delayed, parallel_config

from benchmark.run_cell import Place, run_cell
from results.cell import Cell, PlannedCell
from results.store import Store


@dataclass(frozen=True)
class Outcome:
    """What became of a cell: its status, the reason where it is not done, and its seconds."""

    cell: Cell
    status: str
    reason: str | None
    seconds: float


@contextmanager
def one_thread() -> Iterator[None]:
    """Numerical libraries on one thread and repeatable: small batches are slower on several, and results must not depend on how many."""
    import torch
    from threadpoolctl import threadpool_limits

    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True, warn_only=True)
    with threadpool_limits(1):
        yield


def execute(planned: PlannedCell, place: Place, store_root: Path) -> Outcome:
    """Compute one cell on one thread and store it."""
    with one_thread():
        record, frames = run_cell(planned, place)
    Store(store_root).write(planned, record, frames)
    return Outcome(planned.cell, record["status"], record["reason"], record["provenance"]["seconds"]["total"])


def run_local(work: list[tuple[PlannedCell, Place]], store_root: Path, jobs: int) -> Iterator[Outcome]:
    """Yield each cell's outcome as it finishes, on ``jobs`` processes of one thread each; results do not depend on ``jobs``."""
    if jobs == 1:
        for planned, place in work:
            yield execute(planned, place, store_root)
        return
    os.environ.setdefault("PYTHONPATH", str(Path(__file__).resolve().parent.parent))
    with parallel_config(backend="loky", inner_max_num_threads=1):
        pool = Parallel(n_jobs=jobs, return_as="generator_unordered", pre_dispatch=jobs, batch_size=1)
        yield from pool(delayed(execute)(planned, place, store_root) for planned, place in work)
