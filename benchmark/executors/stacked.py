"""One process that trains the folds and seeds of a method at once (``methods/common/stacked.py``), each a cell of its own in the store.

Cells that cannot be stacked are computed as ``local`` does. A stack is trained as a whole and its cells are stored when it is done: a run
that is stopped trains it again. What was drawn within a step depends on which cells were trained together; each record names them.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

from filelock import Timeout

from benchmark.cell.record import Frames
from benchmark.errors import UsageError
from benchmark.executors import local
from benchmark.executors.attempt import compute, one_thread
from benchmark.executors.work import BUSY, Job, Outcome, Work
from results.cell import digest, is_finished
from results.storage.locks import make_cell_lock
from results.storage.store import Store


def execute(job: Job, settings: dict[str, Any]) -> Iterator[Outcome]:
    """Yield each cell's outcome: first those that are computed alone, ``jobs`` at a time, then stack after stack.

    Raises:
        UsageError: a cell has limits, which are those of a process of its own.
    """
    if job.limits:
        raise UsageError("limits.minutes and limits.gib end the process of one cell: not with executor=stacked")
    stacks = [works for works in _alike(job.work) if len(works) > 1]
    together = {work.planned.key for works in stacks for work in works}
    yield from local.execute(job.of(w for w in job.work if w.planned.key not in together), settings)
    for works in stacks:
        yield from _stack(works, job, settings.get("wait", False))


def _alike(works: Iterable[Work]) -> list[list[Work]]:
    """The cells that differ by fold and seed alone, where their method can be stacked."""
    found: dict[str, list[Work]] = {}
    for work in sorted(works, key=lambda w: w.planned.cell):
        if _can_stack(work):
            cell = replace(work.planned.cell, fold=0, seed=0)
            change = None if work.chosen is None else work.chosen["change"]
            place = [str(work.place.landmark_folder), str(work.place.split_file)]
            found.setdefault(digest([cell.name, work.planned.config, change, place]), []).append(work)
    return list(found.values())


def _can_stack(work: Work) -> bool:
    from benchmark.cell.run_cell import can_stack

    return work.how is None and can_stack(work.planned, work.chosen)


def _stack(works: Sequence[Work], job: Job, wait: bool) -> Iterator[Outcome]:
    """Compute these cells, but for those that another run has in hand."""
    store, held = Store(job.store_root), []
    with ExitStack() as locks:
        for work in works:
            try:
                locks.enter_context(make_cell_lock(job.store_root, work.planned).acquire(timeout=-1 if wait else 0))
                held.append(work)
            except Timeout:
                yield Outcome(work.planned, BUSY, "another run computes it", 0.0)
        lacking = [work for work in held if not is_finished(store.whole(work.planned))]
        trained = _trained(lacking) if lacking else {}
        for work in held:
            yield compute(replace(work, how=trained.get(work.planned.key)), job.store_root)


@dataclass(frozen=True, eq=False)
class Trained:
    """What a stack made of one cell's method, to be stored as that cell (``Work.how``)."""

    method: Any
    fault: Exception | None
    members: list[str]
    seconds: float

    def __call__(self, work: Work, store: Store) -> tuple[dict[str, Any], Frames]:
        """The record and the frames of the cell."""
        from benchmark.cell.run_cell import run_cell

        return run_cell(work.planned, work.place, work.chosen, self)


def _trained(works: Sequence[Work]) -> dict[Any, Trained]:
    """The methods of these cells, fitted together; in halves where the memory of a GPU does not hold them all."""
    import torch

    from benchmark.cell.run_cell import before_training
    from methods.base import Unsuited
    from methods.common.stacked import fit_stacked

    started = time.perf_counter()
    methods, faults, pairs = [None] * len(works), [None] * len(works), {}
    try:
        with one_thread():
            for i, work in enumerate(works):
                try:
                    methods[i], pairs[i] = before_training(work.planned, work.place, work.chosen)
                except Unsuited as reason:  # of this fold alone
                    faults[i] = reason
            found = fit_stacked([methods[i] for i in pairs], list(pairs.values())) if pairs else []
            for i, fault in zip(pairs, found, strict=True):
                faults[i] = fault
    except torch.cuda.OutOfMemoryError as error:
        if len(works) > 1:
            del methods, pairs
            torch.cuda.empty_cache()
            half = len(works) // 2
            return _trained(works[:half]) | _trained(works[half:])
        faults = [error]
    except Exception as error:
        faults = [error] * len(works)
    share = (time.perf_counter() - started) / len(works)
    members = [f"fold-{w.planned.cell.fold}/seed-{w.planned.cell.seed}" for w in works]
    return {
        w.planned.key: Trained(method, fault, members, share)
        for w, method, fault in zip(works, methods, faults, strict=True)
    }
