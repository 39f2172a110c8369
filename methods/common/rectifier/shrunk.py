"""Offsets b on the logit scale by task and pattern, shrunk toward the task's pooled intercept by count, with no threshold:

    b0_t = argmax  sum [ y log s + (1 - y) log(1 - s) ],  s = sigmoid(logit p + b0)             over all rows of task t
    U = sum (y - p0),  I = sum p0 (1 - p0)  over the rows of (t, d),  p0 = sigmoid(logit p + b0_t)
    v_t  = max(0, sum_d (U^2 / I - 1) / sum_d I)
    b    = argmax  sum [ y log s + (1 - y) log(1 - s) ] - (b - b0_t)^2 / (2 v_t),  s = sigmoid(logit p + b);   b = b0_t where v_t = 0

U / I is the one-step estimate of b - b0 with variance 1 / I, and v_t the method-of-moments variance of the true offsets around b0. A
pattern without labelled rows takes b0. A constant added to all logits of a task lowers b0 and every b by that constant, so that
nothing after it changes. A task whose rows have one class has no finite b0: 0 stands for it.
"""

from __future__ import annotations

import numpy as np
from scipy.special import expit

from methods.common.intercepts import EPS, fit_intercepts
from methods.common.rectifier.groups import sum_known
from methods.common.rectifier.offsets import Offsets
from results.metrics.calibration import logit


def fit_shrunk_offsets(probability: np.ndarray, label: np.ndarray, code: np.ndarray, patterns: int) -> Offsets:
    """Fit b by Newton's method, all tasks and patterns at once. Shapes: probability, label [N, T]; code int [N], in 0..patterns-1."""
    known = ~np.isnan(label)
    mean = fit_intercepts(probability, label)
    y, base = np.nan_to_num(label), logit(probability) + mean

    def score(b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        p = expit(base + b.T[code])
        return sum_known(code, patterns, known, y - p)[1], sum_known(code, patterns, known, p * (1 - p))[1]

    b = np.zeros((probability.shape[1], patterns))
    count, _ = sum_known(code, patterns, known, y)
    u, i = score(b)
    some = count > 0
    excess = np.where(some, np.square(u) / np.maximum(i, EPS) - 1.0, 0.0).sum(axis=1, keepdims=True)
    v = np.maximum(excess, 0.0) / np.maximum(i.sum(axis=1, keepdims=True), EPS)
    prior = 1.0 / np.maximum(v, EPS)
    for _ in range(50):
        u, i = score(b)
        step = np.clip((u - b * prior) / (i + prior), -1.0, 1.0)
        b = b + step
        if np.abs(step).max(initial=0.0) < 1e-12:
            break
    return Offsets(mean[:, None] + np.where(some & (v > 0), b, 0.0), count, mean)
