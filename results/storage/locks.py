"""Locks: a cell is computed by one process at a time, whichever run, on whichever machine, that process belongs to.

A lock is a file below ``<store>/locks`` that the operating system holds for a process (``flock``) and lets go when it dies; the empty
file stays. It says who computes, not what is stored: a store is read without any.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time
from pathlib import Path

from filelock import AcquireReturnProxy, FileLock, Timeout

from results.cell import PlannedCell
from results.storage.files import StoreError, make_write_error

PATIENCE = 3.0
"""Seconds after which a file system that could not lock a file for the moment counts as one that cannot."""
PAUSE = 0.2
NEVER = (errno.ENOSYS, errno.ENOTSUP, errno.EINVAL)
"""Errors of a file system that has no locks at all: there is nothing to wait for."""


def make_cell_lock(store_root: Path, planned: PlannedCell) -> FileLock:
    """Return the lock of a cell under its key, not yet acquired.

    Raises:
        StoreError: the folder of locks cannot be made, or its file system has no locks.
    """
    folder = store_root / "locks"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise make_write_error(folder, error) from None
    _check_locks(folder)
    return FileLock(folder / f"{planned.key[:16]}.lock")


def acquire_cell_lock(store_root: Path, planned: PlannedCell, wait: bool) -> AcquireReturnProxy:
    """Acquire the lock of a cell and return it, to be used in a ``with`` statement; with ``wait`` when it is free.

    Raises:
        Timeout: without ``wait``, another process holds it.
        StoreError: it cannot be made, or its file system has no locks.
    """
    lock = make_cell_lock(store_root, planned)
    try:
        return lock.acquire(timeout=-1 if wait else 0)
    except Timeout:
        raise
    except (OSError, NotImplementedError) as error:
        raise _make_lock_error(store_root / "locks", error) from None


def _check_locks(folder: Path) -> None:
    """Take and release a shared lock, which nobody refuses: ``FileLock`` waits for ever where a file system has none.

    Raises:
        StoreError: the file system has no locks, or none to spare for some seconds.
    """
    until = time.monotonic() + PATIENCE
    while True:
        try:
            descriptor = os.open(folder / "any.lock", os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise make_write_error(folder, error) from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return
        except OSError as error:
            if error.errno in NEVER or time.monotonic() > until:
                raise _make_lock_error(folder, error) from None
        finally:
            os.close(descriptor)
        time.sleep(PAUSE)


def _make_lock_error(folder: Path, error: Exception) -> StoreError:
    reason = getattr(error, "strerror", None) or error
    return StoreError(
        f"files in {folder} cannot be locked: {reason}; choose a store=DIR on a file system that has locks (flock)"
    )
