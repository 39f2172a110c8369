"""The built cohorts: features by hand, the series, faults of the tables in one line, the registry and its memory."""

from __future__ import annotations

import gzip

import numpy as np
import pytest

from datasets import registry
from datasets.cohort import CohortError
from datasets.mimic_iv import build as building
from datasets.mimic_iv.build import Extras, build
from datasets.mimic_iv.features import list_features
from datasets.mimic_iv.sources import LONG, WIDE
from datasets.raw.verify import verify_release
from datasets.storage import load_cohort, load_ground_truth, save_cohort, save_ground_truth
from tests.datasets.mimic_iv.conftest import made_items

TABLES = sorted(
    {source.table for source in (*WIDE, *LONG)} | {"hosp/patients", "hosp/admissions", "icu/icustays", "icu/d_items"}
)


def one(raw, root, landmark="icu_24h", **options):
    return build(raw.write(root), landmarks_asked=[landmark], **options)[landmark]


def features(built, subject):
    s = built.cohort.modalities[0]
    row = built.cohort.patient.tolist().index(subject)
    return dict(zip(s.feature_names, s.values[row].astype(float), strict=True))


def test_statistics_by_hand(empty, tmp_path):
    empty.stay(101)
    empty.stay(102)
    for hour, value in ((1, 4.0), (5, 5.0), (3, 9.0), (-25, 11.0), (6, 99.0)):
        empty.add("hosp/labevents", 101, hour, hour + 1, itemid=50971, valuenum=value)
    empty.add("icu/chartevents", 101, 2, itemid=223761, valuenum=98.6)
    for value in (300, 99_999):
        empty.add("icu/outputevents", 101, 4, value=value)
    empty.add("icu/outputevents", 101, 5, itemid=227488, value=100)
    got = features(one(empty, tmp_path), 101)
    assert [got[f"potassium{end}"] for end in ("_mean", "_min", "_max", "_last", "_count")] == [6, 4, 9, 5, 3]
    assert got["temperature_last"] == 37
    assert (got["sodium_count"], got["heart_rate_count"]) == (0, 0)
    assert np.isnan(got["sodium_mean"])
    assert (got["urine"], got["output"], got["output_entries"]) == (200, 300, 3)
    other = features(one(empty, tmp_path), 102)
    assert np.isnan([other["potassium_count"], other["urine"], other["orders"], other["infused_vasopressin"]]).all()
    assert (other["earlier_admissions"], other["age"], other["male"]) == (0, 60, 0)


def test_the_last_value_is_that_of_the_latest_event_whatever_the_order(empty, tmp_path):
    empty.stay(101)
    for hour, value in ((9, -7.5), (2, 3.0), (9, -8.0)):
        empty.add("hosp/labevents", 101, hour, 12, itemid=50802, valuenum=value)
    assert features(one(empty, tmp_path), 101)["base_excess_last"] == -7.5


def test_diagnoses_are_those_of_admissions_that_ended_before(raw, tmp_path):
    raw.tables["hosp/diagnoses_icd"].append({"subject_id": 101, "hadm_id": 1010, "icd_code": "A419", "icd_version": 10})
    got = features(one(raw, tmp_path), 101)
    assert (got["earlier_heart_failure"], got["earlier_circulatory"], got["earlier_sepsis"], got["earlier_codes"]) == (
        1,
        1,
        0,
        1,
    )
    assert (got["earlier_admissions"], got["days_since_discharge"]) == (1, pytest.approx(798 / 24))


def test_the_days_are_counted_from_the_last_of_several_discharges(raw, tmp_path):
    raw.admission(101, -500, -400, hadm=7)
    got = features(one(raw, tmp_path), 101)
    assert (got["earlier_admissions"], got["days_since_discharge"]) == (2, pytest.approx(398 / 24))


@pytest.mark.parametrize("landmark", ["icu_24h", "discharge_72h", "discharge", "stay"])
def test_codes_of_the_index_admission_are_never_an_input(raw, tmp_path, landmark):
    raw.admission(101, 121, 123, hadm=8)
    for hadm in (1010, 8):
        raw.tables["hosp/diagnoses_icd"].append(
            {"subject_id": 101, "hadm_id": hadm, "icd_code": "A419", "icd_version": 10}
        )
    got = features(one(raw, tmp_path, landmark), 101)
    assert (got["earlier_sepsis"], got["earlier_codes"]) == (0, 1)


def test_each_window_ends_where_it_says(empty, tmp_path):
    """Two hours in hospital before the ICU: a day before either is in, a minute more is out."""
    empty.stay(101)
    minute = 1 / 60
    empty.add("hosp/labevents", 101, 1)
    for hour in (-24, -24 - minute):
        empty.add("hosp/labevents", 101, hour, itemid=50971, valuenum=4)
        empty.add("icu/procedureevents", 101, hour)
    for hour in (-26, -26 - minute):
        empty.add("hosp/pharmacy", 101, hour)
    for hour in (0, -minute):
        empty.add("icu/outputevents", 101, hour)
    got = features(one(empty, tmp_path), 101)
    names = ("potassium_count", "procedure_entries", "orders", "output_entries")
    assert [got[name] for name in names] == [1, 1, 1, 1]


def test_destination_and_length_of_stay_are_inputs_after_discharge_alone(raw, tmp_path):
    for landmark, there in (("icu_24h", False), ("discharge_72h", True), ("discharge", True), ("stay", False)):
        names = one(raw, tmp_path / landmark, landmark).cohort.modalities[0].feature_names
        assert any(name.startswith("destination=") for name in names) == there
        assert ("days_in_hospital" in names) == there
        assert not [n for n in names if "expire" in n or "death" in n or "dod" in n]


def test_series_are_hourly_means_of_what_was_known(empty, tmp_path):
    empty.stay(101)
    for hour, value in ((-2.5, 80), (0.2, 90), (0.7, 92), (23.5, 99)):
        empty.add("icu/chartevents", 101, hour, itemid=220045, valuenum=value)
    empty.add("icu/chartevents", 101, 5, 24.5, itemid=220045, valuenum=200)
    series = one(empty, tmp_path).cohort.series
    channel = series.channels.index("heart_rate")
    recorded = series.mask[0, :, channel]
    assert series.hours[0][recorded].tolist() == [-3, 0, 23]
    assert series.values[0][recorded, channel].tolist() == [80, 91, 99]
    assert not np.isfinite(series.hours[0, 27:]).any()


def test_the_series_after_discharge_ends_with_the_hospital_stay(raw, tmp_path):
    series = one(raw, tmp_path, "discharge_72h").cohort.series
    assert series.values.shape[1] == 72
    assert (series.hours[0, 0], series.hours[0, -1]) == (48, 119)


def test_modalities_are_s_i_t_r_with_reasons_beside_them(raw, tmp_path, monkeypatch):
    items = {"I": made_items([101], [1], [1], [-1]), "T": made_items([102], [120], [121], [1020], 5), "R": None}
    monkeypatch.setattr(building, "gather_items", lambda *rest: items)
    built = one(raw, tmp_path, "discharge_72h")
    assert built.cohort.modality_names == ("S", "I", "T", "R")
    assert built.cohort.observed.tolist() == [[True, True, False, False], *([[True, False, False, False]] * 3)]
    assert built.ground_truth.arrays["absence"].tolist()[0] == [0, 0, 4, 1]
    assert built.ground_truth.arrays["readmission_or_death_30d"].shape == (4,)
    assert built.flow[-1]["step"] == "R: no files given, unobserved for all"
    assert built.notes["paper"][0] == {"what": "the cohort", "paper": 20_000, "here": 4}
    save_cohort(built.cohort, tmp_path / "cohort")
    save_ground_truth(built.ground_truth, tmp_path / "known")
    assert load_cohort(tmp_path / "cohort").fingerprint == built.cohort.fingerprint
    assert load_ground_truth(tmp_path / "known").notes["absence codes"][4] == "not_recorded"


def test_every_feature_has_a_table_and_a_clock(raw, untouched):
    listed = {f.name: f for f in list_features()}
    assert len(listed) == len(list_features())
    names = untouched["icu_24h"].modalities[0].feature_names
    assert len(set(names)) == len(names)
    assert set(listed) < set(names)
    assert all(f.clock and f.table for f in listed.values())


@pytest.mark.parametrize("table", TABLES)
def test_a_missing_table_is_one_line(raw, tmp_path, table):
    root = raw.write(tmp_path)
    (root / f"{table}.csv.gz").unlink()
    with pytest.raises(CohortError, match=rf"table {table} is missing from .*: {table}\.csv\.gz \(or .*\) is needed"):
        build(root)


@pytest.mark.parametrize(("table", "column"), [
    ("hosp/labevents", "storetime"), ("icu/inputevents", "endtime"), ("hosp/admissions", "dischtime"), ("hosp/pharmacy", "entertime"),
    ("icu/chartevents", "valuenum"),
])  # fmt: skip
def test_a_missing_column_is_one_line(raw, tmp_path, table, column):
    raw.columns[table].remove(column)
    with pytest.raises(CohortError, match=f"table {table} lacks column {column}"):
        build(raw.write(tmp_path))


def test_chart_events_without_a_store_time_are_taken_at_their_own_and_it_is_said(raw, tmp_path):
    raw.columns["icu/chartevents"].remove("storetime")
    said = []
    built = build(raw.write(tmp_path), landmarks_asked=["icu_24h"], progress=said.append)["icu_24h"]
    assert said[0] == "icu/chartevents has no column storetime: the event's own moment is taken for it"
    assert built.notes["caption"] == ["no X-rays and no notes given", said[0]]


@pytest.mark.parametrize("table", ["hosp/labevents", "icu/chartevents", "hosp/admissions"])
def test_a_truncated_file_is_one_line(raw, tmp_path, table):
    for subject in range(101, 107):
        for hour in np.random.default_rng(subject).uniform(0, 60, 200) if table in raw.clocks else ():
            raw.add(table, subject, float(hour), valuenum=float(hour))
    root = raw.write(tmp_path)
    path = root / f"{table}.csv.gz"
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    with pytest.raises(CohortError, match=rf"table {table}: .*csv\.gz (is truncated|cannot be read)") as caught:
        build(root)
    assert "\n" not in str(caught.value)


def test_a_table_that_is_not_utf8_is_one_line(raw, tmp_path):
    root = raw.write(tmp_path)
    path = root / "hosp/pharmacy.csv.gz"
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()).replace(b"Furosemide", b"Furos\xe9mide")))
    with pytest.raises(CohortError, match="table hosp/pharmacy"):
        build(root)


def test_places_are_remembered_and_options_have_folders_of_their_own(raw, tmp_path):
    root = raw.write(tmp_path / "raw")
    first = registry.prepare("mimic-iv", {"root": str(root)}, tmp_path / "built")
    said = []
    again = registry.prepare("mimic-iv", {}, tmp_path / "built", progress=said.append)
    assert (again.folder, again.manifest["signature"], said) == (first.folder, first.manifest["signature"], [])
    other = registry.prepare("mimic-iv", {"subset": "cxr_era", "observation_admit": False}, tmp_path / "built")
    assert (other.folder.name, other.manifest["parameters"]["root"]) == ("mimic-iv-cxr_era", str(root))
    with pytest.raises(CohortError, match=r"note_root=.*nowhere is no folder"):
        registry.prepare("mimic-iv", {"note_root": str(tmp_path / "nowhere")}, tmp_path / "built")
    for path in root.rglob("*.gz"):
        path.unlink()
    root.joinpath("hosp").rmdir()
    root.joinpath("icu").rmdir()
    root.rmdir()
    assert registry.prepare("mimic-iv", {}, tmp_path / "built").folder == first.folder


def test_the_caption_says_what_is_exempt_and_what_was_chosen(raw, tmp_path):
    for folder in ("note", "cxr"):
        (tmp_path / folder).mkdir()
    (tmp_path / "note" / "FABRICATED.txt").touch()
    extras = Extras(tmp_path / "note", tmp_path / "cxr")
    said = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(building, "gather_items", lambda *rest: dict.fromkeys("ITR"))
        for landmark in ("icu_24h", "discharge"):
            options = {"extras": extras, "subset": "cxr_era", "observation_admit": True}
            said[landmark] = one(raw, tmp_path / landmark, landmark, **options).notes["caption"]
    shared = ["subset cxr_era", "OBSERVATION ADMIT counts as a readmission", "notes or images are fabricated"]
    assert said == {"icu_24h": shared, "discharge": [building.EXEMPT, *shared]}


def test_the_demo_differs_from_its_list_in_its_partial_table_only(demo):
    rows = {row["file"]: row["status"] for row in verify_release(demo)}
    assert {name for name, status in rows.items() if status == "differs"} == {"icu/chartevents.csv.gz"}
    assert rows["hosp/patients.csv.gz"] == "matches"


class Letters:
    """An encoder that counts letters."""

    name, key, width, batch = "letters", "letters", 26, 1

    def encode(self, texts):
        """Shares of the letters."""
        return np.array([[t.lower().count(chr(97 + i)) / len(t) for i in range(26)] for t in texts], np.float32)


def test_the_demo_with_fabricated_notes_and_images(demo, tmp_path):
    fabricate = pytest.importorskip("datasets.mimic_iv.fabricate")
    fabricate.fabricate(demo, tmp_path / "note", tmp_path / "cxr")
    extras = Extras(tmp_path / "note", tmp_path / "cxr", encoder=Letters())
    built = build(demo, extras=extras, landmarks_asked=["icu_24h", "discharge_72h"])
    for landmark, part in built.items():
        seen = dict(zip(part.cohort.modality_names, part.cohort.observed.sum(axis=0), strict=True))
        assert seen["S"] == len(part.cohort)
        assert 0 < seen["R"] < len(part.cohort)
        assert 0 < seen["I"] < len(part.cohort)
        assert (seen["T"] > 0) == (landmark == "discharge_72h")
        assert sum(row["n"] for row in part.notes["absence"]) == 4 * len(part.cohort)
