"""The most that any offsets could do for AUC and average precision: upper bounds, from the base probabilities and the labels.

Pairs of a positive row i and a negative row j of one fold, and groups within which the declared step adds one offset.

AUC is the mean over pairs of 1 (i above j), 1/2 (tied) or 0.

- Both in one group: the step keeps their order, so the pair keeps its value, except that clipping and rounding may tie what was apart.
- In groups G and H: only the difference d of their offsets counts. For each (G, H) by itself the best d is found exactly, all pairs of
  G and H at once. True offsets give one d a pair of groups, and those must fit each other (d_GK = d_GH + d_HK): dropping that
  condition can only raise the sum. Hence an upper bound, and for two groups the maximum itself.

Average precision is the mean over positives i of (positives at or above i) / (rows at or above i).

- Rows of i's own group at or above it are known. Those of any other group H are a prefix of H in descending order; taking the best
  prefix of each H for each i by itself, instead of prefixes that fit one shift and each other, can only raise it. The best ratio over
  all choices is the root in u of  A (1 - u) - B u + sum over H of max over prefixes (a (1 - u) - b u) = 0, with A, a positives and
  B, b negatives; the left side is convex and falls in u, so the chord between two points of a grid meets 0 at or above the root.

Rounding is monotone: printed values that differ are in the true order, and equal ones leave it open. Where it is open the bound takes
what the results show if that is within rounding. A row whose group is unknown (-1) gets the best value in every pair.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

GRID = np.linspace(0.0, 1.0, 401)


@dataclass(frozen=True, eq=False)
class FoldScores:
    """One fold's labelled rows of one task, [N] each.

    ``base``: as printed, values a few places of a 32-bit float apart taken as one; ``low, high``: ends of the base score on the scale of
    the offsets; ``room``: how far the results of rows with one printed base may be apart by rounding alone.
    """

    label: np.ndarray
    base: np.ndarray
    low: np.ndarray
    high: np.ndarray
    after: np.ndarray
    room: np.ndarray
    group: np.ndarray

    def take(self, rows: np.ndarray) -> FoldScores:
        """Return some of the rows."""
        return FoldScores(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))


def bound_auc(s: FoldScores) -> float:
    """Return the bound on the AUC of the results; needs both labels."""
    one, zero = np.flatnonzero(s.label == 1), np.flatnonzero(s.label == 0)
    i, j = np.repeat(one, len(zero)), np.tile(zero, len(one))
    unknown = (s.group[i] < 0) | (s.group[j] < 0)
    same = (s.group[i] == s.group[j]) & ~unknown
    total = (
        float(unknown.sum())
        + _sum_within(s, i[same], j[same])
        + _sum_between(s, i[~same & ~unknown], j[~same & ~unknown])
    )
    return total / len(i)


def bound_precision(s: FoldScores) -> float:
    """Return the bound on the average precision of the results; 1 where a row's group is unknown; needs a positive."""
    if (s.group < 0).any():
        return 1.0
    best = {group: _maximise_prefix(s, np.flatnonzero(s.group == group)) for group in np.unique(s.group)}
    total = np.sum(list(best.values()), axis=0)
    reached = []
    for group, gain in best.items():
        own = s.take(np.flatnonzero(s.group == group))
        positives, negatives = _count_own_prefix(own)
        left = np.outer(positives, 1 - GRID) - np.outer(negatives, GRID) + (total - gain)
        k = np.argmax(left <= 1e-12, axis=1)
        row = np.arange(len(k))
        above, below = left[row, k - 1], left[row, k]
        reached.append(np.clip(GRID[k - 1] + (GRID[k] - GRID[k - 1]) * above / np.maximum(above - below, 1e-300), 0, 1))
    return float(np.concatenate(reached).mean())


def _sum_within(s: FoldScores, i: np.ndarray, j: np.ndarray) -> float:
    """Return the sum over pairs of one group of the most that the declared step leaves."""
    now = 0.5 + 0.5 * np.sign(s.after[i] - s.after[j])
    tied = now == 0.5
    close = np.abs(s.after[i] - s.after[j]) <= np.maximum(s.room[i], s.room[j])
    lower = np.where(tied, 0.5, 0.0)
    open_ = np.where(close, now, 0.5)
    return float(np.where(s.base[i] > s.base[j], 1.0, np.where(s.base[i] < s.base[j], lower, open_)).sum())


def _sum_between(s: FoldScores, i: np.ndarray, j: np.ndarray) -> float:
    """Sum over pairs of groups the best value of their pairs of rows under one difference d of offsets, (smaller) - (larger)."""
    if not len(i):
        return 0.0
    first = s.group[i] < s.group[j]
    groups = int(s.group.max()) + 1
    key = np.minimum(s.group[i], s.group[j]) * groups + np.maximum(s.group[i], s.group[j])
    worth = np.where(s.after[i] == s.after[j], 0.5, 1.0)
    gap = s.low[j] - s.high[i]
    order = np.lexsort((~first, np.where(first, gap, -gap), key))
    key, first, worth = key[order], first[order], worth[order]
    starts = np.flatnonzero(np.r_[True, key[1:] != key[:-1]])
    # sweep d upward over the gaps: a pair with its positive in the smaller group is won from its gap on, the others up to theirs
    change = np.where(first, worth, -worth)
    at_left = np.add.reduceat(np.where(first, 0.0, worth), starts)
    run = np.cumsum(change)
    before = np.r_[0.0, run][starts]
    highest = np.maximum.reduceat(run, starts) - before
    return float((at_left + np.maximum(highest, 0.0)).sum() + (1 - worth).sum())


def _maximise_prefix(s: FoldScores, rows: np.ndarray) -> np.ndarray:
    """Return the maximum over prefixes of a (1 - u) - b u, for each u of GRID; the empty prefix counts."""
    order = rows[np.lexsort((-s.after[rows], -s.base[rows]))]
    base, after, label = s.base[order], s.after[order], s.label[order]
    # a prefix may end between different bases, or where the results tell apart what was printed alike
    apart = after[:-1] - after[1:]
    cut = (base[1:] != base[:-1]) | ((apart > 0) & (apart <= s.room[order][:-1]))
    last = np.flatnonzero(np.r_[cut, True])
    a, b = np.cumsum(label == 1)[last], np.cumsum(label == 0)[last]
    found = np.zeros(len(GRID))
    # in blocks, which bounds the memory
    for block in np.array_split(np.arange(len(last)), max(1, len(last) // 2000)):
        found = np.maximum(found, (np.outer(a[block], 1 - GRID) - np.outer(b[block], GRID)).max(axis=0))
    return found


def _count_own_prefix(s: FoldScores) -> tuple[np.ndarray, np.ndarray]:
    """Count the group's positives and negatives at or above each of its positives, the fewest negatives that rounding allows."""
    order = np.lexsort((-s.after, -s.base))
    base, after, label, room = s.base[order], s.after[order], s.label[order], s.room[order]
    positives, negatives = [], []
    for k in np.flatnonzero(label == 1):
        tied = base == base[k]
        below = tied & (after < after[k]) & (after >= after[k] - room[k])
        positives.append(np.count_nonzero((label == 1) & ((base >= base[k]) | (after == after[k])) & ~below))
        negatives.append(np.count_nonzero((label == 0) & (base >= base[k]) & ~below))
    return np.array(positives, dtype=float), np.array(negatives, dtype=float)
