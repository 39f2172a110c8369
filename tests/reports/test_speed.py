"""The report of measurements, from a made JSON."""

import io

import pandas as pd
import pytest

from reports.build import write_report
from reports.formats.files import render_text
from reports.report import ReportError
from reports.speed import NOTE, build_speed_report
from reports.tables.table import format_entry
from results.speed import parse_benchmarks
from tests.benches import CELLS, document


@pytest.fixture
def report():
    return build_speed_report(parse_benchmarks(document()))


def shown(table):
    """Row -> column -> text."""
    return {
        title: dict(zip(table.columns, map(format_entry, entries), strict=True)) for title, _, entries in table.rows
    }  # fmt: skip


def test_each_table_has_what_was_measured_and_what_is_missing(report):
    public, by_n, by_m, before, table1, raw, start = map(shown, report.measured)
    assert public["GRU-D, training step"]["Ours / theirs", "ratio"] == "0.50"
    assert public["GRU-D, training step"]["Median (ms)", "ours"] == "3.00"
    assert public["Raindrop, training step"]["Ours / theirs", "ratio"] == "missing"
    assert by_n["MUSE+"] == {
        ("eICU-like widths, M = 10", "N = 200"): "8.30",
        ("eICU-like widths, M = 10", "N = 2,000"): "10.10",
    }
    assert by_m["MUSE+"] == {
        ("eICU-like widths, N = 2,000", "M = 2"): "10.02",
        ("eICU-like widths, N = 2,000", "M = 10"): "10.10",
    }
    assert before["MUSE+"]["eICU-like widths, M = 10", "N = 200"] == "24.90"
    assert [set(table["Absent"].values()) for table in (by_n, by_m, before)] == [{"missing"}] * 3
    assert set(table1["Absent"].values()) == {"missing"}
    assert raw["eicu-demo: lab"]["Builder", "rows a second"] == "1,500,000"
    assert raw["eicu-demo: lab"]["To pandas, all columns", "time"] == "0.25"
    assert set(raw["eicu-demo: patient"].values()) == {"missing"}
    assert start["list methods"]["Ratio", "CPU"] == "25.00"
    assert start["help"]["Wall clock (s)", "command"] == "missing"
    assert all(table.notes == (NOTE,) for table in report.measured)


def test_the_projection_is_arithmetic_on_what_was_measured(report):
    table = shown(next(t for t in report.measured if t.heading.startswith("Table 1")))
    minutes = 10 * (50 + 100 * 3 + 10) / 60
    for title, stacked in (("MUSE+", "1.50"), ("GRU-D", "missing")):
        row = {head: text for (_, head), text in table[title].items()}
        assert row["stacked (s)"] == stacked
        assert row["projected: one run (min)"] == f"{minutes:.1f}"
        assert row["25 runs (h)"] == f"{2 * 25 * minutes / 60:.1f}"
        assert row["and tuning (h)"] == f"{2 * (25 + 130) * minutes / 60:.1f}"
    total = {head: text for (_, head), text in table["Sum"].items()}
    assert total["25 runs (h)"] == f"{2 * 2 * 25 * minutes / 60:.1f}"


def test_captions_state_the_machine(report):
    for table in report.measured:
        for said in ("Some CPU, 4 cores, Linux", "torch 2.0", "commit 0123456789, with uncommitted", "2026-01-02"):
            assert said in table.caption
    assert ["Threads: 1." in table.caption for table in report.measured] == [True] * 6 + [False]


def test_it_is_written_as_csv_latex_and_html(report, tmp_path):
    names = {path.name for path in write_report(report, tmp_path)}
    assert {"speed.csv", "speed.tex", "speed.html", "speed_1_against_public_implementations.tex"} < names
    assert not [name for name in names if name.endswith(".csv") and name != "speed.csv"]
    numbers = pd.read_csv(io.BytesIO((tmp_path / "speed.csv").read_bytes()))
    assert len(numbers[(numbers["method"] == "muse") & (numbers["metric"] == "ratio")]) == len(CELLS)
    page = (tmp_path / "speed.html").read_text(encoding="utf-8")
    assert "<title>speed</title>" in page
    assert page.count('<section class="table"') == len(report.measured)


def test_a_table_that_the_report_does_not_know_is_named():
    made = document(tables=("start",))
    made["planned"][0]["table"] = "strat"
    with pytest.raises(ReportError, match="'strat'"):
        build_speed_report(parse_benchmarks(made))


def test_a_table_that_nobody_planned_is_left_out():
    report = build_speed_report(parse_benchmarks(document(tables=("start",))))
    assert [table.heading for table in report.measured] == ["Start-up"]
    assert "list methods" in render_text(report.measured)


@pytest.mark.parametrize("table", ["public", "growth", "table1", "raw", "start"])
def test_a_table_of_which_nothing_was_measured_is_all_missing(table):
    made = document()
    made["benchmarks"] = [b for b in made["benchmarks"] if b["extra_info"]["table"] != table]
    report = build_speed_report(parse_benchmarks(made))
    assert len(report.measured) == len(build_speed_report(parse_benchmarks(document())).measured)
    assert "missing" in render_text(report.measured)
