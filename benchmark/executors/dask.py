"""The workers of a dask scheduler, or of a cluster of ``jobs`` processes on this machine where no scheduler is named.

Workers need this clone at the commit of the run, the built cohorts and the store under the same paths; a worker that is
lost takes its cell with it, which the scheduler gives to another.
"""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from benchmark.cell.keys import ROOT, RUN_CELL, hash_sources
from benchmark.errors import UsageError
from benchmark.executors.attempt import TRIES, attempt, bind_limits, give_up
from benchmark.executors.local import add_to_python_path
from benchmark.executors.work import Job, Outcome

if TYPE_CHECKING:
    from distributed import Client

REACH = "15s"
"""How long to look for a scheduler."""


def execute(job: Job, settings: dict[str, Any]) -> Iterator[Outcome]:
    """Yield each cell's outcome as it finishes.

    Raises:
        UsageError: no scheduler answers, it has no workers, or they have other code.
    """
    from distributed import KilledWorker, as_completed

    with _open_client(settings.get("scheduler"), job.jobs) as client:
        arguments = (job.store_root.resolve(), bind_limits(job.limits), settings.get("wait", False))
        asked = {client.submit(attempt, work, *arguments, pure=False): work for work in job.work}
        for future in as_completed(asked):
            work = asked.pop(future)
            try:
                yield future.result()
            except KilledWorker as error:
                yield give_up(work, job.store_root, f"its worker was lost: {str(error).splitlines()[0]}")


@contextmanager
def _open_client(scheduler: str | None, jobs: int) -> Iterator[Client]:
    """Open a client of the scheduler at this address, or of a local cluster of its own."""
    import dask
    from distributed import Client, LocalCluster

    add_to_python_path(ROOT)
    if scheduler is None:
        own = {"distributed.worker.daemon": False, "distributed.scheduler.allowed-failures": TRIES - 1}
        with dask.config.set(own), _ignore_interrupts():
            cluster = LocalCluster(
                n_workers=jobs, threads_per_worker=1, dashboard_address=None, silence_logs=logging.ERROR
            )
        with cluster, Client(cluster) as client:
            yield client
        return
    try:
        client = Client(scheduler, timeout=REACH)
    except (OSError, ValueError) as error:
        raise UsageError(f"no dask scheduler answers at scheduler={scheduler} ({error})") from None
    with client:
        _check_workers(client, scheduler)
        yield client


@contextmanager
def _ignore_interrupts() -> Iterator[None]:
    """Let processes started inside ignore Ctrl-C: the one that starts them gets it and ends them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _check_workers(client: Client, scheduler: str) -> None:
    """Check that there are workers with this version of the project.

    Raises:
        UsageError: there are no workers, or some cannot import this project or have another version of it.
    """
    start = "start each at the root of a clone at this commit: PYTHONPATH=. dask worker ADDRESS --nthreads 1"
    if not client.scheduler_info()["workers"]:
        raise UsageError(f"the scheduler at {scheduler} has no workers; {start}")
    sources = client.run(_hash_own_source, on_error="return")
    for address, source in sources.items():
        if source != hash_sources(RUN_CELL):
            what = (
                "cannot import this project" if isinstance(source, Exception) else "has another version of this project"
            )
            raise UsageError(f"the worker at {address} {what}; {start}")


def _hash_own_source() -> str:
    return hash_sources(RUN_CELL)
