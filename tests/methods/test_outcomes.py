"""Base rates and the score of model choice."""

import numpy as np
import pytest
from sklearn.metrics import log_loss, roc_auc_score

from methods.common.outcomes import base_rate, has_both_classes, selection_score

NAN = np.nan


def test_base_rate_and_learnable():
    y = np.array([[1, 0, NAN], [0, 0, NAN], [NAN, 0, NAN], [1, NAN, NAN]])
    np.testing.assert_allclose(base_rate(y), [3 / 5, 1 / 5, 1 / 2])
    np.testing.assert_array_equal(has_both_classes(y), [True, False, False])


def test_selection_score_is_the_mean_auc_over_tasks_with_two_classes():
    rng = np.random.default_rng(0)
    y = (rng.random((50, 3)) < 0.4).astype(float)
    y[:10, 0], y[:, 2] = NAN, 0
    p = rng.random((50, 3))
    expected = (roc_auc_score(y[10:, 0], p[10:, 0]) + roc_auc_score(y[:, 1], p[:, 1])) / 2
    assert selection_score(y, p) == pytest.approx(expected)


def test_selection_score_falls_back_to_the_log_loss():
    y, p = np.array([[1.0], [1.0], [NAN]]), np.array([[0.8], [0.3], [0.9]])
    assert selection_score(y, p) == pytest.approx(-log_loss([1, 1], [0.8, 0.3], labels=[0, 1]))
    assert np.isnan(selection_score(np.full((3, 1), NAN), p))
