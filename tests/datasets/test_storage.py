"""Cohorts on disk: the same after a round trip, whole or not at all, and a broken file is named."""

import json
from dataclasses import replace

import numpy as np
import pytest

from datasets import storage
from datasets.cohort import CohortError, compute_fingerprint
from datasets.storage import GroundTruth, load_cohort, load_ground_truth, save_cohort, save_ground_truth
from tests.made import change


def test_a_cohort_comes_back_as_it_was(tmp_path):
    cohort = change()
    save_cohort(cohort, tmp_path / "c")
    again = load_cohort(tmp_path / "c")
    assert again.fingerprint == cohort.fingerprint == compute_fingerprint(again)
    assert (again.tasks, again.modality_names, again.groups["sex"].labels) == (
        cohort.tasks,
        cohort.modality_names,
        ("F", "M"),
    )
    for file in (tmp_path / "c").glob("*.npy"):
        np.load(file, allow_pickle=False)


def test_unobserved_slots_are_stored_as_nan(tmp_path):
    cohort = change()
    cohort.modalities[1].values[1] = 7.0
    save_cohort(cohort, tmp_path / "c")
    assert np.isnan(load_cohort(tmp_path / "c").modalities[1].values[1]).all()


def test_without_site_and_series(tmp_path):
    save_cohort(change(site=None, series=None, groups={}), tmp_path / "c")
    again = load_cohort(tmp_path / "c")
    assert again.site is None
    assert again.series is None


def test_times_of_record_come_back(tmp_path):
    series = change().series
    cohort = change(series=replace(series, recorded=replace(series, hours=series.hours + np.float32(0.5))))
    save_cohort(cohort, tmp_path / "c")
    again = load_cohort(tmp_path / "c")
    assert cohort.fingerprint == compute_fingerprint(again) != change().fingerprint
    np.testing.assert_array_equal(again.series.recorded.hours, series.hours + np.float32(0.5))


def test_a_truncated_array_is_named(tmp_path):
    save_cohort(change(), tmp_path / "c")
    path = tmp_path / "c" / "outcomes.npy"
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(CohortError, match=r"outcomes\.npy cannot be read"):
        load_cohort(tmp_path / "c")


def test_a_broken_or_foreign_manifest_is_named(tmp_path):
    save_cohort(change(), tmp_path / "c")
    manifest = tmp_path / "c" / "manifest.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "format": 99}))
    with pytest.raises(CohortError, match="format 99"):
        load_cohort(tmp_path / "c")
    manifest.write_text("{")
    with pytest.raises(CohortError, match=r"manifest\.json is broken"):
        load_cohort(tmp_path / "c")
    manifest.unlink()
    with pytest.raises(CohortError, match=r"manifest\.json is missing"):
        load_cohort(tmp_path / "c")


def test_a_failed_write_leaves_the_old_cohort_and_no_litter(tmp_path, monkeypatch):
    cohort = change()
    save_cohort(cohort, tmp_path / "c")

    def full(path, value):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(storage, "write_json", full)
    with pytest.raises(OSError, match="No space left"):
        save_cohort(change(landmark="discharge"), tmp_path / "c")
    assert [p.name for p in tmp_path.iterdir()] == ["c"]
    assert load_cohort(tmp_path / "c").landmark == "icu_24h"


def test_what_is_known_comes_back_and_is_empty_where_nothing_is(tmp_path):
    known = GroundTruth({"ceiling": np.array([[0.25], [np.nan]])}, {"h": np.ones((2, 3), np.float32)}, {"ess": 12.5})
    save_ground_truth(known, tmp_path / "k")
    again = load_ground_truth(tmp_path / "k")
    np.testing.assert_array_equal(again.predictions["ceiling"], known.predictions["ceiling"])
    np.testing.assert_array_equal(again.arrays["h"], known.arrays["h"])
    assert again.notes == {"ess": 12.5}
    assert load_ground_truth(tmp_path / "nothing").predictions == {}
