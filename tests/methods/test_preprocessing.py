"""Imputation, indicators, scaling, and the rule that unobserved slots are never read."""

from dataclasses import replace

import numpy as np
import pytest

from benchmark.check.cohorts import draw_random_cohort
from datasets.cohort import Cohort, Modality
from methods.common.preprocessing import CLIP, Preprocessor, raw_features


def one_modality(values, observed):
    values = np.asarray(values, dtype=np.float32)
    n, d = values.shape
    return Cohort(
        name="one", landmark="test", patient=np.arange(n), modalities=(Modality("a", values, tuple(map(str, range(d)))),),
        observed=np.asarray(observed, dtype=bool)[:, None], outcomes=np.zeros((n, 1), np.float32), tasks=("t",),
    )  # fmt: skip


def test_values_by_hand():
    nan = np.nan
    # columns: plain; one gap; constant; 5 of 6 missing (dropped). The last row is unobserved.
    values = [
        [0, 1, 7, nan],
        [2, nan, 7, nan],
        [4, 3, 7, nan],
        [0, 5, 7, nan],
        [2, 5, 7, nan],
        [4, 6, 7, 1],
        [99, 99, 99, 99],
    ]
    cohort = one_modality(values, [1, 1, 1, 1, 1, 1, 0])
    prep = Preprocessor().fit(cohort)
    assert prep.widths == (4,)  # three features and one indicator
    x = prep.transform(cohort).x[0]
    second = np.array([1, 5, 3, 5, 5, 6])  # median of 1 3 5 5 6 in the gap
    np.testing.assert_allclose(x[:6, 0], (np.array([0, 2, 4, 0, 2, 4]) - 2) / np.sqrt(8 / 3), rtol=1e-6)
    np.testing.assert_allclose(x[:6, 1], (second - second.mean()) / second.std(), rtol=1e-5)
    np.testing.assert_array_equal(x[:6, 2], 0)
    np.testing.assert_allclose(x[:6, 3], np.array([0, 1, 0, 0, 0, 0]) - 1 / 6, rtol=1e-6)
    np.testing.assert_array_equal(x[6], 0)


@pytest.mark.parametrize(("recorded", "kept"), [(1, 0), (2, 1)])
def test_a_feature_is_kept_up_to_four_fifths_missing(recorded, kept):
    values = np.full((10, 2), np.nan)
    values[:, 0] = np.arange(10)
    values[:recorded, 1] = [1.0, 3.0][:recorded]
    prep = Preprocessor().fit(one_modality(values, np.ones(10)))
    assert prep.widths == (1 + 2 * kept,)


def test_later_gaps_get_the_median_and_far_values_are_clipped():
    train = one_modality([[0.0], [1.0], [5.0]], [1, 1, 1])
    prep = Preprocessor().fit(train)
    x = prep.transform(one_modality([[np.nan], [1e9], [-1e9]], [1, 1, 1])).x[0][:, 0]
    assert x[0] == pytest.approx((1 - 2) / np.std([0, 1, 5]))
    assert list(x[1:]) == [CLIP, -CLIP]


def test_zero_is_the_training_mean_of_every_column():
    train = draw_random_cohort(500)
    inputs = Preprocessor().fit(train).transform(train)
    for m, x in enumerate(inputs.x):
        np.testing.assert_allclose(x[train.observed[:, m]].mean(axis=0), 0, atol=1e-5)


def test_slots_are_never_read():
    train, later = draw_random_cohort(200), draw_random_cohort(50, seed=1)
    prep = Preprocessor().fit(train)
    for garbage in (np.nan, np.inf, -np.inf, 1e30):

        def spoil(cohort, garbage=garbage):
            parts = [
                replace(a, values=np.where(cohort.observed[:, m, None], a.values, np.float32(garbage)))
                for m, a in enumerate(cohort.modalities)
            ]
            return replace(cohort, modalities=tuple(parts))

        other = Preprocessor().fit(spoil(train))
        for a, b in zip(prep.transform(later).x, other.transform(spoil(later)).x, strict=True):
            np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(raw_features(later), raw_features(spoil(later)))


@pytest.mark.parametrize("observed", [np.zeros(30, bool), np.ones(30, bool)])
def test_a_modality_without_content_is_one_column_of_zeros(observed):
    base = draw_random_cohort(30)
    seen = base.observed.copy()
    seen[:, 2] = observed
    empty = replace(base.modalities[2], values=np.full((30, 4), np.nan, np.float32))
    train = replace(base, modalities=(*base.modalities[:2], empty), observed=seen)
    prep = Preprocessor().fit(train)
    inputs = prep.transform(draw_random_cohort(40, seed=1))
    assert prep.widths[2] == 1
    np.testing.assert_array_equal(inputs.x[2], 0)
    # what no training stay has counts as unobserved; what is there but empty stays observed
    np.testing.assert_array_equal(inputs.observed[:, 2], draw_random_cohort(40, seed=1).observed[:, 2] & observed.any())


def test_state_round_trip():
    train, later = draw_random_cohort(100), draw_random_cohort(50, seed=1)
    prep = Preprocessor().fit(train)
    again = Preprocessor().load_state(prep.state())
    for a, b in zip(prep.transform(later).x, again.transform(later).x, strict=True):
        np.testing.assert_array_equal(a, b)
    assert again.widths == prep.widths


def test_flat_and_raw_layout():
    cohort = draw_random_cohort(60)
    inputs = Preprocessor().fit(cohort).transform(cohort)
    flat = inputs.flat(pattern=True)
    np.testing.assert_array_equal(flat[:, -3:], cohort.observed)
    np.testing.assert_array_equal(flat[:, : inputs.x[0].shape[1]], inputs.x[0])
    assert inputs.flat(pattern=False).shape[1] == flat.shape[1] - 3
    raw = raw_features(cohort)
    np.testing.assert_array_equal(
        np.isnan(raw[:, 6]), np.isnan(cohort.modalities[1].values[:, 0]) | ~cohort.observed[:, 1]
    )
    np.testing.assert_array_equal(raw[:, -3:], cohort.observed)


def test_other_sizes_are_refused():
    prep = Preprocessor().fit(draw_random_cohort(30))
    with pytest.raises(ValueError, match=r"\[6, 5\], fitted were \[6, 5, 4\]"):
        prep.transform(draw_random_cohort(30, widths=(6, 5)))


def draw_wide_cohort(n, seed):
    """A random cohort whose last modality is 40 columns that follow three factors, some values missing."""
    base, rng = draw_random_cohort(n, seed=seed), np.random.default_rng(seed)
    loadings = np.random.default_rng(9).normal(size=(3, 40))
    values = (rng.normal(size=(n, 3)) @ loadings + 0.1 * rng.normal(size=(n, 40))).astype(np.float32)
    values[rng.random((n, 40)) < 0.02] = np.nan
    values[~base.observed[:, 2]] = np.nan
    wide = replace(base.modalities[2], values=values, feature_names=tuple(f"w{j}" for j in range(40)))
    return replace(base, modalities=(*base.modalities[:2], wide))


def test_leading_components_of_wide_modalities_alone():
    train, later = draw_wide_cohort(300, 0), draw_wide_cohort(80, 1)
    whole, prep = Preprocessor().fit(train), Preprocessor(pca=5).fit(train)
    assert prep.widths == tuple(min(width, 5) if width > 5 else width for width in whole.widths)
    for full, part in zip(whole.transform(later).x, prep.transform(later).x, strict=True):
        assert len(full) == len(part)
        if full.shape[1] <= 5:
            np.testing.assert_array_equal(full, part)
    x, seen = prep.transform(train).x[2], train.observed[:, 2]
    sd = x[seen].std(axis=0)
    assert sd[0] == pytest.approx(1, abs=0.02)  # the first component has unit variance, those that are noise stay small
    assert (np.diff(sd) < 1e-6).all()
    assert sd[3] < 0.3 * sd[2]
    np.testing.assert_array_equal(x[~seen], 0)
    cross = np.corrcoef(x[seen].T) - np.eye(5)
    assert np.abs(cross).max() < 0.05


def test_components_are_of_training_stays_and_survive_a_round_trip():
    train, later = draw_wide_cohort(300, 0), draw_wide_cohort(80, 1)
    prep = Preprocessor(pca=5).fit(train)
    again = Preprocessor().load_state(prep.state())
    alone = [prep.transform(later.take(np.array([i]))).x[2][0] for i in range(10)]
    np.testing.assert_allclose(prep.transform(later).x[2][:10], alone, atol=1e-6)
    for a, b in zip(prep.transform(later).x, again.transform(later).x, strict=True):
        np.testing.assert_array_equal(a, b)
    assert again.widths == prep.widths
    # fewer stays than components: as many as there are stays
    assert Preprocessor(pca=5).fit(train.take(np.flatnonzero(train.observed[:, 2])[:3])).widths[2] == 3
