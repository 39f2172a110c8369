"""One cell, computed under its lock, in a process that may die without taking more than that cell with it."""

from __future__ import annotations

import ctypes
import multiprocessing
import platform
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from filelock import Timeout

from benchmark.executors.child import Child, Died, Exceeded
from benchmark.executors.work import BUSY, Limits, Outcome, Work, read_stored_cell
from results.storage.locks import acquire_cell_lock

TRIES = 2
"""A cell whose process dies is tried once more: what killed it may have been meant for another."""
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
"""Of malloc.h."""
_own = threading.local()


@contextmanager
def limit_to_one_thread() -> Iterator[None]:
    """Run numerical libraries repeatably on one thread: small batches are slower on several, and results must not depend on how many."""
    import torch
    from threadpoolctl import threadpool_limits

    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True, warn_only=True)
    with threadpool_limits(1), keep_freed_memory():
        yield


@contextmanager
def keep_freed_memory() -> Iterator[None]:
    """Keep freed memory in this process until the end of the block, with the C library of GNU.

    The next step of training needs as much again. Else large blocks go back to the system each time and come again in pages that it
    clears one by one, which takes a third of some methods' steps.
    """
    libc = ctypes.CDLL(None) if platform.libc_ver()[0] == "glibc" else None
    if libc is not None:
        libc.mallopt(M_MMAP_MAX, 0)
        libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
    try:
        yield
    finally:
        if libc is not None:  # so that the next cell's peak of memory is its own
            libc.malloc_trim(ctypes.c_size_t(0))


def compute(work: Work, store_root: Path) -> Outcome:
    """Compute a cell in this process, on one thread, and store it, unless another run has done so meanwhile."""
    from benchmark.cell.run_cell import run_cell
    from results.storage.store import Store

    store = Store(store_root)
    stored = read_stored_cell(store, work.planned)
    if stored.record is not None and stored.finished:
        return Outcome.from_record(work.planned, stored.record)
    with limit_to_one_thread():
        if work.how is None:
            record, frames = run_cell(work.planned, work.inputs, work.chosen)
        else:
            record, frames = work.how(work, store)
    store.write(work.planned, record, frames)
    return Outcome.from_record(work.planned, record)


def compute_apart(work: Work, store_root: Path, limits: Limits) -> Outcome:
    """Compute a cell in a process of its own; record a cell that went over its ``limits`` or lost its process twice as failed.

    A daemonic process may have no children: there the cell is computed in place, without limits.
    """
    if multiprocessing.current_process().daemon:
        return compute(work, store_root)
    started = time.perf_counter()
    for number in range(1, TRIES + 1):
        child = _get_child()
        try:
            return child.call(compute, work, store_root, limits=limits)
        except Exceeded as limit:
            reason = str(limit)
            break
        except Died as death:
            reason = f"{death} (tried {number} times)"
        finally:
            if limits.gib is not None:
                child.kill()  # what this cell left in memory must not count for the next one
    return give_up(work, store_root, reason, time.perf_counter() - started)


def give_up(work: Work, store_root: Path, reason: str, seconds: float = 0.0) -> Outcome:
    """Store that a cell failed for a reason that lies outside it."""
    from benchmark.cell.record import failure_record, with_provenance
    from results.storage.store import Store

    record = with_provenance(failure_record(work.planned, reason), {"total": seconds})
    Store(store_root).write(work.planned, record, {})
    return Outcome.from_record(work.planned, record)


def attempt(work: Work, store_root: Path, how: Callable[[Work, Path], Outcome], wait: bool = False) -> Outcome:
    """Run a cell under its lock; ``how`` computes it.

    Where another run holds the lock, the outcome is ``busy`` at once, or with ``wait`` the one that the store has when the lock is free.

    Raises:
        StoreError: the file system of the store has no locks.
    """
    try:
        held = acquire_cell_lock(store_root, work.planned, wait)
    except Timeout:
        return Outcome(work.planned, BUSY, "another run computes it", 0.0)
    with held:
        return how(work, store_root)


def bind_limits(limits: Limits) -> Callable[[Work, Path], Outcome]:
    """Return ``compute_apart`` with these limits, for ``attempt``."""
    return partial(compute_apart, limits=limits)


def _get_child() -> Child:
    """Return this thread's own child, started where none is alive."""
    child = getattr(_own, "child", None)
    if child is None or not child.alive:
        child = _own.child = Child()
    return child
