"""The audit's units computed: one thread a process, stored as each finishes, seed by seed so that what is there early is whole."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from joblib import Parallel, delayed, parallel_config

from benchmark.executors import one_thread
from results.cell import PlannedCell
from results.store import Store

Task = tuple[Callable[..., dict], PlannedCell, tuple]
"""A function (planned, *arguments, store) -> record, a unit, and the arguments."""
FINISHED = ("done", "skipped")


def missing(store: Store, tasks: Sequence[Task]) -> list[Task]:
    """The tasks whose unit is not in the store, each unit once."""
    by_folder = {store.folder(planned): (work, planned, given) for work, planned, given in tasks}
    return [task for task in by_folder.values() if (store.record(task[1]) or {}).get("status") not in FINISHED]


def computed(tasks: Sequence[Task], store: Store, jobs: int) -> Iterator[tuple[PlannedCell, dict]]:
    """Each unit with its record as it finishes, on ``jobs`` processes; results do not depend on ``jobs``."""
    if jobs == 1:
        for task in tasks:
            yield _one(task, store.root)
        return
    os.environ.setdefault("PYTHONPATH", str(Path(__file__).resolve().parents[2]))
    with parallel_config(backend="loky", inner_max_num_threads=1):
        pool = Parallel(n_jobs=jobs, return_as="generator_unordered", pre_dispatch=jobs, batch_size=1)
        yield from pool(delayed(_one)(task, store.root) for task in tasks)


def _one(task: Task, root: Path) -> tuple[PlannedCell, dict]:
    work, planned, given = task
    with one_thread():
        return planned, work(planned, *given, Store(root))
