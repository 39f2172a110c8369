"""Compare the files of a release with its own list of checksums."""

from __future__ import annotations

import hashlib
from pathlib import Path

from datasets.cohort import CohortError
from datasets.raw.tables import SUFFIXES

LIST = "SHA256SUMS.txt"
MATCHES, DIFFERS, ABSENT, EXTRA = "matches", "differs", "absent", "extra"


def verify_release(root: Path) -> list[dict[str, str]]:
    """Return one {"file", "status"} for each file on the release's list and each table next to it, by name.

    Status: ``matches`` or ``differs`` (against ``SHA256SUMS.txt``), ``absent`` (listed, not there), ``extra`` (a
    table that is not listed).

    Raises:
        CohortError: where the list is missing, or a line of it is not a checksum and a name.
    """
    root = Path(root)
    listed = read_checksums(root / LIST)
    rows = []
    for name, expected in listed.items():
        path = root / name
        status = ABSENT if not path.is_file() else MATCHES if compute_digest(path) == expected else DIFFERS
        rows.append({"file": name, "status": status})
    present = {
        p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file() and p.name.lower().endswith(SUFFIXES)
    }
    rows += [{"file": name, "status": EXTRA} for name in present - set(listed)]
    return sorted(rows, key=lambda row: row["file"].lower())


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
