import csv

import pytest

from reports.published import LABEL, SOURCE, published, published_tables


def test_numbers_are_those_of_the_paper():
    frame = published("table1")
    assert len(frame) == 14 * 15
    best = frame[(frame["method"] == "CRL-MMNAR") & (frame["dataset"] == "MIMIC-IV") & (frame["task"] == "icu_90d")]
    assert best.set_index("metric")["mean"].to_dict() == {"auc": 0.9824, "auprc": 0.5821, "brier": 0.0589}
    assert best.set_index("metric")["sd"].to_dict() == {"auc": 0.016, "auprc": 0.024, "brier": 0.007}
    assert set(frame["source"]) == {"CRL-MMNAR (arXiv:2509.17228), Table 1"}


def test_every_number_of_the_file_is_there():
    with SOURCE.open(encoding="utf-8") as file:
        rows = [r for r in csv.DictReader(file) if r["table"] == "Table1"]
    found = published("table1").set_index(["dataset", "task", "method", "metric"])["mean"]
    for r in rows:
        assert found[r["dataset"], r["task"], r["method_or_row"], r["metric"].lower()] == float(r["mean"])


@pytest.mark.parametrize("experiment", ["smoke", "table2"])
def test_only_where_the_paper_has_the_table(experiment):
    assert published(experiment).empty
    assert published_tables(experiment) == []


def test_tables_are_labelled_and_never_bold():
    tables = published_tables("table1")
    assert [t.caption.split(". ")[1] for t in tables] == ["MIMIC-IV", "eICU"]
    assert [len(t.columns) for t in tables] == [9, 6]
    for t in tables:
        assert t.caption.startswith(LABEL)
        assert len(t.rows) == 14
        assert not any(e.bold for _, _, entries in t.rows for e in entries)
