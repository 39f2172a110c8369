"""Values of S that a rebuild of the cohort by hand found wrong once: which items count, in which unit, and which rows belong together."""

from __future__ import annotations

import numpy as np
import pytest

from datasets.mimic_iv import vocabulary as words
from datasets.mimic_iv.build import build
from tests.at_hand import read_cohort_values

LABS, CHART, OUTPUT, PROCEDURES = "hosp/labevents", "icu/chartevents", "icu/outputevents", "icu/procedureevents"


def build_features(raw, root):
    """The features of S at 24 hours, by subject and name."""
    cohort = build(raw.write(root), landmarks_asked=["icu_24h"])["icu_24h"].cohort
    s = cohort.modalities[0]
    rows = [dict(zip(s.feature_names, row.astype(float), strict=True)) for row in s.values]
    return dict(zip(cohort.patient.tolist(), rows, strict=True))


def add_gas(raw, subject, specimen, hour, pao2, kind="ART.", typed=None, said=None):
    """Add a blood gas drawn at ``hour``: its oxygen pressure, stored at ``said``, and the row that names its blood, stored at ``typed``."""
    raw.add(LABS, subject, hour, hour if said is None else said, itemid=50821, specimen_id=specimen, valuenum=pao2)
    if kind:
        stored = hour if typed is None else typed
        raw.add(LABS, subject, hour, stored, itemid=52033, specimen_id=specimen, value=kind, valuenum="")


@pytest.fixture
def stays(empty):
    """A release of the stays 101 to 108 without events."""
    for subject in range(101, 109):
        empty.stay(subject)
    return empty


def test_urine_is_that_of_the_unit_and_unknown_where_none_is_charted(stays, tmp_path):
    for item, value in ((226559, 200), (226627, 900), (226631, 80), (227489, 500), (227488, 300)):
        stays.add(OUTPUT, 101, 5, itemid=item, value=value)
    stays.add(OUTPUT, 102, 5, itemid=226627, value=900)
    stays.add(OUTPUT, 103, 5, itemid=226588, value=70)
    stays.add(OUTPUT, 104, 5, itemid=226559, value=0)
    stays.add(OUTPUT, 105, 5, itemid=226559, value=99_999)
    got = build_features(stays, tmp_path)
    np.testing.assert_array_equal([got[s]["urine"] for s in range(101, 106)], [400, np.nan, np.nan, 0, np.nan])
    assert [got[s]["output"] for s in range(101, 104)] == [1680, 900, 70]
    assert got[101]["urine_per_hour"] == pytest.approx(400 / 24)
    assert np.isnan(got[102]["urine_per_hour"])


def test_oxygen_pressure_is_of_arterial_blood_and_known_with_the_kind_of_blood(stays, tmp_path):
    add_gas(stays, 101, 1, 2, 90)
    add_gas(stays, 101, 2, 3, 35, "VEN.")
    add_gas(stays, 101, 3, 4, 45, "CENTRAL VENOUS.")
    add_gas(stays, 101, 4, 5, 40, "MIX.")
    add_gas(stays, 101, 5, 6, 30, kind=None)
    stays.add(LABS, 101, 7, itemid=50820, specimen_id=2, valuenum=7.31)
    add_gas(stays, 102, 6, 2, 90, typed=24)
    add_gas(stays, 103, 7, 2, 90, said=24)
    add_gas(stays, 104, 8, 2, 90, typed=23.9)
    # A specimen of another patient says nothing, whatever its number.
    add_gas(stays, 105, 9, 2, 90, kind=None)
    stays.add(LABS, 106, 2, itemid=52033, specimen_id=9, value="ART.", valuenum="")
    got = build_features(stays, tmp_path)
    assert [got[101][f"pao2{end}"] for end in ("_min", "_max", "_last", "_count")] == [90, 90, 90, 1]
    assert got[101]["ph_last"] == pytest.approx(7.31)
    np.testing.assert_array_equal([got[s]["pao2_last"] for s in (102, 103, 104, 105)], [np.nan, np.nan, 90, np.nan])


def test_the_ratio_pairs_the_latest_arterial_gas_with_an_oxygen_fraction_of_the_four_hours_before(stays, tmp_path):
    def charted(subject, hour, value):
        stays.add(CHART, subject, hour, itemid=223835, valuenum=value)

    minute = 1 / 60
    # 101: the last gas has none in time, the one before it the later of two; what is charted after a gas does not count.
    for hour, value in ((2, 100), (4, 0.5), (6, 40)):
        charted(101, hour, value)
    add_gas(stays, 101, 1, 5, 120)
    add_gas(stays, 101, 2, 10 + minute, 80)
    add_gas(stays, 102, 3, 5, 120)
    charted(102, 5 + minute, 40)
    add_gas(stays, 103, 4, 9, 120)
    charted(103, 5, 60)
    add_gas(stays, 104, 5, 9, 120, "VEN.")
    charted(104, 9, 60)
    add_gas(stays, 105, 6, 9, 120)
    charted(105, 9, 60)
    charted(105, 9, 80)
    # Known too late for the landmark: the gas before it stands.
    for specimen, hour, typed in ((7, 8, 8), (8, 9, 24)):
        add_gas(stays, 106, specimen, hour, 10.0 * specimen, typed=typed)
    charted(106, 8, 50)
    got = build_features(stays, tmp_path)
    expected = [240, np.nan, 200, np.nan, 150, 140, np.nan]
    np.testing.assert_allclose([got[s]["pf_ratio"] for s in range(101, 108)], expected)


def test_no_verbal_response_of_a_tube_is_no_value(stays, tmp_path):
    for hour, value, text in ((2, 4, "Confused"), (3, 1, "No Response"), (5, 1, "No Response-ETT")):
        stays.add(CHART, 101, hour, itemid=223900, valuenum=value, value=text)
    stays.add(CHART, 102, 5, itemid=223900, valuenum=1, value="No Response-ETT")
    for subject in (101, 102):
        stays.add(CHART, subject, 5, itemid=220739, valuenum=1, value="None")
        stays.add(CHART, subject, 5, itemid=223901, valuenum=5, value="Localizes Pain")
    got = build_features(stays, tmp_path)
    assert [got[101][f"gcs_verbal{end}"] for end in ("_mean", "_last", "_count")] == [2.5, 1, 2]
    assert (got[101]["gcs_last"], got[102]["gcs_eye_last"]) == (7, 1)
    assert np.isnan([got[102]["gcs_verbal_min"], got[102]["gcs_last"], got[102]["gcs_min"]]).all()


MORE_ITEMS = [
    (226329, 37.5, "temperature", 37.5), (227632, 33, "temperature", 33), (227634, 33.5, "temperature", 33.5),
    (227989, 12, "icp", 12), (220621, 140, "charted_glucose", 140), (226537, 150, "charted_glucose", 150),
    (227582, 6, "oxygen_flow", 6), (224700, 9, "peep", 9), (224686, 410, "tidal_volume", 410),
]  # fmt: skip


def test_items_of_the_public_concepts_are_read(stays, tmp_path):
    for item, value, _, _ in MORE_ITEMS:
        stays.add(CHART, 101, item / 20_000, itemid=item, valuenum=value)
    stays.add(LABS, 101, 5, itemid=51245, valuenum=18)
    stays.add(CHART, 101, 5, itemid=226707, valuenum=70)
    stays.add(CHART, 102, 5, itemid=226730, valuenum=170)
    stays.add(CHART, 103, 5, itemid=226707, valuenum=170)
    got = build_features(stays, tmp_path)
    by_name = {}
    for _, _, name, value in MORE_ITEMS:
        by_name.setdefault(name, []).append(value)
    for name, values in by_name.items():
        assert (got[101][f"{name}_mean"], got[101][f"{name}_count"]) == (pytest.approx(np.mean(values)), len(values))
    assert got[101]["lymphocytes_last"] == 18
    assert got[101]["height"] == pytest.approx(177.8)
    assert got[102]["height"] == 170
    assert np.isnan(got[103]["height"])
    assert np.isnan(got[101]["fingerstick_glucose_last"])


def test_dialysis_is_the_treatment_and_not_its_catheter(stays, tmp_path):
    for subject, item in enumerate((225441, 225803, 225805, 225809, 225955, 224270, 225802), 101):
        stays.add(PROCEDURES, subject, 5, itemid=item)
    got = build_features(stays, tmp_path)
    assert [got[s]["procedure_dialysis"] for s in range(101, 108)] == [1, 1, 1, 1, 1, 0, 0]
    assert [got[s]["procedure_crrt"] for s in range(101, 108)] == [0, 1, 0, 1, 1, 0, 1]


def test_no_item_stands_under_two_measures():
    for measures in (words.LABS, words.VITALS):
        items = [item for measure in measures for item in measure.labels]
        assert len(set(items)) == len(items)


def test_every_listed_value_of_the_demo_is_right(demo_built):
    cases = read_cohort_values("mimic-iv-demo").to_dict("records")
    wrong = []
    for case in cases:
        cohort = demo_built[case["landmark"]].cohort
        name, feature = case["feature"].split("|")
        s = cohort.modalities[cohort.modality_names.index(name)]
        got = float(s.values[cohort.patient.tolist().index(int(case["id"])), s.feature_names.index(feature)])
        # The list is written to one decimal.
        if not np.isclose(got, float(case["right"]), rtol=0, atol=0.051, equal_nan=True):
            wrong.append((case["id"], case["feature"], got, case["right"]))
    assert cases
    assert not wrong
