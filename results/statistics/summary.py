"""From values by fold and seed to what is printed: a mean and its two spreads."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Summary:
    """Mean over folds and seeds with its two spreads (NaN where fewer than two), from how many folds and seeds."""

    mean: float
    sd_seeds: float
    sd_folds: float
    folds: int
    seeds: int


def summarise(values: np.ndarray) -> Summary:
    """Return the mean over folds, then mean and standard deviation over seeds.

    ``sd_seeds``: of the seeds' means over folds, over the folds that every seed has; ``sd_folds``: of the folds' means over seeds.
    With a value missing, the mean is that of the folds' means, so that each fold still counts once.

    Args:
        values: float [folds, seeds], NaN where a cell or its metric is missing.
    """
    present = np.isfinite(values)
    values = values[present.any(axis=1)][:, present.any(axis=0)]
    folds, seeds = values.shape
    if folds == 0:
        return Summary(math.nan, math.nan, math.nan, 0, 0)
    by_fold = np.nanmean(values, axis=1)
    common = values[np.isfinite(values).all(axis=1)]
    sd_seeds = float(common.mean(axis=0).std(ddof=1)) if seeds > 1 and len(common) else math.nan
    sd_folds = float(by_fold.std(ddof=1)) if folds > 1 else math.nan
    return Summary(float(by_fold.mean()), sd_seeds, sd_folds, folds, seeds)
