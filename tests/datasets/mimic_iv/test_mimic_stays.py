"""Index stays, landmarks and labels by hand, and on the demo against a recomputation that shares no code with the builder."""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from datasets.cohort import CohortError
from datasets.mimic_iv import labels, landmarks
from datasets.mimic_iv.stays import read_history, select_index_stays
from datasets.mimic_iv.tables import Release
from datasets.raw.tables import connect
from tests.datasets.mimic_iv.conftest import at

DAY = 24


def read(raw, tmp_path):
    con = connect(tmp_path)
    history = read_history(con, Release(raw.write(tmp_path / "release")))
    con.close()
    return history, select_index_stays(history)


def chosen(raw, tmp_path, landmark, **options):
    return landmarks.select_stays(*read(raw, tmp_path), landmark, **options)


def outcome(selection, subject, task):
    return selection.outcomes[selection.index.subject.tolist().index(subject), selection.tasks.index(task)]


@pytest.mark.parametrize(("gap", "parts"), [(-50, 1), (0, 1), (0.25, 1), (6, 1), (6.01, 2), (100, 2)])
def test_overlapping_and_neighbouring_admissions_are_one(empty, tmp_path, gap, parts):
    empty.stay(101)
    empty.admission(101, 120 + gap, 400, hadm=7)
    history, index = read(empty, tmp_path)
    assert len(history.joined) == parts
    assert index.discharged[0] - index.begin[0] == (400 if parts == 1 else 120) * 3600


def test_the_index_is_the_first_stay_that_began_in_an_intensive_unit(empty, tmp_path):
    empty.stay(101)
    empty.icu(101, -1.5, -0.5, stay=5, first_careunit="Neuro Stepdown")
    empty.icu(101, 70, 80, stay=6)
    _, index = read(empty, tmp_path)
    assert index.stay.tolist() == [10100]


@pytest.mark.parametrize(
    ("unit", "intensive"),
    [
        ("Medical Intensive Care Unit (MICU)", True), ("Medical/Surgical Intensive Care Unit (MICU/SICU)", True),
        ("Trauma SICU (TSICU)", True), ("Coronary Care Unit (CCU)", True), ("Neuro Surgical Intensive Care Unit (Neuro SICU)", True),
        ("Cardiac Vascular Intensive Care Unit (CVICU)", True), ("Intensive Care Unit (ICU)", True), ("Neuro Stepdown", False),
        ("Neuro Intermediate", False), ("Medicine/Cardiology Intermediate", False), ("PACU", False), ("Surgery/Trauma", False),
    ],
)  # fmt: skip
def test_intensive_units_by_name(empty, tmp_path, unit, intensive):
    empty.stay(101)
    empty.tables["icu/icustays"][0]["first_careunit"] = unit
    assert len(read(empty, tmp_path)[1]) == intensive


@pytest.mark.parametrize(
    ("change", "step"),
    [
        ({"anchor_age": 17}, "adults (18 years and over)"),
        ({"anchor_year_group": "2017 - 2019", "anchor_year": 2149}, "index year certainly at or before 2019"),
        ({"outtime": 24}, "ICU stay still running then"),
        ({"deathtime": 23, "dischtime": 24}, "alive and in hospital 24 h after ICU admission"),
        ({"dischtime": 24}, "alive and in hospital 24 h after ICU admission"),
    ],
)
def test_each_rule_of_icu_24h_says_what_it_took(raw, tmp_path, change, step):
    for table in ("hosp/patients", "hosp/admissions", "icu/icustays"):
        for name, value in change.items():
            if name in raw.columns[table]:
                raw.tables[table][2][name] = at(value) if name.endswith("time") else value
    selection = chosen(raw, tmp_path, "icu_24h")
    assert 103 not in selection.index.subject.tolist()
    assert {row["step"]: row["excluded"] for row in selection.flow}[step] == 1
    assert selection.flow[-1]["n"] == 5


def test_the_year_is_certain_only_when_the_end_of_the_group_is(empty, tmp_path):
    for subject, (group, year) in enumerate([("2014 - 2016", 2147), ("2014 - 2016", 2146), ("2017 - 2019", 2150)], 101):
        empty.stay(subject)
        empty.tables["hosp/patients"][-1].update(anchor_year_group=group, anchor_year=year)
    assert chosen(empty, tmp_path, "icu_24h").index.subject.tolist() == [101, 103]


def test_the_x_ray_era_is_2011_to_2016_through_the_emergency_department(raw, tmp_path):
    raw.tables["hosp/patients"][0]["anchor_year_group"] = "2008 - 2010"
    raw.tables["hosp/patients"][1]["anchor_year_group"] = "2017 - 2019"
    raw.tables["hosp/admissions"][2]["edregtime"] = ""
    selection = chosen(raw, tmp_path, "icu_24h", subset="cxr_era")
    assert selection.index.subject.tolist() == [104, 105, 106]
    with pytest.raises(CohortError, match="no subset 2011"):
        chosen(raw, tmp_path, "icu_24h", subset="2011")


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"begin": 120 + 73}, 1), ({"begin": 120 + 720}, 1), ({"begin": 120 + 720.01}, 0), ({"begin": 120 + 72}, None),
        ({"admission_type": "URGENT"}, 1), ({"admission_type": "DIRECT EMER."}, 1), ({"admission_type": "ELECTIVE"}, 0),
        ({"admission_type": "SURGICAL SAME DAY ADMISSION"}, 0), ({"admission_type": "EU OBSERVATION"}, 0),
        ({"admission_type": "OBSERVATION ADMIT"}, 0),
    ],
)  # fmt: skip
def test_a_readmission_is_unplanned_within_720_hours_and_after_the_landmark(empty, tmp_path, fields, expected):
    empty.stay(101)
    empty.stay(102)
    empty.admission(101, **{"begin": 300, "end": 900, "hadm": 7, **fields})
    selection = chosen(empty, tmp_path, "discharge_72h")
    if expected is None:
        assert selection.index.subject.tolist() == [102]
    else:
        assert outcome(selection, 101, "readmission_30d") == expected
        assert outcome(selection, 102, "readmission_30d") == 0


def test_observation_admit_counts_where_asked_for(empty, tmp_path):
    empty.stay(101)
    empty.admission(101, 300, 400, hadm=7, admission_type="OBSERVATION ADMIT")
    selection = chosen(empty, tmp_path, "discharge_72h", observation_admit=True)
    assert outcome(selection, 101, "readmission_30d") == 1


def test_an_observation_that_goes_over_into_an_emergency_admission_counts(empty, tmp_path):
    empty.stay(101)
    empty.admission(101, 300, 310, hadm=7, admission_type="EU OBSERVATION")
    empty.admission(101, 310, 400, hadm=8)
    assert outcome(chosen(empty, tmp_path, "discharge_72h"), 101, "readmission_30d") == 1


@pytest.mark.parametrize("place", ["HOSPICE", "AGAINST ADVICE", "ACUTE HOSPITAL"])
def test_who_is_not_at_risk_has_no_readmission_outcome(empty, tmp_path, place):
    empty.stay(101, discharge_location=place)
    selection = chosen(empty, tmp_path, "discharge_72h")
    assert np.isnan(outcome(selection, 101, "readmission_30d"))
    assert outcome(selection, 101, "icu_90d") == 0


def test_death_first_is_a_zero_and_a_one_of_the_sensitivity_outcome(empty, tmp_path):
    empty.stay(101)
    empty.tables["hosp/patients"][0]["dod"] = at(300)[:10]
    selection = chosen(empty, tmp_path, "discharge_72h")
    assert outcome(selection, 101, "readmission_30d") == 0
    assert selection.sensitivity.tolist() == [1]


@pytest.mark.parametrize(("hours", "there"), [(120 + 71, False), (120 + 72, False), (120 + 96, True)])
def test_who_died_on_the_day_of_the_landmark_is_not_at_risk(empty, tmp_path, hours, there):
    empty.stay(101)
    empty.stay(102)
    empty.tables["hosp/patients"][0]["dod"] = at(hours)[:10]
    assert (101 in chosen(empty, tmp_path, "discharge_72h").index.subject.tolist()) == there
    assert 101 in chosen(empty, tmp_path, "discharge").index.subject.tolist()


@pytest.mark.parametrize(("begin", "unit", "expected"), [
    (120 + 73, "Trauma SICU (TSICU)", 1), (120 + 90 * DAY, "Trauma SICU (TSICU)", 1), (120 + 90 * DAY + 1, "Trauma SICU (TSICU)", 0),
    (300, "Neuro Stepdown", 0),
])  # fmt: skip
def test_an_icu_stay_within_90_days_is_intensive(empty, tmp_path, begin, unit, expected):
    empty.stay(101)
    empty.admission(101, begin - 0.5, begin + 100, hadm=7)
    empty.icu(101, begin, begin + 20, stay=8, hadm_id=7, first_careunit=unit, last_careunit=unit)
    assert outcome(chosen(empty, tmp_path, "discharge_72h"), 101, "icu_90d") == expected


def test_an_icu_stay_that_goes_over_into_an_intensive_unit_counts(empty, tmp_path):
    empty.stay(101)
    empty.admission(101, 299, 400, hadm=7)
    empty.icu(101, 300, 320, stay=8, hadm_id=7, first_careunit="Neuro Stepdown")
    assert outcome(chosen(empty, tmp_path, "discharge_72h"), 101, "icu_90d") == 1


def test_outcomes_are_undefined_where_the_follow_up_may_pass_the_end_of_the_database(empty, tmp_path):
    start = datetime(2150, 11, 1)
    empty.stay(101)
    empty.tables["hosp/patients"][0].update(anchor_year_group="2017 - 2019", anchor_year=2150)
    for table in ("hosp/admissions", "icu/icustays"):
        for name, value in empty.tables[table][0].items():
            if name.endswith("time") and value:
                moved = datetime.fromisoformat(value) - datetime.fromisoformat(at(0)) + start
                empty.tables[table][0][name] = moved.isoformat(" ")
    selection = chosen(empty, tmp_path, "discharge_72h")
    assert (outcome(selection, 101, "readmission_30d"), np.isnan(outcome(selection, 101, "icu_90d"))) == (0, True)
    empty.patient(102, anchor_year_group="2020 - 2022")
    assert outcome(chosen(empty, tmp_path, "discharge_72h"), 101, "icu_90d") == 0


def test_the_papers_landmark_keeps_deaths_as_zeros_and_counts_every_admission(raw, tmp_path):
    raw.admission(103, 121 + 6, 200, hadm=7, admission_type="ELECTIVE")
    selection = chosen(raw, tmp_path, "stay")
    assert len(selection.index) == 6
    assert selection.outcomes[:, 0].tolist() == [0, 1, 0, 0, 1, 0]
    assert selection.outcomes[:, 1].tolist() == [0, 0, 1, 0, 0, 0]
    assert (selection.cutoff == selection.index.discharged).all()


def test_groups_are_sex_age_ethnicity_and_year(empty, tmp_path):
    for subject, (gender, age, race) in enumerate(
        [("F", 44, "WHITE"), ("M", 45, "BLACK/CAPE VERDEAN"), ("F", 91, "UNKNOWN")], 101
    ):
        empty.stay(subject, race=race)
        empty.tables["hosp/patients"][-1].update(gender=gender, anchor_age=age)
    groups = chosen(empty, tmp_path, "icu_24h").groups
    assert groups["sex"].codes.tolist() == [0, 1, 0]
    assert groups["age band"].codes.tolist() == [0, 1, 3]
    assert groups["ethnicity"].codes.tolist() == [0, 1, -1]
    assert groups["year group"].labels == ("2011 - 2013",)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (
            lambda t: t["hosp/admissions"][0].update(subject_id=999),
            "hosp/admissions: subject_id 999 is not in hosp/patients",
        ),
        (lambda t: t["icu/icustays"][0].update(hadm_id=999), "icu/icustays: hadm_id 999 is not in hosp/admissions"),
        (lambda t: t["hosp/admissions"][0].update(admittime="soon"), "hadm_id 1010 has no readable admittime"),
        (lambda t: t["icu/icustays"][1].update(stay_id=10100), "stay_id 10100 stands twice"),
        (
            lambda t: t["hosp/patients"][1].update(anchor_year_group="?"),
            "subject_id 102 has no readable anchor_year_group",
        ),
    ],
)
def test_broken_tables_are_named_in_one_line(raw, tmp_path, spoil, words):
    spoil(raw.tables)
    with pytest.raises(CohortError, match=words) as caught:
        read(raw, tmp_path)
    assert "\n" not in str(caught.value)


def test_an_admission_that_ends_before_it_begins_is_left_out_and_counted(raw, tmp_path):
    raw.tables["hosp/admissions"][0]["dischtime"] = at(-3)
    selection = chosen(raw, tmp_path, "icu_24h")
    assert selection.index.subject.tolist() == [102, 103, 104, 105, 106]
    assert selection.flow[1] == {"step": "that end after they begin", "n": 6, "excluded": 1}


# --- the demo, recomputed row by row from its csv files


def moment(value):
    return None if pd.isna(value) else datetime.fromisoformat(value)


@pytest.fixture(scope="module")
def by_hand(demo):
    """Raw counts, and strict outcomes by subject, from the csv files with plain Python."""
    admissions = pd.read_csv(demo / "hosp" / "admissions.csv.gz", dtype={"subject_id": int, "hadm_id": int})
    stays = pd.read_csv(demo / "icu" / "icustays.csv.gz")
    patients = pd.read_csv(demo / "hosp" / "patients.csv.gz").set_index("subject_id")
    visits, units = defaultdict(list), defaultdict(list)
    for row in admissions.itertuples():
        visits[row.subject_id].append({
            "hadm": row.hadm_id, "start": moment(row.admittime), "end": moment(row.dischtime), "died": row.hospital_expire_flag == 1,
            "type": row.admission_type, "to": row.discharge_location,
        })  # fmt: skip
    for row in stays.itertuples():
        units[row.subject_id].append((moment(row.intime), moment(row.outtime), row.hadm_id,
                                      "Step" not in row.first_careunit and "Intermediate" not in row.first_careunit,
                                      "Step" not in row.last_careunit and "Intermediate" not in row.last_careunit))  # fmt: skip
    return visits, units, patients


def chains(visits):
    """The admissions of a patient as chains of which each link begins at most six hours after the chain has ended."""
    found = []
    for visit in sorted(visits, key=lambda v: (v["start"], v["end"])):
        if found and visit["start"] - max(v["end"] for v in found[-1]) <= timedelta(hours=6):
            found[-1].append(visit)
        else:
            found.append([visit])
    return found


def strict_by_hand(visits, units, patients):
    """{subject: (died, readmitted, icu)} of the strict landmarks; None where the patient is not at risk at that landmark."""
    deaths, later = {}, {}
    for subject, own in visits.items():
        began = sorted(u for u in units[subject] if u[3])
        if not began:
            continue
        first = began[0]
        patient = patients.loc[subject]
        index = next(c for c in chains(own) if first[2] in [v["hadm"] for v in c])
        last_year = int(patient.anchor_year_group[-4:]) - patient.anchor_year
        if first[0].year + last_year > 2019:
            continue
        end, died = max(v["end"] for v in index), any(v["died"] for v in index)
        cut = first[0] + timedelta(hours=24)
        if first[1] > cut and end > cut:
            deaths[subject] = died
        if died:
            continue
        cut = end + timedelta(hours=72)
        gone = not pd.isna(patient.dod) and datetime.fromisoformat(patient.dod).date() <= cut.date()
        others = [c for c in chains(own) if c is not index and c[0]["hadm"] != index[0]["hadm"]]
        if gone or any(end < c[0]["start"] <= cut for c in others):
            continue
        place = max(index, key=lambda v: v["end"])["to"]
        counted = [c[0]["start"] for c in others if any(v["type"] in ("EW EMER.", "DIRECT EMER.", "URGENT") for v in c)]
        again = any(cut < t <= end + timedelta(days=30) for t in counted)
        icu = any(cut < u[0] <= end + timedelta(days=90) for u in units[subject]
                  if (u[3] or u[4]) and u[2] not in [v["hadm"] for v in index])  # fmt: skip
        open_30 = (end + timedelta(days=30)).year + last_year > 2019 or place in (
            "HOSPICE",
            "AGAINST ADVICE",
            "ACUTE HOSPITAL",
        )
        open_90 = (end + timedelta(days=90)).year + last_year > 2019
        later[subject] = (np.nan if open_30 else float(again), np.nan if open_90 else float(icu))
    return deaths, later


def test_the_demos_outcomes_are_those_recomputed_by_hand(demo_built, by_hand):
    deaths, later = strict_by_hand(*by_hand)
    strict = demo_built["icu_24h"].cohort
    assert dict(zip(strict.patient.tolist(), strict.outcomes[:, 0] == 1, strict=True)) == deaths
    after = demo_built["discharge_72h"].cohort
    assert after.patient.tolist() == sorted(later)
    np.testing.assert_array_equal(after.outcomes, np.array([later[s] for s in after.patient.tolist()], np.float32))


def test_the_demos_raw_counts_are_those_of_the_release(demo, by_hand, tmp_path):
    visits, units, _ = by_hand
    with_icu = {u[2] for own in units.values() for u in own}
    alive = [(s, v) for s, own in visits.items() for v in own if v["hadm"] in with_icu and not v["died"]]
    again = sum(any(v["end"] < w["start"] <= v["end"] + timedelta(days=30) for w in visits[s]) for s, v in alive)
    icu = sum(
        any(v["end"] < u[0] <= v["end"] + timedelta(days=90) for u in units[s] if u[2] != v["hadm"]) for s, v in alive
    )
    con = connect(tmp_path)
    rows = labels.count_by_rule(read_history(con, Release(demo)), 72)
    con.close()
    first = {
        task: next(row for row in rows if row["task"] == task)
        for task in ("mortality_inhosp", "readmission_30d", "icu_90d")
    }
    assert {task: (row["n"], row["positives"]) for task, row in first.items()} == {
        "mortality_inhosp": (128, 15), "readmission_30d": (113, 22), "icu_90d": (113, 14),
    }  # fmt: skip
    assert (len(with_icu), len(alive), again, icu) == (128, 113, 22, 14)
    readmission = [row["positives"] for row in rows if row["task"] == "readmission_30d"]
    assert readmission == [22, 21, 19, 12, 11, 9, 9]
