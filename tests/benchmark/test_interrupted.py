"""Runs killed at random moments: no finished cell is lost, none is corrupt, and the report is that of an unbroken run.

``python -m pytest -m slow -s tests/benchmark/test_interrupted.py`` does 200 and prints what each came to.
"""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from benchmark.plan.config import load_config
from benchmark.plan.plan import plan_run
from results.storage.store import Store
from tests.stores import stored

ROOT = Path(__file__).resolve().parents[2]
INTERRUPTIONS = int(os.environ.get("CRL_MMNAR_INTERRUPTIONS", "200"))
CELLS = (
    "n=160",
    "folds=3",
    "seeds=2",
    "dataset.draws=16",
    "bootstrap=20",
    "method=logistic,s_only,zero_fill",
    "method.max_epochs=2",
)


def command(store, built, *more):
    return [sys.executable, "-m", "benchmark", *more, f"store={store}", f"built={built}"]


def contents(store):
    """Cell folder -> bytes of its files; scratch folders of killed writers are no cells."""
    return {folder: {p.name: p.read_bytes() for p in folder.iterdir()} for folder in stored(store)}


def report(store, out, built):
    subprocess.run(command(store, built, "report", "table1", f"out={out}"), cwd=ROOT, check=True, capture_output=True)
    return {p.name: p.read_bytes() for p in out.glob("table1*.csv")}


@pytest.mark.slow
def test_two_hundred_kills_lose_nothing(tmp_path, built, capsys):
    plan = plan_run(load_config("table1", [*CELLS, f"built={built}"]))
    whole = tmp_path / "whole"
    started = time.monotonic()
    subprocess.run(command(whole, built, "run", "table1", "-j", "2", *CELLS), cwd=ROOT, check=True, capture_output=True)
    unbroken = time.monotonic() - started
    expected = report(whole, tmp_path / "expected", built)

    store, dice, outcomes, computed = tmp_path / "cells", random.Random(9), Counter(), 0
    before = {}
    for _ in range(INTERRUPTIONS):
        argv = command(store, built, "run", "table1", "-j", dice.choice("12"), *CELLS)
        process = subprocess.Popen(
            argv, cwd=ROOT, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True
        )
        time.sleep(dice.uniform(0, 1.2 * unbroken))
        ended = process.poll() is not None
        whom = dice.choice(["the whole group", "the first process"])
        if not ended:
            (os.killpg if whom == "the whole group" else os.kill)(process.pid, signal.SIGKILL)
        process.wait()
        after = contents(store)
        assert all(after.get(folder) == files for folder, files in before.items()), (
            "a finished cell was lost or changed"
        )
        assert not [p.cell.name for p in plan.cells if Store(store).faults(p)], "a cell is corrupt"
        computed += len(after) - len(before)
        what = "ended by itself" if ended else "before a cell" if after == before else "among cells"
        outcomes[what if ended else f"{whom} killed {what}"] += 1
        before = after
        if ended:
            assert process.returncode == 0
            assert len(after) == len(plan.cells)
            assert report(store, tmp_path / "again", built) == expected
            shutil.rmtree(store)
            before = {}
    subprocess.run(command(store, built, "run", "table1", "-j", "2", *CELLS), cwd=ROOT, check=True, capture_output=True)
    assert report(store, tmp_path / "last", built) == expected
    with capsys.disabled():
        print(f"\n{INTERRUPTIONS} runs, {computed} cells computed, none lost, none corrupt: {dict(outcomes)}")
