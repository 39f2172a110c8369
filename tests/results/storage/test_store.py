import errno
import json
import multiprocessing
import os
import socket
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from results.cell import Cell, PlannedCell
from results.storage import files, folders
from results.storage.store import PREDICTION_COLUMNS, BrokenCell, Store, StoreError, read_plan
from tests.results.test_plan import FORMAT_1
from tests.stores import made_plan

PLANNED = PlannedCell(
    Cell("d", "icu_24h", "strict", "mt", "default", "off", "none", 0, 0), {"hidden": 8}, {"config": "abc"}, "MT"
)
RECORD = {
    "status": "done",
    "reason": None,
    "metrics": [{"split": "test", "task": "t", "metric": "auc", "value": 0.75, "reason": None}],
}


def predictions(value=0.1):
    return pd.DataFrame({
        "split": ["test", "test", "valid"], "row": [4, 2, 9], "patient": [14, 12, 19], "task": "t", "label": [1.0, np.nan, 0.0],
        "probability_base": value, "probability": [value, 0.2, 0.3], "pattern": ["10", "11", "10"],
    })  # fmt: skip


def everything(root):
    return sorted(p.relative_to(root).as_posix() for p in Path(root).rglob("*") if p.is_file())


def test_round_trip(tmp_path):
    store = Store(tmp_path)
    folder = store.write(PLANNED, RECORD, {"predictions": predictions()})
    assert folder == store.folder(PLANNED)
    assert store.record(PLANNED) == RECORD
    back = store.predictions(PLANNED)
    assert tuple(back.columns) == PREDICTION_COLUMNS
    assert back["probability"].dtype == np.float32
    assert back["row"].tolist() == [4, 2, 9]
    assert back["split"].tolist() == ["test", "test", "valid"]
    np.testing.assert_array_equal(back["label"], np.float32([1, np.nan, 0]))
    np.testing.assert_array_equal(back["probability"], np.float32([0.1, 0.2, 0.3]))


def test_another_key_is_another_cell(tmp_path):
    store = Store(tmp_path)
    store.write(PLANNED, RECORD, {"predictions": predictions()})
    changed = PlannedCell(PLANNED.cell, PLANNED.config, {"config": "abd"}, "MT")
    assert store.record(changed) is None
    assert store.folder(changed).parent == store.folder(PLANNED).parent


def test_a_failed_cell_is_replaced(tmp_path):
    store = Store(tmp_path)
    store.write(PLANNED, {"status": "failed", "reason": "out of memory", "metrics": []}, {})
    with pytest.raises(StoreError, match=r"predictions.parquet is not stored"):
        store.predictions(PLANNED)
    store.write(PLANNED, RECORD, {"predictions": predictions()})
    assert store.record(PLANNED)["status"] == "done"
    assert [Path(name).name for name in everything(tmp_path)] == ["SHA256SUMS", "cell.json", "predictions.parquet"]


ERRORS = {
    "crash": RuntimeError("killed"),
    "full": OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
    "read-only": OSError(errno.EROFS, os.strerror(errno.EROFS)),
}


def fails_at(name, call=1, original=None):
    """Stands for a crash, a full disk or a read-only one: the ``call``-th call fails, those before it do what they did."""
    calls = []

    def failing(*args, **kwargs):
        calls.append(args)
        if len(calls) < call:
            return original(*args, **kwargs)
        raise ERRORS[name]

    return failing


@pytest.mark.parametrize("file", [1, 2, 3], ids=["predictions", "record", "checksums"])
@pytest.mark.parametrize("before", [None, "failed", "done"])
def test_a_crash_leaves_nothing_half_written(tmp_path, monkeypatch, file, before):
    store = Store(tmp_path)
    if before:
        frames = {"predictions": predictions(0.9)} if before == "done" else {}
        store.write(PLANNED, RECORD | {"status": before}, frames)
    stored = everything(tmp_path)
    monkeypatch.setattr(folders, "write_synced", fails_at("crash", file, files.write_synced))
    with pytest.raises(RuntimeError, match="killed"):
        store.write(PLANNED, RECORD, {"predictions": predictions()})
    monkeypatch.undo()
    assert everything(tmp_path) == stored
    assert (store.record(PLANNED) or {}).get("status") == before
    assert store.faults(PLANNED) == []


@pytest.mark.parametrize("file", [1, 2, 3], ids=["predictions", "record", "checksums"])
def test_a_full_disk_is_one_line(tmp_path, monkeypatch, file):
    store = Store(tmp_path)
    monkeypatch.setattr(folders, "write_synced", fails_at("full", file, files.write_synced))
    with pytest.raises(
        StoreError, match=r"cannot write .*No space left on device; free space or choose another store=DIR"
    ) as error:
        store.write(PLANNED, RECORD, {"predictions": predictions()})
    assert "\n" not in str(error.value)
    assert everything(tmp_path) == []


def test_a_full_disk_leaves_the_old_plan(tmp_path, monkeypatch):
    store = Store(tmp_path)
    store.write_plan(made_plan(written="1"))
    monkeypatch.setattr(os, "replace", fails_at("full"))
    with pytest.raises(StoreError, match="No space left"):
        store.write_plan(made_plan(written="2"))
    monkeypatch.undo()
    assert [p.written for p in store.plans("smoke")] == ["1"]
    assert everything(tmp_path) == ["plans/p.json"]


def test_a_bad_record_is_refused_and_not_written(tmp_path):
    store = Store(tmp_path)
    bad = RECORD | {"metrics": [RECORD["metrics"][0] | {"value": 1.5}]}
    with pytest.raises(ValueError, match=r"auc of t on test is 1.5, outside its range"):
        store.write(PLANNED, bad, {"predictions": predictions()})
    with pytest.raises(ValueError, match="not JSON compliant"):
        store.write(PLANNED, RECORD | {"seconds": float("nan")}, {"predictions": predictions()})
    assert everything(tmp_path) == []


def test_predictions_without_a_column_are_refused(tmp_path):
    with pytest.raises(KeyError, match="pattern"):
        Store(tmp_path).write(PLANNED, RECORD, {"predictions": predictions().drop(columns="pattern")})
    assert everything(tmp_path) == []


def test_a_read_only_store_is_one_line_and_is_read(tmp_path, monkeypatch):
    store = Store(tmp_path)
    store.write(PLANNED, RECORD, {"predictions": predictions()})
    opened = Path.open

    def refusing(path, mode="r", *args, **kwargs):
        return opened(path, mode, *args, **kwargs) if mode in ("r", "rb") else fails_at("read-only")()

    for of, name in ((os, "mkdir"), (os, "rename"), (os, "replace"), (os, "unlink"), (os, "rmdir")):
        monkeypatch.setattr(of, name, fails_at("read-only"))
    monkeypatch.setattr(Path, "open", refusing)
    for write in (
        lambda: store.write(PLANNED, RECORD, {"predictions": predictions()}),
        lambda: store.write_plan(made_plan()),
    ):
        with pytest.raises(StoreError, match=r"cannot write .*: Read-only file system; choose another store=DIR$"):
            write()
    assert store.record(PLANNED) == RECORD
    assert len(store.predictions(PLANNED)) == 3


def test_every_file_and_both_folders_are_synced_before_and_after_the_rename(tmp_path, monkeypatch):
    store, steps = Store(tmp_path), []
    rename = os.rename
    monkeypatch.setattr(
        os, "fsync", lambda descriptor: steps.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")).name)
    )
    monkeypatch.setattr(os, "rename", lambda *paths: (steps.append("rename"), rename(*paths)))
    folder = store.write(PLANNED, RECORD, {"predictions": predictions()})
    at = steps.index("rename", steps.index("SHA256SUMS"))
    assert set(steps[:3]) == {"predictions.parquet", "cell.json", "SHA256SUMS"}
    assert steps[3].startswith(".writing-")
    assert at >= 4
    assert steps[-1] == folder.parent.name
    steps.clear()
    store.write_plan(made_plan())
    assert steps == [f".p.json.{os.getpid()}", "plans"]


def test_sha256sum_agrees(tmp_path):
    folder = Store(tmp_path).write(PLANNED, RECORD, {"predictions": predictions(), "probe": pd.DataFrame({"x": [1]})})
    said = subprocess.run(
        ["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=folder, capture_output=True, text=True
    )
    assert said.returncode == 0
    assert said.stdout.splitlines() == ["cell.json: OK", "predictions.parquet: OK", "probe.parquet: OK"]


def flipped(path, at=40):
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


BREAK = {
    "flipped record": (lambda f: flipped(f / "cell.json", 12), ["cell.json"], "record"),
    "flipped predictions": (lambda f: flipped(f / "predictions.parquet"), ["predictions.parquet"], "predictions"),
    "flipped checksum": (lambda f: flipped(f / "SHA256SUMS", 64), ["SHA256SUMS"], "record"),
    "another checksum": (
        lambda f: (f / "SHA256SUMS").write_text((f / "SHA256SUMS").read_text().replace((f / "SHA256SUMS").read_text()[:8], "0" * 8)),
        ["cell.json"], "record",
    ),
    "cut off": (lambda f: os.truncate(f / "predictions.parquet", 100), ["predictions.parquet"], "predictions"),
    "empty": (lambda f: os.truncate(f / "cell.json", 0), ["cell.json"], "record"),
    "no record": (lambda f: (f / "cell.json").unlink(), ["cell.json"], "record"),
    "no predictions": (lambda f: (f / "predictions.parquet").unlink(), ["predictions.parquet"], "predictions"),
    "no checksums": (lambda f: (f / "SHA256SUMS").unlink(), ["SHA256SUMS"], "record"),
    "nothing": (lambda f: [p.unlink() for p in f.iterdir()], ["SHA256SUMS"], "record"),
    "one more": (lambda f: (f / "more.parquet").write_text("x"), ["more.parquet"], "more"),
}  # fmt: skip


@pytest.mark.parametrize("how", BREAK)
def test_a_broken_cell_is_found_refused_and_replaced(tmp_path, how):
    spoil, found, part = BREAK[how]
    store = Store(tmp_path)
    folder = store.write(PLANNED, RECORD, {"predictions": predictions(0.9)})
    assert store.faults(PLANNED) == []
    spoil(folder)
    assert store.faults(PLANNED) == found
    with pytest.raises(
        BrokenCell,
        match=r"(does not match its checksum|is missing|is no list of checksums): run again to compute it$",
    ):
        store.record(PLANNED) if part == "record" else store.frame(PLANNED, part)
    store.write(PLANNED, RECORD, {"predictions": predictions(0.1)})
    assert store.faults(PLANNED) == []
    assert store.predictions(PLANNED)["probability"][0] == np.float32(0.1)
    assert [p.name for p in folder.parent.iterdir()] == [folder.name]


def test_a_cell_that_is_not_there_has_no_faults(tmp_path):
    assert Store(tmp_path).faults(PLANNED) == []
    with pytest.raises(StoreError, match="is not stored: run again"):
        Store(tmp_path).predictions(PLANNED)


@pytest.mark.parametrize("status", ["done", "skipped"])
def test_what_another_runner_finished_meanwhile_is_kept(tmp_path, status):
    store = Store(tmp_path)
    store.write(PLANNED, RECORD | {"status": status}, {"predictions": predictions(0.9)})
    store.write(PLANNED, {"status": "failed", "reason": "out of memory", "metrics": []}, {})
    assert store.record(PLANNED)["status"] == status
    store.write(PLANNED, RECORD, {"predictions": predictions(0.1)})
    assert store.predictions(PLANNED)["probability"][0] == np.float32(0.9)


def test_a_cell_finished_between_the_look_and_the_rename_is_put_back(tmp_path, monkeypatch):
    store = Store(tmp_path)
    folder = store.write(PLANNED, RECORD, {"predictions": predictions(0.9)})
    look = folders.is_finished
    seen = []

    def blind_once(path):
        seen.append(path)
        return False if len(seen) == 1 else look(path)

    monkeypatch.setattr(folders, "is_finished", blind_once)
    store.write(PLANNED, {"status": "failed", "reason": "out of memory", "metrics": []}, {})
    assert len(seen) == 2
    assert store.record(PLANNED)["status"] == "done"
    assert [p.name for p in folder.parent.iterdir()] == [folder.name]


def dead_process():
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


def test_the_scratch_folders_of_killed_writers_are_removed_by_the_next_write_of_the_key(tmp_path):
    store = Store(tmp_path)
    folder = store.folder(PLANNED)
    here, gone = socket.gethostname(), dead_process()
    dead, alive, elsewhere, old, other_key = (
        folder.parent / name for name in (
            f".writing-{folder.name}-{here}-{gone}-abc", f".writing-{folder.name}-{here}-{os.getppid()}-abc",
            f".writing-{folder.name}-another-host-{gone}-abc", f".writing-{folder.name}-another-host-{gone}-old",
            f".writing-0123456789abcdef-{here}-{gone}-abc",
        )
    )  # fmt: skip
    for path in (dead, alive, elsewhere, old, other_key):
        path.mkdir(parents=True)
        (path / "cell.json").write_text("{")
    os.utime(old, (0, 0))
    store.write(PLANNED, RECORD, {"predictions": predictions()})
    assert set(folder.parent.iterdir()) == {folder, alive, elsewhere, other_key}


def write_often(root, status, value):
    for _ in range(25):
        Store(root).write(PLANNED, RECORD | {"status": status}, {"predictions": predictions(value)})


@pytest.mark.parametrize("statuses", [("failed", "failed"), ("failed", "done"), ("done", "done")])
def test_writers_of_one_key_do_not_disturb_each_other(tmp_path, statuses):
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=write_often, args=(tmp_path, s, 0.1 + i / 10)) for i, s in enumerate(statuses)]
    for writer in writers:
        writer.start()
    seen = set()
    while any(writer.is_alive() for writer in writers):
        seen.add((Store(tmp_path).record(PLANNED) or {}).get("status"))
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0, 0]
    assert Store(tmp_path).record(PLANNED)["status"] == statuses[1]
    assert seen <= {None, *statuses}
    assert Store(tmp_path).faults(PLANNED) == []
    assert len(list(Store(tmp_path).folder(PLANNED).parent.iterdir())) == 1


def test_records_of_a_name_are_the_whole_ones_last_finished_first(tmp_path):
    store = Store(tmp_path)
    for config, finished in (("a", "2026-01-01"), ("b", "2026-01-03"), ("c", "2026-01-02")):
        planned = PlannedCell(PLANNED.cell, PLANNED.config, {"config": config}, "MT")
        folder = store.write(
            planned, RECORD | {"key": config, "provenance": {"finished": finished}}, {"p": predictions()}
        )
    assert [r["key"] for r in store.records(PLANNED.cell.name)] == ["b", "c", "a"]
    flipped(folder / "p.parquet")
    assert [r["key"] for r in store.records(PLANNED.cell.name)] == ["b", "a"]


def test_plans_written_last_first_whatever_the_clock_says_and_statistics_beside_them(tmp_path):
    store = Store(tmp_path)
    for name, written, experiment in (
        ("a", "2026-01-01", "smoke"),
        ("b", "2026-01-03", "smoke"),
        ("c", "2026-01-02", "table1"),
        ("d", "2025-01-01", "smoke"),
    ):
        store.write_plan(made_plan(name=name, experiment=experiment, written=written))
    store.write_statistics("a", {"intervals": []})
    assert [p.name for p in store.plans("smoke")] == ["d", "b", "a"]
    assert [p.sequence for p in store.every_plan()] == [4, 3, 2, 1]
    store.write_plan(made_plan(name="a", written="2024-01-01"))
    assert [p.name for p in store.plans("smoke")] == ["a", "d", "b"]
    assert store.plans("table2") == []
    assert store.statistics("a") == {"intervals": []}
    assert store.statistics("b") is None


def test_plans_of_before_the_sequence_come_last_by_their_date(tmp_path):
    store = Store(tmp_path)
    (tmp_path / "plans").mkdir()
    for name, written in (("old", "2030-01-01"), ("older", "2029-01-01")):
        text = json.dumps(FORMAT_1 | {"name": name, "written": written})
        (tmp_path / "plans" / f"{name}.json").write_text(text)
    store.write_plan(made_plan(name="new", written="2026-01-01"))
    assert [p.name for p in store.plans("smoke")] == ["new", "old", "older"]


@pytest.mark.parametrize("name", ["p.json", "p.statistics.json", "p.groups.parquet"])
def test_a_broken_file_beside_the_cells_is_one_line(tmp_path, name):
    store = Store(tmp_path)
    (tmp_path / "plans").mkdir()
    (tmp_path / "plans" / name).write_text('{"name": "p", "exper')
    with pytest.raises(StoreError, match=f"{name} (is broken|cannot be read) .*: remove it and run again"):
        {"p.json": store.every_plan, "p.statistics.json": lambda: store.statistics("p")}.get(
            name, lambda: store.groups("p")
        )()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format": 3}, r"p\.json: plan p has format 3, this version reads up to 2: use the newer version$"),
        ({"cells": None}, r"p\.json: plan p is not as it was written \(.*\): remove it and run again$"),
    ],
)
def test_a_plan_that_cannot_be_read_is_one_line_that_names_its_file(tmp_path, change, said):
    store = Store(tmp_path)
    path = store.write_plan(made_plan())
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    for read in (store.every_plan, lambda: store.plans("smoke"), lambda: read_plan(path)):
        with pytest.raises(StoreError, match=said) as error:
            read()
        assert "\n" not in str(error.value)
