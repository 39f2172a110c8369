"""Mean residuals at three levels, all rows > number of observed modalities c > pattern d, each shrunk toward its parent.

Residual r = y - p of calibration rows. Of a group g: mean raw_g, se_g = sqrt(max(var_g, 1e-8) / n_g) with the population variance.

    v_c = max(1e-8, sum_c n_c (raw_c - raw_all)^2 / n - sum_c n_c se_c^2 / n)    (1e-8 where there is one c only)
    k_c = v_c / (v_c + se_c^2);   shrunk_c = k_c raw_c + (1 - k_c) raw_all;   sse_c = k_c se_c
    v_d, k_d, shrunk_d, sse_d likewise, with raw_d against the shrunk_c of its parent

A group is used if it has enough rows, positives and negatives, and |shrunk| - sse > kappa. A row's tau is that of the finest group that
is used: its pattern's, else its count's, else that of all rows, else 0.
Source: the CRL-MMNAR authors' later code (rectifier.py at 440d76a), as facts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

FLOOR = 1e-8
PATTERN_ROWS = 100
COUNT_ROWS = 150
NEGATIVES = 30
POSITIVES = {"readmission_30d": 15, "icu_readmission": 15, "icu_90d": 8, "mortality_inhosp": 10}
"""Least positives of a pattern by task; ``ANY_POSITIVES`` for a task of another name."""
ANY_POSITIVES = 10
COUNT_POSITIVES = 10


@dataclass(frozen=True, eq=False)
class Level:
    """The groups of one level: ``shrunk`` and ``sse`` float64 [G], and ``enough`` bool [G], whether a group's counts allow its use."""

    shrunk: np.ndarray
    sse: np.ndarray
    enough: np.ndarray


@dataclass(frozen=True, eq=False)
class Levels:
    """The hierarchy of one task: all rows (G = 1), number of observed modalities (G = the largest + 1), patterns (G = P)."""

    every: Level
    count: Level
    pattern: Level
    size: np.ndarray

    def choose_offsets(self, kappas: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray]:
        """Return tau of the patterns float64 [K, P] and, by number of observed modalities, that of a pattern never seen [K, G + 1], whose
        last column is for a number never seen."""
        every = _use(self.every, kappas, np.zeros((len(kappas), 1)))
        count = _use(self.count, kappas, every)
        return _use(self.pattern, kappas, count[:, self.size]), np.concatenate([count, every], axis=1)


def fit_levels(
    probability: np.ndarray, label: np.ndarray, code: np.ndarray, size: np.ndarray, positives: int
) -> Levels:
    """Fit the hierarchy of one task to labelled rows: probability, label float64 [N], code int [N] in 0..P-1.

    Args:
        size: int [P], the number of observed modalities of each pattern.
        positives: the least positives of a pattern.
    """
    residual = label - probability
    groups = (np.zeros_like(code), 1), (size[code], int(size.max(initial=0)) + 1), (code, len(size))
    (raw, se, n), by_count, by_pattern = (_summarize(residual, label, of, number) for of, number in groups)
    every = Level(raw, se, _has_enough(n, 1, 1))
    count = Level(*_shrink(*by_count, raw), _has_enough(by_count[2], COUNT_ROWS, max(positives, COUNT_POSITIVES)))
    pattern = Level(*_shrink(*by_pattern, count.shrunk[size]), _has_enough(by_pattern[2], PATTERN_ROWS, positives))
    return Levels(every, count, pattern, size)


def _summarize(
    residual: np.ndarray, label: np.ndarray, code: np.ndarray, groups: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return mean and standard error float64 [G] of the residuals, and the negatives and positives int [2, G]."""
    counts = np.stack([np.bincount(code[label == y], minlength=groups) for y in (0, 1)])
    n = np.maximum(counts.sum(axis=0), 1)
    mean = np.bincount(code, residual, minlength=groups) / n
    variance = np.bincount(code, np.square(residual - mean[code]), minlength=groups) / n
    return mean, np.sqrt(np.maximum(variance, FLOOR) / n), counts


def _shrink(raw: np.ndarray, se: np.ndarray, counts: np.ndarray, parent: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return shrunk means and their standard errors float64 [G]; a group without rows has its parent's."""
    n = counts.sum(axis=0)
    excess = (n * (np.square(raw - parent) - np.square(se))).sum() / max(n.sum(), 1)
    between = max(FLOOR, float(excess)) if (n > 0).sum() > 1 else FLOOR
    k = np.where(n > 0, between / (between + np.square(se)), 0.0)
    return k * raw + (1 - k) * parent, k * se


def _has_enough(counts: np.ndarray, rows: int, positives: int) -> np.ndarray:
    return (counts.sum(axis=0) >= rows) & (counts[1] >= positives) & (counts[0] >= NEGATIVES)


def _use(level: Level, kappas: tuple[float, ...], parent: np.ndarray) -> np.ndarray:
    """Return the level's shrunk means [K, G] where they pass, else what their parents have."""
    passes = level.enough & (np.abs(level.shrunk) - level.sse > np.array(kappas)[:, None])
    return np.where(passes, level.shrunk, parent)
