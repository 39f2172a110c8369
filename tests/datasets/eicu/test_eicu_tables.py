from __future__ import annotations

import duckdb
import pytest

from datasets.cohort import CohortError
from datasets.eicu.build import build
from datasets.eicu.sources import LONG, VITALS, WIDE
from datasets.eicu.tables import Release, minute
from datasets.raw.tables import identifier, number, text

STATIC = {"patient", "hospital", "apacheApsVar", "apachePredVar", "apachePatientResult"}
TABLES = sorted({source.table for source in (*WIDE, *VITALS, *LONG)} | STATIC)


def evaluate(sql, value):
    return duckdb.connect().execute(f"SELECT {sql} FROM (SELECT CAST(? AS VARCHAR) AS c)", [value]).fetchone()[0]


@pytest.mark.parametrize(
    ("make", "value", "result"),
    [
        (text, "  MICU ", "MICU"), (text, "   ", None), (text, "", None), (text, None, None),
        (number, " 7.25", 7.25), (number, "1e3", 1000.0), (number, ">60", None), (number, "", None),
        (minute, "1439", 1439), (minute, "1439.9", 1439), (minute, "-0.5", -1), (minute, "late", None), (minute, "1e12", None),
        (identifier, "141765", 141765), (identifier, "14x", None),
    ],
)  # fmt: skip
def test_values_are_read_safely(make, value, result):
    assert evaluate(make("c"), value) == result


def test_tables_are_found_whatever_their_case_compressed_or_not(raw, untouched, tmp_path):
    root = raw.write(tmp_path / "release", compress=False)
    (root / "infusionDrug.csv").rename(root / "INFUSIONDRUG.csv")
    assert Release(root).path("infusionDrug").name == "INFUSIONDRUG.csv"
    assert build(root, landmarks=["icu_24h"])["icu_24h"].cohort.fingerprint == untouched["icu_24h"].fingerprint


def test_quoted_fields_byte_order_marks_and_column_order_do_not_matter(raw, untouched, tmp_path):
    for row in raw.tables["lab"]:
        row["labresulttext"] = 'about 4, "hemolysed"'
    raw.columns["lab"].reverse()
    root = raw.write(tmp_path / "b", compress=False)
    (root / "lab.csv").write_bytes(b"\xef\xbb\xbf" + (root / "lab.csv").read_bytes().replace(b"\n", b"\r\n"))
    assert build(root, landmarks=["icu_24h"])["icu_24h"].cohort.fingerprint == untouched["icu_24h"].fingerprint


@pytest.mark.parametrize("table", TABLES)
def test_a_missing_table_is_named(raw, tmp_path, table):
    root = raw.write(tmp_path / "release", without=(table,))
    with pytest.raises(CohortError, match=f"table {table} is missing") as error:
        build(root, landmarks=["icu_24h"])
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("table", "column"),
    [
        ("lab", "labresultrevisedoffset"), ("intakeOutput", "intakeoutputentryoffset"), ("medication", "drugorderoffset"),
        ("patient", "unitdischargeoffset"), ("vitalPeriodic", "patientunitstayid"), ("apachePatientResult", "apacheversion"),
        ("hospital", "region"), ("treatment", "treatmentstring"),
    ],
)  # fmt: skip
def test_a_missing_column_is_named_with_its_table(raw, tmp_path, table, column):
    raw.columns[table].remove(column)
    with pytest.raises(CohortError, match=f"table {table} lacks column {column}") as error:
        build(raw.write(tmp_path / "release"), landmarks=["icu_24h"])
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("table", ["patient", "lab"])
@pytest.mark.parametrize("keep", [0, 6, 40, -1])
def test_a_truncated_file_is_named(raw, tmp_path, table, keep):
    root = raw.write(tmp_path / "release")
    path = root / f"{table}.csv.gz"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(
        CohortError, match=f"table {table}: {path.name} (is truncated or corrupt|cannot be read|is empty)"
    ) as error:
        build(root, landmarks=["icu_24h"])
    assert "\n" not in str(error.value)


def test_a_file_that_is_not_gzip_or_has_a_ragged_row_is_named(raw, tmp_path):
    root = raw.write(tmp_path / "release")
    (root / "lab.csv.gz").write_bytes(b"labid,patientunitstayid\n" * 50)
    with pytest.raises(CohortError, match=r"table lab: lab.csv.gz cannot be read"):
        Release(root).header("lab")
    (root / "lab.csv.gz").unlink()
    (root / "lab.csv").write_text(",".join(raw.columns["lab"]) + "\n1,101\n")
    said = r"table lab: lab.csv is truncated or corrupt \(.*Expected Number of Columns: 7 Found: 2"
    with pytest.raises(CohortError, match=said) as error:
        build(root, landmarks=["icu_24h"])
    assert "\n" not in str(error.value)


def test_a_table_that_stands_twice_is_refused(raw, tmp_path):
    root = raw.write(tmp_path / "release")
    (root / "LAB.csv.gz").write_bytes((root / "lab.csv.gz").read_bytes())
    with pytest.raises(CohortError, match="table lab stands twice"):
        Release(root).path("lab")


def test_a_wrong_folder_is_refused(tmp_path):
    with pytest.raises(CohortError, match=r"patient\.csv\.gz"):
        Release(tmp_path / "nowhere")


def test_a_missing_table_is_found_before_any_is_read(raw, tmp_path):
    said = []
    with pytest.raises(CohortError, match="respiratoryCharting"):
        build(raw.write(tmp_path / "release", without=("respiratoryCharting",)), progress=said.append)
    assert said == []
