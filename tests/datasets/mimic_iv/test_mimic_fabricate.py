import csv
import gzip
from datetime import datetime

import numpy as np
import pytest

from datasets.cohort import CohortError
from datasets.mimic_iv import fabricate as module
from datasets.mimic_iv.fabricate import fabricate
from datasets.mimic_iv.images import read_chest_images
from datasets.mimic_iv.records import read_rows

TABLES = {
    "patients": "subject_id,gender,anchor_age,anchor_year,anchor_year_group,dod",
    "admissions": "subject_id,hadm_id,admittime,dischtime,admission_type,admission_location,discharge_location,edregtime,"
    "hospital_expire_flag",
    "diagnoses_icd": "subject_id,hadm_id,seq_num,icd_code,icd_version",
    "d_icd_diagnoses": "icd_code,icd_version,long_title",
    "d_labitems": "itemid,label,fluid,category",
    "labevents": "subject_id,itemid,charttime,storetime,valuenum,valueuom",
}
SUBJECTS = range(10000001, 10000021)


def write(root, rows):
    for table, head in TABLES.items():
        path = root / "hosp" / f"{table}.csv.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        with gzip.open(path, "wt", newline="") as stream:
            csv.writer(stream).writerows([head.split(","), *rows[table]])
    return root


@pytest.fixture
def rows():
    """Twenty patients of two admissions; the lab value of a patient is not anyone else's; the last patient came in 2020."""
    rows = {table: [] for table in TABLES}
    rows["d_labitems"] = [
        (50912, "Creatinine", "Blood", ""),
        (50902, "Chloride", "Blood", ""),
        (51082, "Creatinine", "Urine", ""),
    ]
    rows["d_icd_diagnoses"] = [
        ("A419", 10, "Sepsis, unspecified organism"),
        ("4280", 9, "Congestive heart failure, unspecified"),
    ]
    for i, subject in enumerate(SUBJECTS):
        era = "2020 - 2022" if subject == SUBJECTS[-1] else "2014 - 2016"
        rows["patients"].append((subject, "FM"[i % 2], 60, 2150, era, ""))
        for year, code, version in ((2150, "A419", 10), (2152, "4280", 9)):
            hadm = 20000000 + 10 * i + year - 2150
            start, stop = f"{year}-03-01 10:00:00", f"{year}-03-08 15:00:00"
            ed = f"{year}-03-01 06:00:00"
            rows["admissions"].append((subject, hadm, start, stop, "EW EMER.", "EMERGENCY ROOM", "HOME", ed, 0))
            rows["diagnoses_icd"].append((subject, hadm, 1, code, version))
            for day in (1, 4):
                value = 1000 + 10 * i + (year - 2150) + day / 10
                at = f"{year}-03-0{day} 05:00:00" if day > 1 else f"{year}-03-01 08:00:00"
                rows["labevents"].append((subject, 50912, at, at[:-5] + "30:00", value, "mg/dL"))
    return rows


def notes(root, table):
    return [
        dict(zip(module.NOTE_COLUMNS, row, strict=True))
        for _, row in read_rows(root / "note" / f"{table}.csv.gz", module.NOTE_COLUMNS)
    ]


@pytest.fixture
def made(rows, tmp_path):
    write(tmp_path / "raw", rows)
    counts = fabricate(tmp_path / "raw", tmp_path / "note", tmp_path / "cxr")
    return tmp_path, counts


def test_notes_are_in_the_releases_layout_and_counted(made):
    root, counts = made
    found = {table: notes(root / "note", table) for table in ("discharge", "radiology")}
    assert {table: len(rows) for table, rows in found.items()} == {k: counts[k] for k in found}
    assert counts["discharge"] > 20
    for table, kind in (("discharge", "DS"), ("radiology", "RR")):
        assert all(n["note_id"] == f"{n['subject_id']}-{kind}-{n['note_seq']}" for n in found[table])
        assert len({n["note_id"] for n in found[table]}) == len(found[table])
    assert any(not n["hadm_id"] for n in found["radiology"])
    assert all(n["hadm_id"] for n in found["discharge"])
    assert all(
        datetime.fromisoformat(n["storetime"]) > datetime.fromisoformat(n["charttime"]) for n in found["radiology"]
    )


def test_everything_is_marked_as_fabricated(made):
    root, _ = made
    for table in ("discharge", "radiology"):
        assert all(n["text"].startswith("FABRICATED TEXT") for n in notes(root / "note", table))
        assert all("___" in n["text"] for n in notes(root / "note", table))
    assert "FABRICATED" in (root / "note" / "FABRICATED.txt").read_text()
    assert "FABRICATED" in (root / "cxr" / "FABRICATED.txt").read_text()
    head = "PerformedProcedureStepDescription"
    assert {row[0] for _, row in read_rows(root / "cxr" / "mimic-cxr-2.0.0-metadata.csv.gz", [head])} == {"FABRICATED"}


def test_a_discharge_summary_speaks_of_its_own_admission(made):
    root, _ = made
    for n in notes(root / "note", "discharge"):
        i, later = int(n["subject_id"]) - SUBJECTS[0], n["hadm_id"][-1] == "2"
        own, other = ("heart failure", "Sepsis") if later else ("Sepsis", "heart failure")
        assert own in n["text"]
        assert other not in n["text"]
        first = 1000 + 10 * i + 2 * later + 0.1
        assert f"Creatinine {first:g} mg/dL" in n["text"]
        assert f"rose from {first:g} to {first + 0.3:g}" in n["text"]
        assert n["charttime"].endswith("00:00:00")


def test_a_report_knows_nothing_that_came_after_it(made):
    root, _ = made
    seen = 0
    for n in notes(root / "note", "radiology"):
        i, at = int(n["subject_id"]) - SUBJECTS[0], datetime.fromisoformat(n["charttime"])
        later = f"{1000 + 10 * i + 2 * (at.year == 2152) + 0.4:g}"
        if at < datetime(at.year, 3, 4, 5, 30):
            assert later not in n["text"]
        seen += later in n["text"]
        assert ("sepsis" in n["text"].lower()) == (at > datetime(2150, 3, 8, 15))
    assert seen


def test_notes_and_images_are_released_as_they_were(made):
    root, counts = made
    last = str(SUBJECTS[-1])
    for table in ("discharge", "radiology"):
        assert last not in {n["subject_id"] for n in notes(root / "note", table)}
    said = []
    found = read_chest_images(root / "cxr", SUBJECTS, said.append)
    assert 0 < len(found) < counts["images"]
    assert int(last) not in found.subject
    assert np.isfinite(found.vectors).all()


def test_the_same_seed_gives_the_same_bytes_for_whoever_is_asked_for(made, tmp_path):
    root, _ = made
    few = SUBJECTS[3:6]
    fabricate(root / "raw", tmp_path / "n", tmp_path / "c", subjects=few)
    for table in ("discharge", "radiology"):
        assert notes(tmp_path / "n", table) == [n for n in notes(root / "note", table) if int(n["subject_id"]) in few]
    few_images, all_images = read_chest_images(tmp_path / "c", few), read_chest_images(root / "cxr", few)
    np.testing.assert_array_equal(few_images.vectors, all_images.vectors)
    fabricate(root / "raw", tmp_path / "n2", tmp_path / "c2", subjects=few)
    for name in ("n/note/discharge.csv.gz", "c/mimic-cxr-2.0.0-metadata.csv.gz"):
        assert (tmp_path / name).read_bytes() == (tmp_path / name.replace("/", "2/", 1)).read_bytes()
    fabricate(root / "raw", tmp_path / "n3", tmp_path / "c3", subjects=few, seed=1)
    assert notes(tmp_path / "n3", "radiology") != notes(tmp_path / "n", "radiology")


@pytest.mark.parametrize("target", ["note", "files"])
def test_real_files_are_never_overwritten(made, tmp_path, target):
    root, _ = made
    (tmp_path / "real" / target).mkdir(parents=True)
    with pytest.raises(CohortError, match=r"holds (note|files)/ but no FABRICATED.txt"):
        fabricate(root / "raw", tmp_path / "real", tmp_path / "real")


def test_unknown_subjects_and_missing_tables_are_named(made, tmp_path):
    root, _ = made
    with pytest.raises(CohortError, match="subject 5 is not in"):
        fabricate(root / "raw", tmp_path / "n", tmp_path / "c", subjects=[5])
    (root / "raw" / "hosp" / "labevents.csv.gz").unlink()
    with pytest.raises(CohortError, match="labevents"):
        fabricate(root / "raw", tmp_path / "n", tmp_path / "c")


def test_the_command_says_what_it_made(made, tmp_path, capsys):
    root, counts = made
    arguments = [str(root / "raw"), str(tmp_path / "n"), str(tmp_path / "c")]
    module.main(arguments)
    assert (
        capsys.readouterr().out
        == f"{counts['discharge']} discharge, {counts['radiology']} radiology, {counts['images']} images fabricated\n"
    )
    with pytest.raises(SystemExit) as stop:
        module.main([str(tmp_path / "nowhere"), *arguments[1:]])
    assert stop.value.code == 2
