"""Cells computed apart: a process that dies or goes over a limit takes one cell with it, and two runs never compute the same."""

import errno
import fcntl
import os
import platform
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from benchmark.cell.inputs import CellInputs
from benchmark.executors import BUSY, Job, Limits, Outcome, Work, attempt, local, run_job
from benchmark.executors import child as child_module
from benchmark.executors.attempt import compute_apart
from benchmark.executors.child import Child, Died, Exceeded
from results.cell import Cell, PlannedCell
from results.storage import locks
from results.storage.locks import make_cell_lock
from results.storage.store import Store, StoreError
from tests.stores import record_of

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def child():
    one = Child()
    yield one
    one.kill()


def double(x):
    return 2 * x


def fail(message):
    raise ValueError(message)


def die(how):
    os.kill(os.getpid(), how) if how else os._exit(3)


def take(mebibytes):
    block = bytearray(mebibytes * 2**20)
    block[::4096] = b"x" * len(block[::4096])
    time.sleep(60)


def test_a_child_answers_again_and_again(child):
    assert [child.call(double, x) for x in (1, 2)] == [2, 4]
    with pytest.raises(ValueError, match="not this"):
        child.call(fail, "not this")
    assert child.call(double, 3) == 6


@pytest.mark.parametrize(
    ("how", "words"), [(signal.SIGKILL, "SIGKILL: the system may be short of memory"), (0, "status 3")]
)
def test_a_child_that_dies_says_how(child, how, words):
    with pytest.raises(Died, match=words):
        child.call(die, how)
    assert not child.alive


@pytest.mark.parametrize(
    ("limits", "function", "args", "words"),
    [
        (Limits(minutes=0.005), time.sleep, (60,), "stopped after 0.005 minutes, the limit"),
        (Limits(gib=0.3), take, (500,), "GiB of memory, the limit is 0.3"),
    ],
)
def test_a_child_over_its_limit_is_ended(child, limits, function, args, words):
    child.call(double, 1)
    with pytest.raises(Exceeded, match=words):
        child.call(function, *args, limits=limits)
    assert not child.alive


def test_a_child_ends_with_the_process_that_started_it():
    code = "import time; from benchmark.executors.child import Child; c = Child(); print(c.pid, flush=True); c.call(time.sleep, 60)"
    process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    pid = int(process.stdout.readline())
    assert psutil.pid_exists(pid)
    process.kill()
    process.wait()
    deadline = time.monotonic() + 20
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != "zombie" and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == "zombie"


def work(fold=0):
    cell = Cell("d", "icu_24h", "strict", "m", "default", "off", "none", fold, 0)
    return Work(
        PlannedCell(cell, {"method": {"class": "m", "fitted": False}}, {"cell": cell.name}, "M"),
        CellInputs(Path("nowhere"), Path("nowhere")),
    )


def done(work, root):
    """What a cell's computing comes to, written down: one line a call in ``<root>/calls``."""
    with (root / "calls").open("a") as file:
        file.write(f"{work.planned.cell.fold}\n")
    record = record_of(work.planned, "done", [], None)
    Store(root).write(work.planned, record, {})
    return Outcome.from_record(work.planned, record)


def done_unless_stored(work, root):
    record = Store(root).record(work.planned)
    time.sleep(0.01)
    return done(work, root) if record is None else Outcome.from_record(work.planned, record)


def dies_first(work, root):
    if not (root / "died").exists():
        (root / "died").touch()
        die(signal.SIGKILL)
    return done(work, root)


def dies(work, root):
    die(signal.SIGSEGV)


def sleeps(work, root):
    time.sleep(60)


def calls(root):
    return sorted(map(int, (root / "calls").read_text().split())) if (root / "calls").exists() else []


def test_a_cell_whose_process_dies_is_tried_again(tmp_path, monkeypatch):
    monkeypatch.setattr(attempt, "compute", dies_first)
    outcome = compute_apart(work(), tmp_path, Limits())
    assert (outcome.status, calls(tmp_path)) == ("done", [0])


@pytest.mark.parametrize(
    ("how", "limits", "words"),
    [
        (dies, Limits(), "ended by SIGSEGV (tried 2 times)"),
        (sleeps, Limits(minutes=0.005), "stopped after 0.005 minutes"),
    ],
)
def test_a_cell_that_cannot_be_computed_is_recorded_and_the_next_one_is(tmp_path, monkeypatch, how, limits, words):
    monkeypatch.setattr(attempt, "compute", how)
    outcome = compute_apart(work(0), tmp_path, limits)
    assert outcome.status == "failed"
    record = Store(tmp_path).record(work(0).planned)
    assert words in record["reason"]
    assert record["provenance"]["seconds"]["total"] > 0
    monkeypatch.setattr(attempt, "compute", done)
    assert compute_apart(work(1), tmp_path, Limits()).status == "done"


def test_a_cell_that_another_run_has_in_hand_is_busy_and_awaited(tmp_path):
    cells = [work(0), work(1)]
    with make_cell_lock(tmp_path, cells[0].planned):
        assert attempt.attempt(cells[0], tmp_path, done_unless_stored).status == BUSY
        assert attempt.attempt(cells[1], tmp_path, done_unless_stored).status == "done"
        waiting = threading.Thread(target=attempt.attempt, args=(cells[0], tmp_path, done_unless_stored, True))
        waiting.start()
        time.sleep(0.2)
        assert calls(tmp_path) == [1]
        done(cells[0], tmp_path)
    waiting.join()
    assert calls(tmp_path) == [0, 1]


def test_two_runs_on_one_store_compute_no_cell_twice(tmp_path, monkeypatch):
    from benchmark.executors import local

    monkeypatch.setattr(local, "compute", done_unless_stored)
    cells = [work(fold) for fold in range(30)]
    seen = {}

    def runner(name, order):
        seen[name] = [o.status for o in run_job(Job(order, tmp_path, 1, Limits()), "local", {})]

    threads = [
        threading.Thread(target=runner, args=("a", cells)),
        threading.Thread(target=runner, args=("b", cells[::-1])),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert calls(tmp_path) == list(range(30))
    assert seen == {"a": ["done"] * 30, "b": ["done"] * 30}


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="asks of GNU's C library")
def test_freed_memory_stays_for_the_next_step_and_goes_at_the_end():
    """Blocks of 64 MiB, each freed before the next: their pages are those of the first."""
    code = (
        "import contextlib, resource, numpy, psutil; from benchmark.executors.attempt import keep_freed_memory\n"
        "faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        "resident = lambda: psutil.Process().memory_info().rss // 2**20\n"
        "before = resident()\n"
        "with {}:\n"
        "    for step in range(11):\n"
        "        numpy.ones(2**23)\n"
        "        first = first if step else faults()\n"
        "    print(faults() - first, resident() - before)\n"
        "print(resident() - before)"
    )
    kept, given_back = (
        [int(number) for number in subprocess.check_output([sys.executable, "-c", code.format(how)], cwd=ROOT).split()]
        for how in ("keep_freed_memory()", "contextlib.nullcontext()")
    )
    assert kept[0] < given_back[0] / 100
    assert kept[1] > 60 > 10 > kept[2]
    assert given_back[1] < 10


@pytest.mark.parametrize(("jobs", "limits"), [(1, Limits(minutes=1)), (2, Limits())])
def test_without_a_pool_cells_are_computed_and_the_program_goes_on(tmp_path, monkeypatch, capsys, jobs, limits):
    """One job, or joblib under JOBLIB_MULTIPROCESSING=0: no worker, and nothing meant for one."""
    if jobs > 1:
        monkeypatch.setattr(local, "mp", None)
        monkeypatch.setattr(local, "_run_pool", None)
    monkeypatch.setattr(local, "compute", done)
    monkeypatch.setattr(attempt, "compute", done)
    monkeypatch.setattr(os, "_exit", None)  # what a worker whose parent is gone does would end the tests
    cells = [work(0), work(1)]
    outcomes = list(run_job(Job(cells, tmp_path, jobs, limits), "local", {}))
    assert ([o.status for o in outcomes], calls(tmp_path)) == (["done", "done"], [0, 1])
    assert ("joblib starts no processes here" in capsys.readouterr().err) == (jobs > 1)


def test_a_pool_that_runs_in_the_parent_does_not_end_it(monkeypatch):
    """joblib computes in place what it cannot hand to a worker: nobody watches for the end of a parent that is itself."""
    child_module.end_with_parent.cache_clear()
    started = []
    monkeypatch.setattr(
        child_module.threading, "Thread", lambda **options: started.append(options) or threading.Event()
    )
    child_module.end_with_parent(os.getpid())
    assert started == []


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP, errno.EIO])
@pytest.mark.parametrize("there", [False, True])
def test_a_file_system_without_locks_is_one_line_after_a_moment(tmp_path, monkeypatch, number, there):
    """With a lock file already there, FileLock takes its existence for the lock of another and waits for ever."""
    if there:
        with make_cell_lock(tmp_path, work().planned):
            pass

    def refuse(*args):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    monkeypatch.setattr(locks, "PATIENCE", 0.3)
    started = time.monotonic()
    with pytest.raises(StoreError, match=r"cannot be locked: .*; choose a store=DIR on a file system that has locks"):
        attempt.attempt(work(), tmp_path, done, wait=True)
    assert time.monotonic() - started < 5
    assert calls(tmp_path) == []


def test_a_lock_that_is_refused_for_a_moment_is_asked_for_again(tmp_path, monkeypatch):
    refusals, flock = [errno.ENOLCK, errno.EINTR], fcntl.flock

    def refuse_twice(*args):
        if refusals:
            raise OSError(refusals.pop(), "for the moment")
        return flock(*args)

    monkeypatch.setattr(fcntl, "flock", refuse_twice)
    monkeypatch.setattr(locks, "PAUSE", 0)
    assert attempt.attempt(work(), tmp_path, done).status == "done"
