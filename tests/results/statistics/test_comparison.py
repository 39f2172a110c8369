import math

import numpy as np
import pytest
from scipy import stats

from results.statistics.comparison import compute_corrected_t


def test_corrected_t_worked_example():
    # mean .03, variance .00025; 1/5 + 1/4 = .45; t = .03 / sqrt(.0001125) = 2.8284, 4 degrees of freedom
    test = compute_corrected_t(np.array([0.01, 0.02, 0.03, 0.04, 0.05]), 20, 80)
    assert test.t == pytest.approx(2 * math.sqrt(2))
    assert test.p == pytest.approx(0.04743, abs=1e-5)


@pytest.mark.parametrize("k", [2, 5, 10])
def test_corrected_t_is_the_plain_t_shrunk(k):
    difference = np.random.default_rng(k).normal(0.02, 0.03, k)
    plain = stats.ttest_1samp(difference, 0).statistic
    assert compute_corrected_t(difference, 1, 4).t == pytest.approx(plain / math.sqrt(1 + k / 4))
    assert compute_corrected_t(difference, 1e-9, 4).p == pytest.approx(
        stats.ttest_1samp(difference, 0).pvalue, rel=1e-6
    )


def test_no_test_without_variance_or_folds():
    assert compute_corrected_t(np.zeros(5), 20, 80).p == 1
    assert "same in every fold" in compute_corrected_t(np.full(5, 0.1), 20, 80).reason
    assert compute_corrected_t(np.array([0.1]), 20, 80).reason == "1 fold in common: a test needs two"
    assert "training rows" in compute_corrected_t(np.array([0.1, 0.2]), 20, 0).reason
