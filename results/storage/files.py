"""Files that are written whole or not at all, and survive a power cut; what a store says where it cannot."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from pathlib import Path

NO_SPACE = (errno.ENOSPC, errno.EDQUOT)


class StoreError(RuntimeError):
    """The store cannot be read or written; the message says which file and what to do."""


class BrokenCell(StoreError):
    """A file of a cell is missing or is not what was written; the next run computes the cell again."""


def write_whole(path: Path, content: bytes) -> Path:
    """Write ``path`` whole or not at all and return it; folders above it are made.

    Raises:
        StoreError: it cannot be written.
    """
    try:
        return replace_whole(path, content)
    except OSError as error:
        raise make_write_error(path, error) from None


def replace_whole(path: Path, content: bytes) -> Path:
    """Write ``path`` under another name, sync and rename it, and return it; folders above it are made.

    Raises:
        OSError: it cannot be written.
    """
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_synced(scratch, content)
        os.replace(scratch, path)
        sync_folder(path.parent)
    finally:
        with suppress(OSError):
            scratch.unlink(missing_ok=True)
    return path


def write_synced(path: Path, content: bytes) -> None:
    """Write a file and wait until the disk has it."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Wait until the disk has the names in a folder, where the system can."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):
            raise
    finally:
        os.close(descriptor)


def make_write_error(path: Path, error: OSError) -> StoreError:
    """Return the error for a file or folder that the system does not let us write."""
    hint = "free space or choose another store=DIR" if error.errno in NO_SPACE else "choose another store=DIR"
    return StoreError(f"cannot write {path}: {error.strerror or error}; {hint}")
