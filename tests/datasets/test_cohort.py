"""The cohort's checks, selection and fingerprint."""

from dataclasses import replace

import numpy as np
import pytest

from datasets import cohort as contract
from datasets.cohort import CohortError, Group, Modality, Series, collect_records, name_patterns
from tests.made import change, fields


def set_value(array, index, value):
    array = array.copy()
    array[index] = value
    return array


def faulty():
    f = fields()
    s, t = f["modalities"]
    series = f["series"]
    recorded = tuple(np.argwhere(series.mask)[0])
    return {
        "patient 0 stands twice, again in row 3": {"patient": set_value(f["patient"], 3, 0)},
        "patient must be int64": {"patient": f["patient"].astype(np.int32)},
        r"outcomes\[icu_90d\] is 2.0 in row 4": {"outcomes": set_value(f["outcomes"], (4, 1), 2)},
        "outcomes must have shape": {"outcomes": f["outcomes"][:, :1]},
        "observed must be bool": {"observed": f["observed"].astype(np.int8)},
        "modality S, feature heart rate is infinite in row 2": {
            "modalities": (Modality("S", set_value(s.values, (2, 1), np.inf), s.feature_names), t)
        },
        "modality T must have shape": {"modalities": (s, Modality("T", t.values, ("t0",)))},
        "modalities has a name twice": {"modalities": (s, Modality("S", t.values, t.feature_names))},
        "group sex has code 7 in row 5": {"groups": {"sex": Group(set_value(np.zeros(6, np.int16), 5, 7), ("F", "M"))}},
        "site must have shape": {"site": np.zeros(5, dtype=np.int64)},
        "series.values has a recorded value that is not finite in row": {
            "series": Series(set_value(series.values, recorded, np.nan), series.mask, series.hours, series.channels)
        },
        "series.recorded.hours must have shape": {
            "series": replace(series, recorded=replace(series, hours=series.hours[:, :2]))
        },
        "series.recorded.hours is not finite where something was recorded": {
            "series": replace(series, recorded=replace(series, hours=np.full_like(series.hours, np.nan)))
        },
        "series.recorded has other channels": {
            "series": replace(series, recorded=replace(series, channels=("lactate", "heart rate")))
        },
        "at least one modality": {"modalities": (), "observed": np.zeros((6, 0), dtype=bool)},
    }


@pytest.mark.parametrize("message", list(faulty()))
def test_the_first_fault_is_named(message):
    with pytest.raises(CohortError, match=message):
        change(**faulty()[message])


def test_slots_of_unobserved_modalities_are_not_looked_into():
    s, t = fields()["modalities"]
    cohorts = [
        change(modalities=(s, Modality("T", set_value(t.values, 1, v), t.feature_names))) for v in (np.inf, 3.0, np.nan)
    ]
    assert len({c.fingerprint for c in cohorts}) == 1


def test_the_fingerprint_is_of_the_content():
    assert change().fingerprint == change().fingerprint
    f = fields()
    others = [
        change(outcomes=set_value(f["outcomes"], (0, 0), 1)),
        change(observed=set_value(f["observed"], (2, 1), False)),
        change(landmark="discharge"),
        change(series=None),
        change(
            modalities=(
                Modality("S", set_value(f["modalities"][0].values, (0, 0), 9), ("age", "heart rate")),
                f["modalities"][1],
            )
        ),
    ]
    assert len({change().fingerprint, *(c.fingerprint for c in others)}) == 6


def test_take_selects_every_field():
    series, six = fields()["series"], np.arange(6)
    cohort = change(
        site=six + 3,
        groups={"sex": Group((six % 2).astype(np.int16), ("F", "M"))},
        series=replace(series, hours=series.hours + six[:, None].astype(np.float32) / 8),
    )
    rows = np.array([4, 1])
    taken = cohort.take(rows)
    assert taken.patient.tolist() == [40, 10]
    for name in ("observed", "outcomes", "site"):
        np.testing.assert_array_equal(getattr(taken, name), getattr(cohort, name)[rows])
    np.testing.assert_array_equal(taken.modalities[1].values, cohort.modalities[1].values[rows])
    for name in ("values", "mask", "hours"):
        part = getattr(cohort.series, name)
        np.testing.assert_array_equal(getattr(taken.series, name), part[rows])
        assert not np.array_equal(part[4], part[1], equal_nan=True)
    assert (taken.groups["sex"].codes.tolist(), taken.groups["sex"].labels) == ([0, 1], ("F", "M"))
    np.testing.assert_array_equal(cohort.take(np.array([0, 1, 0, 0, 1, 0], bool)).patient, [10, 40])
    assert taken.fingerprint not in (cohort.fingerprint, cohort.take(rows[::-1]).fingerprint)


def test_without_outcomes_holds_none():
    cohort = change()
    assert np.isnan(cohort.without_outcomes().outcomes).all()
    assert not np.isnan(cohort.outcomes).all()
    np.testing.assert_array_equal(cohort.without_outcomes().observed, cohort.observed)


def test_patterns_have_names():
    observed = np.array([[1, 1, 0], [0, 0, 0], [1, 0, 0], [0, 1, 1], [1, 0, 1], [1, 1, 0]], dtype=bool)
    assert name_patterns(observed, ("S", "I", "T")) == ["S+I", "none", "S", "I+T", "S+T", "S+I"]


def test_records_become_steps_at_their_times_the_last_of_a_stay_first_to_last(monkeypatch):
    monkeypatch.setattr(contract, "RECORDED", 3)
    row, hours = np.array([2, 0, 0, 2, 0, 0, 0, 0]), np.array([7.0, 2.5, -1.0, 7.0, 0.5, 4.0, 4.0, 0.25])
    channel, values = np.array([0, 1, 0, 1, 0, 0, 0, 1]), np.arange(8.0)
    s = collect_records(row, hours, channel, values, 4, ("a", "b"))
    assert s.hours[0].tolist() == [0.5, 2.5, 4.0]
    nan = np.nan
    np.testing.assert_array_equal(s.values[0], np.array([[4, nan], [nan, 1], [6, nan]], np.float32))
    np.testing.assert_array_equal(s.values[2, 0], [0, 3])
    np.testing.assert_array_equal(s.mask, ~np.isnan(s.values))
    np.testing.assert_array_equal(np.isfinite(s.hours), s.mask.any(axis=2))
    assert s.mask.any(axis=2).sum(axis=1).tolist() == [3, 0, 1, 0]
    assert (s.values.dtype, s.hours.dtype) == (np.float32, np.float32)


def test_a_cohort_without_records_has_one_empty_step():
    s = collect_records(*(np.zeros(0, dtype=int) for _ in range(4)), 3, ("a",))
    assert (s.values.shape, s.mask.any()) == ((3, 1, 1), False)


def test_times_of_record_are_selected_and_are_part_of_the_fingerprint():
    series = fields()["series"]
    kept = change(series=replace(series, recorded=replace(series, hours=series.hours + np.float32(0.5))))
    other = change(series=replace(series, recorded=replace(series, hours=series.hours + np.float32(0.25))))
    assert len({c.fingerprint for c in (change(), kept, other)}) == 3
    taken, rows = kept.take(np.array([4, 1])).series.recorded, [4, 1]
    for part in ("values", "mask", "hours"):
        np.testing.assert_array_equal(getattr(taken, part), getattr(kept.series.recorded, part)[rows])
