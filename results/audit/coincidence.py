"""Queries: what is consistent with the declaration, and seldom so by chance."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pandas as pd

from results.audit.finding import DeclaredStep, Finding, Place, make_finding, select_at_places
from results.audit.ranks import compute_rank_metrics

LEAST = 10
"""Positives and negatives that a group must have to be scored, as in the suite's tables by pattern."""
PERFECT = (1.0, 1.0)
GROUPS = 3
"""Exactly calibrated groups below which nothing is asked: one or two may be chance."""


def find_fitted_here(rows: pd.DataFrame, task: str, declared: DeclaredStep) -> list[Finding]:
    """Find ``fitted_here``: the mean result equals the mean label in at least half of the (pattern, fold) that were moved."""
    if declared.fitted_on == "same" or declared.name == "none":
        return []
    known = rows[rows["label"].notna()]
    exact: list[Place] = []
    moved = 0
    for (pattern, fold), group in known.groupby(["pattern", "fold"], observed=True):
        if len(group) < LEAST or not ((group["lower"] > 0) | (group["upper"] < 0)).any():
            continue
        moved += 1
        room = 4 * float(group["after_half"].max()) / np.sqrt(len(group)) + 1e-7
        distance = float(group["after"].mean() - group["label"].mean())
        if abs(distance) <= room:
            lines = tuple(int(line) for line in group["line"].head(2))
            exact.append(Place(str(pattern), str(fold), {"n": len(group), "distance": distance}, lines))
    if len(exact) < max(GROUPS, moved / 2):
        return []
    what = (
        f"mean result = mean label, to rounding, in {len(exact)} of {moved} corrected groups: "
        "was the step fitted on the rows it corrects?"
    )
    return [make_finding("fitted_here", task, select_at_places(known, exact), what, places=exact, query=True)]


def find_equal_scores(rows: pd.DataFrame, task: str) -> list[Finding]:
    """Find ``equal_scores``: two patterns, or a pattern and all rows, with the same AUC and average precision to four digits.

    Scores as in the tables: within folds, then the mean over folds in which they are defined.
    """
    known = rows[rows["label"].notna()]
    parts = {"all rows": known}
    parts |= {
        str(pattern): group for pattern, group in known.groupby("pattern", observed=True) if len(group) < len(known)
    }
    scores = {
        name: _score_part(part)
        for name, part in parts.items()
        if part["label"].value_counts().reindex((0, 1)).min() >= LEAST
    }
    found = []
    for (a, score), (b, other) in combinations(scores.items(), 2):
        if score is not None and score == other != PERFECT:
            auc, precision = score
            lines = tuple(int(parts[name]["line"].iloc[0]) for name in (a, b))
            place = Place(f"{a}, {b}", None, {"auc": auc, "auprc": precision}, lines)
            what = f"AUC {auc:.4f} and average precision {precision:.4f}, both the same for {a} and {b}"
            both = parts[b] if a == "all rows" else pd.concat([parts[a], parts[b]])
            found.append(make_finding("equal_scores", task, both, what, places=[place], query=True))
    return found


def _score_part(part: pd.DataFrame) -> tuple[float, float] | None:
    """Return AUC and average precision, or None where no fold has both labels."""
    folds = [fold for _, fold in part.groupby("fold", observed=True) if fold["label"].nunique() == 2]
    if not folds:
        return None
    values = [compute_rank_metrics(fold["label"].to_numpy(), fold["after"].to_numpy()) for fold in folds]
    auc, precision = (round(float(np.mean([v[name] for v in values])), 4) for name in ("auc", "auprc"))
    return auc, precision
