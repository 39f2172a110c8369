"""``executor=stacked``: folds and seeds of a method trained together, each a cell of its own."""

import json

from results.storage.store import Store

RUN = ("run", "table1", "n=160", "folds=2", "seeds=2", "dataset.draws=16", "bootstrap=0", "known=none", "landmark=discharge",
       "method=zero_fill,logistic", "rectifier=on")  # fmt: skip


def records(root):
    store = Store(root)
    return {p.cell.name: store.record(p) for plan in store.every_plan() for p in plan.cells}


def test_a_stack_is_stored_cell_by_cell(cli, tmp_path):
    status, _, err = cli(*RUN, "executor=stacked")
    assert status == 0, err
    assert "8 done, 0 failed" in err
    found = records(tmp_path / "cells")
    together = [f"fold-{fold}/seed-{seed}" for fold in range(2) for seed in range(2)]
    for name, record in found.items():
        stacked = "/zero_fill/" in name
        assert record["config"].get("stacked", False) is stacked
        assert record["provenance"].get("stack") == (together if stacked else None)
    assert cli(*RUN, "executor=stacked")[2].count("0 to do") == 1
    status, _, err = cli(*RUN)  # alone: other numbers, other keys, but for what cannot be stacked
    assert status == 0
    assert "4 done before, 4 to do" in err
    assert cli("report", "table1")[0] == 0


def test_limits_are_those_of_a_process_of_its_own(cli):
    status, _, err = cli(*RUN, "executor=stacked", "limits.minutes=1")
    assert status == 2
    assert "not with executor=stacked" in err


def test_a_stack_that_cannot_be_trained_is_recorded_cell_by_cell(cli, tmp_path, monkeypatch):
    from methods.zero_fill import ZeroFill

    def fault(self, widths, tasks):
        raise ValueError("no network today")

    monkeypatch.setattr(ZeroFill, "build", fault)
    status, _, err = cli(*RUN, "executor=stacked")
    assert status == 1
    assert err.count("no network today") == 4
    failed = [r for r in records(tmp_path / "cells").values() if r["status"] == "failed"]
    assert len(failed) == 4
    assert all("no network today" in r["traceback"] for r in failed)
    assert json.dumps(failed[0])


def test_a_fold_that_does_not_suit_the_method_is_skipped_alone(cli, tmp_path, monkeypatch):
    from benchmark.cell import run_cell
    from methods.base import NotApplicable

    whole = run_cell._take_training_parts

    def parts(planned, cohort, rows):
        if planned.cell.fold == 1:
            raise NotApplicable("no task has two classes")
        return whole(planned, cohort, rows)

    monkeypatch.setattr(run_cell, "_take_training_parts", parts)
    status, _, err = cli(*RUN, "executor=stacked")
    assert status == 0, err
    assert {(r["cell"]["fold"], r["status"]) for r in records(tmp_path / "cells").values()} == {
        (0, "done"),
        (1, "skipped"),
    }
