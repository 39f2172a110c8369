"""The choice of kappa and lambda of the hierarchical rectifier, within the calibration rows of one task.

p' = clip(p + lambda tau(kappa), 0, 1) is judged by 5 folds x 3 repeats (strata: outcome x pattern if each has 5 rows or more, else the
outcome): the hierarchy is fitted to four folds, and the change from p to p' is taken on the fifth. A pair (kappa, lambda) is admissible if

- mean - se of the change over the 15 held-out parts is at least -1e-8, for AUC and for average precision (AP);
- the mean change of the Brier score is at most 1e-5;
- neither AUC nor AP falls in more than a fifth of the parts.

Of those, the best mean - se of the change of AUC / 2 + (AP - prevalence) / (1 - prevalence) / 2 wins; ties go to the smaller lambda, then
to the larger kappa. None admissible, or none better than no change: lambda 0. The 15 parts overlap, so mean - se is a rule, no confidence
bound.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from methods.common.rectifier.groups import deal_rows
from methods.common.rectifier.levels import fit_levels
from methods.common.rectifier.ranks import compute_ranking_metrics

KAPPAS = (0.0, 0.005, 0.01, 0.02, 0.03, 0.05)
STRENGTHS = tuple(round(0.1 * k, 1) for k in range(1, 11))
"""The values of lambda but 0, which is the base prediction itself."""
FOLDS = 5
REPEATS = 3
SMALL = 1e-12
"""Differences that rounding makes."""


@dataclass(frozen=True)
class Choice:
    """The kappa and the strength lambda that were chosen; lambda 0 changes nothing."""

    kappa: float
    strength: float


NOTHING = Choice(KAPPAS[-1], 0.0)


def choose_strength(
    probability: np.ndarray,
    label: np.ndarray,
    code: np.ndarray,
    size: np.ndarray,
    positives: int,
    rng: np.random.Generator,
) -> Choice:
    """Choose kappa and lambda for one task by the rule of the module's docstring; arguments as ``fit_levels`` takes them."""
    if min(np.bincount(label.astype(int), minlength=2)) < FOLDS:
        return NOTHING
    strata = code * 2 + label.astype(int)
    rows = np.bincount(strata)
    if rows[rows > 0].min() < FOLDS:
        strata = label.astype(int)
    changes = []
    for _ in range(REPEATS):
        part = deal_rows(strata, FOLDS, rng)
        for k in range(FOLDS):
            kept, held = part != k, part == k
            levels = fit_levels(probability[kept], label[kept], code[kept], size, positives)
            tau, _ = levels.choose_offsets(KAPPAS)
            changes.append(measure_changes(probability[held], label[held], tau[:, code[held]]))
    return _choose(np.stack(changes))


def measure_changes(probability: np.ndarray, label: np.ndarray, tau: np.ndarray) -> np.ndarray:
    """Return the changes of AUC, AP, Brier score and the objective by (kappa, lambda), float64 [4, K, L]; tau [K, N]."""
    out = np.zeros((4, len(KAPPAS), len(STRENGTHS)))
    # a kappa so large that nothing passes it changes nothing, and equal offsets of two kappas are measured once
    distinct, place = np.unique(tau, axis=0, return_inverse=True)
    moved = np.clip(probability + np.array(STRENGTHS)[:, None] * distinct[:, None], 0.0, 1.0)
    scores = np.concatenate([probability[None], moved.reshape(-1, len(probability))])
    auc, ap = compute_ranking_metrics(label, scores)
    brier = np.square(scores - label).mean(axis=1)
    prevalence = label.mean()
    objective = 0.5 * auc + 0.5 * (ap - prevalence) / (1 - prevalence)
    measured = np.stack([auc, ap, brier, objective])
    out[:] = (measured[:, 1:] - measured[:, :1]).reshape(4, len(distinct), -1)[:, place.ravel()]
    return out


def _choose(changes: np.ndarray) -> Choice:
    """Choose among changes [parts, 4, K, L] as ``measure_changes`` gives them."""
    low = changes.mean(axis=0) - changes.std(axis=0, ddof=1) / np.sqrt(len(changes))
    kept = (changes[:, :2] >= -SMALL).mean(axis=0) >= 0.8
    allowed = (low[:2] >= -1e-8).all(axis=0) & kept.all(axis=0) & (changes[:, 2].mean(axis=0) <= 1e-5)
    score = np.where(allowed, low[3], -np.inf)
    if score.max() <= SMALL:
        return NOTHING
    kappas, strengths = np.nonzero(score >= score.max() - SMALL)
    strength, kappa = min(zip(strengths, -kappas, strict=True))
    return Choice(KAPPAS[-kappa], STRENGTHS[strength])
