"""This machine: ``jobs`` loky processes, each with a process of its own that computes, on one thread."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from joblib import Parallel, delayed, parallel_config
from joblib._multiprocessing_helpers import mp
from joblib.externals.loky.process_executor import TerminatedWorkerError

from benchmark.cell.keys import ROOT
from benchmark.executors.attempt import TRIES, attempt, bind_limits, compute
from benchmark.executors.child import end_with_parent
from benchmark.executors.work import Job, Outcome, Work
from benchmark.show import NOTES


def execute(job: Job, settings: dict[str, Any]) -> Iterator[Outcome]:
    """Yield each cell's outcome as it finishes; results do not depend on ``jobs``.

    One job needs no pool: its cells are computed in this process, or where they have limits in one child of it. So it is with more jobs
    where joblib can start no processes: JOBLIB_MULTIPROCESSING=0, or a system without semaphores.
    """
    wait = settings.get("wait", False)
    if job.jobs > 1 and mp is None:
        NOTES.print(f"-j {job.jobs}: joblib starts no processes here (JOBLIB_MULTIPROCESSING=0?), one cell at a time")
    if job.jobs == 1 or mp is None:
        how = bind_limits(job.limits) if job.limits else compute
        for work in job.work:
            yield attempt(work, job.store_root, how, wait)
        return
    left = {work.planned.key: work for work in job.work}
    lost = 0
    while left:
        try:
            for outcome in _run_pool(list(left.values()), job, wait):
                del left[outcome.planned.key]
                lost = 0
                yield outcome
        except TerminatedWorkerError:
            # somebody ended a process that waits for its cell's: loky gives up the pool, the cells that are left get another
            lost += 1
            if lost == TRIES:
                raise


def _run_pool(work: list[Work], job: Job, wait: bool) -> Iterator[Outcome]:
    add_to_python_path(ROOT)
    with parallel_config(backend="loky", inner_max_num_threads=1):
        pool = Parallel(n_jobs=job.jobs, return_as="generator_unordered", pre_dispatch=job.jobs, batch_size=1)
        with closing(
            pool(delayed(_attempt_in_worker)(w, job.with_work([]), wait, os.getpid()) for w in work)
        ) as outcomes:
            yield from outcomes


def _attempt_in_worker(work: Work, job: Job, wait: bool, parent: int) -> Outcome:
    end_with_parent(parent)
    return attempt(work, job.store_root, bind_limits(job.limits), wait)


def add_to_python_path(root: Path) -> None:
    """Add the root of this clone to PYTHONPATH, so that processes started from here on find its packages."""
    known = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    if str(root) not in known:
        os.environ["PYTHONPATH"] = os.pathsep.join([str(root), *filter(None, known)])
