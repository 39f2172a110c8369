"""Rows a second and peak memory of a MIMIC-IV build at size: the open demo's tables, repeated with fresh identifiers (`make bench`).

``SCALE_COPIES=237 make bench`` is 20 million charted events; the default of 24 is two million.
"""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from datasets.mimic_iv.stays import READS
from tests.speed.repeated import COPIES, MIMIC, repeat

MEMORY_GIB = 8
ROOT = Path(__file__).resolve().parents[2]
BUILD = """
import sys
from pathlib import Path
from benchmark.cell.provenance import read_peak_memory_mib
from datasets.mimic_iv.build import build
built = build(Path(sys.argv[1]), landmarks_asked=["icu_24h", "discharge_72h"], scratch=Path(sys.argv[2]))
print(read_peak_memory_mib(), *(len(b.cohort) for b in built.values()))
"""


@pytest.mark.slow
def test_a_release_of_many_rows_is_built_within_memory(tmp_path):
    rows = repeat(MIMIC, tmp_path / "release", COPIES)
    assert set(READS) <= set(rows)
    (tmp_path / "scratch").mkdir()
    started = time.perf_counter()
    command = [sys.executable, "-c", BUILD, str(tmp_path / "release"), str(tmp_path / "scratch")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - started
    assert done.returncode == 0, done.stderr
    peak_mib, *stays = done.stdout.split()
    stays, peak = [int(n) for n in stays], float(peak_mib) / 1024
    one = [83, 84]
    assert stays == [n * COPIES for n in one]
    total = sum(rows.values())
    print(
        f"\n{total:,} rows ({rows['icu/chartevents']:,} charted events) in {seconds:.0f} s: {total / seconds:,.0f} rows a second, "
        f"peak {peak:.1f} GiB"
    )
    assert peak < MEMORY_GIB
