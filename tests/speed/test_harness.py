"""What the harness adds to its cells, and what a second process saves: whole runs, timed from outside (``make bench``).

Printed with each: ``overhead``, the share of the wall time that is neither fit nor predict, and ``efficiency``, how much of a second
process is a gain (1 = all of it) beside the run by one.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmark.plan.config import load_config
from benchmark.plan.plan import plan_run
from results.storage.store import Store

ROOT = Path(__file__).resolve().parents[2]
CELLS = ("folds=3", "method=logistic,s_only,zero_fill,cm_ae,gru_d,crl_mmnar")


def run(n, store, built, jobs):
    """Seconds of a run from an empty store, start-up and statistics included."""
    argv = [
        sys.executable,
        "-m",
        "benchmark",
        "run",
        "table1",
        "-j",
        str(jobs),
        *CELLS,
        f"n={n}",
        f"store={store}",
        f"built={built}",
    ]
    started = time.perf_counter()
    subprocess.run(argv, cwd=ROOT, check=True, capture_output=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    return time.perf_counter() - started


@pytest.mark.slow
@pytest.mark.parametrize("n", [1000, 3000])
def test_overhead_and_efficiency(benchmark, tmp_path, n):
    built = tmp_path / "built"
    plan = plan_run(
        load_config("table1", [*CELLS, f"n={n}", f"built={built}"])
    )  # the cohort is built before the clock starts
    benchmark.group = "a run from an empty store"
    one = run(n, tmp_path / "one", built, 1)
    two = benchmark.pedantic(lambda: run(n, tmp_path / "two", built, 2), rounds=1)
    records = [Store(tmp_path / "one").record(p)["provenance"]["seconds"] for p in plan.cells]
    inside = sum(seconds.get("fit", 0) + seconds.get("predict", 0) for seconds in records)
    found = {
        "seconds_by_one": one,
        "seconds_by_two": two,
        "overhead": 1 - inside / one,
        "efficiency": one / (2 * two),
        "cells": len(records),
        "n": n,
    }
    benchmark.extra_info |= found
    print({name: round(value, 3) for name, value in found.items()})
    assert 0 < found["overhead"] < 1
    assert found["efficiency"] > 0
