"""Drops and stability by hand, and what a value without a number leaves visible."""

from dataclasses import replace

import numpy as np
import pytest

from reports.frames.tidy import build_tidy_frame
from reports.sections.table4 import section
from reports.tables.sensitivity import compute_drop, index_aucs, list_sweeps
from reports.tables.table import build_text_frame, format_entry
from results.plan import Settings
from results.statistics.derivations import sweep as derivation
from tests.stores import fabricate

ROWS = tuple(
    ("crl_mmnar", variant, "off", f"CRL-MMNAR ({variant})", "method", knows)
    for variant, knows in (("default", 1.0), ("dropout=0.1", 1.0), ("dropout=0.5", 0.1), ("hidden=64", 0.9))
)
TASKS = [("icu_24h", "mortality_inhosp"), ("discharge", "readmission_30d"), ("discharge", "icu_90d")]


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    store, plan = fabricate(tmp_path_factory.mktemp("store"), experiment="table4", rows=ROWS, n=90, folds=3)
    rows = []
    for row in plan.rows:
        field, _, value = row.variant.partition("=")
        number = int(value) if field == "hidden" else float(value or 0)
        rows.append(replace(row, change={field: number} if value else {}))
    config = {"method": {"config": {"dropout": 0.2, "hidden": 128.0}}}
    cells = []
    for planned in plan.cells:
        lost = (planned.cell.variant, planned.cell.landmark) == ("hidden=64", "discharge")
        cells.append(replace(planned, config=config, **({"key_parts": {"config": "never run"}} if lost else {})))
    plan = replace(plan, rows=rows, cells=cells, settings=Settings({"schedule": {"lr_factor": 1.4142}}))
    store.write_plan(plan)
    store.write_statistics(plan.name, {"sweep": derivation.derive(store, plan, 20)})
    return store, plan, section(store, [plan])


def test_the_default_stands_among_the_values_in_ascending_order(case):
    found = [(s.field, [(p.value, p.default) for p in s.points]) for s in list_sweeps(case[1])]
    assert found == [
        ("dropout", [(0.1, False), (0.2, True), (0.5, False)]),
        ("hidden", [(64, False), (128.0, True)]),
    ]


def test_drop_and_stability_by_hand(case):
    store, plan, _ = case
    numbers = build_tidy_frame(store, plan)
    auc = numbers[numbers["metric"] == "auc"].set_index(["variant", "task"])["by_fold"]
    by_fold = {
        variant: np.array([np.mean([auc[variant, task][k][0] for _, task in TASKS]) for k in range(3)])
        for variant in ("default", "dropout=0.1", "dropout=0.5")
    }
    falls = by_fold["default"] - by_fold["dropout=0.5"]
    found = compute_drop(index_aucs(numbers), list_sweeps(plan)[0], TASKS)
    assert found.drop == pytest.approx(falls.mean())
    assert found.drop > 0.1
    assert found.sd_folds == pytest.approx(falls.std(ddof=1))
    assert found.stability == pytest.approx(100 * (1 - falls.mean() / by_fold["default"].mean()))
    assert (found.at, found.lost) == (0.5, ())
    assert (found.low, found.high) == pytest.approx(
        (min(v.mean() for v in by_fold.values()), max(v.mean() for v in by_fold.values()))
    )


def test_nothing_falls_where_no_value_is_worse(case):
    store, plan, _ = case
    numbers, sweep = build_tidy_frame(store, plan), list_sweeps(plan)[0]
    aucs = index_aucs(numbers)
    upward = {k: {f: v + (0 if k[1] == "default" else 1) for f, v in folds.items()} for k, folds in aucs.items()}
    found = compute_drop(upward, sweep, TASKS)
    assert (found.drop, found.at, found.stability) == (0, 0.2, 100)
    assert np.isnan(found.sd_folds)


def test_a_value_without_a_number_is_visible_everywhere(case):
    made = case[2]
    summary, each = made.tables
    row = {title: [format_entry(e) for e in entries] for title, _, entries in each.rows}
    assert row["Hidden size = 64"][0] == "n/a"
    assert row["Hidden size = 64"].count("missing") == 4  # AUC and difference of the two tasks at discharge
    assert any("Hidden size = 64" not in n and "without 64, which has no number" in n for n in summary.notes)
    sensitivity = made.frames["_sensitivity"].set_index(["variant", "task", "metric"])
    assert sensitivity.loc[("hidden", "mean over tasks", "max_drop"), "status"] == "partial"
    assert sensitivity.loc[("dropout", "icu_90d", "stability"), "status"] == "done"
    assert set(made.frames["_differences"]["status"]) == {"done", "missing"}


def test_what_no_test_calls_is_said_to_be_noise(case):
    _, _, made = case
    summary = build_text_frame(made.tables[0])
    assert summary.loc["Hidden size", ("Beyond noise", "Called worse")] == "none"
    assert summary.loc["Dropout", ("Values", "Tried")] == "0.1 to 0.5"
    assert "corrected t-test" in made.tables[0].caption


def test_the_figure_has_a_panel_a_hyper_parameter_and_words(case):
    (figure,) = case[2].figures
    assert [a.get_xlabel() for a in figure.mpl_figure.axes if a.axison] == [
        "Dropout (* default)",
        "Hidden size (* default)",
    ]
    assert [t.get_text() for t in figure.mpl_figure.axes[0].get_xticklabels()] == ["0.1", "0.2*", "0.5"]
    assert "Dropout" in figure.alt
    assert "N = 90" in figure.caption


def test_without_stored_differences_the_table_says_so(case):
    store, plan, _ = case
    other = replace(plan, name="another")
    store.write_plan(other)
    row = {title: [format_entry(e) for e in entries] for title, _, entries in section(store, [other]).tables[1].rows}
    assert row["Dropout = 0.1"].count("not derived") == 3
