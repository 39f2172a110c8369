"""A4 to A7 one at a time, on the suite's rectifier of the kind ``offset``: what it is fitted on, and what is done with its offsets."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from benchmark.audit.edits import compute_auc, edit_predictions, find_role, group_rows
from benchmark.audit.released import FACTORS, Released, choose_reference_pattern, rectify_as_released
from methods.common.rectifier import Rectifier


@dataclass(frozen=True, eq=False)
class LabelledPredictions:
    """Predictions of rows: probability and label [n, T] (NaN: undefined) and pattern [n]."""

    probability: np.ndarray
    label: np.ndarray
    pattern: np.ndarray


def correct_predictions(
    valid: LabelledPredictions, test: LabelledPredictions, tasks: tuple[str, ...], seed: int, steps: frozenset[str]
) -> np.ndarray:
    """Return probabilities [n, T] of the test rows after the suite's rectifier, with the evaluation steps among ``steps`` on.

    A4 fits it on the test rows; A6 multiplies its offsets by the released factors; A7 leaves the reference pattern alone; A5 keeps a
    pattern's offset only where the test AUC does not fall; ``A2`` and ``A2s`` then move rows toward their own outcomes. ``R`` and ``Rs``
    stand for the released rectifier whole, not selective and selective, in place of the suite's.
    """
    if steps & {"R", "Rs"}:
        return rectify_as_released(test.probability, test.label, test.pattern, tasks, Released(accept="Rs" in steps))
    rows = test if "A4" in steps else valid
    rectifier = Rectifier("offset", seed=seed).fit(rows.probability, rows.label, rows.pattern)
    # apply the threshold now: the steps below change offsets that passed it, which must not be tested again
    rectifier.delta = np.where(np.abs(rectifier.delta) > rectifier.tau, rectifier.delta, 0.0)
    rectifier.unseen = np.where(np.abs(rectifier.unseen) > rectifier.tau, rectifier.unseen, 0.0)
    rectifier.tau = 0.0
    if "A6" in steps:
        rectifier.delta = rectifier.delta * _look_up_factors(tasks, rectifier.patterns)
    if "A7" in steps:
        kept = choose_reference_pattern(test.probability, test.label, test.pattern, tasks)
        rectifier.delta = np.where(rectifier.patterns == kept, 0.0, rectifier.delta)
    after = rectifier.apply(test.probability, test.pattern)
    if "A5" in steps:
        after = keep_accepted_offsets(test, after)
    for step, selective in (("A2", False), ("A2s", True)):
        if step in steps:
            after = edit_predictions(after, test.label, test.pattern, tasks, selective)
    return after


def keep_accepted_offsets(test: LabelledPredictions, after: np.ndarray) -> np.ndarray:
    """Return ``after`` [n, T] where, pattern by pattern and task by task, it does not lower the AUC of all test rows; else as before.

    A constant offset moves no AUC inside its pattern, so the AUC is that of all test rows.
    """
    out = test.probability.copy()
    for t in range(out.shape[1]):
        for rows in group_rows(test.pattern).values():
            tried = out[:, t].copy()
            tried[rows] = after[rows, t]
            if compute_auc(test.label[:, t], tried) >= compute_auc(test.label[:, t], out[:, t]):
                out[:, t] = tried
    return out


def _look_up_factors(tasks: tuple[str, ...], patterns: np.ndarray) -> np.ndarray:
    """Return the released factors by task and pattern, float64 [T, P]."""
    by_task = [FACTORS.get(find_role(task) or "", {}) for task in tasks]
    return np.array([[factors.get(str(name), 1.0) for name in patterns] for factors in by_task])
