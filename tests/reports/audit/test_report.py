"""Flags, marks of shuffled outcomes, and the parts of a document between markers."""

from dataclasses import replace

import pytest

from reports.audit.document import render_markdown, replace_parts
from reports.audit.numbers import AuditNumbers
from reports.audit.simulated import SAMPLER, build_sampler_table
from reports.report import ReportError
from reports.tables.shuffled import flag_auc_off_half
from reports.tables.table import Entry, Table, make_text_entry
from results.cell import Cell, PlannedCell
from results.plan import Landmark, Settings, TaskCounts
from results.storage.store import Store
from tests.stores import made_plan


def numbers(outcomes, low, high, ceiling=0.80):
    def interval(method, variant, value, ends):
        return {"value": value, "ci_low": ends[0], "ci_high": ends[1], "method": method, "variant": variant}

    at = ("discharge", "icu_90d", "auc")
    found = {(*at, "m", "audit-A1"): interval("m", "audit-A1", (low + high) / 2, (low, high))}
    if ceiling is not None:
        found[(*at, "ceiling", "default")] = interval("ceiling", "default", ceiling, (0.7, 0.9))
    rows = [("m", "audit-A1", "on"), *([("ceiling", "default", "on")] if ceiling is not None else [])]
    return AuditNumbers(made_plan(*rows, reference="m", settings=Settings({"outcomes": outcomes})), found, {})


@pytest.mark.parametrize(
    ("outcomes", "low", "high", "ceiling", "flagged"),
    [
        ("true", 0.81, 0.90, 0.80, True),
        ("true", 0.79, 0.99, 0.80, False),
        ("true", 0.30, 0.40, 0.80, False),
        ("true", 0.95, 0.99, None, False),
        ("shuffled", 0.51, 0.60, None, True),
        ("shuffled", 0.30, 0.49, None, True),
        ("shuffled", 0.45, 0.55, None, False),
    ],
)
def test_what_is_off_the_truth_by_more_than_its_interval_is_flagged(outcomes, low, high, ceiling, flagged):
    of = numbers(outcomes, low, high, ceiling)
    assert of.is_flagged("discharge", "icu_90d", "auc", "audit-A1") is flagged
    assert not of.is_flagged("discharge", "icu_90d", "auc", "audit-A2")


def table():
    entries = (Entry(0.6, 0.1, "", "", False), Entry(0.2, None, "", "", False), make_text_entry("5 | 6"))
    columns = (("90-day ICU admission", "AUC"), ("90-day ICU admission", "Brier"), ("", "count"))
    return Table(columns, (("A row", False, entries),), "A table. More", ("A note.",), "A table")


def test_an_auc_whose_interval_does_not_hold_a_half_is_marked_where_outcomes_were_shuffled():
    of = {"metric": "auc", "landmark": "x", "task": "icu_90d", "method": "m", "variant": "default", "value": 0.6}
    statistics = {"intervals": [of | {"ci_low": 0.55, "ci_high": 0.65}]}
    titles = {("m", "default"): "A row"}
    landmarks = {"x": Landmark(10, {"icu_90d": TaskCounts(10, 5)}, {}, "f", "s")}
    plan = made_plan(settings=Settings({"outcomes": "shuffled"}), landmarks=landmarks)
    found = flag_auc_off_half(table(), plan, statistics, titles)
    assert [e.mark for e in found.rows[0][2]] == ["^", "", ""]
    assert [e.interval for e in found.rows[0][2]] == [(0.55, 0.65), None, None]
    assert "1 of 1 intervals of the AUC do not hold 0.5" in found.notes[1]
    held = {"intervals": [of | {"ci_low": 0.45, "ci_high": 0.65}]}
    assert [e.mark for e in flag_auc_off_half(table(), plan, held, titles).rows[0][2]] == ["", "", ""]
    true = replace(plan, settings=Settings({"outcomes": "true"}))
    assert flag_auc_off_half(table(), true, statistics, titles).notes == ("A note.",)


def test_a_table_as_markdown():
    lines = render_markdown(table()).splitlines()
    assert lines[0] == "### A table"
    assert lines[4] == "| | 90-day ICU admission, AUC | 90-day ICU admission, Brier | count |"
    assert lines[6] == "| A row | 0.600 ± 0.100 | 0.200 | 5 \\| 6 |"
    assert lines[-1] == "- A note."


def test_what_stands_between_markers_is_exchanged_and_the_rest_kept():
    text = "before\n<!-- audit:one -->\nold\nolder\n<!-- /audit:one -->\nafter\n"
    assert replace_parts(text, {"one": r"new \1"}, "x") == text.replace("old\nolder", r"new \1")
    with pytest.raises(ReportError, match="audit:one; known: two"):
        replace_parts(text, {"two": ""}, "x")
    with pytest.raises(ReportError, match="without its end"):
        replace_parts(text.replace("/audit", "/x"), {"one": ""}, "x")


def test_the_sampler_beside_what_was_measured_on_the_released_code(tmp_path):
    store, cells = Store(tmp_path), []
    for seed, value in ((0, 0.7), (1, 0.9)):
        cell = Cell("c", "stay", "strict", "m", "audit-sampler-lr1.6e-05", "on", "none", 0, seed)
        planned = PlannedCell(cell, {}, {"cell": cell.name}, "m")
        metric = {
            "split": "test",
            "stage": "epoch-55",
            "task": "icu_90d",
            "metric": "auc",
            "value": value,
            "reason": None,
        }
        store.write(planned, {"status": "done", "metrics": [metric | {"n": 600, "positives": 60}]}, {})
        cells.append(planned)
    plan = made_plan(cells=cells, seeds=3, n=3000, audit={"title": "M (x=1)"}, commit="abc")
    table, frame = build_sampler_table(store, plan)
    ((title, _, entries),) = table.rows
    assert title == "lr 1.6e-05, epoch 55, all test rows"
    assert entries[2].mean == pytest.approx(0.8)
    assert entries[3].word == f"{SAMPLER[1.6e-5, 55, 'test'][1]:.3f}"
    assert "2 of 3 seeds at lr 1.6e-05" in table.caption
    assert "AUC of M by epoch" in table.caption
    assert len(frame) == 2
