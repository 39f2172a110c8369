"""Jobs of a Slurm cluster, one a cell, through submitit; ``slurm.cluster=local`` runs the same jobs as processes of this machine.

At most ``jobs`` are queued at a time; the logs of each are below ``<store>/logs``. The clone, the built cohorts and the store lie on a
file system that the nodes share.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from benchmark.cell.keys import ROOT
from benchmark.errors import UsageError
from benchmark.executors.attempt import TRIES, attempt, bind_limits, compute, give_up
from benchmark.executors.local import add_to_python_path
from benchmark.executors.work import Job, Outcome, Work

if TYPE_CHECKING:
    import submitit

PAUSE = 0.5
"""Seconds between two looks at the queue."""
MARGIN = 10
"""Minutes and GiB beyond a cell's limits that its job gets, to start and to record what went over them."""


def execute(job: Job, settings: dict[str, Any]) -> Iterator[Outcome]:
    """Yield each cell's outcome as it finishes; a job that is lost is submitted once more, then recorded.

    Raises:
        UsageError: there is no Slurm here, or it does not know an option.
    """
    add_to_python_path(ROOT)
    executor = _make_executor(job, dict(settings.get("slurm") or {}))
    # reversed, since pop takes the last
    waiting = [(work, 1) for work in reversed(job.work)]
    queued: dict[Any, tuple[Work, int]] = {}
    wait = settings.get("wait", False)
    how = bind_limits(job.limits) if job.limits else compute
    try:
        while waiting or queued:
            while waiting and len(queued) < job.jobs:
                work, number = waiting.pop()
                submitted = executor.submit(attempt, work, job.store_root.resolve(), how, wait)
                queued[submitted] = (work, number)
            for submitted in [s for s in queued if s.done()]:
                work, number = queued.pop(submitted)
                outcome = _read_outcome(submitted, work, job, last=number == TRIES)
                if outcome is None:
                    waiting.append((work, number + 1))
                else:
                    yield outcome
            time.sleep(PAUSE)
    finally:
        for submitted in queued:
            submitted.cancel(check=False)


def _make_executor(job: Job, options: dict[str, Any]) -> submitit.AutoExecutor:
    import submitit

    cluster = options.pop("cluster", "slurm")
    minutes, gib = job.limits.minutes, job.limits.gib
    limits = {"timeout_min": math.ceil(minutes) + MARGIN} if minutes is not None else {}
    limits |= {"mem_gb": math.ceil(gib) + MARGIN} if gib is not None else {}
    try:
        executor = submitit.AutoExecutor(folder=job.store_root.resolve() / "logs" / "%j", cluster=cluster)
        executor.update_parameters(cpus_per_task=1, **limits)
        executor.update_parameters(**{name if name in limits else f"slurm_{name}": v for name, v in options.items()})
    except (RuntimeError, NameError, ValueError, TypeError) as error:
        raise UsageError(f"executor=slurm: {' '.join(str(error).split())}") from None
    return executor


def _read_outcome(submitted: submitit.Job, work: Work, job: Job, last: bool) -> Outcome | None:
    """Return the outcome of a finished job; None where the job was lost and has another try."""
    import submitit

    try:
        return submitted.result()
    except submitit.core.utils.UncompletedJobError as lost:
        if not last:
            return None
        first = str(lost).split("\n")[0]
        return give_up(work, job.store_root, f"its job was lost {TRIES} times: {first}")
