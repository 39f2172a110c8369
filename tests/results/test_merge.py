"""Two stores into one: what is taken, what is kept, what is named."""

import io
import shutil
from collections import Counter

import numpy as np
import pytest

from results import merge as module
from results.cell import PlannedCell
from results.merge import merge_stores
from results.statistics.derive import derive
from results.storage.folders import put_folder
from results.storage.store import Store, StoreError
from tests.stores import ROWS, fabricate, rewrite

SMALL = {"n": 40, "folds": 2, "rows": ROWS[:2], "landmarks": {"icu_24h": ("mortality_inhosp",)}}


def counts(merged):
    return Counter({k: len(v) for k, v in vars(merged).items() if k != "source" and v})


def files(root):
    return {p.relative_to(root): p.read_bytes() for p in root.rglob("*") if p.is_file() and "plans" not in p.parts}


def test_two_halves_make_a_whole(tmp_path):
    half = [("crl_mmnar", "icu_24h", 0), ("crl_mmnar", "icu_24h", 1)]
    here, plan = fabricate(tmp_path / "here", missing=half, **SMALL)
    there, whole = fabricate(
        tmp_path / "there", missing=[("cm_ae", "icu_24h", 0)], written="2026-01-03T00:00:00", **SMALL
    )
    found = merge_stores(here, tmp_path / "there")
    assert counts(found) == {"copied": 2, "different": 1, "plans": 1}
    assert {here.record(p)["status"] for p in plan.cells} == {"done"}
    assert all(here.faults(p) == [] for p in plan.cells)
    own = next(p for p in plan.cells if p.cell.method == "crl_mmnar")
    assert here.predictions(own).equals(there.predictions(own))
    assert [p.name for p in here.every_plan()] == [whole.name, plan.name]


def test_a_second_merge_does_nothing(tmp_path):
    here = Store(tmp_path / "here")
    fabricate(tmp_path / "there", **SMALL)
    assert counts(merge_stores(here, tmp_path / "there")) == {"copied": 4, "plans": 1}
    before = files(here.root)
    assert before == files(tmp_path / "there")
    assert counts(merge_stores(here, tmp_path / "there")) == {"same": 4}
    assert files(here.root) == before


def test_a_merge_that_was_cut_off_continues(tmp_path, monkeypatch):
    here = Store(tmp_path / "here")
    _, plan = fabricate(tmp_path / "there", **SMALL)
    calls = []

    def dies(*args):
        calls.append(args)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return put_folder(*args)

    monkeypatch.setattr(module, "put_folder", dies)
    with pytest.raises(KeyboardInterrupt):
        merge_stores(here, tmp_path / "there")
    assert here.every_plan() == []
    assert counts(merge_stores(here, tmp_path / "there")) == {"copied": 2, "same": 2, "plans": 1}
    assert all(here.record(p)["status"] == "done" for p in plan.cells)


def test_broken_cells_are_left_out_and_named(tmp_path):
    here = Store(tmp_path / "here")
    there, plan = fabricate(tmp_path / "there", **SMALL)
    first, second, third, _ = plan.cells
    (there.folder(first) / "predictions.parquet").write_bytes(b"PAR1")
    moved = there.root / second.cell.name / "0123456789abcdef"
    there.folder(second).rename(moved)
    (there.folder(third).parent / ".writing-x").mkdir()
    (there.folder(third).parent / ".writing-x" / "cell.json").write_text("{")
    found = merge_stores(here, there.root)
    assert counts(found) == {"copied": 2, "broken": 2, "plans": 1}
    assert sorted(found.broken) == sorted([
        f"{first.cell.name}/{first.key[:16]} (predictions.parquet)",
        f"{second.cell.name}/0123456789abcdef (not the cell of this folder)",
    ])  # fmt: skip
    assert here.record(first) is None
    assert not list(here.root.rglob(".writing-*"))


@pytest.mark.parametrize(
    ("ours", "theirs", "what", "left"),
    [
        ("failed", "done", "replaced", "done"),
        ("broken", "done", "replaced", "done"),
        ("broken", "failed", "replaced", "failed"),
        ("failed", "failed", "kept", "failed"),
        ("done", "failed", "kept", "done"),
        ("skipped", "done", "different", "skipped"),
        ("done", "done", "same", "done"),
    ],
)
def test_whose_cell_stays(tmp_path, ours, theirs, what, left):
    stores = {}
    for name, status in (("here", ours), ("there", theirs)):
        store, plan = fabricate(tmp_path / name, **SMALL)
        planned = plan.cells[0]
        record = store.record(planned) | {"status": status if status != "broken" else "done"}
        rewrite(
            store, planned, record, {"predictions": store.predictions(planned)} if status in ("done", "broken") else {}
        )
        if status == "broken":
            (store.folder(planned) / "cell.json").write_text("{")
        stores[name] = store
    found = merge_stores(stores["here"], stores["there"].root)
    assert len(getattr(found, what)) == (4 if what == "same" else 1)
    assert counts(found)["same"] == (4 if what == "same" else 3)
    assert stores["here"].record(planned)["status"] == left


@pytest.mark.parametrize("change", [0.01, 0.0])
def test_other_predictions_of_the_same_key_are_named_and_ours_kept(tmp_path, change):
    """Compared by value: another compression is no difference."""
    here, plan = fabricate(tmp_path / "here", **SMALL)
    there, _ = fabricate(tmp_path / "there", **SMALL)
    planned = plan.cells[0]
    frame = there.predictions(planned)
    moved = frame.assign(probability=(frame["probability"] + np.float32(change)).clip(0, 1))
    folder, buffer = there.folder(planned), io.BytesIO()
    moved.to_parquet(buffer, index=False, compression=None)
    record = (folder / "cell.json").read_bytes()
    shutil.rmtree(folder)
    put_folder(folder, {"cell.json": record, "predictions.parquet": buffer.getvalue()})
    found = merge_stores(here, there.root)
    name = f"{planned.cell.name}/{planned.key[:16]}"
    assert found.different == ([name] if change else [])
    assert here.predictions(planned).equals(frame)


def test_statistics_come_along_where_they_rest_on_the_same_cells(tmp_path):
    there, plan = fabricate(tmp_path / "there", **SMALL)
    there.write_statistics(plan.name, derive(there, plan, resamples=5))
    whole, other = Store(tmp_path / "whole"), Store(tmp_path / "other")
    merge_stores(whole, there.root)
    assert whole.statistics(plan.name) == there.statistics(plan.name)
    fabricate(tmp_path / "draft", draw=1, **SMALL)
    shutil.copytree(tmp_path / "draft", other.root, ignore=shutil.ignore_patterns("plans"))
    found = merge_stores(other, there.root)
    assert counts(found) == {"different": 4, "plans": 1}
    assert other.statistics(plan.name) is None


def test_statistics_of_half_a_plan_give_way_to_those_of_the_whole(tmp_path):
    here, plan = fabricate(tmp_path / "here", **SMALL)
    there, _ = fabricate(tmp_path / "there", **SMALL)
    there.write_statistics(plan.name, derive(there, plan, resamples=5))
    shutil.rmtree(here.folder(plan.cells[0]))
    here.write_statistics(plan.name, derive(here, plan, resamples=5))
    merge_stores(here, there.root)
    assert here.statistics(plan.name) == there.statistics(plan.name)


def test_groups_come_along(tmp_path):
    import pandas as pd

    there, plan = fabricate(tmp_path / "there", **SMALL)
    groups = pd.DataFrame({"landmark": ["icu_24h"], "row": [0], "sex": ["Female"]})
    there.write_groups(plan.name, groups)
    here = Store(tmp_path / "here")
    merge_stores(here, there.root)
    assert here.groups(plan.name).equals(groups)


def test_plans_taken_over_are_newer_than_those_here_in_their_order(tmp_path):
    here, plan = fabricate(tmp_path / "here", written="2030-01-01T00:00:00", **SMALL)
    for k in range(2):
        fabricate(tmp_path / "there", written=f"202{9 - k}-01-01T00:00:00", draw=k, split=f"s{k}", **SMALL)
    merge_stores(here, tmp_path / "there")
    assert [p.written[:4] for p in here.every_plan()] == ["2028", "2029", "2030"]
    assert here.every_plan()[-1].name == plan.name


@pytest.mark.parametrize("source", ["here", "here/plans", ".", "nowhere", "empty"])
def test_what_is_no_other_store_is_refused(tmp_path, source):
    here, _ = fabricate(tmp_path / "here", **SMALL)
    (tmp_path / "empty").mkdir()
    said = "is no store" if source in ("nowhere", "empty") else "is this store, or one lies in the other"
    with pytest.raises(StoreError, match=said):
        merge_stores(here, tmp_path / source)


def test_a_cell_of_another_key_lies_beside(tmp_path):
    here, plan = fabricate(tmp_path / "here", **SMALL)
    _, other = fabricate(tmp_path / "there", split="t", **SMALL)
    assert counts(merge_stores(here, tmp_path / "there"))["copied"] == 4
    for planned in [*plan.cells, *other.cells]:
        assert isinstance(planned, PlannedCell)
        assert here.record(planned)["status"] == "done"
