import errno
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from results import store as module
from results.cell import Cell, PlannedCell
from results.store import PREDICTION_COLUMNS, Store, StoreError, planned_cells

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
    with pytest.raises(StoreError, match=r"predictions.parquet cannot be read"):
        store.predictions(PLANNED)
    store.write(PLANNED, RECORD, {"predictions": predictions()})
    assert store.record(PLANNED)["status"] == "done"
    assert len(everything(tmp_path)) == 2


def fails_at(name):
    """Stands for a crash or a full disk while a part of a cell is written."""

    def failing(*args, **kwargs):
        raise {"crash": RuntimeError("killed"), "full": OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))}[name]

    return failing


@pytest.mark.parametrize("step", ["_write_predictions", "_write_synced"])
@pytest.mark.parametrize("before", [False, True], ids=["new", "stored before"])
def test_a_crash_leaves_nothing_half_written(tmp_path, monkeypatch, step, before):
    store = Store(tmp_path)
    if before:
        store.write(PLANNED, RECORD, {"predictions": predictions(0.9)})
    files = everything(tmp_path)
    monkeypatch.setattr(module, step, fails_at("crash"))
    with pytest.raises(RuntimeError, match="killed"):
        store.write(PLANNED, RECORD, {"predictions": predictions()})
    monkeypatch.undo()
    assert everything(tmp_path) == files
    if before:
        assert store.predictions(PLANNED)["probability"][0] == np.float32(0.9)
    else:
        assert store.record(PLANNED) is None


@pytest.mark.parametrize("step", ["_write_predictions", "_write_synced"])
def test_a_full_disk_is_one_line(tmp_path, monkeypatch, step):
    store = Store(tmp_path)
    monkeypatch.setattr(module, step, fails_at("full"))
    with pytest.raises(
        StoreError, match=r"cannot write .*No space left on device; free space or choose another store=DIR"
    ) as error:
        store.write(PLANNED, RECORD, {"predictions": predictions()})
    assert "\n" not in str(error.value)
    assert everything(tmp_path) == []


def test_a_full_disk_leaves_the_old_plan(tmp_path, monkeypatch):
    store = Store(tmp_path)
    store.write_plan("p", {"name": "p", "experiment": "smoke", "written": "1"})
    monkeypatch.setattr(module.os, "replace", fails_at("full"))
    with pytest.raises(StoreError, match="No space left"):
        store.write_plan("p", {"name": "p", "experiment": "smoke", "written": "2"})
    monkeypatch.undo()
    assert [p["written"] for p in store.plans("smoke")] == ["1"]
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


def test_broken_files_say_what_to_do(tmp_path):
    store = Store(tmp_path)
    folder = store.write(PLANNED, RECORD, {"predictions": predictions()})
    (folder / "cell.json").write_text('{"status": "do')
    (folder / "predictions.parquet").write_bytes(b"PAR1 and then nothing")
    with pytest.raises(StoreError, match=r"cell.json is broken .*: remove its folder and run again"):
        store.record(PLANNED)
    with pytest.raises(StoreError, match=r"predictions.parquet cannot be read .*: remove its folder and run again"):
        store.predictions(PLANNED)


def test_plans_newest_first_and_statistics_beside_them(tmp_path):
    store = Store(tmp_path)
    for name, written, experiment in (
        ("a", "2026-01-01", "smoke"),
        ("b", "2026-01-03", "smoke"),
        ("c", "2026-01-02", "table1"),
    ):
        store.write_plan(name, {"name": name, "experiment": experiment, "written": written})
    store.write_statistics("a", {"intervals": []})
    assert [p["name"] for p in store.plans("smoke")] == ["b", "a"]
    assert store.plans("table2") == []
    assert store.statistics("a") == {"intervals": []}
    assert store.statistics("b") is None


def test_planned_cells_come_back(tmp_path):
    document = {
        "cells": [
            {"cell": PLANNED.cell.__dict__, "config": PLANNED.config, "key_parts": PLANNED.key_parts, "title": "MT"}
        ]
    }
    assert planned_cells(document) == [PLANNED]
