"""All checks of predictions against a declared step. Silence clears nobody: these checks see what they look for, and nothing else."""

from __future__ import annotations

import pandas as pd

from results.audit.coincidence import find_equal_scores, find_fitted_here
from results.audit.consistency import find_excess_offsets, find_order_changes, find_split_bases
from results.audit.finding import DeclaredStep, Finding
from results.audit.gains import find_above_bound, find_accepted_by_gain
from results.audit.movement import add_movement
from results.audit.overlap import find_in_training, find_in_two_folds, find_repeated
from results.audit.own_label import find_label_edits

SILENCE = "Silence clears nobody: no finding means that these checks found nothing, not that the predictions are sound."
KINDS = {
    "offsets": "more offsets in a group than declared",
    "same_base": "one base probability, different results",
    "order": "order of the base not kept",
    "own_label": "moved toward the own label",
    "auc_bound": "AUC above the best that the declared step could give",
    "auprc_bound": "average precision above the best that the declared step could give",
    "accepted": "order within patterns changed, and the test AUC rose with it",
    "train_test": "patients in training and test",
    "two_folds": "patients tested in two folds",
    "repeated": "patients more than once in a test part",
    "fitted_here": "calibrated exactly on the rows corrected",
    "equal_scores": "scores of two groups equal to four digits",
    "all_gains": "every offset raised the test AUC",
}


def examine_predictions(
    frame: pd.DataFrame, declared: DeclaredStep, train: pd.DataFrame | None = None
) -> list[Finding]:
    """Return what is inconsistent with the declaration, then the queries; by kind in the order of KINDS, then by task.

    Args:
        frame: test rows: ``line`` (position in the file), ``patient, task, label`` (0, 1, NaN), ``base, after`` in [0, 1],
            ``base_half, after_half`` (``results.audit.rounding``), ``pattern, fold``, and ``row`` where patients have several stays.
        train: ``patient`` and maybe ``fold`` of the training rows.
    """
    rows = add_movement(frame, declared)
    found = find_label_edits(rows) + find_accepted_by_gain(rows, declared)
    for task, part in rows.groupby("task", observed=True):
        name = str(task)
        for check in (find_excess_offsets, find_split_bases, find_order_changes, find_above_bound, find_fitted_here):
            found += check(part, name, declared)
        found += find_in_two_folds(part, name) + find_repeated(part, name) + find_equal_scores(part, name)
        if train is not None:
            found += find_in_training(part, name, train)
    order = list(KINDS)
    return sorted(found, key=lambda f: (f.query, order.index(f.kind), f.task))
