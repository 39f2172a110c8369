"""The future canary on a fabricated release and on the demo, and the promises of the built cohorts."""

from __future__ import annotations

import copy
import re
import shutil

import numpy as np
import pandas as pd
import pytest

from datasets.cohort import CohortError
from datasets.eicu.build import build
from datasets.eicu.sources import LONG, VITALS, WIDE
from datasets.storage import load_cohort, load_ground_truth, save_cohort, save_ground_truth

SOURCES = {source.table: source for source in (*WIDE, *VITALS, *LONG)}
LANDMARK = {"icu_24h": 1440, "unit_discharge": 4320, "stay": 4320}
ODD = {
    "lab": {"labname": "potassium", "labresult": 9.9}, "vitalPeriodic": {"heartrate": 180, "temperature": 41, "systemicmean": 40},
    "vitalAperiodic": {"noninvasivesystolic": 60, "noninvasivemean": 40}, "infusionDrug": {"drugname": "Vasopressin (units/min)"},
    "respiratoryCharting": {"respchartvaluelabel": "PEEP", "respchartvalue": "15"}, "admissionDrug": {"drugname": "COUMADIN"},
    "intakeOutput": {"cellvaluenumeric": 900}, "medication": {"drugname": "VANCOMYCIN", "prn": "Yes"},
    "diagnosis": {"diagnosisstring": "cardiovascular|cardiac arrest|cardiac arrest"}, "treatment": {"treatmentstring": "renal|dialysis|x"},
    "admissionDx": {"admitdxpath": "admission diagnosis|Elective|Yes"}, "respiratoryCare": {"airwaytype": "Tracheostomy"},
    "pastHistory": {"pasthistorypath": "Organ Systems/Renal  (R)/Renal Failure/renal failure - hemodialysis"},
}  # fmt: skip
"""A row of each table that no feature would overlook."""


def cohort(raw, root, landmark):
    return build(raw.write(root), landmarks=[landmark])[landmark].cohort


def inputs(cohort):
    """Everything a method could read of a stay but its outcome, as bytes."""
    arrays = [cohort.observed, *(m.values for m in cohort.modalities)]
    arrays += [cohort.series.values, cohort.series.mask, cohort.series.hours]
    return [np.ascontiguousarray(a).tobytes() for a in arrays]


def test_the_canary_knows_every_source(raw):
    assert set(raw.clocks) == set(SOURCES) == set(ODD)
    for table, source in SOURCES.items():
        assert raw.clocks[table] == source.clocks


def add_unknown(raw, table, cut):
    """Rows of ``table`` that are not known at minute ``cut``, by either clock, or not known when."""
    minutes = [(cut, cut), (cut + 500, cut + 500), ("", "")]
    if len(raw.clocks[table]) == 2:
        minutes += [(cut - 60, cut), (cut, cut - 60), (50, cut + 9), (cut + 9, 50), (60, ""), ("", 60)]
    for stay in (101, 102, 105):
        for clocks in minutes:
            raw.add(table, stay, *clocks[: len(raw.clocks[table])], **ODD[table])


@pytest.mark.parametrize("table", SOURCES)
def test_rows_known_at_or_after_24_hours_change_nothing(raw, untouched, tmp_path, table):
    add_unknown(raw, table, 1440)
    later = cohort(raw, tmp_path / "later", "icu_24h")
    assert inputs(later) == inputs(untouched["icu_24h"])
    assert later.fingerprint == untouched["icu_24h"].fingerprint
    raw.add(table, 101, 1439, **ODD[table])
    assert cohort(raw, tmp_path / "known", "icu_24h").fingerprint != later.fingerprint


def test_rows_known_at_or_after_unit_discharge_change_nothing(raw, untouched, tmp_path):
    for table in SOURCES:
        add_unknown(raw, table, 4320)
    later = build(raw.write(tmp_path / "later"))
    for landmark, built in later.items():
        assert inputs(built.cohort) == inputs(untouched[landmark]), landmark
        assert built.cohort.fingerprint == untouched[landmark].fingerprint


def moved_and_removed(raw, tables):
    """Stay 101's rows of ``tables`` moved past 24 hours, by one clock or the other; and the same release without them."""
    moved = copy.deepcopy(raw)
    for table in tables:
        rows = [row for row in moved.tables[table] if row["patientunitstayid"] == 101]
        assert len(rows) > 1
        for i, row in enumerate(rows):
            row[raw.clocks[table][i % len(raw.clocks[table])]] = 1440
        raw.tables[table] = [row for row in raw.tables[table] if row["patientunitstayid"] != 101]
    return moved, raw


@pytest.mark.parametrize("tables", [tuple(SOURCES), *(pytest.param((t,), marks=pytest.mark.slow) for t in SOURCES)])
def test_a_row_moved_past_the_landmark_is_a_row_removed(raw, untouched, tmp_path, tables):
    moved, removed = moved_and_removed(raw, tables)
    without = cohort(removed, tmp_path / "removed", "icu_24h").fingerprint
    assert without != untouched["icu_24h"].fingerprint
    assert cohort(moved, tmp_path / "moved", "icu_24h").fingerprint == without


def test_what_the_patient_table_says_of_later_changes_no_input(raw, untouched, tmp_path):
    before = untouched["icu_24h"]
    for i, row in enumerate(raw.tables["patient"]):
        row.update(
            hospitaldischargestatus="Alive" if i in (1, 4) else "Expired", hospitaldischargeoffset=1441 + i,
            hospitaldischargelocation="Death", unitdischargeoffset=1441 + 7 * i, unitdischargelocation="Death",
            unitdischargestatus="Expired", dischargeweight=40 + i, hospitaldischargetime24="01:02:03", unitdischargetime24="04:05:06",
            apacheadmissiondx="x", wardid=i,
        )  # fmt: skip
    after = cohort(raw, tmp_path / "after", "icu_24h")
    assert inputs(after) == inputs(before)
    assert after.patient.tolist() == before.patient.tolist()
    np.testing.assert_array_equal(after.outcomes, 1 - before.outcomes)


def test_no_input_depends_on_whether_an_outcome_is_recorded(raw, untouched, tmp_path):
    """As in the release: a stay without a hospital status has no APACHE result either. Others lose theirs, and no input changes."""
    lost = {102, 103, 105}
    for row in raw.tables["patient"]:
        if row["patientunitstayid"] in lost:
            row["hospitaldischargestatus"] = ""
    results = raw.tables["apachePatientResult"]
    raw.tables["apachePatientResult"] = [row for row in results if row["patientunitstayid"] not in lost]
    for landmark, built in build(raw.write(tmp_path / "after")).items():
        assert inputs(built.cohort) == inputs(untouched[landmark]), landmark
        unknown = np.isnan(built.cohort.outcomes[:, 0])
        assert unknown.sum() == (0 if landmark == "unit_discharge" else len(lost))


@pytest.mark.parametrize(
    ("table", "fields"),
    [
        ("apachePredVar", {"diedinhospital": 1, "dischargelocation": 8, "visitnumber": 4, "var03hspxlos": 9}),
        (
            "apachePatientResult",
            {"predictedhospitalmortality": 0.99, "actualhospitalmortality": "EXPIRED", "unabridgedunitlos": 99},
        ),
        ("diagnosis", {"activeupondischarge": "True"}),
        ("treatment", {"activeupondischarge": "True"}),
        ("medication", {"drugstopoffset": 99999, "drugordercancelled": "Yes"}),
        ("respiratoryCare", {"ventendoffset": 99999, "ventstartoffset": 5}),
        ("intakeOutput", {"intaketotal": 9999, "outputtotal": 9999, "nettotal": 1}),
    ],
)
def test_columns_outside_the_allow_list_change_no_input(raw, untouched, tmp_path, table, fields):
    for row in raw.tables[table]:
        row.update(fields)
    assert cohort(raw, tmp_path / "after", "stay").fingerprint == untouched["stay"].fingerprint


def test_later_stays_of_a_patient_change_no_input(raw, untouched, tmp_path):
    before = untouched["icu_24h"]
    raw.patient(201, "002-101", hospitaldischargeyear=2015, unitstaytype="readmit", unitvisitnumber=2)
    raw.patient(202, "002-102", patienthealthsystemstayid=7102, unitstaytype="readmit", unitvisitnumber=2)
    for table in SOURCES:
        raw.add(table, 201, 60, **ODD[table])
        raw.add(table, 202, 60, **ODD[table])
    assert cohort(raw, tmp_path / "after", "icu_24h").fingerprint == before.fingerprint


def test_the_order_of_rows_does_not_matter(raw, tmp_path):
    rng = np.random.default_rng(0)
    for minute in rng.integers(0, 1440, 400):
        raw.add("lab", 101, int(minute), labname="sodium", labresult=round(float(rng.normal(140, 3)), 2))
        raw.add("vitalPeriodic", 102, int(minute), heartrate=round(float(rng.normal(90, 9)), 3))
    before = cohort(raw, tmp_path / "before", "icu_24h")
    for rows in raw.tables.values():
        rng.shuffle(rows)
    assert cohort(raw, tmp_path / "after", "icu_24h").fingerprint == before.fingerprint


def test_apaches_own_prediction_is_known_beside_the_cohort_only(raw, tmp_path):
    built = build(raw.write(tmp_path / "release"))
    np.testing.assert_allclose(
        built["icu_24h"].ground_truth.predictions["apache_iva"][:, 0], [np.nan, 0.11, 0.12, 0.13, 0.14, 0.15]
    )
    assert built["stay"].ground_truth.predictions["apache_iva"].shape == (6, 2)
    assert np.isnan(built["stay"].ground_truth.predictions["apache_iva"][:, 1]).all()
    assert np.isnan(built["unit_discharge"].ground_truth.predictions["apache_iva"]).all()
    names = [name for m in built["icu_24h"].cohort.modalities for name in m.feature_names]
    assert not [name for name in names if "predicted" in name or "mortality" in name]


@pytest.mark.parametrize("table", ["apacheApsVar", "apachePredVar", "apachePatientResult"])
def test_an_apache_row_that_stands_twice_is_refused(raw, tmp_path, table):
    raw.tables[table].append(dict(raw.tables[table][-1]))
    with pytest.raises(CohortError, match=f"table {table}: patientunitstayid 106 stands twice"):
        cohort(raw, tmp_path / "release", "icu_24h")


def test_built_cohorts_can_be_stored_and_say_what_they_did(raw, tmp_path):
    said = []
    built = build(raw.write(tmp_path / "release"), name="eicu", progress=said.append)["stay"]
    save_cohort(built.cohort, tmp_path / "cohort")
    save_ground_truth(built.ground_truth, tmp_path / "known")
    assert load_cohort(tmp_path / "cohort").fingerprint == built.cohort.fingerprint
    assert load_ground_truth(tmp_path / "known").notes["protocol"] == "paper"
    assert built.cohort.name == "eicu"
    assert built.flow[-1]["n"] == len(built.cohort) == 6
    assert [line for line in said if line.startswith("lab: ")] == ["lab: 15 rows kept"]
    assert all("\n" not in line for line in said)


def test_scratch_is_left_empty(raw, tmp_path):
    (tmp_path / "scratch").mkdir()
    root = raw.write(tmp_path / "release")
    build(root, landmarks=["icu_24h"], scratch=tmp_path / "scratch")
    (root / "lab.csv.gz").write_bytes(b"")
    with pytest.raises(CohortError):
        build(root, landmarks=["icu_24h"], scratch=tmp_path / "scratch")
    assert list((tmp_path / "scratch").iterdir()) == []


def test_the_demo_cut_by_hand_gives_the_same_cohort(demo, demo_built, tmp_path):
    """Every row at or after 24 h by any clock removed by pandas: nothing the cohort holds may change."""
    for path in demo.glob("*.csv.gz"):
        table = next((t for t in SOURCES if t.lower() == path.name[:-7].lower()), None)
        if table is None:
            shutil.copy(path, tmp_path / path.name)
            continue
        rows = pd.read_csv(path, dtype=str, keep_default_na=False)
        late = np.zeros(len(rows), dtype=bool)
        for clock in rows.columns[rows.columns.isin(SOURCES[table].clocks)]:
            late |= pd.to_numeric(rows[clock]) >= 1440
        assert late.any()
        rows[~late].to_csv(tmp_path / path.name.replace(".gz", ""), index=False)
    cut = build(tmp_path, landmarks=["icu_24h"])["icu_24h"].cohort
    assert cut.fingerprint == demo_built["icu_24h"].cohort.fingerprint


def test_the_demo_has_the_counts_of_its_patient_table(demo, demo_built):
    rows = pd.read_csv(demo / "patient.csv.gz")
    built = demo_built
    assert {k: v.flow[0]["n"] for k, v in built.items()} == dict.fromkeys(LANDMARK, len(rows))
    rows["years"] = pd.to_numeric(rows.age.str.replace("> 89", "90"), errors="coerce")
    order = ["hospitaldischargeyear", "patienthealthsystemstayid", "unitvisitnumber"]
    first = rows[rows.years >= 18].sort_values(order).groupby("uniquepid").head(1)
    running = first[(first.unitdischargeoffset > 1440) & (first.hospitaldischargeoffset > 1440)]
    died = running.hospitaldischargestatus.eq("Expired").sum()
    strict = built["icu_24h"].cohort
    assert (len(strict), int(np.nansum(strict.outcomes))) == (len(running), died)
    assert sorted(strict.site) == sorted(running.hospitalid)
    assert int(np.isnan(strict.outcomes).sum()) == running.hospitaldischargestatus.isna().sum()
    again = rows[rows.unitstaytype == "readmit"]
    ward = built["unit_discharge"].cohort
    ids = [f"{code // 10**9:03d}-{code % 10**9}" for code in ward.patient[ward.outcomes[:, 0] == 1]]
    for pid in ids:
        index = first[first.uniquepid == pid].iloc[0]
        same_hospital_stay = again.patienthealthsystemstayid == index.patienthealthsystemstayid
        assert (same_hospital_stay & (again.unitvisitnumber > index.unitvisitnumber)).any()
        assert re.fullmatch(r"Floor|Acute Care/Floor|Step-Down Unit \(SDU\)|Telemetry", index.unitdischargelocation)
    assert len(ids) > 30
