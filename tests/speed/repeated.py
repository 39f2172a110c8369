"""The open demo of a release, repeated with fresh identifiers to the size of a large one."""

import os
from dataclasses import dataclass

import duckdb
import pytest

from datasets.raw import tables
from tests.at_hand import choose_data_folder

COPIES = int(os.environ.get("SCALE_COPIES", "24"))
APART = 10**9
"""Added to the identifiers of each further copy."""


@dataclass(frozen=True)
class Demo:
    """Where the tables of a demo lie below its folder, and which columns identify: whole numbers, and words."""

    name: str
    folders: tuple[str, ...]
    numbers: tuple[str, ...]
    words: tuple[str, ...] = ()


MIMIC = Demo("mimic-iv-demo", ("hosp", "icu"), ("subject_id", "hadm_id", "stay_id", "transfer_id", "pharmacy_id"))
EICU = Demo("eicu-demo", (".",), ("patientunitstayid", "patienthealthsystemstayid"), ("uniquepid",))


def demo_folder(demo):
    """The raw tables of a demo; skips the test where they are not there."""
    folder = choose_data_folder() / demo.name
    if not folder.is_dir():
        pytest.skip(f"no {demo.name} below CRL_MMNAR_DATA")
    return folder


def repeat(demo, root, copies):
    """The tables of ``demo`` in ``root``, ``copies`` times over, those without identifiers once; rows by table."""
    con = duckdb.connect()
    con.execute("SET threads = 2")
    source = demo_folder(demo)
    release, rows = tables.Release(source), {}
    found = (p for folder in demo.folders for p in (source / folder).iterdir() if p.name.endswith(tables.SUFFIXES))
    for path in sorted(found):
        place = path.relative_to(source)
        table = (place.parent / path.name.partition(".")[0]).as_posix()
        names = release.header(table)
        fresh = {c: f"CAST({c} AS BIGINT) + copy * {APART}" for c in demo.numbers if c in names}
        fresh |= {c: f"concat({c}, '-', copy)" for c in demo.words if c in names}
        raised = ", ".join(f"{sql} AS {c}" for c, sql in fresh.items())
        times = f", range({copies}) AS r(copy)" if fresh else ""
        chosen = f"* EXCLUDE (copy) REPLACE ({raised})" if fresh else "*"
        target = root / place
        target.parent.mkdir(parents=True, exist_ok=True)
        written = con.execute(
            f"COPY (SELECT {chosen} FROM {release.scan(table, names)}{times}) TO '{target}' (HEADER, DELIMITER ',')"
        )
        rows[table] = written.fetchone()[0]
    return rows
