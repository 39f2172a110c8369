"""One cell, computed by whoever holds its lock, in a process that may die without taking more than that cell with it."""

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
from benchmark.executors.work import BUSY, Limits, Outcome, Work
from results.cell import is_finished
from results.storage.locks import make_cell_lock

TRIES = 2
"""A cell whose process dies is tried once more: what killed it may have been meant for another."""
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
"""Of malloc.h."""
_own = threading.local()


@contextmanager
def one_thread() -> Iterator[None]:
    """Numerical libraries on one thread and repeatable: small batches are slower on several, and results must not depend on how many."""
    import torch
    from threadpoolctl import threadpool_limits

    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True, warn_only=True)
    with threadpool_limits(1), freed_memory_kept():
        yield


@contextmanager
def freed_memory_kept() -> Iterator[None]:
    """With the C library of GNU: what is freed stays with this process until the end, for the next step of training needs as much again.
    Else large blocks go back to the system each time and come again in pages that it clears one by one, a third of some methods' steps.
    """
    libc = ctypes.CDLL(None) if platform.libc_ver()[0] == "glibc" else None
    if libc is not None:
        libc.mallopt(M_MMAP_MAX, 0)
        libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
    try:
        yield
    finally:
        if libc is not None:  # the next cell's peak of memory shall be its own
            libc.malloc_trim(ctypes.c_size_t(0))


def compute(work: Work, store_root: Path) -> Outcome:
    """Compute a cell in this process, on one thread, and store it, unless another run has done so meanwhile."""
    from benchmark.cell.run_cell import run_cell
    from results.storage.store import Store

    store = Store(store_root)
    record = store.whole(work.planned)
    if not is_finished(record):
        with one_thread():
            if work.how is None:
                record, frames = run_cell(work.planned, work.place, work.chosen)
            else:
                record, frames = work.how(work, store)
        store.write(work.planned, record, frames)
    return Outcome.of(work.planned, record)


def compute_apart(work: Work, store_root: Path, limits: Limits) -> Outcome:
    """``compute`` in a process apart, or the record of a cell that went over its ``limits`` or lost its process twice.

    A daemonic process may have no children: there the cell is computed in place, without limits.
    """
    if multiprocessing.current_process().daemon:
        return compute(work, store_root)
    started = time.perf_counter()
    for number in range(1, TRIES + 1):
        child = _child()
        try:
            return child.call(compute, work, store_root, limits=limits)
        except Exceeded as limit:
            reason = str(limit)
            break
        except Died as death:
            reason = f"{death} (tried {number} times)"
        finally:
            if limits.gib is not None:
                child.kill()  # the next cell shall not answer for what this one left in memory
    return give_up(work, store_root, reason, time.perf_counter() - started)


def give_up(work: Work, store_root: Path, reason: str, seconds: float = 0.0) -> Outcome:
    """Store that a cell failed for a reason that lies outside it."""
    from benchmark.cell.record import ended, failed
    from results.storage.store import Store

    record = ended(failed(work.planned, reason), {"total": seconds})
    Store(store_root).write(work.planned, record, {})
    return Outcome.of(work.planned, record)


def attempt(work: Work, store_root: Path, how: Callable[[Work, Path], Outcome], wait: bool = False) -> Outcome:
    """What becomes of a cell, computed as ``how`` says.

    Where another run has it in hand, the outcome is ``busy`` at once, or with ``wait`` what that run makes of it.
    """
    try:
        held = make_cell_lock(store_root, work.planned).acquire(timeout=-1 if wait else 0)
    except Timeout:
        return Outcome(work.planned, BUSY, "another run computes it", 0.0)
    with held:
        return how(work, store_root)


def apart(limits: Limits) -> Callable[[Work, Path], Outcome]:
    """``compute_apart`` with these limits, for ``attempt``."""
    return partial(compute_apart, limits=limits)


def _child() -> Child:
    """This thread's own child, started where there is none alive."""
    child = getattr(_own, "child", None)
    if child is None or not child.alive:
        child = _own.child = Child()
    return child
