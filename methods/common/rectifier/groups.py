"""Rows by observation pattern: codes, sums, and rows dealt to parts within groups."""

from __future__ import annotations

import numpy as np


def code_patterns(pattern: np.ndarray, patterns: np.ndarray) -> np.ndarray:
    """Return the position of each row's pattern among the sorted ``patterns``, -1 where it is none of them."""
    if not len(patterns):
        return np.full(len(pattern), -1)
    at = np.minimum(np.searchsorted(patterns, pattern), len(patterns) - 1)
    return np.where(patterns[at] == pattern, at, -1)


def sum_known(code: np.ndarray, patterns: int, known: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the count of known rows int64 [T, P], and the sum of ``values`` over them float64 [T, P]."""
    count = [np.bincount(code[k], minlength=patterns) for k in known.T]
    total = [np.bincount(code[k], v[k], minlength=patterns) for k, v in zip(known.T, values.T, strict=True)]
    return np.stack(count), np.stack(total)


def deal_rows(code: np.ndarray, parts: int, rng: np.random.Generator) -> np.ndarray:
    """Deal the rows of each group to ``parts`` parts, int [N], so that a group's shares differ in size by one row at most."""
    order = np.lexsort((rng.random(len(code)), code))
    ordered = code[order]
    rank = np.arange(len(code)) - np.searchsorted(ordered, ordered)
    # each group begins at a part of its own, or part 0 would get the odd row of every group
    first = ((1.0 - rng.random(int(code.max(initial=-1)) + 1)) * parts).astype(int)
    out = np.empty(len(code), dtype=int)
    out[order] = (rank + first[ordered]) % parts
    return out


def split_in_halves(code: np.ndarray, seed: int) -> np.ndarray:
    """Split the rows in two, bool [N], within each pattern, sizes differing by one at most; by ``seed`` alone."""
    return deal_rows(code, 2, np.random.default_rng(seed)) == 1
