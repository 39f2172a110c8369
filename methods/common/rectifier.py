"""The rectifier: correct probabilities by observation pattern, after any method. Group recalibration, and called that: nothing here is
doubly robust. Plain numpy.

Base probability p_it, outcome y_it (NaN = undefined, left out), pattern d(i), task t, calibration rows C:

    Delta[t, d] = mean of y_it - p_it over the i in C with pattern d and y_it defined
    corrected   = clip(p_it + Delta[t, d(i)] 1{|Delta[t, d(i)]| > tau}, 0, 1)

A (task, pattern) with fewer than ``minimum`` = 20 such rows is left alone, as is a pattern that C does not have.

tau, one for all tasks, from ``TAUS`` by the lowest mean over tasks of the Brier score of two-fold cross-fitting within C (a tie goes to
the larger, which changes less): C is split in two within each pattern by a given seed, never by outcome, and each half is corrected with
the other half's Delta. A half stands for all of C there, so it needs minimum / 2 labelled rows of a pattern to correct the other half's.

- ``Rectifier`` (strict protocol): C is the validation part or out-of-fold training predictions; the rows corrected are others.
- ``Rectifier(kind="shrunk")``: an offset b on the logit scale for each (t, d) instead, shrunk by count, with no tau and no minimum:
      U = sum (y - p),  I = sum p (1 - p)  over the rows of (t, d);     v_t = max(0, sum_d (U^2 / I - 1) / sum_d I)
      b = argmax  sum [ y log s + (1 - y) log(1 - s) ] - b^2 / (2 v_t),   s = sigmoid(logit p + b);   b = 0 where v_t = 0
  U / I is the one-step estimate of b with variance 1 / I, and v_t the method-of-moments variance of the true offsets around zero.
- ``rectify_paper`` (paper protocol): the rows being scored are C too. They are split in two within each pattern; each half is corrected
  with the Delta and the tau that the other half alone gives (tau by cross-fitting within that other half, ``minimum`` applying to it),
  so that no row's own outcome enters its own corrected value, not even through tau.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np

TAUS = (0.0, 0.01, 0.02, 0.05, 0.1)
MINIMUM = 20
_EPS = 1e-7


@dataclass(frozen=True, eq=False)
class Offsets:
    """What is added by task and pattern: ``delta`` float64 [T, P] (0 where nothing was learned), ``count`` labelled rows int64 [T, P]."""

    delta: np.ndarray
    count: np.ndarray


def fit_pattern_offsets(
    probability: np.ndarray, label: np.ndarray, code: np.ndarray, patterns: int, minimum: float
) -> Offsets:
    """Return Delta[t, d] over the given rows; 0 where fewer than ``minimum`` rows are labelled.

    Shapes: probability, label [N, T]; code int [N], in 0..patterns-1.
    """
    count, total = _sum_known(code, patterns, ~np.isnan(label), np.nan_to_num(label - probability))
    enough = count >= max(minimum, 1)
    return Offsets(np.where(enough, total / np.maximum(count, 1), 0.0), count)


def add_offsets(probability: np.ndarray, delta: np.ndarray, code: np.ndarray, tau: float) -> np.ndarray:
    """Return clip(p + Delta 1{|Delta| > tau}, 0, 1), [N, T]; ``code`` -1 = a pattern never seen, left alone."""
    used = np.where(np.abs(delta) > tau, delta, 0.0)
    shift = np.where((code >= 0)[:, None], used.T[np.maximum(code, 0)], 0.0)
    return np.where(shift != 0, np.clip(probability + shift, 0.0, 1.0), probability)


def split_in_halves(code: np.ndarray, seed: int) -> np.ndarray:
    """Split the rows in two, bool [N], within each pattern, sizes differing by one at most; by ``seed`` alone."""
    rng = np.random.default_rng(seed)
    order = np.lexsort((rng.random(len(code)), code))
    ordered = code[order]
    rank = np.arange(len(code)) - np.searchsorted(ordered, ordered)
    flip = rng.random(int(code.max(initial=-1)) + 1) < 0.5
    out = np.empty(len(code), dtype=bool)
    out[order] = (rank % 2 == 1) ^ flip[ordered]
    return out


def crossfit(
    probability: np.ndarray,
    label: np.ndarray,
    code: np.ndarray,
    patterns: int,
    taus: tuple[float, ...],
    minimum: float,
    seed: int,
) -> np.ndarray:
    """Correct the rows by two-fold cross-fitting, each half with the other's Delta, for each tau: [len(taus), N, T]."""
    second = split_in_halves(code, seed)
    out = np.repeat(probability[None], len(taus), axis=0)
    for half in (second, ~second):
        delta = fit_pattern_offsets(probability[~half], label[~half], code[~half], patterns, minimum).delta
        for k, tau in enumerate(taus):
            out[k, half] = add_offsets(probability[half], delta, code[half], tau)
    return out


def choose_tau(
    probability: np.ndarray, label: np.ndarray, code: np.ndarray, patterns: int, minimum: float, seed: int
) -> float:
    """Choose the tau of ``TAUS`` with the lowest mean over tasks of the cross-fitted Brier score; the largest in a tie."""
    labelled = ~np.isnan(label)
    tasks = labelled.any(axis=0)
    if not tasks.any():
        return TAUS[-1]
    corrected = crossfit(probability, label, code, patterns, TAUS, minimum / 2, seed)
    squares = np.where(labelled, np.square(np.nan_to_num(label) - corrected), 0.0).sum(axis=1)
    brier = (squares[:, tasks] / labelled.sum(axis=0)[tasks]).mean(axis=1)
    return max(tau for tau, b in zip(TAUS, brier, strict=True) if b <= brier.min() + 1e-12)


class Rectifier:
    """The strict protocol's rectifier: fitted on calibration rows, applied to others.

    ``kind``: ``offset`` (Delta and tau) or ``shrunk``. ``tau``: given, or None to have it chosen. ``pattern`` arguments are one label
    a row, e.g. of ``datasets.cohort.name_patterns``. After ``fit``: ``patterns`` (names, sorted), ``delta`` [T, P] (on the logit scale
    if shrunk), ``count`` [T, P], ``tau``.
    """

    def __init__(self, kind: str = "offset", tau: float | None = None, minimum: int = MINIMUM, seed: int = 0) -> None:
        if kind not in ("offset", "shrunk"):
            raise ValueError(f"rectifier kind is {kind!r}; it must be offset or shrunk")
        self.kind, self.given_tau, self.minimum, self.seed = kind, tau, minimum, seed

    def fit(self, probability: np.ndarray, label: np.ndarray, pattern: np.ndarray) -> Self:
        """Fit the rectifier on calibration rows: probability, label [N, T] (NaN = undefined), pattern [N].

        Raises:
            ValueError: shapes that do not fit together.
        """
        probability, label, pattern = _check_shapes(probability, label, pattern)
        self.patterns, code = np.unique(pattern, return_inverse=True)
        p = len(self.patterns)
        if self.kind == "shrunk":
            self.tau = None
            self.delta, self.count = fit_shrunk_offsets(probability, label, code, p)
            return self
        self.tau = self.given_tau
        if self.tau is None:
            self.tau = choose_tau(probability, label, code, p, self.minimum, self.seed)
        offsets = fit_pattern_offsets(probability, label, code, p, self.minimum)
        self.delta, self.count = offsets.delta, offsets.count
        return self

    def apply(self, probability: np.ndarray, pattern: np.ndarray) -> np.ndarray:
        """Return corrected probabilities float64 [N, T], strictly rising in the base ones within a pattern but for the clipping."""
        probability = np.asarray(probability, dtype=np.float64)
        code = _code_patterns(np.asarray(pattern), self.patterns)
        if self.kind == "offset":
            return add_offsets(probability, self.delta, code, self.tau)
        shift = np.where((code >= 0)[:, None], self.delta.T[np.maximum(code, 0)], 0.0)
        return np.where(shift != 0, _sigmoid(_logit(probability) + shift), probability)

    def record(self, tasks: tuple[str, ...], probability: np.ndarray, pattern: np.ndarray) -> dict[str, Any]:
        """Return what a cell stores: what was learned by task and pattern, and the share of the given (test) rows that it changes."""
        used = self.delta != 0 if self.tau is None else np.abs(self.delta) > self.tau
        after = self.apply(probability, pattern)
        return _record(
            "strict", self.tau, tasks, self.patterns, self.count, self.delta, used, probability, after, pattern
        )


def rectify_paper(
    probability: np.ndarray,
    label: np.ndarray,
    pattern: np.ndarray,
    seed: int,
    minimum: int = MINIMUM,
    tasks: tuple[str, ...] | None = None,
) -> tuple[np.ndarray, dict[str, Any]]:
    """Apply the paper protocol: return corrected probabilities [N, T] of the rows given and the record that a cell stores.

    Shapes as in ``Rectifier.fit``. In the record, ``delta`` is the mean of the two halves' weighted by labelled rows (0 for a half too
    small), ``applied`` says that at least one half's was used, and ``tau`` holds both, that of the first half's rows first.
    """
    probability, label, pattern = _check_shapes(probability, label, pattern)
    names, code = np.unique(pattern, return_inverse=True)
    second = split_in_halves(code, seed)
    out = probability.copy()
    taus, learned, used = [], [], []
    for half in (~second, second):
        other = (probability[~half], label[~half], code[~half], len(names))
        tau = choose_tau(*other, minimum, seed + 1)
        offsets = fit_pattern_offsets(*other, minimum)
        out[half] = add_offsets(probability[half], offsets.delta, code[half], tau)
        taus.append(tau)
        learned.append(offsets)
        used.append(np.abs(offsets.delta) > tau)
    count = learned[0].count + learned[1].count
    delta = sum(o.delta * o.count for o in learned) / np.maximum(count, 1)
    tasks = tuple(str(t) for t in range(probability.shape[1])) if tasks is None else tasks
    record = _record("paper", taus, tasks, names, count, delta, used[0] | used[1], probability, out, pattern)
    return out, record


def fit_shrunk_offsets(
    probability: np.ndarray, label: np.ndarray, code: np.ndarray, patterns: int
) -> tuple[np.ndarray, np.ndarray]:
    """Fit b [T, P] of the module's docstring by Newton's method, all tasks and patterns at once; also count the labelled rows [T, P]."""
    known = ~np.isnan(label)
    y, base = np.nan_to_num(label), _logit(probability)

    def score(b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        p = _sigmoid(base + b.T[code])
        return _sum_known(code, patterns, known, y - p)[1], _sum_known(code, patterns, known, p * (1 - p))[1]

    b = np.zeros((probability.shape[1], patterns))
    count, _ = _sum_known(code, patterns, known, y)
    u, i = score(b)
    some = count > 0
    excess = np.where(some, np.square(u) / np.maximum(i, _EPS) - 1.0, 0.0).sum(axis=1, keepdims=True)
    v = np.maximum(excess, 0.0) / np.maximum(i.sum(axis=1, keepdims=True), _EPS)
    prior = 1.0 / np.maximum(v, _EPS)
    for _ in range(50):
        u, i = score(b)
        b = b + np.clip((u - b * prior) / (i + prior), -1.0, 1.0)
    return np.where(some & (v > 0), b, 0.0), count


def _record(
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
    scored = np.bincount(_code_patterns(np.asarray(pattern), patterns) + 1, minlength=len(patterns) + 1)[1:]
    changed = (after != np.asarray(before, dtype=np.float64)).mean(axis=0) if len(after) else np.zeros(len(tasks))
    rows = [
        {"task": task, "pattern": str(name), "n_calibration": int(count[t, d]), "delta": float(delta[t, d]),
         "applied": bool(used[t, d]), "n_test": int(scored[d]), "true_delta": None}
        for t, task in enumerate(tasks) for d, name in enumerate(patterns)
    ]  # fmt: skip
    share = {task: float(changed[t]) for t, task in enumerate(tasks)}
    return {"protocol": protocol, "tau": tau, "share_changed": share, "rows": rows}


def _sum_known(code: np.ndarray, patterns: int, known: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return count of known rows int64 [T, P], and sum of ``values`` over them float64 [T, P]."""
    count = [np.bincount(code[k], minlength=patterns) for k in known.T]
    total = [np.bincount(code[k], v[k], minlength=patterns) for k, v in zip(known.T, values.T, strict=True)]
    return np.stack(count), np.stack(total)


def _code_patterns(pattern: np.ndarray, patterns: np.ndarray) -> np.ndarray:
    """Return position of each row's pattern among the sorted ``patterns``, -1 where it is none of them."""
    if not len(patterns):
        return np.full(len(pattern), -1)
    at = np.minimum(np.searchsorted(patterns, pattern), len(patterns) - 1)
    return np.where(patterns[at] == pattern, at, -1)


def _check_shapes(
    probability: np.ndarray, label: np.ndarray, pattern: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    probability, label = np.asarray(probability, dtype=np.float64), np.asarray(label, dtype=np.float64)
    pattern = np.asarray(pattern)
    if probability.ndim != 2 or probability.shape != label.shape or pattern.shape != probability.shape[:1]:
        raise ValueError(
            f"the rectifier needs probability and label [N, T] and pattern [N], not {probability.shape}, {label.shape}, {pattern.shape}"
        )
    return probability, label, pattern


def _logit(p: np.ndarray) -> np.ndarray:
    p = np.clip(np.asarray(p, dtype=np.float64), _EPS, 1 - _EPS)
    return np.log(p) - np.log1p(-p)


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1.0 / (1.0 + np.exp(-x))
