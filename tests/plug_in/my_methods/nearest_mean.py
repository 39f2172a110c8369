"""Nearest class mean: p = 1 / (1 + exp(-(w . x + b))), w along the difference of the class means. For tests of plug-ins."""

from dataclasses import dataclass

import numpy as np

from methods.base import Method, prefix, unprefix
from methods.common.outcomes import base_rate, has_both_classes
from methods.common.preprocessing import Preprocessor

from .maths import class_direction

INFO = {
    "title": "Nearest mean (plug-in)",
    "citation": "none",
    "year": 2026,
    "family": "plug-in",
    "based_on": "nothing",
    "uses_seed": False,
}


@dataclass(frozen=True)
class Config:
    """``sharpness``: factor of the weights."""

    sharpness: float = 1.0


class NearestMean(Method):
    """One direction a task."""

    Config = Config

    def fit(self, train, valid):
        """The method fitted."""
        self.preprocessor = Preprocessor().fit(train)
        x, rate = self._inputs(train), base_rate(train.outcomes)
        self.weights = np.zeros((x.shape[1] + 1, len(rate)))
        self.weights[-1] = np.log(rate / (1 - rate))
        for t in np.flatnonzero(has_both_classes(train.outcomes)):
            self.weights[:, t] += self.config.sharpness * class_direction(x, train.outcomes[:, t])
        return self

    def predict_proba(self, cohort):
        """Probabilities float64 [N, T]."""
        return 1 / (1 + np.exp(-(self._inputs(cohort) @ self.weights[:-1] + self.weights[-1])))

    def state(self):
        """Weights and preprocessor."""
        return {"weights": self.weights, **prefix("preprocessor", self.preprocessor.state())}

    def load_state(self, state):
        """The method whose state this is."""
        self.weights = state["weights"]
        self.preprocessor = Preprocessor().load_state(unprefix("preprocessor", state))
        return self

    def _inputs(self, cohort):
        return self.preprocessor.transform(cohort).flat(pattern=True).astype(np.float64)
