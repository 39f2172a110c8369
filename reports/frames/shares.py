"""Each method's share of the way from knowing nothing to the ceiling, on cohorts whose truth is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from reports.frames.tidy import EMPTY, set_dtypes
from results.plan import Plan, TaskCounts

CEILINGS = {False: "ceiling", True: "ceiling_series"}
"""What a row is held against: by whether it knows the series."""
SHARES = {"share_auc": "auc", "share_log_loss": "log_loss"}


def compute_shares(frame: pd.DataFrame, plan: Plan) -> pd.DataFrame:
    """Return rows ``share_auc`` and ``share_log_loss`` for a tidy frame with a ``ceiling`` row; no rows without one.

    A row that knows the series is held against the ceiling with series, where there is one.
    ``share_auc = (AUC - 1/2) / (ceiling - 1/2)``; ``share_log_loss = (L0 - L) / (L0 - ceiling)``, L0 being the log loss of the
    constant prevalence of the other folds' rows. Ratios of means over the folds that the row has; ``sd_seeds`` is that of the
    metric on the same scale (the ceiling and L0 do not vary with the seed), ``sd_folds`` is left empty.
    """
    found = []
    ceilings = frame[frame["method"].isin(CEILINGS.values())]
    for metric, of in SHARES.items():
        tops = {
            (top["method"], top["landmark"], top["task"]): top
            for top in ceilings[ceilings["metric"] == of].to_dict("records")
        }
        for row in frame[(frame["metric"] == of) & ~frame["method"].isin(CEILINGS.values())].to_dict("records"):
            at = (row["landmark"], row["task"])
            top = tops.get((CEILINGS[row["series"]], *at), tops.get((CEILINGS[False], *at)))
            if top is not None:
                found.append(row | {"metric": metric} | _compute_share(row, top, of, plan))
    return set_dtypes(pd.DataFrame(found, columns=frame.columns)) if found else frame.iloc[:0]


def _compute_share(row: dict[str, Any], top: dict[str, Any], of: str, plan: Plan) -> dict[str, Any]:
    folds = sorted(row["by_fold"].keys() & top["by_fold"].keys())
    if row["status"] not in ("done", "partial"):
        return {}
    if not folds:
        return EMPTY | {"status": "undefined", "note": "the ceiling is not done on these folds", "by_fold": {}}
    if of == "auc":
        nothing = 0.5
    else:
        whole = plan.landmarks[row["landmark"]].tasks[row["task"]]
        nothing = float(
            np.mean(
                [_compute_prevalence_loss(n, positives, whole) for _, n, positives in map(row["by_fold"].get, folds)]
            )
        )
    ceiling = float(np.mean([top["by_fold"][f][0] for f in folds]))
    value = float(np.mean([row["by_fold"][f][0] for f in folds]))
    way = ceiling - nothing
    if (way if of == "auc" else -way) <= 0:
        return EMPTY | {"status": "undefined", "note": "the ceiling is no better than knowing nothing", "by_fold": {}}
    status, note = row["status"], row["note"]
    if len(folds) < len(row["by_fold"]):
        status, note = "partial", f"{len(folds)} folds, those of the ceiling"
    return {
        "mean": (value - nothing) / way,
        "sd_seeds": row["sd_seeds"] / abs(way),
        "sd_folds": np.nan,
        "folds": len(folds),
        "status": status,
        "note": note,
    }


def _compute_prevalence_loss(n: int, positives: int, whole: TaskCounts) -> float:
    """Return the log loss on a test part of the constant prevalence of all other rows of the task."""
    prevalence = (whole.positives - positives) / max(1, whole.n - n)
    prevalence = min(max(prevalence, 1e-7), 1 - 1e-7)
    return -(positives * np.log(prevalence) + (n - positives) * np.log1p(-prevalence)) / n
