"""The paired test of one method against another over the folds of a cross-validation."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import stats


@dataclass(frozen=True)
class PairedTest:
    """Result of a paired test: statistic and two-sided p, or None with the reason."""

    t: float | None
    p: float | None
    reason: str | None


def compute_corrected_t(difference: np.ndarray, n_test: float, n_train: float) -> PairedTest:
    """Run a corrected resampled t-test on paired differences of k folds, k - 1 degrees of freedom.

    ``t = mean(d) / sqrt((1/k + n_test/n_train) var(d))``: training parts overlap, so the folds' variance is too small for the
    plain t-test (Nadeau and Bengio 2003, Machine Learning 52, equation 9). No difference in any fold gives p = 1.

    Args:
        difference: [k] one value a fold, seeds averaged before.
        n_test: rows of a test part.
        n_train: rows a method was fitted on.
    """
    k = len(difference)
    if k < 2:
        return PairedTest(None, None, f"{k} fold{'s' if k != 1 else ''} in common: a test needs two")
    if not n_train > 0:
        return PairedTest(None, None, "the number of training rows is not known")
    mean, variance = float(np.mean(difference)), float(np.var(difference, ddof=1))
    if variance <= (1e-12 * abs(mean)) ** 2:
        if mean == 0:
            return PairedTest(0.0, 1.0, None)
        return PairedTest(None, None, "the difference is the same in every fold: no variance to test against")
    t = mean / math.sqrt((1 / k + n_test / n_train) * variance)
    return PairedTest(t, float(2 * stats.t.sf(abs(t), k - 1)), None)
