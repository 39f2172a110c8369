import numpy as np
import pytest
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score

from results.statistics import bootstrap
from results.statistics.bootstrap import (
    average_defined,
    compute_interval,
    compute_weighted_metrics,
    compute_weighted_sums,
    draw_weights,
)


def draw(seed, n, decimals):
    rng = np.random.default_rng(seed)
    label = (rng.random(n) < 0.3).astype(float)
    return label, np.round(np.clip(0.3 * label + 0.7 * rng.random(n), 0, 1), decimals)


@pytest.mark.parametrize("decimals", [0, 1, 9], ids=["two scores", "many ties", "no ties"])
@pytest.mark.parametrize("n", [20, 137])
def test_weighted_metrics_against_scikit_learn(n, decimals):
    label, p = draw(n, n, decimals)
    weights = draw_weights(np.arange(n), np.arange(n), 0, 60)
    got = compute_weighted_metrics(label, p, weights)
    for b, w in enumerate(weights):
        if 0 < (w * label).sum() < w.sum():
            assert got["auc"][b] == pytest.approx(roc_auc_score(label, p, sample_weight=w), abs=1e-10)
            assert got["auprc"][b] == pytest.approx(average_precision_score(label, p, sample_weight=w), abs=1e-10)
        assert got["brier"][b] == pytest.approx(brier_score_loss(label, p, sample_weight=w), abs=1e-10)


def test_weights_are_copies_of_rows():
    label, p = draw(3, 40, 1)
    w = np.random.default_rng(1).integers(0, 4, 40)
    got = compute_weighted_metrics(label, p, w[None])
    copied = compute_weighted_metrics(np.repeat(label, w), np.repeat(p, w), np.ones((1, w.sum())))
    for name in bootstrap.METRICS:
        assert got[name] == pytest.approx(copied[name], abs=1e-12)


def test_a_resample_with_one_class_is_nan():
    label, p = np.array([1.0, 0.0, 0.0]), np.array([0.8, 0.8, 0.1])
    got = compute_weighted_metrics(label, p, np.array([[1, 1, 1], [3, 0, 0], [0, 1, 2], [0, 0, 0]]))
    assert got["auc"] == pytest.approx([0.75, np.nan, np.nan, np.nan], nan_ok=True)
    assert got["auprc"] == pytest.approx([0.5, np.nan, np.nan, np.nan], nan_ok=True)
    assert got["brier"] == pytest.approx([0.23, 0.04, 0.22, np.nan], nan_ok=True)


def test_blocks_change_nothing(monkeypatch):
    label, p = draw(5, 50, 2)
    weights = draw_weights(np.arange(50), np.arange(50), 0, 33)
    whole = compute_weighted_metrics(label, p, weights)
    monkeypatch.setattr(bootstrap, "BLOCK", 350)
    for name, values in compute_weighted_metrics(label, p, weights).items():
        assert values == pytest.approx(whole[name], abs=1e-12)


def test_sums_are_those_of_copied_rows(monkeypatch):
    values, weights = np.arange(10.0).reshape(5, 2), np.random.default_rng(0).integers(0, 4, (7, 5))
    expected = [np.repeat(values, w, axis=0).sum(axis=0).tolist() for w in weights]
    assert compute_weighted_sums(values, weights).tolist() == expected
    monkeypatch.setattr(bootstrap, "BLOCK", 11)
    assert compute_weighted_sums(values, weights).tolist() == expected
    assert compute_weighted_sums(values[:0], weights[:, :0]).tolist() == [[0, 0]] * 7


def test_resamples_depend_on_fold_and_rows_alone():
    rows = np.array([3, 5, 8, 13, 21])
    first = draw_weights(rows, rows, 1, 50)
    assert np.array_equal(first, draw_weights(rows, rows, 1, 50))
    assert not np.array_equal(first, draw_weights(rows, rows, 2, 50))
    assert not np.array_equal(first, draw_weights(rows + 1, rows, 1, 50))
    assert (first[0] == 1).all()
    assert (first.sum(axis=1) == 5).all()


def test_rows_of_a_patient_are_drawn_together():
    patient = np.array([7, 7, 2, 2, 9])
    weights = draw_weights(np.arange(5), patient, 0, 200)[1:]
    assert (weights[:, 0] == weights[:, 1]).all()
    assert (weights[:, 2] == weights[:, 3]).all()
    assert (weights[:, [0, 2, 4]].sum(axis=1) == 3).all()
    assert weights[:, 4].mean() == pytest.approx(1, abs=0.2)


def test_mean_leaves_an_undefined_fold_out():
    folds = [np.array([0.2, np.nan, np.nan]), np.array([0.4, 0.6, np.nan])]
    assert average_defined(folds) == pytest.approx([0.3, 0.6, np.nan], nan_ok=True)


def test_interval_of_known_values():
    low, high, used = compute_interval(np.r_[np.linspace(0, 1, 1001), np.nan])
    assert (low, high, used) == (pytest.approx(0.025), pytest.approx(0.975), 1001)
    assert compute_interval(np.array([np.nan, 0.5])) == (None, None, 1)


def test_interval_covers_the_truth():
    # AUC of two normals one unit apart is Phi(1/sqrt 2) = 0.7602
    covered = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        label = (rng.random(200) < 0.4).astype(float)
        p = 1 / (1 + np.exp(-(label + rng.normal(size=200))))
        weights = draw_weights(np.arange(200), np.arange(200), seed, 200)
        low, high, _ = compute_interval(compute_weighted_metrics(label, p, weights)["auc"][1:])
        covered += low <= 0.7602 <= high
    assert 86 <= covered <= 100
