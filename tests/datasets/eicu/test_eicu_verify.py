from __future__ import annotations

import hashlib

import pytest

from datasets.cohort import CohortError
from datasets.raw.verify import verify_release


def test_each_file_is_matched_against_the_releases_list(tmp_path):
    (tmp_path / "patient.csv.gz").write_bytes(b"patients")
    (tmp_path / "lab.csv.gz").write_bytes(b"other labs")
    (tmp_path / "mine.csv").write_bytes(b"x")
    (tmp_path / "README.md").write_text("not a table")
    lines = [f"{hashlib.sha256(content).hexdigest()} {name}" for name, content in (
        ("patient.csv.gz", b"patients"), ("*lab.csv.gz", b"labs"), (" ./sqlite/eicu.sqlite3.gz", b"db"),
    )]  # fmt: skip
    (tmp_path / "SHA256SUMS.txt").write_text("\n".join(lines) + "\n\n")
    assert verify_release(tmp_path) == [
        {"file": "lab.csv.gz", "status": "differs"},
        {"file": "mine.csv", "status": "extra"},
        {"file": "patient.csv.gz", "status": "matches"},
        {"file": "sqlite/eicu.sqlite3.gz", "status": "absent"},
    ]


def test_a_missing_or_broken_list_is_one_line(tmp_path):
    with pytest.raises(CohortError, match=r"SHA256SUMS\.txt is missing"):
        verify_release(tmp_path)
    (tmp_path / "SHA256SUMS.txt").write_text("hello world\n")
    with pytest.raises(CohortError, match="line 1: expected a SHA-256 checksum"):
        verify_release(tmp_path)


def test_the_demo_differs_in_its_two_reconstructed_tables_only(demo):
    rows = {row["file"]: row["status"] for row in verify_release(demo)}
    assert {name for name, status in rows.items() if status == "differs"} == {"lab.csv.gz", "vitalPeriodic.csv.gz"}
    assert rows["patient.csv.gz"] == "matches"
    assert rows["nurseCharting.csv.gz"] == "absent"
    assert {name for name, status in rows.items() if status == "extra"} == {
        "derived/hourly_labs_vitals.csv.gz",
        "derived/lab.partial.csv.gz",
    }
