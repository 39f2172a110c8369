"""Where cells are computed: on this machine, on the workers of a dask scheduler, as jobs of a Slurm cluster, or stacked on one device.

An executor is a module with ``execute(job, settings)``, a generator that yields the outcome of a cell as it finishes; the process that
computed the cell has stored it by then. A cell is computed under its lock: by ``attempt``, or in a stack of cells (``stacked``).
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from benchmark.executors.work import BUSY, Job, Limits, Outcome, Work, read_stored_cell

__all__ = ["BUSY", "Job", "Limits", "Outcome", "Work", "make_job", "read_stored_cell", "run_job"]


def make_job(work: list[Work], config: Any, jobs: int) -> tuple[Job, str, dict[str, Any]]:
    """Return the arguments of ``run_job`` for the cells of a run of this configuration."""
    limits = Limits(config.limits.minutes, config.limits.gib)
    settings = {"scheduler": config.scheduler, "slurm": config.slurm}
    return Job(work, Path(config.store), jobs, limits), config.executor.value, settings


def run_job(job: Job, executor: str, settings: dict[str, Any]) -> Iterator[Outcome]:
    """Yield each cell's outcome as it finishes, in any order; cells locked by another run come last, when that run is done with them.

    ``executor``: local, dask, slurm or stacked; ``settings`` are its own (``scheduler``, ``slurm``).

    Raises:
        StoreError: the store cannot be written.
        UsageError: the executor is not available, or cannot do what the job asks.
    """
    execute = import_module(f"benchmark.executors.{executor}").execute
    busy = set()
    for outcome in execute(job, settings):
        if outcome.status == BUSY:
            busy.add(outcome.planned.key)
        else:
            yield outcome
    if busy:
        yield from execute(job.with_work(w for w in job.work if w.planned.key in busy), {**settings, "wait": True})
