"""The checksums of a release: its own list, and those of files, hashed again only where size or time differ."""

from __future__ import annotations

import hashlib
from pathlib import Path

from datasets.cohort import CohortError

LIST = "SHA256SUMS.txt"

Stamp = list
"""Size in bytes, time of the last change in ns, and SHA-256 of a file; of a folder 0, its time, and its time as text."""


def read_checksums(path: Path) -> dict[str, str]:
    """Read the SHA-256 by file name of a release's list of checksums.

    Raises:
        CohortError: where the list is missing, or a line of it is not a checksum and a name.
    """
    if not path.is_file():
        raise CohortError(f"{path} is missing: it comes with the release and lists the checksum of every table")
    listed = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        checksum, _, name = line.strip().partition(" ")
        if len(checksum) != 64 or not name:
            raise CohortError(
                f"{path}, line {number}: expected a SHA-256 checksum and a file name, found {line.strip()[:80]!r}"
            )
        listed[name.strip().lstrip("*").removeprefix("./")] = checksum.lower()
    return listed


def compute_digest(path: Path) -> str:
    """Return the SHA-256 of a file's content, in hexadecimal digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def stamp_files(files: dict[str, Path], earlier: dict[str, Stamp]) -> dict[str, Stamp]:
    """Return the stamp of each file by name; the checksum of ``earlier`` is taken where size and time are the same."""
    stamps = {}
    for name, path in sorted(files.items()):
        state = path.stat()
        seen = [0 if path.is_dir() else state.st_size, state.st_mtime_ns]
        before = earlier.get(name, [])
        content = before[2] if before[:2] == seen else str(seen[1]) if path.is_dir() else compute_digest(path)
        stamps[name] = [*seen, content]
    return stamps


def find_changed_files(folder: Path, stamps: dict[str, Stamp], content: bool = False) -> list[str]:
    """Return the names of files below ``folder`` that are missing or of another content than their stamp says.

    A file of the same size and time is not read, unless ``content`` asks for it.
    """
    changed = []
    for name, (size, time, checksum) in stamps.items():
        path = folder / name
        if (
            not path.is_file()
            or (state := path.stat()).st_size != size
            or ((content or state.st_mtime_ns != time) and compute_digest(path) != checksum)
        ):
            changed.append(name)
    return changed
