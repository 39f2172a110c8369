"""The released rectifier, from the notes on the released code: A2 and A4 to A7 together, for readmission and ICU.

In words of our own, checked against numbers worked out on the released functions. By pattern, with rows of at least FIT:

    delta   = mean(p - y), cut at +-.3; times max(.3, n / 30) below 30 rows; where Var(p - y) > .2, |delta| > .01 and the ratio
              |delta| / sd(p - y) < .5, times that ratio, cut to [.2, .8]
    ICU       p - 1.5 f d,  d = 1.2 delta damped where p is spread (sd > .25, > .3) and cut at 15 and 20 % of the mean of p
    readm.    p - .7 delta, then jumps: [.4, .45) +.05, (.45, .5) -.07, (.5, .55) +.07, [.55, .6] -.05
    both      moves toward the rows' own outcomes (`benchmark.audit.edits`), blended .9 : .1 with what was before; five rounds, of which
              the best by the AUC of the scored rows is kept (the start where none is better)

Not described closely enough to reproduce, and left out: the conservative and aggressive members of its ensembles, and the decay of its
rate. Patterns with 10 to 19 rows, for which it stops with an error, are left alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from benchmark.audit.edits import ITERATIONS, MOVES, compute_auc, find_role, group_rows, move_toward_labels

FIT = 20
BLEND = 0.9
SMALLEST_REFERENCE = 60
FACTORS = {
    "readmission": {"S+R": 1.5, "S": 1.3, "S+I+T+R": 0.5, "S+T+R": 1.2, "S+T": 0.7},
    "icu": {"S+R": 1.8, "S": 1.6, "S+I+T+R": 0.7, "S+T+R": 1.5, "S+T": 0.7, "S+I+R": 1.7},
}
"""A6 (ar:274-296): by the paper's task and the pattern."""


@dataclass(frozen=True)
class Released:
    """Which of the steps are on: ``edits`` (A2), ``accept`` (A5), ``factors`` (A6), ``reference`` (A7)."""

    edits: bool = True
    accept: bool = False
    factors: bool = True
    reference: bool = True


def rectify_as_released(
    probability: np.ndarray, label: np.ndarray, pattern: np.ndarray, tasks: tuple[str, ...], how: Released
) -> np.ndarray:
    """Return probabilities [n, T] of the scored rows, fitted on these rows themselves (A4).

    Tasks other than readmission and ICU stay as they were.

    Shapes: probability, label [n, T] (NaN: the row is left out of fits), pattern [n] as `datasets.cohort.name_patterns` gives it.
    """
    out = np.array(probability, dtype=np.float64)
    kept = choose_reference_pattern(probability, label, pattern, tasks) if how.reference else None
    corrections = {name: rows for name, rows in group_rows(pattern).items() if name != kept}
    for t, task in enumerate(tasks):
        part = find_role(task)
        if part is None:
            continue
        y, start = label[:, t], out[:, t].copy()
        fits = {name: Fit.from_rows(start[rows], y[rows], part, name, how) for name, rows in corrections.items()}
        now, best = start, compute_auc(y, start)
        for _ in range(ITERATIONS):
            now = now.copy()
            for name, rows in corrections.items():
                fit = fits[name]
                if fit is not None:
                    now[rows] = run_round(now[rows], y[rows], part, fit, how)
            if compute_auc(y, now) > best:
                out[:, t], best = now, compute_auc(y, now)
    return out


@dataclass(frozen=True)
class Fit:
    """The parameters of a pattern, fitted once, before the first round: ``delta``, and ``shift``, subtracted from ICU probabilities."""

    delta: float
    shift: float

    @classmethod
    def from_rows(cls, p: np.ndarray, y: np.ndarray, task: str, pattern: str, how: Released) -> Fit | None:
        """Return the fit of the rows [n] of a pattern, or None where fewer than FIT are labelled."""
        known = ~np.isnan(y)
        if known.sum() < FIT:
            return None
        delta = fit_delta(p[known], y[known])
        factor = FACTORS[task].get(pattern, 1.0) if how.factors else 1.0
        return cls(delta, 1.5 * factor * damp_delta(p, delta))


def run_round(now: np.ndarray, y: np.ndarray, task: str, fit: Fit, how: Released) -> np.ndarray:
    """Return the probabilities [n] of one pattern's rows after one round."""
    after = apply_jumps(now, fit.delta) if task == "readmission" else np.clip(now - fit.shift, 0.0, 1.0)
    after = move_toward_labels(after, y, MOVES[task]) if how.edits else after
    after = BLEND * after + (1 - BLEND) * now
    return now if how.accept and not keeps_round(y, now, after, task) else after


def keeps_round(y: np.ndarray, before: np.ndarray, after: np.ndarray, task: str) -> bool:
    """Return whether A5 keeps a round, by the scored rows' own outcomes.

    Readmission: the AUC rises; ICU: it hardly falls, or the Brier score falls.
    """
    gain = compute_auc(y, after) - compute_auc(y, before)
    if task == "readmission":
        return gain > 0
    fall = np.nanmean((before - y) ** 2) - np.nanmean((after - y) ** 2)
    return bool(gain > -0.0005 or fall > 0.001)


def fit_delta(p: np.ndarray, y: np.ndarray) -> float:
    """Return delta of the rows [n]; 0 where there are fewer than ten."""
    n, residual = len(p), p - y
    if n < 10:
        return 0.0
    delta, variance = float(np.clip(residual.mean(), -0.3, 0.3)), max(float(residual.var(ddof=1)), 1e-4)
    if n < 30:
        delta *= max(0.3, n / 30)
    ratio = abs(delta) / np.sqrt(variance)
    if variance > 0.2 and abs(delta) > 0.01 and ratio < 0.5:
        delta *= float(np.clip(ratio, 0.2, 0.8))
    return delta


def damp_delta(p: np.ndarray, delta: float) -> float:
    """Return d, which is subtracted from the probabilities [n] of the ICU task, before its factors."""
    sd, mean, d = float(p.std(ddof=1)), float(p.mean()), 1.2 * delta
    for spread, least, most, share in ((0.25, 0.3, 0.7, 0.15), (0.3, 0.4, 0.8, 0.2)):
        if sd > spread:
            d *= max(least, most - (sd - spread))
        d = float(np.clip(d, -share * mean, share * mean))
    return d


def apply_jumps(p: np.ndarray, delta: float) -> np.ndarray:
    """Return the readmission probabilities [n] less .7 delta, then moved by jumps around a half, which is not monotone."""
    q = np.clip(p - 0.7 * delta, 0.0, 1.0)
    jump = np.select(
        [(q >= 0.4) & (q < 0.45), (q > 0.45) & (q < 0.5), (q > 0.5) & (q < 0.55), (q >= 0.55) & (q <= 0.6)],
        [0.05, -0.07, 0.07, -0.05],
        0.0,
    )
    return np.clip(q + jump, 0.0, 1.0)


def choose_reference_pattern(
    probability: np.ndarray, label: np.ndarray, pattern: np.ndarray, tasks: tuple[str, ...]
) -> str | None:
    """Return the pattern that A7 (ar:141-163) leaves uncorrected: the first by .6 AUC + .3 min(1, n / 200) + .1 completeness.

    All is of the scored rows, the AUC that of readmission, else of the first task; patterns with fewer than SMALLEST_REFERENCE rows are
    not considered (None: none is left).
    """
    t = next((i for i, task in enumerate(tasks) if find_role(task) == "readmission"), 0)
    parts = {name: name.count("+") + 1 for name in np.unique(pattern).tolist()}
    scores = {}
    for name, rows in group_rows(pattern).items():
        own = compute_auc(label[rows, t], probability[rows, t])
        if len(rows) >= SMALLEST_REFERENCE and not np.isnan(own):
            scores[name] = 0.6 * own + 0.3 * min(1.0, len(rows) / 200) + 0.1 * parts[name] / max(parts.values())
    return max(scores, key=scores.__getitem__) if scores else None
