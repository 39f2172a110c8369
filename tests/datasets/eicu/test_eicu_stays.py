from __future__ import annotations

import duckdb
import numpy as np
import pandas as pd
import pytest

from datasets.cohort import CohortError
from datasets.eicu.stays import encode_patients, read_patients, select_stays
from datasets.eicu.tables import Release


def chosen(raw, tmp_path, landmark):
    return select_stays(read_patients(duckdb.connect(), Release(raw.write(tmp_path / "release"))), landmark)


def counts(selection):
    return [step["n"] for step in selection.flow]


def test_the_24_hour_landmark_keeps_only_stays_still_running(empty, tmp_path):
    empty.patient(1, "002-1", unitdischargeoffset=1441, hospitaldischargeoffset=1441)
    empty.patient(2, "002-2", unitdischargeoffset=1440)
    empty.patient(3, "002-3", unitdischargeoffset=1439)
    empty.patient(4, "002-4", unitdischargeoffset="")
    empty.patient(5, "002-5", unitdischargeoffset=9000, hospitaldischargeoffset=1440)
    empty.patient(
        6, "002-6", unitdischargeoffset=1500, unitdischargestatus="Expired", hospitaldischargestatus="Expired"
    )
    selection = chosen(empty, tmp_path, "icu_24h")
    assert selection.stay.tolist() == [1, 6]
    assert selection.cutoff.tolist() == [1440, 1440]
    assert counts(selection) == [6, 6, 6, 3, 2]
    assert [step["excluded"] for step in selection.flow] == [0, 0, 0, 3, 1]
    assert selection.outcomes[:, 0].tolist() == [0, 1]


@pytest.mark.parametrize(
    ("age", "strict", "paper"),
    [("17", 0, 0), ("18", 1, 1), ("89", 1, 1), ("> 89", 1, 0), (">89", 1, 0), ("", 0, 0), ("unknown", 0, 0)],
)
def test_ages(empty, tmp_path, age, strict, paper):
    empty.patient(1, "002-1", age=age)
    empty.patient(2, "002-2", age="40")
    assert len(chosen(empty, tmp_path / "a", "icu_24h").stay) == 1 + strict
    assert len(chosen(empty, tmp_path / "b", "stay").stay) == 1 + paper


def test_the_first_stay_is_chosen_before_anyone_asks_who_is_at_risk(empty, tmp_path):
    same = {"patienthealthsystemstayid": 70}
    empty.patient(5, "002-1", **same, unitvisitnumber=1, unitdischargeoffset=600)
    empty.patient(4, "002-1", **same, unitvisitnumber=2, unitdischargeoffset=5000)
    empty.patient(3, "002-2", unitdischargeoffset=5000)
    assert chosen(empty, tmp_path, "icu_24h").stay.tolist() == [3]


def test_stays_are_ordered_by_year_then_hospital_stay_then_visit(empty, tmp_path):
    empty.patient(1, "002-1", hospitaldischargeyear=2015, patienthealthsystemstayid=1)
    empty.patient(2, "002-1", hospitaldischargeyear=2014, patienthealthsystemstayid=1000, unitvisitnumber=2)
    empty.patient(3, "002-1", hospitaldischargeyear=2014, patienthealthsystemstayid=1000, unitvisitnumber=1)
    empty.patient(4, "002-1", hospitaldischargeyear=2014, patienthealthsystemstayid=200, unitvisitnumber=10)
    empty.patient(5, "002-1", hospitaldischargeyear=2014, patienthealthsystemstayid=200, unitvisitnumber=9)
    assert chosen(empty, tmp_path, "icu_24h").stay.tolist() == [5]


def test_a_stay_as_a_minor_does_not_hide_the_first_adult_stay(empty, tmp_path):
    empty.patient(1, "002-1", age="17", hospitaldischargeyear=2014)
    empty.patient(2, "002-1", age="18", hospitaldischargeyear=2015)
    assert chosen(empty, tmp_path, "icu_24h").stay.tolist() == [2]


@pytest.mark.parametrize("place", ["Floor", "Acute Care/Floor", "Step-Down Unit (SDU)", "Telemetry"])
def test_wards_of_the_same_hospital_are_at_risk_of_readmission(empty, tmp_path, place):
    empty.patient(1, "002-1", unitdischargelocation=place)
    assert chosen(empty, tmp_path, "unit_discharge").cutoff.tolist() == [4320]


@pytest.mark.parametrize(
    "fields",
    [
        {"unitdischargelocation": place}
        for place in ("Home", "Other Hospital", "Other ICU", "ICU", "Death", "", "Other Internal", "floor")
    ]
    + [
        {"unitdischargestatus": "Expired"},
        {"unitdischargestatus": ""},
        {"hospitaldischargeoffset": 4320},
        {"unitdischargeoffset": ""},
    ],
)
def test_other_ends_of_a_unit_stay_are_not_at_risk_of_readmission(empty, tmp_path, fields):
    empty.patient(1, "002-1", **fields)
    empty.patient(2, "002-2")
    assert chosen(empty, tmp_path, "unit_discharge").stay.tolist() == [2]


@pytest.mark.parametrize(
    ("stay_type", "visit", "hospital_stay", "label"),
    [
        ("readmit", 3, 70, 1),
        ("transfer", 3, 70, 0),
        ("stepdown/other", 3, 70, 0),
        ("readmit", 1, 70, 0),
        ("readmit", 3, 71, 0),
    ],
)
def test_icu_readmission_is_a_later_readmit_of_the_same_hospital_stay(
    empty, tmp_path, stay_type, visit, hospital_stay, label
):
    empty.patient(1, "002-1", patienthealthsystemstayid=70, unitvisitnumber=2)
    empty.patient(
        2, "002-1", patienthealthsystemstayid=hospital_stay, unitvisitnumber=visit, unitstaytype=stay_type,
        hospitaldischargeyear=2015, age="17",
    )  # fmt: skip
    selection = chosen(empty, tmp_path, "unit_discharge")
    assert selection.stay.tolist() == [1]
    assert selection.outcomes.tolist() == [[label]]


def test_a_missing_hospital_status_leaves_mortality_undefined(empty, tmp_path):
    empty.patient(1, "002-1", hospitaldischargestatus="")
    empty.patient(2, "002-2", hospitaldischargestatus="Expired")
    empty.patient(3, "002-3", hospitaldischargestatus="Alive")
    np.testing.assert_array_equal(chosen(empty, tmp_path, "icu_24h").outcomes[:, 0], [np.nan, 1, 0])


@pytest.mark.parametrize(("minutes", "kept"), [(719, 0), (720, 1), (14400, 1), (14401, 0)])
def test_the_papers_stay_lasts_12_hours_to_10_days(empty, tmp_path, minutes, kept):
    empty.patient(1, "002-1", unitdischargeoffset=minutes, hospitaldischargeoffset=20000)
    empty.patient(2, "002-2")
    selection = chosen(empty, tmp_path, "stay")
    assert (1 in selection.stay.tolist()) == bool(kept)
    assert selection.tasks == ("mortality_inhosp", "icu_readmission")


def test_groups_are_codes_with_labels(empty, tmp_path):
    for stay, fields in enumerate(
        [
            {"age": "44"},
            {"age": "45", "gender": "Male"},
            {"age": "> 89", "gender": "", "ethnicity": "Asian"},
            {"ethnicity": ""},
        ],
        1,
    ):
        empty.patient(stay, f"002-{stay}", **fields)
    groups = chosen(empty, tmp_path, "icu_24h").groups
    said = {name: [group.labels[c] if c >= 0 else None for c in group.codes] for name, group in groups.items()}
    assert said == {
        "sex": ["Female", "Male", None, "Female"],
        "age band": ["18-44", "45-64", "80+", "45-64"],
        "ethnicity": ["Caucasian", "Caucasian", "Asian", None],
    }


def test_patient_codes_are_stable_and_tell_patients_apart():
    codes = encode_patients(pd.Series(["002-1039", "021-039", "002-1039", "002-10390", "odd", "0-21039"]))
    assert codes[0] == codes[2] == 2_000_001_039
    assert len(set(codes.tolist())) == 5
    with pytest.raises(CohortError, match="uniquepid"):
        encode_patients(pd.Series(["002-1039", "2-1039"]))


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"patientunitstayid": 101}, "patientunitstayid 101 stands twice"),
        ({"patientunitstayid": "x"}, "patientunitstayid is missing"),
        ({"uniquepid": " "}, "uniquepid is missing"),
        ({"hospitalid": ""}, "hospitalid is missing"),
    ],
)
def test_faults_of_the_patient_table_are_one_line(raw, tmp_path, fields, said):
    raw.patient(107, "002-9").update(fields)
    with pytest.raises(CohortError, match=said) as error:
        chosen(raw, tmp_path, "icu_24h")
    assert "\n" not in str(error.value)
    assert "table patient" in str(error.value)


def test_an_empty_cohort_names_the_step(empty, tmp_path):
    empty.patient(1, "002-1", age="12")
    with pytest.raises(CohortError, match="no stay is left at landmark icu_24h after the step: adults"):
        chosen(empty, tmp_path, "icu_24h")
    with pytest.raises(CohortError, match="no landmark icu_48h"):
        chosen(empty, tmp_path / "b", "icu_48h")
