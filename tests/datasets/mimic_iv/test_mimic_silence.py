"""A table with rows of which none can be used is said in one line that names table, column and an example; never built without a word."""

from __future__ import annotations

import gzip
import hashlib

import pytest

from datasets.cohort import CohortError
from datasets.mimic_iv.build import build


def rewrite(raw, table, column, change):
    """Change every value of a column."""
    for row in raw.tables[table]:
        row[column] = change(row.get(column, ""))


def day_first(moment):
    """A moment as d/m/Y."""
    return f"{moment[8:10]}/{moment[5:7]}/{moment[:4]} {moment[11:16]}" if moment else ""


def build_and_catch(root):
    """The one line with which a build at 24 hours fails."""
    with pytest.raises(CohortError) as caught:
        build(root, landmarks_asked=["icu_24h"])
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(("table", "column", "change", "said"), [
    ("icu/chartevents", "itemid", lambda x: f"{x}.0", r"unreadable in all of 6 rows, e.g. '220045.0'; expected whole numbers"),
    ("hosp/labevents", "charttime", day_first, r"unreadable in all of 6 rows, e.g. '01/03/2150 14:06'; expected 2150-03-01 12:00:00"),
    ("hosp/labevents", "storetime", lambda x: " ", r"blank in all of 6 rows"),
    ("icu/chartevents", "valuenum", lambda x: f"{x},5", r"unreadable in all of 6 rows, e.g. '91,5'; expected numbers"),
    ("icu/inputevents", "starttime", day_first, r"unreadable in all of 6 rows, e.g. '01/03/2150"),
    ("hosp/pharmacy", "subject_id", lambda x: f"p{x}", r"unreadable in all of 6 rows, e.g. 'p101'; expected a whole number"),
    ("hosp/omr", "chartdate", day_first, r"unreadable in all of 6 rows, e.g. "),
    ("icu/icustays", "outtime", day_first, r"unreadable in all of its 6 values, e.g. '04/03/2150 00:00'"),
])  # fmt: skip
def test_a_column_that_is_readable_in_no_row_is_named_with_an_example(raw, tmp_path, table, column, change, said):
    rewrite(raw, table, column, change)
    line = build_and_catch(raw.write(tmp_path))
    assert line.startswith(f"table {table}: column {column} is ")
    assert said in line


def test_whole_numbers_with_a_decimal_point_are_read_where_they_are_compared_as_numbers(raw, untouched, tmp_path):
    for table, column in (
        ("icu/inputevents", "itemid"),
        ("icu/outputevents", "itemid"),
        ("hosp/labevents", "subject_id"),
    ):
        rewrite(raw, table, column, lambda x: f"{x}.0")
    got = build(raw.write(tmp_path), landmarks_asked=["icu_24h"])["icu_24h"].cohort
    assert got.fingerprint == untouched["icu_24h"].fingerprint


def test_rows_that_are_readable_and_of_no_use_are_a_line_of_the_progress(raw, tmp_path):
    rewrite(raw, "icu/chartevents", "itemid", lambda x: 224_642)
    rewrite(raw, "hosp/services", "subject_id", lambda x: 999)
    said = []
    build(raw.write(tmp_path), landmarks_asked=["icu_24h"], progress=said.append)
    assert [line for line in said if line.startswith("table")] == [
        "table hosp/services: none of 6 rows is of a stay of a cohort, in its window and known at a landmark",
        "table icu/chartevents: column itemid names nothing in use in any of 6 rows, e.g. '224642'",
    ]


def test_tables_without_rows_are_no_fault(empty, tmp_path):
    empty.stay(101)
    said = []
    build(empty.write(tmp_path), landmarks_asked=["icu_24h"], progress=said.append)
    assert not [line for line in said if line.startswith("table")]


def replace_bytes(path, before, after):
    """Replace bytes of a compressed table; its new content."""
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()).replace(before, after)))
    return path.read_bytes()


@pytest.mark.parametrize("listed", [False, True])
@pytest.mark.parametrize(("table", "column", "value", "shown", "line"), [
    ("hosp/pharmacy", "medication", b"Furos\xe9mide", r"'Furos\\xe9mide'", 2),
    ("icu/d_items", "label", b"Norepin\xe9phrine", r"'Norepin\\xe9phrine'", 2),
])  # fmt: skip
def test_bytes_that_are_not_utf8_are_shown_and_not_to_be_fetched_again(
    raw, tmp_path, table, column, value, shown, line, listed
):
    root = raw.write(tmp_path)
    content = replace_bytes(root / f"{table}.csv.gz", value.replace(b"\xe9", b"e"), value)
    if listed:
        (root / "SHA256SUMS.txt").write_text(f"{hashlib.sha256(content).hexdigest()}  {table}.csv.gz\n")
    said = build_and_catch(root)
    assert f"table {table}: " in said
    assert f"is not UTF-8 (line {line}, column {column}, e.g. {shown})" in said
    assert ("it is as released" in said) == listed
    assert "fetch it again" not in said


@pytest.mark.parametrize("listed", [False, True])
def test_a_damaged_file_is_to_be_fetched_again_unless_it_is_as_released(raw, tmp_path, listed):
    root = raw.write(tmp_path)
    content = replace_bytes(root / "hosp/pharmacy.csv.gz", b"\n102,", b"\n102,extra,")
    if listed:
        (root / "SHA256SUMS.txt").write_text(f"{hashlib.sha256(content).hexdigest()}  hosp/pharmacy.csv.gz\n")
    said = build_and_catch(root)
    assert "table hosp/pharmacy: pharmacy.csv.gz is truncated or corrupt" in said
    assert ("it is as released" in said, "fetch it again" in said) == (listed, not listed)


@pytest.mark.parametrize(("folder", "sibling"), [("mimic[12]", "mimic1"), ("mimic*", "mimic-iv"), ("mimic?", "mimic2")])
def test_a_folder_whose_name_is_a_pattern_is_read_and_its_sibling_is_not(raw, empty, tmp_path, folder, sibling):
    raw.write(tmp_path / sibling)
    for subject in (901, 902):
        empty.stay(subject)
    built = build(empty.write(tmp_path / folder), landmarks_asked=["icu_24h"])["icu_24h"]
    assert built.cohort.patient.tolist() == [901, 902]
