"""The rectifier: correct probabilities by observation pattern, after any method. Group recalibration, and called that: nothing here is
doubly robust. Plain numpy.

It is fitted on calibration rows (the validation part, or out-of-fold predictions of the training part) and applied to others:

- ``hierarchical``, the default where one is on: offsets on the probability scale from mean residuals at three levels (``levels``), their
  threshold and strength chosen for each task by cross-validation within the calibration rows (``strength``).
- ``offset``: the mean residual of each pattern where it exceeds a threshold, as the paper's text has it (``offsets``).
- ``shrunk``: offsets on the logit scale, shrunk toward the task's pooled intercept (``shrunk``).

``rectify_paper`` is the paper protocol's rule, which has no kinds (``paper``).

A constant added to all logits of a task changes no order after ``hierarchical`` and ``shrunk``. For the first this is ours: before the
residuals are taken, the intercept that fits best on the calibration rows is added on the logit scale
(``methods/common/intercepts.py``). An offset on the probability scale cannot undo a shift of the logits: near 0 and 1 the spread within a
pattern shrinks and the offsets between patterns do not. Where no strength is chosen the intercept alone is applied, if the mean residual
of all rows exceeds its standard error; it changes no order. ``offset`` does not have this property: its threshold and its scale are those
of the paper's text.
"""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from scipy.special import expit

from methods.common.intercepts import fit_intercepts
from methods.common.rectifier.groups import code_patterns
from methods.common.rectifier.levels import ANY_POSITIVES, POSITIVES, fit_levels
from methods.common.rectifier.offsets import MINIMUM, choose_tau, fit_pattern_offsets
from methods.common.rectifier.paper import rectify_paper
from methods.common.rectifier.record import check_shapes, record_rectifier
from methods.common.rectifier.shrunk import fit_shrunk_offsets
from methods.common.rectifier.strength import NOTHING, choose_strength
from results.metrics.calibration import logit

__all__ = ["KINDS", "Rectifier", "rectify_paper"]

KINDS = ("hierarchical", "offset", "shrunk")


class Rectifier:
    """The strict protocol's rectifier: fitted on calibration rows, applied to others.

    ``pattern`` arguments are one label a row, e.g. of ``datasets.cohort.name_patterns``; ``size`` arguments the number of observed
    modalities of each row, which ``hierarchical`` needs. ``tau``: the threshold of ``offset``, or None to have it chosen. ``tasks``: names,
    from which ``hierarchical`` takes the least positives of a pattern (``levels``).

    After ``fit``: ``patterns`` (names, sorted), ``delta`` float64 [T, P] (what is added; on the logit scale if shrunk), ``unseen`` [T, S],
    the same for a pattern never seen by number of observed modalities (the last column: a number never seen), ``count`` [T, P] labelled
    rows, ``tau`` of ``offset``, and of ``hierarchical`` ``intercept`` [T], added on the logit scale first, and ``choices``, one a task.
    """

    def __init__(
        self,
        kind: str = "hierarchical",
        tau: float | None = None,
        minimum: int = MINIMUM,
        seed: int = 0,
        tasks: tuple[str, ...] = (),
    ) -> None:
        if kind not in KINDS:
            raise ValueError(f"rectifier kind is {kind!r}; it must be {', '.join(KINDS[:-1])} or {KINDS[-1]}")
        self.kind, self.given_tau, self.minimum, self.seed, self.tasks = kind, tau, minimum, seed, tasks

    def fit(
        self, probability: np.ndarray, label: np.ndarray, pattern: np.ndarray, size: np.ndarray | None = None
    ) -> Self:
        """Fit the rectifier on calibration rows: probability, label [N, T] (NaN = undefined), pattern, size [N].

        Raises:
            ValueError: shapes that do not fit together, or no ``size`` where it is needed.
        """
        probability, label, pattern = check_shapes(probability, label, pattern)
        self.patterns, first, code = np.unique(pattern, return_index=True, return_inverse=True)
        self.tau = None
        if self.kind == "hierarchical":
            if size is None:
                raise ValueError(
                    "the hierarchical rectifier needs size [N], the number of observed modalities of each row"
                )
            self._fit_hierarchy(probability, label, code, np.asarray(size)[first])
            return self
        if self.kind == "shrunk":
            offsets = fit_shrunk_offsets(probability, label, code, len(self.patterns))
        else:
            self.tau = self.given_tau
            if self.tau is None:
                self.tau = choose_tau(probability, label, code, len(self.patterns), self.minimum, self.seed)
            offsets = fit_pattern_offsets(probability, label, code, len(self.patterns), self.minimum)
        self.delta, self.count, self.unseen = offsets.delta, offsets.count, offsets.unseen[:, None]
        return self

    def _fit_hierarchy(self, probability: np.ndarray, label: np.ndarray, code: np.ndarray, size: np.ndarray) -> None:
        """Fit ``hierarchical``, each task on its own labelled rows; ``size`` [P]."""
        tasks = probability.shape[1]
        self.intercept = fit_intercepts(probability, label)
        centred = expit(logit(probability) + self.intercept)
        self.delta, self.unseen = np.zeros((tasks, len(size))), np.zeros((tasks, int(size.max(initial=0)) + 2))
        self.count = np.stack([np.bincount(code[~np.isnan(y)], minlength=len(size)) for y in label.T])
        self.choices = []
        for t in range(tasks):
            known = ~np.isnan(label[:, t])
            least = POSITIVES.get(self.tasks[t], ANY_POSITIVES) if self.tasks else ANY_POSITIVES
            rows = (centred[known, t], label[known, t], code[known], size, least)
            # a generator for each task, so that no task's rows change what another draws
            choice = choose_strength(*rows, np.random.default_rng((self.seed, t))) if known.any() else NOTHING
            self.choices.append(choice)
            if choice.strength:
                tau, unseen = fit_levels(*rows).choose_offsets((choice.kappa,))
                self.delta[t], self.unseen[t] = choice.strength * tau[0], choice.strength * unseen[0]
            elif not _exceeds_its_error(label[known, t] - probability[known, t]):
                self.intercept[t] = 0.0

    def apply(self, probability: np.ndarray, pattern: np.ndarray, size: np.ndarray | None = None) -> np.ndarray:
        """Return corrected probabilities float64 [N, T], strictly rising in the base ones within a pattern but for the clipping."""
        probability = np.asarray(probability, dtype=np.float64)
        code = code_patterns(np.asarray(pattern), self.patterns)
        # without sizes every pattern never seen takes the last column, which is that of all rows
        last = self.unseen.shape[1] - 1
        column = np.full(len(code), last) if size is None else np.minimum(np.asarray(size), last)
        shift = self.unseen.T[column]
        shift[code >= 0] = self.delta.T[code[code >= 0]]
        if self.kind == "shrunk":
            return np.where(shift != 0, expit(logit(probability) + shift), probability)
        if self.kind == "offset":
            shift = np.where(np.abs(shift) > self.tau, shift, 0.0)
        else:
            probability = np.where(self.intercept != 0, expit(logit(probability) + self.intercept), probability)
        return np.where(shift != 0, np.clip(probability + shift, 0.0, 1.0), probability)

    def record(
        self, tasks: tuple[str, ...], probability: np.ndarray, pattern: np.ndarray, size: np.ndarray | None = None
    ) -> dict[str, Any]:
        """Return what a cell stores: what was learned by task and pattern, and the share of the given (test) rows that it changes."""
        used = self.delta != 0 if self.tau is None else np.abs(self.delta) > self.tau
        after = self.apply(probability, pattern, size)
        found = record_rectifier(
            "strict", self.tau, tasks, self.patterns, self.count, self.delta, used, probability, after, pattern
        )
        if self.kind == "hierarchical":
            found["intercept"] = dict(zip(tasks, self.intercept.tolist(), strict=True))
            found["kappa"] = {task: c.kappa for task, c in zip(tasks, self.choices, strict=True)}
            found["strength"] = {task: c.strength for task, c in zip(tasks, self.choices, strict=True)}
        return found


def _exceeds_its_error(residual: np.ndarray) -> bool:
    """Return whether the mean exceeds its standard error: the rule of ``levels`` for all rows."""
    return bool(len(residual)) and abs(residual.mean()) > residual.std() / np.sqrt(len(residual))
