"""Logistic regression: all modalities side by side, zeros where unobserved, and the observation pattern; L2 penalty.

    min_w  1/2 |w|^2 + C sum_i log(1 + exp(-s_i (w . x_i + b))),   s_i = 2 y_i - 1,   one w a task

Inputs: ``methods/common/preprocessing.py``. C is chosen on the validation part, one for all tasks, by the rule ``selection``
(``methods.common.outcomes.selection_score``).
Adaptations: none to the model; unobserved slots are zeros, which after standardising is the mean.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from datasets.cohort import Cohort
from methods.base import Method, prefix, unprefix
from methods.common.outcomes import SELECTIONS, base_rate, has_both_classes, labelled, selection_score
from methods.common.preprocessing import Preprocessor

INFO = {
    "title": "Logistic regression",
    "citation": "plain baseline",
    "year": 1958,
    "family": "plain baseline",
    "based_on": "scikit-learn's LogisticRegression",
    "uses_seed": False,
}


@dataclass(frozen=True)
class Config:
    """``penalties``: the values of C tried on the validation part, rising; ``selection``: the rule that chooses one there; ``pca``: as in
    ``methods.common.preprocessing.Preprocessor``."""

    penalties: tuple[float, ...] = (1e-4, 1e-3, 1e-2, 1e-1)
    max_iter: int = 300
    selection: str = SELECTIONS[0]
    pca: int = 0


class Logistic(Method):
    """One penalised logistic regression a task."""

    Config = Config
    grid: ClassVar = {"penalties": [[1e-5], [1e-4], [1e-3], [1e-2], [1e-1], [1.0]]}

    def fit(self, train: Cohort, valid: Cohort) -> Self:
        """Fit the regressions, with the C that is best on ``valid``."""
        self.learnable, self.base_rate = has_both_classes(train.outcomes), base_rate(train.outcomes)
        self.coefficients = np.zeros((0, 0))
        self.preprocessor = Preprocessor(self.config.pca).fit(train)
        tasks = np.flatnonzero(self.learnable)
        if not len(tasks):
            return self
        x, x_valid = self._inputs(train), self._inputs(valid)
        models = [LogisticRegression(max_iter=self.config.max_iter, warm_start=True) for _ in tasks]
        known, best = labelled(train.outcomes), -np.inf
        for c in sorted(self.config.penalties):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)
                for t, model in zip(tasks, models, strict=True):
                    rows = known[:, t]
                    model.set_params(C=c).fit(x[rows], train.outcomes[rows, t].astype(np.int64))
            w = np.stack([np.append(m.coef_[0], m.intercept_) for m in models], axis=1)
            score = np.nan
            if len(valid):
                score = selection_score(valid.outcomes[:, tasks], _probability(x_valid, w), self.config.selection)
            if score > best or not self.coefficients.size:
                best, self.coefficients = np.nan_to_num(score, nan=-np.inf), w
        return self

    def predict_proba(self, cohort: Cohort) -> np.ndarray:
        """Return probabilities float64 [N, T]."""
        out = np.tile(self.base_rate, (len(cohort), 1))
        if self.learnable.any():
            out[:, self.learnable] = _probability(self._inputs(cohort), self.coefficients)
        return out

    def state(self) -> dict[str, np.ndarray]:
        """Return coefficients, base rates and the preprocessor."""
        own = {"coefficients": self.coefficients, "learnable": self.learnable, "base_rate": self.base_rate}
        return own | prefix("preprocessor", self.preprocessor.state())

    def load_state(self, state: dict[str, np.ndarray]) -> Self:
        """Restore the method from its ``state`` and return it."""
        self.coefficients, self.learnable, self.base_rate = (
            state[k] for k in ("coefficients", "learnable", "base_rate")
        )
        self.preprocessor = Preprocessor().load_state(unprefix("preprocessor", state))
        return self

    def _inputs(self, cohort: Cohort) -> np.ndarray:
        return self.preprocessor.transform(cohort).flat(pattern=True)


def _probability(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Return float64 [N, K] of inputs [N, P] and weights [P + 1, K], the intercept last."""
    logits = x @ w[:-1] + w[-1]
    return 1.0 / (1.0 + np.exp(-np.clip(logits, -700, 700)))
