"""The intercept that takes a common shift out of predictions: for the rectifier, and for the choice of an epoch."""

from __future__ import annotations

import numpy as np
from scipy.special import expit

from results.metrics.calibration import logit

EPS = 1e-7


def fit_intercepts(probability: np.ndarray, label: np.ndarray) -> np.ndarray:
    """Fit the intercept a float64 [T] of the highest likelihood of sigmoid(logit p + a), by Newton's method.

    0 for a task without two classes, whose likelihood has no finite maximum. Shapes: probability, label [N, T], NaN = undefined.
    """
    known = ~np.isnan(label)
    two = (label == 0).any(axis=0) & (label == 1).any(axis=0)
    base, y = logit(probability), np.nan_to_num(label)
    a = np.zeros(probability.shape[1])
    for _ in range(50):
        p = expit(base + a)
        slope = np.where(known, y - p, 0.0).sum(axis=0)
        curvature = np.where(known, p * (1 - p), 0.0).sum(axis=0)
        # a step of Newton's method from far out can overshoot: no step is longer than 1
        step = np.where(two, np.clip(slope / np.maximum(curvature, EPS), -1.0, 1.0), 0.0)
        a = a + step
        if np.abs(step).max(initial=0.0) < 1e-12:
            break
    return a
