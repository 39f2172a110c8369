"""AUC and average precision of many predictions of the same rows at once."""

from __future__ import annotations

import numpy as np


def compute_ranking_metrics(label: np.ndarray, score: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return AUC and average precision float64 [K] of K scores [K, N] of the same rows; ``label`` [N] has both classes.

    Rows of equal score are one threshold, as in scikit-learn.
    """
    n = score.shape[1]
    order = np.argsort(-score, axis=1)
    ordered = np.take_along_axis(score, order, axis=1)
    positive = label[order].astype(np.float64)
    # the place of the last row of each row's threshold
    last = np.ones(score.shape, dtype=bool)
    last[:, :-1] = ordered[:, 1:] != ordered[:, :-1]
    end = np.minimum.accumulate(np.where(last, np.arange(n), n)[:, ::-1], axis=1)[:, ::-1]
    found = np.take_along_axis(np.cumsum(positive, axis=1), end, axis=1)
    positives = positive.sum(axis=1)
    precision = (positive * found / (end + 1)).sum(axis=1) / positives
    first = np.ones(score.shape, dtype=bool)
    first[:, 1:] = last[:, :-1]
    start = np.maximum.accumulate(np.where(first, np.arange(n), 0), axis=1)
    # of a pair with equal scores a half counts: the rows of a threshold share the mean of their places
    below = (positive * (n - 1 - (start + end) / 2)).sum(axis=1) - positives * (positives - 1) / 2
    return below / (positives * (n - positives)), precision
