"""What every method needs to know of outcomes float [N, T] with NaN = undefined. Imports no torch."""

from __future__ import annotations

import numpy as np
from scipy.special import expit
from sklearn.metrics import roc_auc_score

from methods.common.intercepts import fit_intercepts
from results.metrics.calibration import LOGIT_CLIP, logit

SELECTIONS = ("log_loss", "auc")
"""The rules by which an epoch or a model is chosen on validation rows; the first is the default."""


def labelled(outcomes: np.ndarray) -> np.ndarray:
    """Return bool [N, T]: where the outcome is defined."""
    return ~np.isnan(outcomes)


def has_both_classes(outcomes: np.ndarray) -> np.ndarray:
    """Return bool [T]: the tasks with both classes among these stays; the others are predicted by their base rate."""
    return (outcomes == 0).any(axis=0) & (outcomes == 1).any(axis=0)


def base_rate(outcomes: np.ndarray) -> np.ndarray:
    """Return float64 [T]: the smoothed share of positives, (positives + 1) / (labelled + 2), so never 0 or 1."""
    return ((outcomes == 1).sum(axis=0) + 1.0) / (labelled(outcomes).sum(axis=0) + 2.0)


def selection_score(outcomes: np.ndarray, probability: np.ndarray, rule: str = SELECTIONS[0]) -> float:
    """Score validation predictions (higher is better) for early stopping and the choice of a model.

    ``rule``: ``log_loss``, minus the relative log loss, mean over the tasks that have two classes among the labelled stays
    (``measure_relative_log_loss``); ``auc``, mean AUC over these tasks. Where no task has two classes, minus the mean log loss of the
    labelled outcomes; NaN where nothing is labelled.

    Raises:
        ValueError: an unknown rule, or probabilities that are not finite.
    """
    if rule not in SELECTIONS:
        raise ValueError(f"selection is {rule!r}; it must be {' or '.join(SELECTIONS)}")
    tasks = np.flatnonzero(has_both_classes(outcomes))
    known = labelled(outcomes)
    if not known.any():
        return float("nan")
    if not np.isfinite(probability[known]).all():
        raise ValueError("validation predictions are not finite; try a smaller lr")
    if not len(tasks):
        return -float(np.mean(_log_losses(outcomes[known], probability[known])))
    if rule == "log_loss":
        return -float(np.mean(measure_relative_log_loss(outcomes[:, tasks], probability[:, tasks])))
    return float(np.mean([roc_auc_score(outcomes[known[:, t], t], probability[known[:, t], t]) for t in tasks]))


def measure_relative_log_loss(outcomes: np.ndarray, probability: np.ndarray) -> np.ndarray:
    """Return the log loss of each task [T], after the intercept that fits best on these stays, divided by that of their base rate.

    1 is what a constant reaches, 0 is perfect. The intercept takes out a shift common to all stays (focal loss, weighted pre-training),
    so that it does not decide between epochs. Shapes: outcomes (NaN = undefined; both classes in every task) and probability [N, T].
    """
    known = labelled(outcomes)
    shifted = expit(logit(probability) + fit_intercepts(probability, outcomes))
    constant = np.broadcast_to(np.nanmean(outcomes, axis=0, dtype=np.float64), outcomes.shape)
    found, base = (np.where(known, _log_losses(outcomes, p), 0.0).sum(axis=0) for p in (shifted, constant))
    return found / base


def _log_losses(outcomes: np.ndarray, probability: np.ndarray) -> np.ndarray:
    """Return the log loss of each outcome, probabilities cut at 1e-7 and 1 - 1e-7."""
    p = np.clip(probability.astype(np.float64), LOGIT_CLIP, 1 - LOGIT_CLIP)
    return -np.where(outcomes == 1, np.log(p), np.log1p(-p))
