"""AUC and average precision of one vector of probabilities, from the suite's metrics under weights of one."""

from __future__ import annotations

import numpy as np

from results.statistics.bootstrap import compute_weighted_metrics


def compute_rank_metrics(label: np.ndarray, probability: np.ndarray) -> dict[str, float]:
    """Return ``auc`` and ``auprc`` of rows [N] with labels 0 and 1; NaN with one label only."""
    found = compute_weighted_metrics(label, probability, np.ones((1, len(label)), dtype=np.uint16))
    return {name: float(found[name][0]) for name in ("auc", "auprc")}
