"""A cell's folder as files with their checksums: read and checked, or put in place whole or not at all.

``SHA256SUMS`` is what ``sha256sum`` writes: ``sha256sum --check SHA256SUMS`` inside a cell's folder verifies it without this suite.
"""

from __future__ import annotations

import errno
import glob
import hashlib
import json
import os
import shutil
import socket
import tempfile
import time
from pathlib import Path

from results.cell import FINISHED
from results.storage.files import BrokenCell, StoreError, make_write_error, sync_folder, write_synced

SUMS = "SHA256SUMS"
RECORD = "cell.json"
AGAIN = "run again to compute it"
ABANDONED = 24 * 3600.0
"""Seconds after which a scratch folder of another machine counts as left behind."""
TRIES = 20


def read_verified(folder: Path, name: str) -> bytes:
    """Return the content of a file of a cell, equal to its checksum.

    Raises:
        FileNotFoundError: there is no such folder.
        BrokenCell: the file or its checksum is missing, or they do not match.
        StoreError: the cell was stored without this file, or it cannot be read.
    """
    for _ in range(TRIES):
        before = _identify(folder)
        try:
            return _read_verified_once(folder, name)
        except BrokenCell:
            if _identify(folder) == before:
                raise
    return _read_verified_once(folder, name)


def find_faults(folder: Path) -> list[str]:
    """Return names of a cell's files that are missing, extra or unlike their checksum, sorted; none where there is no such folder."""
    for _ in range(TRIES):
        before, found = _identify(folder), _list_faults(folder)
        if not found or _identify(folder) == before:
            break
    return found


def is_finished(folder: Path) -> bool:
    """Return whether a whole cell lies there that no run computes again."""
    try:
        status = json.loads(read_verified(folder, RECORD))["status"]
    except (FileNotFoundError, StoreError):
        return False
    return status in FINISHED and not find_faults(folder)


def put_folder(folder: Path, files: dict[str, bytes]) -> Path:
    """Store the files of a cell and their checksums, whole or not at all, and return ``folder``.

    What failed or is broken there is replaced; a cell that is finished is kept as it is. Scratch folders that killed writers
    of this key left behind are removed.

    Raises:
        StoreError: the folder cannot be written.
    """
    scratch = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(folder)
        scratch = _make_scratch(folder)
        sums = "".join(f"{hashlib.sha256(files[name]).hexdigest()}  {name}\n" for name in sorted(files))
        for name, content in {**files, SUMS: sums.encode()}.items():
            write_synced(scratch / name, content)
        sync_folder(scratch)
        _move_into_place(scratch, folder)
        sync_folder(folder.parent)
    except OSError as error:
        raise make_write_error(folder, error) from None
    finally:
        if scratch is not None:
            shutil.rmtree(scratch, ignore_errors=True)
    return folder


def read_checksums(folder: Path) -> dict[str, str]:
    """Read file name -> SHA-256 as ``SHA256SUMS`` of a cell's folder has them.

    Raises:
        FileNotFoundError: it has none.
        BrokenCell: it is no such list.
    """
    path = folder / SUMS
    found = {}
    for line in path.read_bytes().decode("utf-8", errors="replace").splitlines():
        digest, gap, name = line[:64], line[64:66], line[66:]
        if gap not in ("  ", " *") or not name or set(digest) - set("0123456789abcdef"):
            raise BrokenCell(f"{path} is no list of checksums: {AGAIN}")
        found[name] = digest
    return found


def _identify(folder: Path) -> tuple[int, int] | None:
    """Return what changes when another runner replaces a folder between two looks at its files; None where there is none."""
    try:
        state = folder.stat()
    except FileNotFoundError:
        return None
    return state.st_ino, state.st_ctime_ns


def _list_faults(folder: Path) -> list[str]:
    if not folder.is_dir():
        return []
    try:
        sums = read_checksums(folder)
        there = {path.name for path in folder.iterdir()} - {SUMS}
    except (FileNotFoundError, BrokenCell):
        return [SUMS]
    return sorted(name for name in {RECORD, *sums, *there} if not _matches(folder / name, sums.get(name)))


def _read_verified_once(folder: Path, name: str) -> bytes:
    path = folder / name
    try:
        sums = read_checksums(folder)
        if name not in sums and not path.exists():
            raise StoreError(f"{path} is not stored: the cell has no {path.stem}")
        content = path.read_bytes()
    except FileNotFoundError as error:
        if folder.is_dir():
            raise BrokenCell(f"{error.filename} is missing: {AGAIN}") from None
        raise
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error.strerror or error}") from None
    if hashlib.sha256(content).hexdigest() != sums.get(name):
        raise BrokenCell(f"{path} does not match its checksum: {AGAIN}")
    return content


def _matches(path: Path, digest: str | None) -> bool:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest() == digest
    except OSError:
        return False


def _move_into_place(scratch: Path, folder: Path) -> None:
    """Rename ``scratch`` to ``folder``; of two writers of one key the first that finished the cell wins."""
    for _ in range(TRIES):
        if is_finished(folder):
            return
        aside = _make_scratch(folder)
        try:
            if _try_to_move(folder, aside) and is_finished(aside) and _try_to_move(aside, folder):
                return
            if _try_to_move(scratch, folder):
                return
        finally:
            shutil.rmtree(aside, ignore_errors=True)
    raise OSError(errno.EEXIST, f"another process has replaced it {TRIES} times")


def _try_to_move(source: Path, target: Path) -> bool:
    """Move the folder ``source`` to ``target`` and return whether it is there; not where there is none, or another lies in the way."""
    try:
        os.rename(source, target)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTEMPTY, errno.EEXIST):
            return False
        raise
    return True


def _make_scratch(folder: Path) -> Path:
    """Make a folder next to ``folder``, whose name says for which key, on which machine and by which process."""
    return Path(
        tempfile.mkdtemp(prefix=f"{_make_prefix(folder)}{socket.gethostname()}-{os.getpid()}-", dir=folder.parent)
    )


def _make_prefix(folder: Path) -> str:
    return f".writing-{folder.name}-"


def _remove_abandoned(folder: Path) -> None:
    for path in folder.parent.glob(f"{glob.escape(_make_prefix(folder))}*"):
        if _is_abandoned(path, path.name.removeprefix(_make_prefix(folder))):
            shutil.rmtree(path, ignore_errors=True)


def _is_abandoned(path: Path, owner: str) -> bool:
    """Return whether the process that made a scratch folder (``machine-process-random``) is gone, or it is older than a day."""
    machine, process, _ = ["", "", *owner.rsplit("-", 2)][-3:]
    if machine == socket.gethostname() and process.isdecimal() and not _is_alive(int(process)):
        return True
    try:
        return time.time() - path.stat().st_mtime > ABANDONED
    except OSError:
        return False


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True
