"""Which offsets a row allows, given rounding and clipping, and how few offsets all rows of a group need.

A row with base p and result q, known to within h and k, allows for clip(p + c) the offsets

    c in [q - k - (p + h),  q + k - (p - h)],  without the lower end where q is at the lower clip, nor the upper at the upper

and likewise on the logit scale. One offset serves a group where all its intervals share a point. The fewest offsets that serve it are
the fewest points that stab all intervals (each holds one), which the greedy choice by right end finds exactly.
"""

from __future__ import annotations

import numpy as np

from results.audit.finding import DeclaredStep

EDGE = 1e-6
"""Probabilities nearer than this to 0 or 1 have no definite logit: implementations cut them at different places."""
COMPUTED = 16 * 2.0**-24
"""Relative error granted to a logit and a sigmoid computed with 32 bits."""


def bound_offsets(
    base: np.ndarray, after: np.ndarray, base_half: np.ndarray, after_half: np.ndarray, declared: DeclaredStep
) -> tuple[np.ndarray, np.ndarray]:
    """Return lower and upper ends [N] of the offsets that each row allows; on the logit scale for ``logit_offset``."""
    low, high = declared.clip
    if declared.name == "logit_offset":
        after_half = after_half + COMPUTED * after
    at_low, at_high = after - after_half <= low, after + after_half >= high
    p, q = (
        convert_scale(base - base_half, base + base_half, declared),
        convert_scale(after - after_half, after + after_half, declared),
    )
    with np.errstate(invalid="ignore"):
        lower, upper = q[0] - p[1], q[1] - p[0]
    lower = np.where(at_low | np.isnan(lower), -np.inf, lower)
    upper = np.where(at_high | np.isnan(upper), np.inf, upper)
    return lower, upper


def convert_scale(lower: np.ndarray, upper: np.ndarray, declared: DeclaredStep) -> tuple[np.ndarray, np.ndarray]:
    """Return ends [N] of probabilities on the scale on which the declared offset is added."""
    if declared.name != "logit_offset":
        return lower, upper
    lower, upper = np.where(lower < EDGE, 0.0, lower), np.where(upper > 1 - EDGE, 1.0, upper)
    lower, upper = np.minimum(lower, 1 - EDGE), np.maximum(upper, EDGE)
    with np.errstate(divide="ignore"):
        return np.log(lower) - np.log1p(-lower), np.log(upper) - np.log1p(-upper)


def min_stabbing_points(lower: np.ndarray, upper: np.ndarray) -> np.ndarray:
    """Return the fewest points, ascending, such that every interval [lower, upper] holds one."""
    points: list[float] = []
    last, largest = -np.inf, -np.inf
    order = np.argsort(upper, kind="stable")
    # by right end: a point at the right end of the first interval without one serves the most that follow
    for low, high in zip(lower[order].tolist(), upper[order].tolist(), strict=True):
        largest = max(largest, low)
        if not points or low > last:
            last = high
            points.append(high)
    # an infinite right end is no offset: the largest left end lies in all of the same intervals
    if points and np.isinf(points[-1]):
        points[-1] = largest if np.isfinite(largest) else 0.0
    return np.array(points)


def locate_points(lower: np.ndarray, upper: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return for each interval the index of the first point that it holds, and how many of the points it holds; [N] each."""
    first = np.searchsorted(points, lower, side="left")
    return first, np.searchsorted(points, upper, side="right") - first
