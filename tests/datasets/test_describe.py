from __future__ import annotations

import json

import numpy as np

from datasets.cohort import Cohort, Modality
from datasets.describe import add_absent_patterns, compute_missing_shares, describe_cohort, list_constant_features


def cohort(observed, outcomes):
    observed = np.array(observed, dtype=bool).reshape(-1, 2)
    n = len(observed)
    return Cohort(
        name="small",
        landmark="now",
        patient=np.arange(n),
        modalities=tuple(Modality(name, np.ones((n, 1), np.float32), ("x",)) for name in ("S", "T")),
        observed=observed,
        outcomes=np.array(outcomes, dtype=np.float32).reshape(-1, 2),
        tasks=("death", "return"),
    )


def test_a_small_cohort_by_hand():
    nan = np.nan
    described = describe_cohort(
        cohort([[1, 1], [1, 0], [1, 0], [0, 0], [1, 0]], [[1, 0], [1, nan], [0, 1], [nan, 0], [0, 0]])
    )
    assert described == {
        "n": 5,
        "tasks": {
            "death": {"n": 4, "positives": 2, "prevalence": 0.5},
            "return": {"n": 4, "positives": 1, "prevalence": 0.25},
        },
        "modalities": {"S": 0.8, "T": 0.2},
        "patterns": [
            {"pattern": "S", "n": 3, "positives": {"death": 1, "return": 1}, "defined": {"death": 3, "return": 2}},
            {"pattern": "S+T", "n": 1, "positives": {"death": 1, "return": 0}, "defined": {"death": 1, "return": 1}},
            {"pattern": "none", "n": 1, "positives": {"death": 0, "return": 0}, "defined": {"death": 0, "return": 1}},
        ],
    }
    assert json.loads(json.dumps(described)) == described


def test_a_task_that_is_undefined_everywhere_has_no_prevalence():
    described = describe_cohort(cohort([[1, 1]], [[np.nan, 0]]))
    assert described["tasks"]["death"] == {"n": 0, "positives": 0, "prevalence": None}


def test_an_empty_cohort_is_described():
    described = describe_cohort(cohort([], []))
    assert (described["n"], described["patterns"], described["modalities"]) == (0, [], {"S": None, "T": None})


def test_patterns_that_no_stay_has_are_listed_with_zeros():
    small = cohort([[1, 1], [1, 1]], [[1, 0], [0, 0]])
    assert [row["pattern"] for row in add_absent_patterns(small, describe_cohort(small)["patterns"])] == ["S+T"]
    small = cohort([[1, 0], [1, 0]], [[1, 0], [0, 0]])
    rows = add_absent_patterns(small, describe_cohort(small)["patterns"])
    assert [(row["pattern"], row["n"]) for row in rows] == [("S", 2), ("S+T", 0)]


def test_missing_shares_are_those_of_stays_with_the_modality_observed():
    small = cohort([[1, 1], [1, 0], [1, 1]], [[1, 0]] * 3)
    assert compute_missing_shares(small) == {}
    small.modalities[1].values[:2] = np.nan
    assert compute_missing_shares(small) == {"T": {"x": 0.5}}


def test_constant_features_are_those_with_one_value_or_none_in_the_stays_that_have_the_modality():
    values = {
        "zero": [0, 0, 0, 7], "some": [np.nan, 3, 3, 3], "never": [np.nan] * 4, "varies": [0, 1, 0, 0], "gaps": [1, np.nan, 2, 1],
    }  # fmt: skip
    small = Cohort(
        name="small",
        landmark="now",
        patient=np.arange(4),
        modalities=(
            Modality("S", np.array(list(values.values()), np.float32).T, tuple(values)),
            Modality("T", np.ones((4, 1), np.float32), ("x",)),
        ),
        observed=np.array([[True, False]] * 3 + [[False, False]]),
        outcomes=np.zeros((4, 1), np.float32),
        tasks=("death",),
    )
    assert list_constant_features(small) == {"S": {"zero": 0, "some": 3, "never": None}}
    small.modalities[0].values[1, 0] = 1
    assert list_constant_features(small) == {"S": {"some": 3, "never": None}}
