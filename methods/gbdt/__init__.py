"""Gradient-boosted trees on all features side by side, NaN where not recorded or unobserved, and the observation pattern.

scikit-learn's histogram gradient boosting, one model a task; NaN has its own branch at every split, so nothing is imputed. The
validation part stops each model by its own task after ``patience`` rounds without gain (log loss, or AUC under ``selection=auc``).
Adaptations: none to the learner; each split looks at a random share
``max_features`` of the features, and features have ``max_bins`` bins, to keep a fit on three thousand of them affordable; a feature that
no labelled training stay has is left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
from scipy.special import expit
from sklearn.ensemble import HistGradientBoostingClassifier

from datasets.cohort import Cohort
from methods.base import Method, prefix, unprefix
from methods.common.outcomes import SELECTIONS, base_rate, has_both_classes, labelled
from methods.common.preprocessing import raw_features
from methods.gbdt.trees import Trees

INFO = {
    "title": "Gradient boosting",
    "citation": "Friedman, Greedy function approximation: a gradient boosting machine, Ann. Statist. 29 (2001)",
    "year": 2001,
    "family": "plain baseline",
    "based_on": "scikit-learn's HistGradientBoostingClassifier",
}


@dataclass(frozen=True)
class Config:
    """``rounds`` at most, stopped after ``patience`` without gain on the validation part."""

    lr: float = 0.1
    rounds: int = 200
    patience: int = 15
    max_leaf_nodes: int = 15
    min_samples_leaf: int = 20
    max_features: float = 0.3
    l2: float = 1.0
    max_bins: int = 63
    selection: str = SELECTIONS[0]


class Gbdt(Method):
    """One boosted ensemble a task."""

    Config = Config
    grid: ClassVar = {"lr": [0.03, 0.1], "max_leaf_nodes": [4, 15, 31], "l2": [0.0, 1.0, 10.0]}

    def fit(self, train: Cohort, valid: Cohort) -> Self:
        """Fit the ensembles, each stopped by its own task's validation outcomes: all rounds where there are none, the log loss without two
        classes."""
        self.base_rate = base_rate(train.outcomes)
        self.trees: dict[int, Trees] = {}
        x, x_valid = raw_features(train), raw_features(valid)
        known, known_valid = labelled(train.outcomes), labelled(valid.outcomes)
        for t in np.flatnonzero(has_both_classes(train.outcomes)):
            rows, held_out = known[:, t], known_valid[:, t]
            used = np.flatnonzero(~np.isnan(x[rows]).all(axis=0))
            y, y_valid = (part.astype(np.int64) for part in (train.outcomes[rows, t], valid.outcomes[held_out, t]))
            stopping = {"X_val": x_valid[held_out][:, used], "y_val": y_valid} if held_out.any() else {}
            # an AUC needs both classes
            by_auc = self.config.selection == "auc" and y_valid.min(initial=1) < y_valid.max(initial=0)
            model = self._model(early_stopping=bool(stopping), scoring="roc_auc" if by_auc else "loss")
            model.fit(x[rows][:, used], y, **stopping)
            self.trees[int(t)] = Trees.of(model, used)
        return self

    def predict_proba(self, cohort: Cohort) -> np.ndarray:
        """Return probabilities float64 [N, T]."""
        out = np.tile(self.base_rate, (len(cohort), 1))
        x = raw_features(cohort)
        for t, trees in self.trees.items():
            out[:, t] = expit(trees.log_odds(x))
        return out

    def state(self) -> dict[str, np.ndarray]:
        """Return base rates, and the trees of each task that has some."""
        out = {"base_rate": self.base_rate, "boosted": np.array(list(self.trees), dtype=np.int64)}
        for t, trees in self.trees.items():
            out |= prefix(f"trees.{t}", trees.state())
        return out

    def load_state(self, state: dict[str, np.ndarray]) -> Self:
        """Restore the method from its ``state`` and return it."""
        self.base_rate = state["base_rate"]
        self.trees = {int(t): Trees(**unprefix(f"trees.{t}", state)) for t in state["boosted"]}
        return self

    def _model(self, early_stopping: bool, scoring: str) -> HistGradientBoostingClassifier:
        c = self.config
        return HistGradientBoostingClassifier(
            learning_rate=c.lr,
            max_iter=c.rounds,
            max_leaf_nodes=c.max_leaf_nodes,
            min_samples_leaf=c.min_samples_leaf,
            max_features=c.max_features,
            l2_regularization=c.l2,
            max_bins=c.max_bins,
            early_stopping=early_stopping,
            scoring=scoring,
            n_iter_no_change=c.patience,
            random_state=self.seed,
        )
