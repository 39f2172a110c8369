"""What a rectifier is given, checked, and what a cell stores of it."""

from __future__ import annotations

from typing import Any

import numpy as np

from methods.common.rectifier.groups import code_patterns


def record_rectifier(
    protocol: str,
    tau: float | list[float] | None,
    tasks: tuple[str, ...],
    patterns: np.ndarray,
    count: np.ndarray,
    delta: np.ndarray,
    used: np.ndarray,
    before: np.ndarray,
    after: np.ndarray,
    pattern: np.ndarray,
) -> dict[str, Any]:
    """Return the record of a cell: offsets by task and pattern with their rows, and the share of the (test) rows that was changed."""
    scored = np.bincount(code_patterns(np.asarray(pattern), patterns) + 1, minlength=len(patterns) + 1)[1:]
    changed = (after != np.asarray(before, dtype=np.float64)).mean(axis=0) if len(after) else np.zeros(len(tasks))
    rows = [
        {"task": task, "pattern": str(name), "n_calibration": int(count[t, d]), "delta": float(delta[t, d]),
         "applied": bool(used[t, d]), "n_test": int(scored[d]), "true_delta": None}
        for t, task in enumerate(tasks) for d, name in enumerate(patterns)
    ]  # fmt: skip
    share = {task: float(changed[t]) for t, task in enumerate(tasks)}
    return {"protocol": protocol, "tau": tau, "share_changed": share, "rows": rows}


def check_shapes(
    probability: np.ndarray, label: np.ndarray, pattern: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the arguments as arrays: probability, label float64 [N, T], pattern [N].

    Raises:
        ValueError: shapes that do not fit together.
    """
    probability, label = np.asarray(probability, dtype=np.float64), np.asarray(label, dtype=np.float64)
    pattern = np.asarray(pattern)
    if probability.ndim != 2 or probability.shape != label.shape or pattern.shape != probability.shape[:1]:
        raise ValueError(
            f"the rectifier needs probability and label [N, T] and pattern [N], not {probability.shape}, {label.shape}, {pattern.shape}"
        )
    return probability, label, pattern
