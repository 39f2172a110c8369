"""Edits toward a row's own label: permutation within strata of rows that differ in nothing but the label.

Stratum: about ten rows of one (task, pattern, fold) with neighbouring base probabilities. r = what a row was moved by, less its
straight line on the base probability within the stratum, so that a step that moves high probabilities otherwise than low ones leaves
nothing behind. The statistic is the sum of r over the rows with label 1; labels are permuted within strata, and only moves toward the own
label count (one-sided). One offset a group gives r = 0. With halves that are corrected by each other's labels the expected sum is
negative: the half with more positives than its probabilities say gets the smaller offset.

p-values by the sequential rule of Besag and Clifford (1991, Biometrika 78:301): draw until ``ENOUGH`` sums are as large as the one
observed, at most 2 T / alpha times; Holm over the T tasks.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from statsmodels.stats.multitest import multipletests

from results.audit.finding import LINES, Finding, Place, make_finding

ALPHA = 0.001
STRATUM = 10
ENOUGH = 20
BATCH = 100


def find_label_edits(frame: pd.DataFrame, seed: int = 0) -> list[Finding]:
    """Find ``own_label``: tasks in which rows of label 1 were moved up against rows of label 0 with the same base probability.

    ``frame``: as ``results.audit.movement.add_movement`` gives it.
    """
    tasks = sorted(frame["task"].unique())
    strata = {task: _make_strata(frame[frame["task"] == task]) for task in tasks}
    most = math.ceil(2 * len(tasks) / ALPHA)
    p = [_compute_p_value(strata[task], most, np.random.default_rng([seed, i])) for i, task in enumerate(tasks)]
    if min(p, default=1.0) > ALPHA:
        return []
    holm = multipletests(p, ALPHA, method="holm")[1]
    return [_report_edits(strata[task], task, a, b) for task, a, b in zip(tasks, p, holm, strict=True) if b <= ALPHA]


def _make_strata(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows that are informative, by ``stratum``, with ``r``: of strata with both labels and some r other than 0."""
    rows = rows[rows["moved"].notna() & rows["label"].notna()]
    parts, count = [], 0
    for _, group in rows.groupby(["pattern", "fold"], observed=True):
        if group["label"].nunique() < 2 or np.ptp(group["moved"]) == 0:
            continue
        ordered = group.sort_values(["base", "line"])
        place = np.arange(len(ordered)) * max(1, len(ordered) // STRATUM) // len(ordered) + count
        count = int(place[-1]) + 1
        parts.append(ordered.assign(stratum=place))
    if not parts:
        return rows.head(0).assign(stratum=0, r=0.0)
    out = pd.concat(parts)
    strata = out.groupby("stratum")
    x = out["base"] - strata["base"].transform("mean")
    y = out["moved"] - strata["moved"].transform("mean")
    squares = (x * x).groupby(out["stratum"]).transform("sum")
    # one least-squares line a stratum; where all bases are equal there is no slope, and r = y
    slope = (x * y).groupby(out["stratum"]).transform("sum") / squares.where(squares > 0, np.inf)
    r = y - slope * x
    out = out.assign(r=r.where(r.abs() > 1e-9, 0.0))
    strata = out.groupby("stratum")
    return out[
        (strata["label"].transform("nunique") > 1) & (strata["r"].transform("max") > strata["r"].transform("min"))
    ]


def _compute_p_value(rows: pd.DataFrame, most: int, rng: np.random.Generator) -> float:
    if rows.empty:
        return 1.0
    stratum, r, label = (rows[c].to_numpy(dtype=float) for c in ("stratum", "r", "label"))
    observed = float(r @ label) - 1e-9  # sums that are equal but for floating point count as large
    large = drawn = 0
    while drawn < most:
        batch = min(BATCH, most - drawn)
        # strata are whole numbers in ascending order, so a random fraction permutes rows within each stratum alone
        order = np.argsort(stratum + rng.random((batch, len(r))), axis=1)
        for above in label[order] @ r >= observed:
            large, drawn = large + int(above), drawn + 1
            if large == ENOUGH:
                return large / drawn
    return (large + 1) / (drawn + 1)


def _report_edits(rows: pd.DataFrame, task: str, p: float, holm: float) -> Finding:
    of_one, of_zero = (float(rows.loc[rows["label"] == y, "r"].mean()) for y in (1, 0))
    sign = np.where(rows["label"] == 1, 1.0, -1.0)
    toward = rows.assign(toward=rows["r"] * sign)
    places = [
        Place(
            str(pattern),
            str(fold),
            {"n": len(group), "toward_own_label": float(group["toward"].mean())},
            tuple(int(line) for line in group.nlargest(LINES, "toward")["line"]),
        )
        for (pattern, fold), group in toward.groupby(["pattern", "fold"], observed=True)
    ]
    places.sort(key=lambda place: -place.numbers["toward_own_label"] * place.numbers["n"])
    what = (
        f"moved toward the own label: at equal base probability, rows of label 1 by {of_one - of_zero:+.4f} against rows of label 0 "
        f"(permutation within strata, p {p:.1g}, Holm {holm:.1g})"
    )
    numbers = {"difference": of_one - of_zero, "p": p, "p_holm": float(holm)}
    return make_finding("own_label", task, rows, what, places=places, numbers=numbers)
