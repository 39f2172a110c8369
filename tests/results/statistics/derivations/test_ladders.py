"""Which rows are compared with which: the ablation ladder, sweeps, the ceiling, and the worth of the pattern."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from results.plan import Settings
from results.rows import list_rows
from results.statistics.changes import find_default, list_changes
from results.statistics.derivations import ceiling, steps, sweep, worth
from results.statistics.ladder import LADDER, find_rung
from tests.stores import fabricate, made_plan

LADDER_ROWS = (
    ("crl_mmnar", "concat", "off", "concat", "method", 0.2),
    ("crl_mmnar", "mmnar", "off", "mmnar", "method", 0.5),
    ("crl_mmnar", "default", "on", "CRL-MMNAR", "method", 0.8),
)
SWEPT = (
    ("crl_mmnar", "default", "on", "CRL-MMNAR", "method", 0.8),
    ("crl_mmnar", "dropout=0.5", "on", "d", "method", 0.1),
    ("crl_mmnar", "lr=1e-05", "on", "l", "method", 0.2),
    ("crl_mmnar", "mmnar", "on", "m", "method", 0.5),
    ("crl_mmnar", "mmnar+dropout=0.5", "on", "md", "method", 0.4),
)


def swept(root, **options):
    """A plan with two bases and three changed rows."""
    store, plan = fabricate(root, rows=SWEPT, n=60, folds=2, **options)
    rows = []
    for row in plan.rows:
        field, _, value = row.variant.rpartition("+")[2].partition("=")
        rows.append(replace(row, change={field: float(value)} if value else {}))
    config = {"method": {"config": {"dropout": 0.2, "lr": 4e-4}}}
    cells = [replace(planned, config=config) for planned in plan.cells]
    return store, replace(plan, rows=rows, cells=cells, settings=Settings({"schedule": {"lr_factor": 2.0}}))


def auc(store, plan, variant, task, column):
    """The AUC by fold, straight from predictions."""
    found = {}
    for planned in plan.cells:
        frame = store.predictions(planned)
        frame = frame[(frame["split"] == "test") & (frame["task"] == task)]
        if planned.cell.variant == variant and len(frame):
            found[planned.cell.fold] = roc_auc_score(frame["label"], frame[column].astype(float))
    return np.array([found[k] for k in sorted(found)])


def test_each_step_is_held_against_the_one_before(tmp_path):
    store, plan = fabricate(tmp_path, rows=LADDER_ROWS, n=90, folds=3)
    records = {r["name"]: r for r in steps.derive(store, plan, 20) if (r["task"], r["metric"]) == ("icu_90d", "auc")}
    assert list(records) == ["+ MMNAR", "+ MR", "+ Rectifier"]
    stages = [
        ("concat", "probability"),
        ("mmnar", "probability"),
        ("default", "probability_base"),
        ("default", "probability"),
    ]
    by_step = [auc(store, plan, variant, "icu_90d", column) for variant, column in stages]
    for i, record in enumerate(records.values()):
        assert record["difference"] == pytest.approx((by_step[i + 1] - by_step[i]).mean(), abs=1e-9)
    assert sum(r["in_family"] for r in steps.derive(store, plan, 0)) == 9


def test_the_ladder_is_found_with_the_rectifier_on_everywhere_and_has_no_last_rung_without():
    def found(*rectifiers):
        ladder = zip(("concat", "mmnar", "default"), rectifiers, strict=True)
        rows = list_rows(made_plan(*(("crl_mmnar", variant, rectifier) for variant, rectifier in ladder)))
        return [r and r.variant for r in (find_rung(step, "crl_mmnar", rows) for step in LADDER)]

    assert found("off", "off", "on") == ["concat", "mmnar", "no_rectifier", "default"]
    assert found("on", "on", "on") == ["concat+no_rectifier", "mmnar+no_rectifier", "no_rectifier", "default"]
    assert found("off", "off", "off") == ["concat", "mmnar", "default", None]


def test_a_change_is_held_against_the_row_it_changes(tmp_path):
    store, plan = swept(tmp_path)
    pairs = [(c.row.variant, c.base.variant, c.field, c.value) for c in list_changes(plan)]
    assert pairs == [
        ("dropout=0.5", "default", "dropout", 0.5),
        ("lr=1e-05", "default", "lr", 1e-5),
        ("mmnar+dropout=0.5", "mmnar", "dropout", 0.5),
    ]
    records = [r for r in sweep.derive(store, plan, 0) if (r["task"], r["metric"]) == ("icu_90d", "auc")]
    assert [(r["name"], r["base_variant"]) for r in records] == [p[:2] for p in pairs]
    expected = auc(store, plan, "mmnar+dropout=0.5", "icu_90d", "probability") - auc(
        store, plan, "mmnar", "icu_90d", "probability"
    )
    assert records[2]["difference"] == pytest.approx(expected.mean(), abs=1e-9)


def test_the_default_learning_rate_is_that_before_the_schedule(tmp_path):
    _, plan = swept(tmp_path)
    base = list_changes(plan)[0].base
    assert (find_default(base, "lr", plan), find_default(base, "dropout", plan)) == (2e-4, 0.2)


KNOWN = (
    ("s_only", "default", "off", "S only", "method", 0.2),
    ("gru_d", "default", "off", "GRU-D", "method", 0.5),
    ("ceiling", "default", "off", "ceiling", "known", 1.6),
    ("ceiling_series", "default", "off", "with series", "known", 1.8),
    ("evidence0_cause1", "default", "off", "cause only", "known", 1.2),
)


def test_methods_are_held_against_their_own_ceiling(tmp_path):
    store, plan = fabricate(tmp_path, rows=KNOWN, n=60, folds=2)
    rows = [replace(row, series=row.method in ("gru_d", "ceiling_series")) for row in plan.rows]
    plan = replace(plan, rows=rows)
    records = ceiling.derive(store, plan, 0)
    assert {(r["method"], r["base_method"]) for r in records} == {("s_only", "ceiling"), ("gru_d", "ceiling_series")}
    assert all(r["difference"] < 0 for r in records if r["metric"] == "auc")
    without = replace(plan, cells=[c for c in plan.cells if not c.cell.method.startswith("ceiling")])
    assert ceiling.derive(store, without, 0) == []


def test_the_worth_of_the_pattern_names_what_is_not_offered(tmp_path):
    store, plan = fabricate(tmp_path, rows=KNOWN, n=60, folds=2)
    found = {r["name"]: r for r in worth.derive(store, plan, 0) if (r["task"], r["metric"]) == ("icu_90d", "auc")}
    assert list(found) == list(worth.WORTH)
    assert (found["evidence"]["method"], found["evidence"]["base_method"]) == ("ceiling", "evidence0_cause1")
    assert found["evidence"]["difference"] is not None
    assert {n for n, r in found.items() if r["reason"] == "not in this plan"} == set(worth.WORTH) - {"evidence"}


def test_a_cell_is_scored_once_however_many_derivations_ask(tmp_path, monkeypatch):
    from results.statistics import derive, fold_values

    store, plan = fabricate(tmp_path, rows=LADDER_ROWS, n=60, folds=2)
    alone = {
        name: module.derive(store, plan, 5) for name, module in (("steps", steps), ("sweep", sweep), ("worth", worth))
    }
    calls = []
    real = fold_values.compute_weighted_metrics
    monkeypatch.setattr(fold_values, "compute_weighted_metrics", lambda *args: calls.append(0) or real(*args))
    found = derive.derive(store, replace(plan, derived=list(alone)), 5)
    assert {name: found[name] for name in alone} == alone
    stages = {"on": 2, "off": 1}
    tasks = {landmark: len(facts.tasks) for landmark, facts in plan.landmarks.items()}
    assert len(calls) == sum(tasks[p.cell.landmark] * stages[p.cell.rectifier] for p in plan.cells)
