"""Splits: disjoint, stratified on the joint outcome, drawn once."""

import numpy as np
import pytest

from benchmark.splits import draw_split, joint_outcome, stored_split
from datasets.cohort import Cohort, CohortError, Modality


def cohort(n=400, seed=0, rates=(0.2, 0.1, 0.1)):
    rng = np.random.default_rng(seed)
    outcomes = (rng.random((n, len(rates))) < rates).astype(np.float32)
    outcomes[rng.random(n) < 0.05, 0] = np.nan
    values = rng.normal(size=(n, 2)).astype(np.float32)
    return Cohort(
        name="made",
        landmark="discharge",
        patient=np.arange(n, dtype=np.int64),
        modalities=(Modality("S", values, ("a", "b")),),
        observed=np.ones((n, 1), dtype=bool),
        outcomes=outcomes,
        tasks=tuple(f"task{t}" for t in range(len(rates))),
    )


def test_every_stay_is_tested_once_and_never_trained_on_there():
    c = cohort()
    split = draw_split(c, 5)
    tested = []
    for fold in range(5):
        train, valid, test = split.rows(fold)
        assert sorted([*train, *valid, *test]) == list(range(len(c)))
        assert len(valid) == pytest.approx(0.15 * (len(train) + len(valid)), abs=1)
        tested += list(test)
    assert sorted(tested) == list(range(len(c)))


def test_every_part_has_its_share_of_positives():
    c = cohort()
    split = draw_split(c, 5)
    for t in range(3):
        positives = [np.nansum(c.outcomes[split.rows(k)[2], t]) for k in range(5)]
        assert max(positives) - min(positives) <= 4
        assert all(np.nansum(c.outcomes[split.rows(k)[1], t]) >= 1 for k in range(5))


def test_the_draw_is_the_same_each_time_and_its_hash_tells_another():
    assert draw_split(cohort(), 5).hash == draw_split(cohort(), 5).hash
    assert len({draw_split(cohort(), 5).hash, draw_split(cohort(), 4).hash, draw_split(cohort(), 5, seed=1).hash}) == 3


def test_rare_joint_classes_join_the_nearest():
    outcomes = np.array([[0, 0]] * 10 + [[1, 0]] * 5 + [[1, 1]], dtype=np.float32)
    strata = joint_outcome(outcomes, least=5)
    assert len(set(strata)) == 2
    assert strata[-1] == strata[10]


def test_a_stored_split_is_kept(tmp_path):
    first, path = stored_split(cohort(), tmp_path, 5)
    before = path.read_bytes()
    again, same = stored_split(cohort(), tmp_path, 5)
    assert (same, again.hash) == (path, first.hash)
    assert path.read_bytes() == before
    path.write_bytes(b"broken")
    with pytest.raises(CohortError, match="remove it, and it is drawn again"):
        stored_split(cohort(), tmp_path, 5)


def test_one_class_and_few_stays():
    c = cohort(n=20, rates=(0.0,))
    assert set(draw_split(c, 5).fold) == set(range(5))
    with pytest.raises(CohortError, match="too few for folds=5"):
        draw_split(cohort(n=12), 5)
