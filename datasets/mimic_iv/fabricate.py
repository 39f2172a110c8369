"""Fabricate notes and chest X-ray embeddings, in the layout of their releases, for patients of MIMIC-IV tables.

For running the whole path where the real notes and images are not at hand: with the open demo, in tests, in a dry run.
Nothing here is clinical text. Notes quote the patient's own laboratory values and coded diagnoses and begin with a
line that says that they are fabricated; a file ``FABRICATED.txt`` lies with them. Numbers measured on them mean nothing.

    python -m datasets.mimic_iv.fabricate ROOT NOTE_ROOT CXR_ROOT [--subjects ID ...] [--seed N]

What is written follows what the releases are known to be: notes of patients seen up to 2019, charted and stored at
different moments (a discharge summary is stored days after the discharge, sometimes too late for a landmark), some
admissions without one, some reports outside of any admission; X-rays of patients seen in the emergency department from
2011 to 2016, frontal and lateral. A report or an image knows only what had been resulted before it. What a patient gets
depends on the seed and the patient alone, not on who else is there.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd

from datasets.cohort import CohortError
from datasets.mimic_iv import fabricated_text as wording
from datasets.mimic_iv.tables import Release
from datasets.mimic_iv.tfrecord import make_example, write_records

WIDTH = 1376
SIGN = "FABRICATED.txt"
NOTE_COLUMNS = ("note_id", "subject_id", "hadm_id", "note_type", "note_seq", "charttime", "storetime", "text")
CXR_COLUMNS = (
    "dicom_id", "subject_id", "study_id", "PerformedProcedureStepDescription", "ViewPosition", "Rows", "Columns", "StudyDate",
    "StudyTime", "ProcedureCodeSequence_CodeMeaning", "ViewCodeSequence_CodeMeaning", "PatientOrientationCodeSequence_CodeMeaning",
)  # fmt: skip
NOTE_ERA = "2020"
"""Notes were released for years before this one."""
CXR_ERA = ("2011 - 2013", "2014 - 2016")
LABS = (
    "Creatinine", "Urea Nitrogen", "Sodium", "Potassium", "Chloride", "Bicarbonate", "Anion Gap", "Glucose", "Calcium, Total",
    "Magnesium", "Phosphate", "White Blood Cells", "Hemoglobin", "Hematocrit", "Platelet Count", "INR(PT)", "PTT", "Lactate",
    "pH", "Bilirubin, Total", "Albumin", "Asparate Aminotransferase (AST)", "Alanine Aminotransferase (ALT)",
)  # fmt: skip
_TABLES = {
    "hosp/patients": ("subject_id", "gender", "anchor_age", "anchor_year", "anchor_year_group"),
    "hosp/admissions": (
        "subject_id", "hadm_id", "admittime", "dischtime", "admission_type", "admission_location", "discharge_location",
        "edregtime", "hospital_expire_flag",
    ),
    "hosp/diagnoses_icd": ("subject_id", "hadm_id", "seq_num", "icd_code", "icd_version"),
    "hosp/d_icd_diagnoses": ("icd_code", "icd_version", "long_title"),
    "hosp/d_labitems": ("itemid", "label", "fluid"),
    "hosp/labevents": ("subject_id", "itemid", "charttime", "storetime", "valuenum", "valueuom"),
}  # fmt: skip


@dataclass(frozen=True)
class _Item:
    """A note (``kind`` DS or RR) or an imaging study (CXR) to be written, before its content is known."""

    kind: str
    subject: int
    admission: int | None
    number: int
    since: datetime
    at: datetime
    charted: datetime
    stored: datetime
    frontal: str = ""
    lateral: bool = False


def fabricate(
    root: Path, note_root: Path, cxr_root: Path, subjects: Sequence[int] | None = None, seed: int = 0
) -> dict[str, int]:
    """Write notes under ``note_root`` and embeddings under ``cxr_root`` for ``subjects`` (default: all) of the tables in ``root``.

    Returns how many of each were written: ``discharge``, ``radiology``, ``images``.

    Raises:
        CohortError: where a table is missing or unreadable, a subject is unknown, or a target holds files that were not
            fabricated: real notes or images are never overwritten.
    """
    root, note_root, cxr_root = Path(root), Path(note_root), Path(cxr_root)
    for target, files in ((note_root, "note"), (cxr_root, "files")):
        if (target / files).exists() and not (target / SIGN).is_file():
            raise CohortError(f"{target} holds {files}/ but no {SIGN}: it is not fabricated; give an empty folder")
    tables = _read_tables(root, subjects)
    items = [item for subject in tables.patients.index for item in _plan_items(tables, int(subject), seed)]
    labs = _read_labs(root, items)
    for target in (note_root, cxr_root):
        target.mkdir(parents=True, exist_ok=True)
        (target / SIGN).write_text(wording.MARK + "\nMade by datasets/mimic_iv/fabricate.py.\n", encoding="utf-8")
    return {
        "discharge": _write_notes(note_root / "note" / "discharge.csv.gz", "DS", items, tables, labs),
        "radiology": _write_notes(note_root / "note" / "radiology.csv.gz", "RR", items, tables, labs),
        "images": _write_images(cxr_root, items, labs, seed),
    }


@dataclass(frozen=True)
class _Tables:
    patients: pd.DataFrame
    admissions: dict[int, pd.DataFrame]
    diagnoses: dict[int, list[str]]


def _scan_table(root: Path, table: str) -> str:
    return Release(root).scan(table, _TABLES[table])


def _run_query(sql: str, con: duckdb.DuckDBPyConnection | None = None) -> pd.DataFrame:
    try:
        return (con or duckdb.connect()).execute(sql).df()
    except duckdb.Error as error:
        raise CohortError(f"the tables to fabricate from cannot be read ({str(error).splitlines()[0]})") from None


def _read_tables(root: Path, subjects: Sequence[int] | None) -> _Tables:
    patients = _run_query(
        f"SELECT subject_id::BIGINT AS subject, coalesce(gender, '') AS sex, TRY_CAST(anchor_age AS INTEGER) AS age, "
        f"TRY_CAST(anchor_year AS INTEGER) AS year, coalesce(anchor_year_group, '') AS era FROM {_scan_table(root, 'hosp/patients')}"
    ).set_index("subject")
    if subjects is not None:
        unknown = sorted({int(s) for s in subjects} - set(patients.index))
        if unknown:
            raise CohortError(f"subject {unknown[0]} is not in {root}/hosp/patients")
        patients = patients.loc[sorted({int(s) for s in subjects})]
    patients = patients.sort_index()
    admissions = _run_query(
        "SELECT subject_id::BIGINT AS subject, hadm_id::BIGINT AS hadm, TRY_CAST(admittime AS TIMESTAMP) AS start, "
        "TRY_CAST(dischtime AS TIMESTAMP) AS stop, TRY_CAST(edregtime AS TIMESTAMP) AS ed, coalesce(admission_type, '') AS kind, "
        "coalesce(admission_location, '') AS source, coalesce(discharge_location, '') AS destination, "
        f"hospital_expire_flag = '1' AS died FROM {_scan_table(root, 'hosp/admissions')} ORDER BY subject, start, hadm"
    )
    coded = _run_query(
        f"SELECT d.hadm_id::BIGINT AS hadm, t.long_title AS title FROM {_scan_table(root, 'hosp/diagnoses_icd')} d "
        f"JOIN {_scan_table(root, 'hosp/d_icd_diagnoses')} t USING (icd_code, icd_version) "
        "ORDER BY hadm, TRY_CAST(d.seq_num AS INTEGER), title"
    )
    kept = admissions[admissions.subject.isin(patients.index) & (admissions.stop > admissions.start)]
    return _Tables(
        patients,
        {int(s): rows for s, rows in kept.groupby("subject")},
        {int(h): list(titles) for h, titles in coded.groupby("hadm").title},
    )


def _plan_items(tables: _Tables, subject: int, seed: int) -> Iterator[_Item]:
    """Yield the notes and studies of one patient: which there are, and when."""
    rng = np.random.default_rng([seed, subject])
    era, admissions = tables.patients.era[subject], tables.admissions.get(subject)
    if admissions is None:
        return
    notes, images = era[:4] < NOTE_ERA, era in CXR_ERA and bool(admissions.ed.notna().any())
    reports = studies = 0
    for number, row in enumerate(admissions.itertuples(), 1):
        start, stop = row.start.to_pydatetime(), row.stop.to_pydatetime()
        arrival = min(row.ed.to_pydatetime(), start) if pd.notna(row.ed) else start
        days = (stop - start) / timedelta(days=1)
        moments = [arrival + timedelta(hours=float(rng.uniform(0, 12)))] if rng.random() < 0.7 else []
        moments += [arrival + (stop - arrival) * float(u) for u in rng.random(min(int(rng.poisson(days / 4)), 6))]
        outside = [] if row.died or rng.random() < 0.75 else [stop + timedelta(days=float(rng.uniform(2, 60)))]
        for at in [*sorted(moments), *outside]:
            at = at.replace(microsecond=0)
            stored = at + timedelta(seconds=int(1200 + rng.exponential(10_000)))
            hadm = None if at in outside or at > stop else int(row.hadm)
            if notes:
                reports += 1
                yield _Item("RR", subject, hadm, reports, at - timedelta(days=3), at, at, stored)
        summarised = rng.random() < 0.92
        stored = stop + timedelta(seconds=int(3600 + rng.exponential(50 * 3600)))
        if notes and summarised:
            day = stop.replace(hour=0, minute=0, second=0)
            yield _Item("DS", subject, int(row.hadm), number, arrival, stop, day, stored)
        for at in sorted(arrival + (stop - arrival) * float(u**2) for u in rng.random(int(rng.poisson(1.2)))):
            at, view, lateral = at.replace(microsecond=0), str(rng.choice(("AP", "PA"))), bool(rng.random() < 0.4)
            if images:
                studies += 1
                yield _Item("CXR", subject, None, studies, at - timedelta(days=3), at, at, at, view, lateral)


def _read_labs(root: Path, items: Sequence[_Item]) -> dict[int, list[wording.Lab]]:
    """Return, for each item by position, the tests of ``LABS`` charted and resulted between ``since`` and ``at``."""
    con = duckdb.connect()
    frame = pd.DataFrame(
        {
            "item": np.arange(len(items)),
            "subject": np.array([i.subject for i in items], dtype=np.int64),
            "since": np.array([i.since for i in items], dtype="datetime64[us]"),
            "until": np.array([i.at for i in items], dtype="datetime64[us]"),
        }
    )
    con.register("items", frame)
    con.register("wanted", pd.DataFrame({"label": LABS, "place": np.arange(len(LABS))}))
    values = _run_query(
        f"""
        WITH results AS (
            SELECT e.subject_id::BIGINT AS subject, w.label, w.place, coalesce(e.valueuom, '') AS unit, TRY_CAST(e.valuenum AS DOUBLE) AS x,
                TRY_CAST(e.charttime AS TIMESTAMP) AS charted, coalesce(TRY_CAST(e.storetime AS TIMESTAMP), charted) AS stored
            FROM {_scan_table(root, "hosp/labevents")} e JOIN {_scan_table(root, "hosp/d_labitems")} d USING (itemid)
                JOIN wanted w USING (label)
            WHERE d.fluid = 'Blood' AND x IS NOT NULL)
        SELECT i.item, r.place, r.label, max(r.unit) AS unit,
            arg_min(r.x, (r.charted, r.stored, r.x)) AS first, arg_max(r.x, (r.charted, r.stored, r.x)) AS last
        FROM items i JOIN results r ON r.subject = i.subject AND r.charted >= i.since AND r.charted < i.until AND r.stored < i.until
        GROUP BY ALL ORDER BY i.item, r.place""",
        con,
    )
    labs: dict[int, list[wording.Lab]] = {}
    for row in values.itertuples():
        labs.setdefault(int(row.item), []).append(
            wording.Lab(row.label, row.unit, round(row.first, 4), round(row.last, 4))
        )
    return labs


@contextmanager
def _open_table(path: Path, columns: Sequence[str]) -> Iterator[csv.writer]:
    """Open a CSV writer on a gzip file without a time in its head: the same rows give the same bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with (
        path.open("wb") as raw,
        gzip.GzipFile(fileobj=raw, mode="wb", filename="", mtime=0) as packed,
        io.TextIOWrapper(packed, encoding="utf-8", newline="") as stream,
    ):
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(columns)
        yield writer


def _write_notes(
    path: Path, kind: str, items: Sequence[_Item], tables: _Tables, labs: dict[int, list[wording.Lab]]
) -> int:
    count = 0
    with _open_table(path, NOTE_COLUMNS) as writer:
        for position, item in enumerate(items):
            if item.kind != kind:
                continue
            patient, rows = tables.patients.loc[item.subject], tables.admissions[item.subject]
            age = int(patient.age + item.at.year - patient.year)
            if kind == "DS":
                row = rows[rows.hadm == item.admission].iloc[0]
                about = wording.Admission(patient.sex, age, row.kind, row.source, row.destination, bool(row.died))
                titles = tables.diagnoses.get(int(row.hadm), [])
                text = wording.write_discharge_summary(about, titles, labs.get(position, []))
            else:
                current = rows[rows.hadm == item.admission]
                over = rows[rows.stop < item.at]
                earlier = [title for hadm in over.hadm for title in tables.diagnoses.get(int(hadm), [])[:3]]
                reason = current.iloc[0].kind if len(current) else "outpatient"
                text = wording.write_radiology_report(patient.sex, age, reason, earlier, labs.get(position, []))
            note = f"{item.subject}-{kind}-{item.number}"
            hadm = "" if item.admission is None else item.admission
            writer.writerow((note, item.subject, hadm, kind, item.number, item.charted, item.stored, text))
            count += 1
    return count


def _write_images(cxr_root: Path, items: Sequence[_Item], labs: dict[int, list[wording.Lab]], seed: int) -> int:
    """Write embeddings that are a fixed random projection of the last laboratory values before the study, plus noise."""
    project = np.random.default_rng([seed, WIDTH]).normal(size=(WIDTH, len(LABS))).astype(np.float32)
    count = 0
    with _open_table(cxr_root / "mimic-cxr-2.0.0-metadata.csv.gz", CXR_COLUMNS) as writer:
        for position, item in enumerate(items):
            if item.kind != "CXR":
                continue
            rng = np.random.default_rng([seed, item.subject, item.number])
            last = {lab.label: np.log1p(max(lab.last, 0.0)) - 2.5 for lab in labs.get(position, [])}
            known = np.array([last.get(label, 0.0) for label in LABS], dtype=np.float32)
            study = int(rng.integers(50_000_000, 60_000_000))
            for view in (item.frontal, "LATERAL") if item.lateral else (item.frontal,):
                name = rng.bytes(20).hex()
                dicom = "-".join(name[i : i + 8] for i in range(0, 40, 8))
                vector = project @ known / np.sqrt(len(LABS)) + rng.normal(size=WIDTH)
                subject = str(item.subject)
                path = cxr_root / "files" / f"p{subject[:2]}" / f"p{subject}" / f"s{study}" / f"{dicom}.tfrecord"
                path.parent.mkdir(parents=True, exist_ok=True)
                write_records(path, [make_example({"embedding": vector}, {"image/id": dicom.encode()})])
                date, time = item.at.strftime("%Y%m%d"), f"{int(item.at.strftime('%H%M%S'))}.0"
                writer.writerow((dicom, subject, study, "FABRICATED", view, 2544, 3056, date, time, "", "", ""))
                count += 1
    return count


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line of this module."""
    parser = argparse.ArgumentParser(prog="python -m datasets.mimic_iv.fabricate", description=__doc__.splitlines()[0])
    parser.add_argument("root", type=Path, help="folder of the MIMIC-IV tables (hosp/, icu/)")
    parser.add_argument(
        "note_root", type=Path, help="folder to write note/discharge.csv.gz and note/radiology.csv.gz to"
    )
    parser.add_argument("cxr_root", type=Path, help="folder to write files/ and mimic-cxr-2.0.0-metadata.csv.gz to")
    parser.add_argument("--subjects", type=int, nargs="+", help="subject_id of the patients (default: all)")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    try:
        done = fabricate(options.root, options.note_root, options.cxr_root, options.subjects, options.seed)
    except CohortError as error:
        parser.exit(2, f"{error}\n")
    print(", ".join(f"{count:,} {what}" for what, count in done.items()), "fabricated")


if __name__ == "__main__":
    main()
