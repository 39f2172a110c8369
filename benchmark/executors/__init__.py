"""Where cells are computed: on this machine, on the workers of a dask scheduler, or as jobs of a Slurm cluster.

Behind one generator, each yields the outcome of a cell as it finishes; the process that computed a cell has stored it by then. An
executor is a module with ``execute(job, settings)``, which calls ``attempt`` for every cell wherever it runs.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from benchmark.executors.work import BUSY, Job, Limits, Outcome, Work, read_stored_cell

__all__ = ["BUSY", "Job", "Limits", "Outcome", "Work", "make_job", "read_stored_cell", "run_job"]


def make_job(work: list[Work], config: Any, jobs: int) -> tuple[Job, str, dict[str, Any]]:
    """The arguments of ``run_job`` for the cells of a run of this configuration."""
    limits = Limits(config.limits.minutes, config.limits.gib)
    settings = {"scheduler": config.scheduler, "slurm": config.slurm}
    return Job(work, Path(config.store), jobs, limits), config.executor.value, settings


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
            busy.add(outcome.planned.key)
        else:
            yield outcome
    if busy:
        yield from execute(job.with_work(w for w in job.work if w.planned.key in busy), {**settings, "wait": True})
