"""One process that trains the folds and seeds of a method at once (``methods/common/stacked.py``), each a cell of its own in the store.

Cells that cannot be stacked are computed as ``local`` does. A stack is trained as a whole and its cells are stored when it is done: a run
that is stopped trains it again. What was drawn within a step depends on which cells were trained together; each record names them.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from typing import Any, cast

import torch
from filelock import Timeout

from benchmark.cell.record import Frames
from benchmark.cell.run_cell import Trained, can_stack, prepare_training, run_cell
from benchmark.errors import UsageError
from benchmark.executors import local
from benchmark.executors.attempt import compute, limit_to_one_thread
from benchmark.executors.work import BUSY, Job, Outcome, Work, read_stored_cell
from datasets.cohort import Cohort
from methods.base import Method, NotApplicable
from methods.common.stacked import fit_stacked
from methods.common.training import TorchMethod
from results.cell import digest
from results.storage.locks import acquire_cell_lock
from results.storage.store import Store


def execute(job: Job, settings: dict[str, Any]) -> Iterator[Outcome]:
    """Yield each cell's outcome: first those that are computed alone, ``jobs`` at a time, then stack after stack.

    Raises:
        UsageError: a cell has limits, which are those of a process of its own.
    """
    if job.limits:
        raise UsageError("limits.minutes and limits.gib end the process of one cell: not with executor=stacked")
    stacks = [works for works in _group_alike(job.work) if len(works) > 1]
    together = {work.planned.key for works in stacks for work in works}
    yield from local.execute(job.with_work(w for w in job.work if w.planned.key not in together), settings)
    for works in stacks:
        yield from _compute_stack(works, job, settings.get("wait", False))


def _group_alike(works: Iterable[Work]) -> list[list[Work]]:
    """Return the cells that differ by fold and seed alone, where their method can be stacked."""
    groups: dict[str, list[Work]] = {}
    for work in sorted(works, key=lambda w: w.planned.cell):
        if _can_stack(work):
            cell = replace(work.planned.cell, fold=0, seed=0)
            change = None if work.chosen is None else work.chosen["change"]
            inputs = [str(work.inputs.landmark_folder), str(work.inputs.split_file)]
            groups.setdefault(digest([cell.name, work.planned.config, change, inputs]), []).append(work)
    return list(groups.values())


def _can_stack(work: Work) -> bool:
    return work.how is None and can_stack(work.planned, work.chosen)


def _compute_stack(works: Sequence[Work], job: Job, wait: bool) -> Iterator[Outcome]:
    """Compute these cells, but for those locked by another run."""
    store, held = Store(job.store_root), []
    with ExitStack() as locks:
        for work in works:
            try:
                locks.enter_context(acquire_cell_lock(job.store_root, work.planned, wait))
                held.append(work)
            except Timeout:
                yield Outcome(work.planned, BUSY, "another run computes it", 0.0)
        lacking = [work for work in held if not read_stored_cell(store, work.planned).finished]
        trained = _train(lacking) if lacking else {}
        for work in held:
            own = trained.get(work.planned.key)
            yield compute(
                work if own is None else replace(work, how=partial(_run_trained, trained=own)), job.store_root
            )


def _run_trained(work: Work, store: Store, trained: Trained) -> tuple[dict[str, Any], Frames]:
    """Return the record and the frames of a cell whose method a stack has fitted (``Work.how``)."""
    return run_cell(work.planned, work.inputs, work.chosen, trained)


def _train(works: Sequence[Work]) -> dict[Any, Trained]:
    """Fit the methods of these cells together and return them by key; in halves where the memory of a GPU does not hold them all."""
    started = time.perf_counter()
    methods: list[Method | None] = [None] * len(works)
    faults: list[Exception | None] = [None] * len(works)
    pairs: dict[int, tuple[Cohort, Cohort]] = {}
    try:
        with limit_to_one_thread():
            for i, work in enumerate(works):
                try:
                    methods[i], pairs[i] = prepare_training(work.planned, work.inputs, work.chosen)
                except NotApplicable as reason:  # of this fold alone
                    faults[i] = reason
            if pairs:
                # what can be stacked is a TorchMethod; no name holds the list, so that ``del methods`` frees a GPU's memory
                stack_faults = fit_stacked([cast(TorchMethod, methods[i]) for i in pairs], list(pairs.values()))
                for i, fault in zip(pairs, stack_faults, strict=True):
                    faults[i] = fault
    except torch.cuda.OutOfMemoryError as error:
        if len(works) > 1:
            del methods, pairs
            torch.cuda.empty_cache()
            half = len(works) // 2
            return _train(works[:half]) | _train(works[half:])
        faults = [error]
    except Exception as error:
        faults = [error] * len(works)
    share = (time.perf_counter() - started) / len(works)
    members = [f"fold-{w.planned.cell.fold}/seed-{w.planned.cell.seed}" for w in works]
    return {
        w.planned.key: Trained(method, fault, members, share)
        for w, method, fault in zip(works, methods, faults, strict=True)
    }
