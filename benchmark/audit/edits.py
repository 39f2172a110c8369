"""A2: predictions of test rows moved toward the rows' own outcomes.

Thresholds and sizes as described of the released code (readmission ar:464-491, ICU ar:559-567); it has no moves for mortality.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata

ITERATIONS = 5


@dataclass(frozen=True)
class Moves:
    """Moves of one task: rows above ``high`` with outcome 0 go down by ``size``, rows below ``low`` with outcome 1 go up by it."""

    low: float
    high: float
    size: float


MOVES = {"readmission": Moves(0.3, 0.7, 0.1 * 0.3), "icu": Moves(0.2, 0.8, 0.15)}
"""By the task's part in the paper (`find_role`); the readmission moves are multiplied by .3 there."""


def find_role(task: str) -> str | None:
    """Return which of the paper's tasks ``task`` stands for: ``readmission``, ``icu``, or None (the released rectifier has no other)."""
    if task.startswith("readmission") or task == "icu_readmission":
        return "readmission"
    return "icu" if task.startswith("icu") else None


def move_toward_labels(probability: np.ndarray, label: np.ndarray, moves: Moves) -> np.ndarray:
    """Return probabilities [n] after one round of moves by the labels [n] of 0, 1 or NaN (left where they are)."""
    down = (probability > moves.high) & (label == 0)
    up = (probability < moves.low) & (label == 1)
    return np.clip(probability + moves.size * (up.astype(float) - down), 0.0, 1.0)


def edit_predictions(
    probability: np.ndarray, label: np.ndarray, pattern: np.ndarray, tasks: tuple[str, ...], selective: bool
) -> np.ndarray:
    """Return probabilities [n, T] after ITERATIONS rounds; ``selective``: a round stays where it raises the AUC of its pattern's rows."""
    out = np.array(probability, dtype=np.float64)
    for t, task in enumerate(tasks):
        moves = MOVES.get(find_role(task) or "")
        if moves is None:
            continue
        for rows in group_rows(pattern).values():
            for _ in range(ITERATIONS):
                after = move_toward_labels(out[rows, t], label[rows, t], moves)
                if selective and not raises_auc(label[rows, t], out[rows, t], after):
                    break
                out[rows, t] = after
    return out


def group_rows(pattern: np.ndarray) -> dict[str, np.ndarray]:
    """Return the rows by pattern, in the order of the patterns' names."""
    return {str(name): np.flatnonzero(pattern == name) for name in np.unique(pattern)}


def compute_auc(label: np.ndarray, probability: np.ndarray) -> float:
    """Return the AUC of the rows [n] whose label is defined, by ranks (Mann-Whitney); NaN where there is one class."""
    known = ~np.isnan(label)
    positive = label[known] == 1
    ones, zeros = positive.sum(), (~positive).sum()
    if not ones or not zeros:
        return float("nan")
    return float((rankdata(probability[known])[positive].sum() - ones * (ones + 1) / 2) / (ones * zeros))


def raises_auc(label: np.ndarray, before: np.ndarray, after: np.ndarray) -> bool:
    """Return whether the AUC is higher after; False where it is not defined."""
    return compute_auc(label, after) > compute_auc(label, before)
