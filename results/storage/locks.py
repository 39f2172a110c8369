"""Locks: a cell is computed by one process at a time, whichever run, on whichever machine, that process belongs to.

A lock is a file below ``<store>/locks`` that the operating system holds for a process (``flock``) and lets go when it dies; the empty
file stays. It says who computes, not what is stored: a store is read without any.
"""

from __future__ import annotations

from pathlib import Path

from filelock import FileLock

from results.cell import PlannedCell
from results.storage.files import make_write_error


def make_cell_lock(store_root: Path, planned: PlannedCell) -> FileLock:
    """Return the lock of a cell under its key, not yet acquired.

    Raises:
        StoreError: the folder of locks cannot be made.
    """
    folder = store_root / "locks"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise make_write_error(folder, error) from None
    return FileLock(folder / f"{planned.key[:16]}.lock")
