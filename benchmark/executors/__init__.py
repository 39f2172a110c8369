"""Where cells are computed: on this machine, on the workers of a dask scheduler, or as jobs of a Slurm cluster.

Behind one generator, each yields the outcome of a cell as it finishes; the process that computed a cell has stored it by then. An
executor is a module with ``execute(job, settings)``, which calls ``attempt`` for every cell wherever it runs.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import Any

from benchmark.executors.work import BUSY, Job, Limits, Outcome, Work

__all__ = ["BUSY", "Job", "Limits", "Outcome", "Work", "run_job"]


def run_job(job: Job, executor: str, settings: dict[str, Any]) -> Iterator[Outcome]:
    """Yield each cell's outcome as it finishes, in any order; what another run had in hand comes last, when that run is done with it.

    ``executor``: local, dask or slurm; ``settings`` are its own (``scheduler``, ``slurm``).

    Raises:
        StoreError: the store cannot be written.
        UsageError: the executor cannot be had.
    """
    execute = import_module(f"benchmark.executors.{executor}").execute
    busy = set()
    for outcome in execute(job, settings):
        if outcome.status == BUSY:
            busy.add(outcome.cell)
        else:
            yield outcome
    if busy:
        yield from execute(job.of(w for w in job.work if w.planned.cell in busy), {**settings, "wait": True})
