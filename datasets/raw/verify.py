"""Compare the files of a release with its own list of checksums."""

from __future__ import annotations

from pathlib import Path

from datasets.raw.checksums import LIST, compute_digest, read_checksums
from datasets.raw.tables import SUFFIXES

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
