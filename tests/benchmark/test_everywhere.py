"""A cell is the same bit for bit wherever and in whatever order it is computed: alone, in the full run, by two processes, on the workers
of a dask scheduler one of which is killed, as a job of a cluster, in reverse."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pandas as pd
import pytest

from benchmark.executors import Job, Limits, Work, run_job
from benchmark.plan.config import load_config
from benchmark.plan.plan import plan_run
from results.storage.store import Store
from tests.stores import stored

ROOT = Path(__file__).resolve().parents[2]
CELLS = (
    "n=160", "folds=2", "dataset.draws=16", "bootstrap=0", "landmark=icu_24h", "known=none", "method=s_only,crl_mmnar,logistic",
    "method.max_epochs=2",
)  # fmt: skip
SHUFFLED = (*(c for c in CELLS if not c.startswith("method")), "method=logistic", "outcomes=shuffled")
"""Cells of the same names as some of CELLS, with other keys."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory, built):
    """The plan's cells, and what each comes to in a full run by this process, in order."""
    plans = [plan_run(load_config("table1", [*cells, f"built={built}"])) for cells in (CELLS, SHUFFLED)]
    work = [Work(planned, plan.inputs_of(planned.cell)) for plan in plans for planned in plan.cells]
    assert len({w.planned.cell for w in work}) < len({w.planned.key for w in work}) == len(work)
    return work, predictions(work, tmp_path_factory.mktemp("whole"), "local", {}, 1)


def predictions(work, root, executor, settings, jobs):
    """The stored predictions by key, of cells all of which are done."""
    outcomes = list(run_job(Job(work, root, jobs, Limits()), executor, settings))
    assert sorted(o.planned.key for o in outcomes) == sorted(w.planned.key for w in work)
    assert {o.status for o in outcomes} == {"done"}, outcomes
    return {w.planned.key: Store(root).predictions(w.planned) for w in work}


def assert_same(found, expected):
    assert found
    for key, frame in found.items():
        pd.testing.assert_frame_equal(frame, expected[key], check_exact=True)


def test_in_reverse(whole, tmp_path):
    work, expected = whole
    assert_same(predictions(work[::-1], tmp_path, "local", {}, 1), expected)


def test_alone(whole, tmp_path):
    work, expected = whole
    assert_same(predictions(work[3:4], tmp_path, "local", {}, 1), expected)


def test_by_two_processes(whole, tmp_path):
    work, expected = whole
    assert_same(predictions(work, tmp_path, "local", {}, 2), expected)


def test_as_jobs_of_a_cluster(whole, tmp_path):
    work, expected = whole
    assert_same(predictions(work[4:], tmp_path, "slurm", {"slurm": {"cluster": "local"}}, 2), expected)
    assert list((tmp_path / "logs").iterdir())


@pytest.fixture
def scheduler(tmp_path):
    """A dask scheduler on loopback with two worker processes: its address, and the processes of the workers."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "DASK_DISTRIBUTED__WORKER__DAEMON": "False"}

    def start(*argv):
        return subprocess.Popen(
            [sys.executable, "-m", *argv],
            cwd=tmp_path,
            env=environment,
            stderr=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )

    file = tmp_path / "scheduler.json"
    place = ("--scheduler-file", str(file))
    processes = [
        start("distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", *place)
    ]
    while not file.exists():
        time.sleep(0.05)
    worker = ("distributed.cli.dask_worker", "--no-nanny", "--nthreads", "1", "--no-dashboard")
    processes += [start(*worker, *place) for _ in range(2)]
    from distributed import Client

    with Client(scheduler_file=str(file)) as client:
        client.wait_for_workers(2, timeout=60)
        yield client.scheduler.address, processes[1:]
    for process in processes:
        process.kill()
        process.wait()


def test_on_workers_of_which_one_is_killed(whole, scheduler, tmp_path):
    work, expected = whole
    address, workers = scheduler
    root = tmp_path / "cells"

    def kill_one():
        """As soon as the first cell is stored, while others are computed."""
        while not stored(root):
            time.sleep(0.01)
        workers[0].send_signal(signal.SIGKILL)

    threading.Thread(target=kill_one, daemon=True).start()
    assert_same(predictions(work, root, "dask", {"scheduler": address}, 2), expected)
    assert workers[0].wait(timeout=10) == -signal.SIGKILL
    assert workers[1].poll() is None


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["executor=dask", "scheduler=tcp://127.0.0.1:9"], "no dask scheduler answers at scheduler=tcp://127.0.0.1:9"),
        (["executor=slurm", "slurm.cluster=slurm"], "executor=slurm: "),
        (["executor=ray"], "executor"),
        (["limits.minutes=0"], "limits.minutes=0 is too small"),
    ],
)
def test_an_executor_that_cannot_be_had_is_refused_in_one_line(cli, monkeypatch, argv, message):
    from benchmark.executors import dask

    monkeypatch.setattr(dask, "REACH", "0.5s")
    status, _, err = cli("run", "table1", *CELLS, *argv)
    assert status == 2
    assert message in [line for line in err.splitlines() if line][-1]
    assert "Traceback" not in err
