"""What every method needs to know of outcomes float [N, T] with NaN = undefined. Imports no torch."""

from __future__ import annotations

import numpy as np
from sklearn.metrics import roc_auc_score


def labelled(outcomes: np.ndarray) -> np.ndarray:
    """Return bool [N, T]: where the outcome is defined."""
    return ~np.isnan(outcomes)


def has_both_classes(outcomes: np.ndarray) -> np.ndarray:
    """Return bool [T]: the tasks with both classes among these stays; the others are predicted by their base rate."""
    return (outcomes == 0).any(axis=0) & (outcomes == 1).any(axis=0)


def base_rate(outcomes: np.ndarray) -> np.ndarray:
    """Return float64 [T]: the smoothed share of positives, (positives + 1) / (labelled + 2), so never 0 or 1."""
    return ((outcomes == 1).sum(axis=0) + 1.0) / (labelled(outcomes).sum(axis=0) + 2.0)


def selection_score(outcomes: np.ndarray, probability: np.ndarray) -> float:
    """Score validation predictions (higher is better) for early stopping and the choice of a model.

    Mean AUC over the tasks that have two classes among the labelled stays; where there is none, the negative mean log loss of the
    labelled outcomes; NaN where nothing is labelled.
    """
    tasks = np.flatnonzero(has_both_classes(outcomes))
    known = labelled(outcomes)
    if len(tasks):
        return float(np.mean([roc_auc_score(outcomes[known[:, t], t], probability[known[:, t], t]) for t in tasks]))
    if not known.any():
        return float("nan")
    p = np.clip(probability[known].astype(np.float64), 1e-7, 1 - 1e-7)
    return float(np.mean(np.where(outcomes[known] == 1, np.log(p), np.log1p(-p))))
