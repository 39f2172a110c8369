"""The checksums of a release: its own list, and those of files."""

from __future__ import annotations

import hashlib
from pathlib import Path

from datasets.cohort import CohortError

LIST = "SHA256SUMS.txt"


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
