"""Rows a second and peak memory of a MIMIC-IV build at size: the open demo's tables, repeated with fresh identifiers (`make bench`).

``SCALE_COPIES=237 make bench`` is 20 million charted events; the default of 24 is two million.
"""

import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import duckdb
import pytest

from datasets.mimic_iv.stays import READS
from datasets.mimic_iv.tables import Release
from datasets.registry import DEFAULT_DATA
from datasets.tables import SUFFIXES

COPIES = int(os.environ.get("SCALE_COPIES", "24"))
APART = 10**9
"""Added to the identifiers of each further copy."""
IDENTIFIERS = ("subject_id", "hadm_id", "stay_id", "transfer_id", "pharmacy_id")
MEMORY_GIB = 8
ROOT = Path(__file__).resolve().parents[2]
BUILD = """
import sys
from pathlib import Path
from datasets.mimic_iv.build import build
built = build(Path(sys.argv[1]), landmarks_asked=["icu_24h", "discharge_72h"], scratch=Path(sys.argv[2]))
print(*(len(b.cohort) for b in built.values()))
"""


@pytest.fixture(scope="module")
def demo():
    folder = Path(os.environ.get("CRL_MMNAR_DATA", DEFAULT_DATA)) / "mimic-iv-demo"
    if not (folder / "hosp" / "patients.csv.gz").exists():
        pytest.skip("no mimic-iv-demo below CRL_MMNAR_DATA")
    return folder


def repeat(demo, root, copies):
    """The tables of ``demo`` in ``root``, ``copies`` times over; rows by table."""
    con = duckdb.connect()
    con.execute("SET threads = 2")
    release, rows = Release(demo), {}
    for path in sorted(p for folder in ("hosp", "icu") for p in (demo / folder).iterdir() if p.name.endswith(SUFFIXES)):
        table = f"{path.parent.name}/{path.name.partition('.')[0]}"
        names = release.header(table)
        fresh = [c for c in IDENTIFIERS if c in names]
        raised = ", ".join(f"CAST({c} AS BIGINT) + copy * {APART} AS {c}" for c in fresh)
        times = f", range({copies}) AS r(copy)" if fresh else ""
        chosen = f"* EXCLUDE (copy) REPLACE ({raised})" if fresh else "*"
        target = root / path.parent.name / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        written = con.execute(
            f"COPY (SELECT {chosen} FROM {release.scan(table, names)}{times}) TO '{target}' (HEADER, DELIMITER ',')"
        )
        rows[table] = written.fetchone()[0]
    return rows


@pytest.mark.slow
def test_a_release_of_many_rows_is_built_within_memory(demo, tmp_path):
    rows = repeat(demo, tmp_path / "release", COPIES)
    assert set(READS) <= set(rows)
    (tmp_path / "scratch").mkdir()
    started = time.perf_counter()
    command = [sys.executable, "-c", BUILD, str(tmp_path / "release"), str(tmp_path / "scratch")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - started
    assert done.returncode == 0, done.stderr
    stays = [int(n) for n in done.stdout.split()]
    one = [83, 84]
    assert stays == [n * COPIES for n in one]
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    total = sum(rows.values())
    print(
        f"\n{total:,} rows ({rows['icu/chartevents']:,} charted events) in {seconds:.0f} s: {total / seconds:,.0f} rows a second, "
        f"peak {peak:.1f} GiB"
    )
    assert peak < MEMORY_GIB
