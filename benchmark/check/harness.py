"""The harness that the checks share: three small parts of a cohort, and fits and predictions that no other check can disturb."""

from __future__ import annotations

import copy
import random
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from benchmark.check.cohorts import SplitCohort
from datasets.cohort import Cohort
from methods.base import Method, NotApplicable

Make = Callable[[int], Method]


class Fault(Exception):
    """The fault that a check found, in one line."""


class Skip(Exception):
    """The reason why a check has nothing to look at."""


@dataclass
class Harness:
    """A method under test: ``make`` constructs it with a seed, trained briefly; ``learner`` long enough to learn.

    A fault shows only in the check that is about it: every fit gets copies of its cohorts, every prediction is made by a copy of the
    method as ``fit`` left it, and the global random generators are seeded with ``around`` whenever the method is called.
    """

    make: Make
    learner: Make
    parts: SplitCohort
    uses_seed: bool = True
    uses_series: bool = True

    @cached_property
    def train(self) -> Cohort:
        """The training part."""
        return self.parts.train

    @cached_property
    def valid(self) -> Cohort:
        """The validation part."""
        return self.parts.valid

    @cached_property
    def test(self) -> Cohort:
        """The test part."""
        return self.parts.test

    @cached_property
    def fitted(self) -> Method:
        """The method fitted on the training part with seed 0."""
        return self.fit()

    @cached_property
    def obstacle(self) -> str | None:
        """Why the method does not apply to the cohort at all: what it says where it is asked for an ordinary fit; None where it fits."""
        try:
            _ = self.fitted
        except NotApplicable as reason:
            return str(reason)
        return None

    @cached_property
    def prediction(self) -> np.ndarray:
        """The predictions of ``fitted`` for the test part."""
        return self.predict(self.fitted)

    def copy_cohort(self, cohort: Cohort) -> Cohort:
        """Return a copy of the cohort as a run gives it to the method: without series where the method does not declare them."""
        return copy.deepcopy(cohort if self.uses_series else replace(cohort, series=None))

    def fit(
        self,
        train: Cohort | None = None,
        valid: Cohort | None = None,
        seed: int = 0,
        around: int = 0,
        make: Make | None = None,
    ) -> Method:
        """Return the method fitted on copies of the given cohorts, or of the harness's own."""
        cohorts = self.train if train is None else train, self.valid if valid is None else valid
        method = (make or self.make)(seed)
        _seed_globals(around)
        return method.fit(*(self.copy_cohort(c) for c in cohorts))

    def predict(self, method: Method, cohort: Cohort | None = None, around: int = 0, blind: bool = True) -> np.ndarray:
        """Return probabilities float64 [N, T] for the given stays, or the test part; ``blind``: without outcomes, as in a run.

        Shape and type are made what they should be, since a check of their own looks at them: further columns are cut off.
        """
        cohort = self.copy_cohort(self.test if cohort is None else cohort)
        # a method that changes as it predicts must not disturb the next check
        method = copy.deepcopy(method)
        _seed_globals(around)
        p = method.predict_proba(cohort.without_outcomes() if blind else cohort)
        p, shape = np.asarray(p, dtype=np.float64), (len(cohort), len(cohort.tasks))
        return p[:, : shape[1]] if p.ndim == 2 and p.shape[1] > shape[1] else p.reshape(shape)


def expect_same(actual: np.ndarray, expected: np.ndarray, what: str, atol: float = 0.0) -> None:
    """Compare predictions.

    Raises:
        Fault: a prediction [N, T] is further than ``atol`` from what it was; two NaN agree.
    """
    with np.errstate(invalid="ignore"):
        off = ~((actual == expected) | (np.abs(actual - expected) <= atol) | (np.isnan(actual) & np.isnan(expected)))
    if off.any():
        row, task = np.argwhere(off)[0]
        raise Fault(
            f"{what}: {off.any(axis=1).sum()} of {len(off)} predictions change, "
            f"the first (stay {row}, task {task}) from {expected[row, task]:.9g} to {actual[row, task]:.9g}"
        )


def _seed_globals(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(seed)
