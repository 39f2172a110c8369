"""Offsets by observation pattern on the probability scale, as the paper's text has them.

Base probability p_it, outcome y_it (NaN = undefined, left out), pattern d(i), task t, calibration rows C:

    Delta[t, d] = mean of y_it - p_it over the i in C with pattern d and y_it defined
    corrected   = clip(p_it + Delta[t, d(i)] 1{|Delta[t, d(i)]| > tau}, 0, 1)

A (task, pattern) with fewer than ``minimum`` = 20 such rows, or a pattern that C does not have, takes the pooled Delta[t], the mean over
all patterns (under the same minimum): left alone, these patterns would rise or fall in the ranking whenever the others are moved by a
shift that all share. The paper protocol leaves them alone (``pooled=False``).

tau, one for all tasks, from ``TAUS`` by the lowest mean over tasks of the Brier score of two-fold cross-fitting within C (a tie goes to
the larger, which changes less): C is split in two within each pattern by a given seed, never by outcome, and each half is corrected with
the other half's Delta. A half stands for all of C there, so it needs minimum / 2 labelled rows of a pattern to correct the other half's.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from methods.common.rectifier.groups import split_in_halves, sum_known

TAUS = (0.0, 0.01, 0.02, 0.05, 0.1)
MINIMUM = 20


@dataclass(frozen=True, eq=False)
class Offsets:
    """What is added: ``delta`` float64 [T, P] by task and pattern, ``unseen`` [T] to a pattern never seen (0 where nothing was learned),
    and ``count``, the labelled rows int64 [T, P]."""

    delta: np.ndarray
    count: np.ndarray
    unseen: np.ndarray


def fit_pattern_offsets(
    probability: np.ndarray, label: np.ndarray, code: np.ndarray, patterns: int, minimum: float, pooled: bool = True
) -> Offsets:
    """Return Delta[t, d] over the given rows; where fewer than ``minimum`` rows are labelled the pooled Delta[t], or 0 without ``pooled``.

    Shapes: probability, label [N, T]; code int [N], in 0..patterns-1.
    """
    count, total = sum_known(code, patterns, ~np.isnan(label), np.nan_to_num(label - probability))
    minimum = max(minimum, 1)
    every = count.sum(axis=1)
    rest = np.where(pooled & (every >= minimum), total.sum(axis=1) / np.maximum(every, 1), 0.0)
    return Offsets(np.where(count >= minimum, total / np.maximum(count, 1), rest[:, None]), count, rest)


def add_offsets(probability: np.ndarray, offsets: Offsets, code: np.ndarray, tau: float) -> np.ndarray:
    """Return clip(p + Delta 1{|Delta| > tau}, 0, 1), [N, T]; ``code`` -1 = a pattern never seen."""
    delta = np.column_stack([offsets.delta, offsets.unseen])
    # the last column is that of -1
    shift = np.where(np.abs(delta) > tau, delta, 0.0).T[code]
    return np.where(shift != 0, np.clip(probability + shift, 0.0, 1.0), probability)


def crossfit(
    probability: np.ndarray,
    label: np.ndarray,
    code: np.ndarray,
    patterns: int,
    taus: tuple[float, ...],
    minimum: float,
    seed: int,
    pooled: bool = True,
) -> np.ndarray:
    """Correct the rows by two-fold cross-fitting, each half with the other's Delta, for each tau: [len(taus), N, T]."""
    second = split_in_halves(code, seed)
    out = np.repeat(probability[None], len(taus), axis=0)
    for half in (second, ~second):
        offsets = fit_pattern_offsets(probability[~half], label[~half], code[~half], patterns, minimum, pooled)
        for k, tau in enumerate(taus):
            out[k, half] = add_offsets(probability[half], offsets, code[half], tau)
    return out


def choose_tau(
    probability: np.ndarray,
    label: np.ndarray,
    code: np.ndarray,
    patterns: int,
    minimum: float,
    seed: int,
    pooled: bool = True,
) -> float:
    """Choose the tau of ``TAUS`` with the lowest mean over tasks of the cross-fitted Brier score; the largest in a tie."""
    labelled = ~np.isnan(label)
    tasks = labelled.any(axis=0)
    if not tasks.any():
        return TAUS[-1]
    corrected = crossfit(probability, label, code, patterns, TAUS, minimum / 2, seed, pooled)
    squares = np.where(labelled, np.square(np.nan_to_num(label) - corrected), 0.0).sum(axis=1)
    brier = (squares[:, tasks] / labelled.sum(axis=0)[tasks]).mean(axis=1)
    return max(tau for tau, b in zip(TAUS, brier, strict=True) if b <= brier.min() + 1e-12)
