"""A table with rows of which none can be used is said in one line that names table, column and an example."""

from __future__ import annotations

import pytest

from datasets.cohort import CohortError
from datasets.eicu.build import build


@pytest.mark.parametrize(("table", "column", "value", "said"), [
    ("lab", "labresultrevisedoffset", "", "blank in all of"),
    ("lab", "labresultoffset", "02:10", "unreadable in all of"),
    ("treatment", "treatmentoffset", "02:10", "e.g. '02:10'; expected minutes such as 1439"),
    ("vitalPeriodic", "patientunitstayid", "p1", "e.g. 'p1'; expected a whole number"),
])  # fmt: skip
def test_a_column_that_is_readable_in_no_row_is_named(raw, tmp_path, table, column, value, said):
    assert raw.tables[table]
    for row in raw.tables[table]:
        row[column] = value
    with pytest.raises(CohortError) as caught:
        build(raw.write(tmp_path), landmarks=["icu_24h"])
    assert str(caught.value).startswith(f"table {table}: column {column} is ")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_labels_that_are_all_unknown_are_a_line_of_the_progress(raw, tmp_path):
    for row in raw.tables["lab"]:
        row["labname"] = "Na+"
    said = []
    build(raw.write(tmp_path), landmarks=["icu_24h"], progress=said.append)
    assert [line.split(" in any")[0] for line in said if line.startswith("table lab")] == [
        "table lab: column labname names nothing in use"
    ]
