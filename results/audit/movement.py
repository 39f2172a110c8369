"""What each row was moved by, freed of rounding: the frame that all checks read.

To the columns ``line, patient, task, label, base, after, base_half, after_half, pattern, fold`` it adds

- ``group``: number of the (task, pattern, fold), or of the (task, fold) where the declared step does not act by pattern;
- ``lower, upper``: the offsets that the row allows (``results.audit.offsets``);
- ``needed``: how few offsets serve the row's group;
- ``moved``: by what the row was moved: one of those few offsets; for ``monotone`` the distance from the increasing function nearest to
  all results of the group; NaN where the result is at a clip, which hides it;
- ``half``: which of the few offsets the row allows, -1 where more than one or where the group needs more than are declared.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from sklearn.isotonic import IsotonicRegression

from results.audit.finding import DeclaredStep
from results.audit.offsets import bound_offsets, locate_points, min_stabbing_points


def add_movement(frame: pd.DataFrame, declared: DeclaredStep) -> pd.DataFrame:
    """Return all tasks' rows with the columns of the module's docstring, in the order given and numbered from 0."""
    out = frame.reset_index(drop=True)
    keys = ["task", "pattern", "fold"] if declared.by_pattern else ["task", "fold"]
    out["group"] = out.groupby(keys, observed=True, sort=True).ngroup()
    base, after, base_half, after_half = (out[c].to_numpy() for c in ("base", "after", "base_half", "after_half"))
    lower, upper = bound_offsets(base, after, base_half, after_half, declared)
    needed, half = np.ones(len(out), dtype=int), np.zeros(len(out), dtype=int)
    moved = np.zeros(len(out))
    for rows in out.groupby("group").indices.values():
        if declared.name == "none":
            astray = (lower[rows] > 0) | (upper[rows] < 0)
            moved[rows] = np.where(astray, after[rows] - base[rows], 0.0)
        elif declared.name == "monotone":
            moved[rows] = _measure_distance(base[rows], after[rows], base_half[rows], after_half[rows])
        else:
            points = min_stabbing_points(lower[rows], upper[rows])
            first, held = locate_points(lower[rows], upper[rows], points)
            needed[rows], moved[rows] = len(points), points[first]
            half[rows] = np.where((held > 1) | (len(points) > declared.offsets), -1, first)
    low, high = declared.clip
    clipped = (after - after_half <= low) | (after + after_half >= high)
    hidden = clipped & (declared.name != "none")
    return out.assign(lower=lower, upper=upper, needed=needed, half=half, moved=np.where(hidden, np.nan, moved))


def _measure_distance(base: np.ndarray, after: np.ndarray, base_half: np.ndarray, after_half: np.ndarray) -> np.ndarray:
    """Return the distance of results from the nearest increasing function of the base (least squares), 0 within rounding."""
    fitted = IsotonicRegression().fit(base, after).predict(base)
    return np.where(np.abs(after - fitted) > 2 * (base_half + after_half), after - fitted, 0.0)
