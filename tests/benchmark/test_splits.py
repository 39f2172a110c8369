"""Splits: disjoint, stratified on the joint outcome, drawn once."""

from dataclasses import replace

import numpy as np
import pytest

from benchmark.cell.splits import draw_site_split, draw_split, load_or_draw_split, load_split, stratify_by_outcome
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
        for k in range(5):
            train, valid, _ = split.rows(k)
            both = np.nansum(c.outcomes[train, t]) + np.nansum(c.outcomes[valid, t])
            assert np.nansum(c.outcomes[valid, t]) == pytest.approx(0.15 * both, abs=2)


def test_every_part_has_its_share_of_undefined_outcomes():
    c = cohort(rates=(0.1,))
    c.outcomes[np.random.default_rng(1).random(len(c)) < 0.3] = np.nan
    undefined = np.isnan(c.outcomes[:, 0])
    split = draw_split(c, 5)
    tested = [undefined[split.rows(k)[2]].sum() for k in range(5)]
    assert max(tested) - min(tested) <= 1
    for k in range(5):
        train, valid, _ = split.rows(k)
        assert undefined[valid].sum() == pytest.approx(0.15 * undefined[[*train, *valid]].sum(), abs=1)


def test_the_draw_is_the_same_each_time_and_its_hash_tells_another():
    assert draw_split(cohort(), 5).hash == draw_split(cohort(), 5).hash
    assert len({draw_split(cohort(), 5).hash, draw_split(cohort(), 4).hash, draw_split(cohort(), 5, seed=1).hash}) == 3


def test_undefined_is_a_stratum_apart_from_negative_and_positive():
    outcomes = np.repeat([[0.0], [1.0], [np.nan]], 6, axis=0)
    strata = stratify_by_outcome(outcomes, least=5).reshape(3, 6)
    assert [len(set(row)) for row in strata.tolist()] == [1, 1, 1]
    assert len(set(strata[:, 0])) == 3


def test_rare_joint_classes_join_the_nearest():
    outcomes = np.array([[0, 0]] * 10 + [[1, 0]] * 5 + [[1, 1]], dtype=np.float32)
    strata = stratify_by_outcome(outcomes, least=5)
    assert len(set(strata)) == 2
    assert strata[-1] == strata[10]


def test_a_stored_split_is_kept(tmp_path):
    first, path = load_or_draw_split(cohort(), tmp_path, 5)
    before = path.read_bytes()
    again, same = load_or_draw_split(cohort(), tmp_path, 5)
    assert (same, again.hash) == (path, first.hash)
    assert path.read_bytes() == before
    path.write_bytes(b"broken")
    with pytest.raises(CohortError, match="remove it, and it is drawn again"):
        load_or_draw_split(cohort(), tmp_path, 5)


def test_one_class_and_few_stays():
    c = cohort(n=20, rates=(0.0,))
    assert set(draw_split(c, 5).fold) == set(range(5))
    with pytest.raises(CohortError, match="too few for folds=5"):
        draw_split(cohort(n=12), 5)


def hospitals(n=600, count=24, seed=0):
    """A cohort of hospitals of very different size, some with more events than others."""
    rng = np.random.default_rng(seed)
    site = rng.choice(count, size=n, p=rng.dirichlet(np.full(count, 2.0))) * 7 + 3
    return replace(cohort(n, seed), site=site.astype(np.int64))


@pytest.mark.parametrize("seed", range(3))
def test_a_site_is_in_one_part_of_a_fold_and_tested_in_one_fold(seed):
    c = hospitals(seed=seed)
    split = draw_site_split(c, 4)
    tested = []
    for fold in range(4):
        parts = split.rows(fold)
        assert all(len(rows) for rows in parts)
        assert sorted(np.concatenate(parts)) == list(range(len(c)))
        train, valid, test = (set(c.site[rows]) for rows in parts)
        assert len(train | valid | test) == len(train) + len(valid) + len(test)
        assert len(parts[1]) == pytest.approx(0.15 * (len(parts[0]) + len(parts[1])), rel=0.6)
        tested += list(test)
    assert sorted(tested) == sorted(set(c.site))


def test_every_part_of_a_site_split_has_events():
    c = hospitals()
    split = draw_site_split(c, 4)
    for fold in range(4):
        for rows in split.rows(fold):
            assert (np.nansum(c.outcomes[rows], axis=0) >= 1).all()
    shares = [np.nanmean(c.outcomes[split.rows(k)[2], 1]) for k in range(4)]
    assert max(shares) - min(shares) < 0.1


def test_a_site_split_is_the_same_each_time_and_no_split_at_random(tmp_path):
    c = hospitals()
    assert draw_site_split(c, 4).hash == draw_site_split(c, 4).hash
    assert draw_site_split(c, 4).hash != draw_split(c, 4).hash
    (folds, one), (sites, other) = (load_or_draw_split(c, tmp_path, 4, kind) for kind in ("folds", "sites"))
    assert (folds.hash, sites.hash) == (draw_split(c, 4).hash, draw_site_split(c, 4).hash)
    assert one != other


@pytest.mark.parametrize(
    ("made", "folds", "said"),
    [
        (cohort(), 5, "made/discharge has no sites: split=sites needs a cohort of several hospitals"),
        (hospitals(count=9), 5, "made/discharge has 9 sites: split=sites with folds=5 needs 10"),
        (hospitals(count=13), 2, "made/discharge has 13 sites: split=sites with folds=2 needs 14"),
        (hospitals(count=10), 3, "made/discharge has 10 sites: split=sites with folds=3 needs 11"),
    ],
)
def test_a_site_split_that_cannot_be_says_why_in_one_line(made, folds, said):
    with pytest.raises(CohortError) as error:
        draw_site_split(made, folds)
    assert str(error.value) == said


def test_sites_that_cannot_be_dealt_evenly_are_refused_by_the_fold_they_leave_too_few_for():
    c = cohort()
    one_large = replace(c, site=np.where(np.arange(len(c)) % 2, 0, np.arange(len(c)) // 2 % 14))
    with pytest.raises(
        CohortError,
        match=r"made/discharge: split=sites with folds=2 tests \d+ of 14 sites in fold \d; .* 7 must be left",
    ):
        draw_site_split(one_large, 2)


def test_a_split_that_cannot_be_written_says_where_and_what_to_choose(tmp_path):
    (tmp_path / "splits").write_text("a file in the place of the folder")
    with pytest.raises(CohortError, match=r"cannot write .*splits.*; choose another built=DIR"):
        load_or_draw_split(cohort(), tmp_path / "splits", 4)


@pytest.mark.parametrize("kept", [0, 300, 0.5, 0.99])
def test_a_cut_split_file_is_named(tmp_path, kept):
    path = tmp_path / "folds.npz"
    np.savez(path, fold=np.zeros(400, dtype=np.int16), valid=np.zeros((2, 400), dtype=bool))
    content = path.read_bytes()
    path.write_bytes(content[: kept if isinstance(kept, int) else int(kept * len(content))])
    with pytest.raises(CohortError, match=r"folds\.npz cannot be read .*remove it, and it is drawn again"):
        load_split(path)
