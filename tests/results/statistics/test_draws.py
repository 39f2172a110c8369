"""The interval over draws and folds contains a known difference as often as it says, and says nothing of two equal methods."""

import numpy as np
import pytest
from scipy import stats

from results.statistics.comparison import compute_corrected_t
from results.statistics.draws import compute_draw_interval, find_side

STAYS, FEATURES, TASKS = 240, 8, 3
DRAWS, FOLDS, CASES = 3, 2, 400


def fit(x, y):
    """Weights of a ridge regression of y on x."""
    return np.linalg.solve(x.T @ x + 5 * np.eye(x.shape[1]), x.T @ (y - y.mean()))


def auc(y, score):
    """Area under the curve by ranks, scores without ties."""
    rank = np.empty(len(y))
    rank[np.argsort(score)] = np.arange(1, len(y) + 1)
    ones = y.sum()
    return (rank[y].sum() - ones * (ones + 1) / 2) / (ones * (len(y) - ones))


def draw_differences(rng):
    """AUC of a method that reads every feature less that of one that reads half of them, by fold, mean over tasks.

    Every task has folds of its own, as those of two landmarks have, so that a stay tested in fold 0 of one trains fold 0 of another.
    """
    x = rng.normal(size=(STAYS, FEATURES))
    total = np.zeros(FOLDS)
    for _ in range(TASKS):
        y = rng.random(STAYS) < 1 / (1 + np.exp(1.0 - 0.5 * x.sum(axis=1)))
        fold = rng.permutation(STAYS) % FOLDS
        for k in range(FOLDS):
            train, test = fold != k, fold == k
            scores = [x[test, :d] @ fit(x[train, :d], y[train]) for d in (FEATURES, FEATURES // 2)]
            total[k] += np.subtract(*(auc(y[test], s) for s in scores)) / TASKS
    return total


@pytest.fixture(scope="module")
def simulated():
    rng = np.random.default_rng(0)
    return np.array([[draw_differences(rng) for _ in range(DRAWS)] for _ in range(CASES)])


def share_covered(simulated, intervals):
    truth = simulated.mean()
    return np.mean([low <= truth <= high for low, high in intervals])


def test_a_known_difference_is_covered_as_often_as_said(simulated):
    covered = share_covered(simulated, [compute_draw_interval(case, 1 / FOLDS) for case in simulated])
    error = 3 * np.sqrt(0.05 * 0.95 / CASES)
    assert 0.95 - error <= covered <= 0.95 + error
    assert simulated.mean() > 0.03


def test_folds_taken_as_independent_would_cover_too_little(simulated):
    covered = share_covered(simulated, [compute_draw_interval(case, 0) for case in simulated])
    assert covered < 0.95 - 3 * np.sqrt(0.05 * 0.95 / CASES)


def test_one_draw_is_the_corrected_t_test():
    d = np.array([0.02, 0.05, 0.01, 0.03, 0.06])
    low, high = compute_draw_interval([d], 0.2)
    test = compute_corrected_t(d, 100, 400)
    half = stats.t.ppf(0.975, 4) * d.mean() / test.t
    assert (low, high) == pytest.approx((d.mean() - half, d.mean() + half))


def test_draws_of_one_fold_are_the_plain_t_test_and_few_have_no_interval():
    d = [[0.01], [0.03], [0.02], [0.02]]
    low, high = compute_draw_interval(d, 0.5)
    expected = stats.ttest_1samp(np.ravel(d), 0).confidence_interval(0.95)
    assert (low, high) == pytest.approx((expected.low, expected.high))
    assert compute_draw_interval(d[:2], 0.5) is None
    assert compute_draw_interval([], 0.5) is None


@pytest.mark.parametrize(
    ("metric", "interval", "side"),
    [
        ("auc", (0.01, 0.02), 1),
        ("auc", (-0.02, -0.01), -1),
        ("auc", (-0.02, 0.01), 0),
        ("auc", None, 0),
        ("log_loss", (0.01, 0.02), -1),
        ("log_loss", (-0.02, -0.01), 1),
    ],
)
def test_all_of_an_interval_lies_on_a_side_or_on_none(metric, interval, side):
    assert find_side(metric, interval) == side
