"""Base rates and the score of model choice."""

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import expit, logit
from sklearn.metrics import log_loss, roc_auc_score

from methods.common.outcomes import base_rate, has_both_classes, measure_relative_log_loss, selection_score

NAN = np.nan


def test_base_rate_and_learnable():
    y = np.array([[1, 0, NAN], [0, 0, NAN], [NAN, 0, NAN], [1, NAN, NAN]])
    np.testing.assert_allclose(base_rate(y), [3 / 5, 1 / 5, 1 / 2])
    np.testing.assert_array_equal(has_both_classes(y), [True, False, False])


def draw_tasks():
    rng = np.random.default_rng(0)
    y = (rng.random((50, 3)) < [0.4, 0.15, 0.4]).astype(float)
    y[:10, 0], y[:, 2] = NAN, 0
    return y, np.clip(0.5 * rng.random((50, 3)) + 0.3 * np.nan_to_num(y), 0.01, 0.99)


def test_auc_is_the_mean_over_tasks_with_two_classes():
    y, p = draw_tasks()
    expected = (roc_auc_score(y[10:, 0], p[10:, 0]) + roc_auc_score(y[:, 1], p[:, 1])) / 2
    assert selection_score(y, p, "auc") == pytest.approx(expected)


def test_log_loss_is_relative_to_the_base_rate_after_the_best_intercept():
    y, p = draw_tasks()
    parts = []
    for label, prob in ((y[10:, 0], p[10:, 0]), (y[:, 1], p[:, 1])):
        best = minimize_scalar(lambda a, label=label, prob=prob: log_loss(label, expit(logit(prob) + a))).fun
        parts.append(best / log_loss(label, np.full(len(label), label.mean())))
    assert selection_score(y, p) == pytest.approx(-np.mean(parts), abs=1e-7)
    np.testing.assert_allclose(measure_relative_log_loss(y[:, :2], p[:, :2]), parts, atol=1e-7)


@pytest.mark.parametrize("shift", [-6.0, -1.0, 3.0, 6.0])
def test_log_loss_ignores_a_shift_common_to_all_stays(shift):
    y, p = draw_tasks()
    assert selection_score(y, expit(logit(p) + shift)) == pytest.approx(selection_score(y, p), abs=1e-6)


def test_a_constant_scores_minus_one_and_the_truth_zero():
    y, _ = draw_tasks()
    assert selection_score(y, np.full((50, 3), 0.03)) == pytest.approx(-1)
    assert selection_score(y, np.nan_to_num(y)) == pytest.approx(0, abs=1e-5)


def test_both_rules_fall_back_to_the_log_loss_where_no_task_has_two_classes():
    y, p = np.array([[1.0], [1.0], [NAN]]), np.array([[0.8], [0.3], [0.9]])
    for rule in ("log_loss", "auc"):
        assert selection_score(y, p, rule) == pytest.approx(-log_loss([1, 1], [0.8, 0.3], labels=[0, 1]))
        assert np.isnan(selection_score(np.full((3, 1), NAN), p, rule))


def test_unknown_rules_and_predictions_that_are_not_finite_are_refused():
    y, p = draw_tasks()
    with pytest.raises(ValueError, match="'f1'; it must be log_loss or auc"):
        selection_score(y, p, "f1")
    p[20, 1] = NAN
    with pytest.raises(ValueError, match="not finite"):
        selection_score(y, p)
    y[20, 1] = NAN  # a prediction without an outcome is not asked about
    assert np.isfinite(selection_score(y, p))
