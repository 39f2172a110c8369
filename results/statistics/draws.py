"""A difference between two methods over independent draws of one cohort: its interval, and which side of 0 all of it lies on."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy import stats

LEVEL = 0.05
LOWER_IS_BETTER = frozenset({"log_loss"})
FEWEST = 3
"""Differences without which there is no interval."""
Interval = tuple[float, float]


def compute_draw_interval(draws: Sequence[Sequence[float]], correlation: float) -> Interval | None:
    """Return the t-interval at 95 % of the mean of paired differences; None for fewer than FEWEST of them in all.

    Two differences of different draws, which are independent cohorts, do not correlate; two folds of one draw correlate by r, and have
    the covariance ``V`` (1 on the diagonal, r within draws). For k differences d with standard deviation s and ``C = I - 11'/k``::

        mean(d) +- t(f; .975) s sqrt( (1'V1 / k^2) / (tr(CV) / (k - 1)) ),   f = tr(CV)^2 / tr(CVCV)

    since correlation widens the variance of the mean and narrows s; f is Satterthwaite's. r is n_test / (n_test + n_train), as Nadeau and
    Bengio (2003, Machine Learning 52) take it, so that one draw alone gives their corrected t-interval. Three draws of two folds:
    s / sqrt(6) times 1.29, 3.9 degrees of freedom.

    It covers what another cohort, training part and initialisation would give, since any two differences differ in all three; a bootstrap
    over the stays at hand would cover the first alone. Simulated with a known difference (``tests/results/statistics/test_draws.py``; 1,000
    cases of three draws, two folds and three tasks that are split each on its own, where folds correlated by .47) the interval held it in
    96 of 100; folds taken as independent did in 89, and an interval over draws alone, 2 degrees of freedom, in 95 but 1.4 times as wide.

    Args:
        draws: the differences of each draw's folds.
        correlation: r.
    """
    values = np.array([d for own in draws for d in own], dtype=float)
    k = len(values)
    if k < FEWEST:
        return None
    draw = np.repeat(np.arange(len(draws)), [len(own) for own in draws])
    covariance = np.where(draw[:, None] == draw, correlation, 0.0) + (1 - correlation) * np.eye(k)
    centred = covariance - covariance.mean(axis=0)
    trace = float(np.trace(centred))
    freedom = trace**2 / float((centred * centred.T).sum())
    variance = values.var(ddof=1) * covariance.mean() / (trace / (k - 1))
    half = float(stats.t.ppf(1 - LEVEL / 2, freedom)) * math.sqrt(variance)
    mean = float(values.mean())
    return mean - half, mean + half


def find_side(metric: str, interval: Interval | None) -> int:
    """Return 1 where all of the interval of a difference in ``metric`` says better, -1 where all of it says worse, else 0."""
    if interval is None:
        return 0
    low, high = interval
    side = int(low > 0) - int(high < 0)
    return -side if metric in LOWER_IS_BETTER else side
