"""Results that the declared step cannot have given: too many offsets, several results of one base probability, a changed order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from results.audit.finding import LINES, DeclaredStep, Finding, Place, make_finding
from results.audit.offsets import min_stabbing_points

STEEP = 20.0
"""Slope on the logit scale up to which an increasing function may turn the rounding of a base probability into different results."""
FINE = 1e-6
"""Half width of base probabilities up to which equal ones are taken to be the same one under ``monotone``: a step of an isotonic
regression may lie inside the rounding of coarser ones."""
SHOWN = 6


def find_excess_offsets(rows: pd.DataFrame, task: str, declared: DeclaredStep) -> list[Finding]:
    """Find ``offsets``: groups that need more offsets than declared (``none``: any but 0)."""
    if declared.name == "monotone":
        return []
    if declared.name == "none":
        moved = rows[(rows["lower"] > 0) | (rows["upper"] < 0)]
        if moved.empty:
            return []
        what = f"{len(moved)} of {len(rows)} probabilities were changed, and no change is declared"
        largest = float((moved["after"] - moved["base"]).abs().max())
        places = [
            _make_place(group, {"n": len(group)}) for _, group in moved.groupby(["pattern", "fold"], observed=True)
        ]
        places.sort(key=lambda place: -place.numbers["n"])
        lines = [int(line) for line in moved["line"].head(LINES)]
        return [
            make_finding("offsets", task, moved, what, places=places, lines=lines, numbers={"largest_change": largest})
        ]
    wrong = rows[rows["needed"] > declared.offsets]
    if wrong.empty:
        return []
    places = []
    for _, group in wrong.groupby("group"):
        counts = _count_offsets(group)
        pair = [group["line"].iloc[int(np.argmin(group["upper"]))], group["line"].iloc[int(np.argmax(group["lower"]))]]
        values = {f"{value:+.4f}": count for value, count in counts[:SHOWN]}
        numbers: dict[str, float] = {"needed": int(group["needed"].iloc[0]), "n": len(group)}
        places.append(_make_place(group, numbers, lines=pair, values=values))
    places.sort(key=lambda place: (-place.numbers["needed"], -place.numbers["n"]))
    needed = places[0].numbers["needed"]
    shown = ", ".join(f"{value} ({count} rows)" for value, count in (places[0].values or {}).items())
    what = (
        f"{needed} different offsets where {declared.offsets} {'is' if declared.offsets == 1 else 'are'} declared: {shown}"
        f"{' ...' if needed > SHOWN else ''}"
    )
    return [make_finding("offsets", task, wrong, what, places=places, numbers={"needed": needed})]


def find_split_bases(rows: pd.DataFrame, task: str, declared: DeclaredStep) -> list[Finding]:
    """Find ``same_base``: rows of one group with one base probability and results that differ by more than rounding allows."""
    if declared.name == "none":
        return []
    if declared.name == "monotone" and rows["base_half"].max() > FINE:
        return []
    suspects = rows if declared.name == "monotone" else rows[rows["needed"] > declared.offsets]
    suspects = suspects[suspects.duplicated(["group", "base"], keep=False)]
    wrong, places = [], []
    for _, level in suspects.groupby(["group", "base"]):
        if declared.name == "monotone":
            differ = np.ptp(level["after"]) > _bound_rounding(level)
        else:
            differ = len(min_stabbing_points(level["lower"].to_numpy(), level["upper"].to_numpy())) > declared.offsets
        if differ:
            wrong.append(level)
            pair = [
                level["line"].iloc[int(np.argmin(level["after"]))],
                level["line"].iloc[int(np.argmax(level["after"]))],
            ]
            base, spread = float(level["base"].iloc[0]), float(np.ptp(level["after"]))
            places.append(_make_place(level, {"n": len(level), "base": base, "spread": spread}, lines=pair))
    if not wrong:
        return []
    places.sort(key=lambda place: -place.numbers["spread"])
    spread = places[0].numbers["spread"]
    what = f"one base probability, results up to {spread:.4f} apart ({len(places)} such probabilities)"
    return [make_finding("same_base", task, pd.concat(wrong), what, places=places, numbers={"spread": spread})]


def find_order_changes(rows: pd.DataFrame, task: str, declared: DeclaredStep) -> list[Finding]:
    """Find ``order`` (``monotone`` only): a result below that of a row with a smaller base probability."""
    if declared.name != "monotone":
        return []
    wrong, places = [], []
    for _, group in rows.groupby("group"):
        ordered = group.sort_values(["base", "after"], kind="stable")
        after, line = ordered["after"].to_numpy(), ordered["line"].to_numpy()
        top = np.maximum.accumulate(after)
        room = 2 * np.ldexp(1.0, -24) + np.where(top > 0, 2.0**-22 * top, 0.0)
        below = top - after > room
        if below.any():
            worst = int(np.argmax(top - after))
            pair = [int(line[int(np.argmax(after[: worst + 1]))]), int(line[worst])]
            wrong.append(ordered[below])
            numbers = {"n": int(below.sum()), "fall": float((top - after)[worst])}
            places.append(replace(_make_place(group, numbers, lines=pair), pattern=None))
    if not wrong:
        return []
    places.sort(key=lambda place: -place.numbers["fall"])
    fall = places[0].numbers["fall"]
    what = f"results fall by up to {fall:.4f} while the base probability rises"
    return [make_finding("order", task, pd.concat(wrong), what, places=places, numbers={"fall": fall})]


def _bound_rounding(level: pd.DataFrame) -> float:
    """Return how far rounding lets the results of one printed base probability differ, under a function of slope STEEP at most."""
    p, half, after = level["base"].iloc[0], level["base_half"].max(), level["after"]
    if p - half <= 0 or p + half >= 1:
        return np.inf
    width = np.log((p + half) / (p - half)) - np.log((1 - p - half) / (1 - p + half))
    return float(2 * level["after_half"].max() + STEEP * width * (after * (1 - after)).max())


def _count_offsets(group: pd.DataFrame) -> list[tuple[float, int]]:
    """Return the offsets that serve a group, each in the middle of what its rows allow, with its rows; the most frequent first."""
    middle = (group["lower"] + group["upper"]) / 2
    by_offset = middle[np.isfinite(middle)].groupby(group["moved"])
    found = zip(by_offset.median(), by_offset.size(), strict=True)
    return sorted(((float(value) + 0.0, int(count)) for value, count in found), key=lambda item: -item[1])


def _make_place(
    group: pd.DataFrame,
    numbers: dict[str, float],
    lines: Sequence[int] | None = None,
    values: dict[str, int] | None = None,
) -> Place:
    """Return where a group is, with its numbers; without ``lines`` its first few show it."""
    patterns = group["pattern"].unique()
    pattern = str(patterns[0]) if len(patterns) == 1 else None
    shown = group["line"].head(SHOWN) if lines is None else lines
    return Place(pattern, str(group["fold"].iloc[0]), numbers, tuple(int(line) for line in shown), values)
