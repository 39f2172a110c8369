"""The contract of a method. Imports no torch, so that a plain method starts fast."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np

from datasets.cohort import Cohort


@dataclass(frozen=True)
class NoConfig:
    """The configuration of a method without hyper-parameters."""


class NotApplicable(ValueError):
    """The cohort lacks what the method needs: ``fit`` raises it with one line that says what, and a run skips the method."""


class Method:
    """A method is constructed with (config, seed, device), fitted on ``train``, and asked for probabilities.

    - Deterministic given the three on a CPU.
    - Everything fitted (scaler, imputer, PCA, kNN, graph statistics) is fitted on ``train`` rows; ``valid`` serves early stopping and
      model choice only. Undefined outcomes (NaN) contribute nothing.
    - A row's prediction does not depend on which other rows are predicted with it, nor on anything in an unobserved slot.
    - ``represent`` gives the vector of a stay that its prediction passes through, where there is one. What holds of a prediction holds
      of it: deterministic, in evaluation mode, no outcome read, by the stay alone.
    - ``state`` and ``load_state`` store what was fitted as plain arrays.

    ``python -m benchmark check METHOD`` holds a method to all of it.

    ``Config`` is a frozen dataclass of hyper-parameters with the paper's defaults; ``grid`` the values nested tuning tries;
    ``variants`` the named configurations, each a dict of the fields it changes; ``titles`` the names to print of those for which
    "title (variant)" would not do; ``unrectified`` those that ``rectifier=auto`` leaves without the method's rectifier; ``beside`` those
    without which the method's own row would mislead: ``method=all`` gives each a row after the method's. ``stage_lengths``: the fields of
    ``Config`` that say how long stages last which the method itself fixes; no schedule changes them but those of tests, which cut them.
    """

    Config: ClassVar[type] = NoConfig
    grid: ClassVar[dict[str, list[Any]]] = {}
    variants: ClassVar[dict[str, dict[str, Any]]] = {}
    titles: ClassVar[dict[str, str]] = {}
    unrectified: ClassVar[tuple[str, ...]] = ()
    beside: ClassVar[tuple[str, ...]] = ()
    stage_lengths: ClassVar[tuple[str, ...]] = ()

    def __init__(self, config: Any = None, seed: int = 0, device: str = "cpu") -> None:
        self.config = self.Config() if config is None else config
        self.seed = int(seed)
        self.device = device

    @classmethod
    def stackable(cls, config: Any) -> bool:
        """Say whether ``methods/common/stacked.py`` can train several of this configuration at once."""
        return False

    def fit(self, train: Cohort, valid: Cohort) -> Self:
        """Fit the method and return it."""
        raise NotImplementedError

    def predict_proba(self, cohort: Cohort) -> np.ndarray:
        """Return probabilities float64 [N, T] in [0, 1] for the stays of ``cohort``, whose outcomes are not read."""
        raise NotImplementedError

    def represent(self, cohort: Cohort) -> np.ndarray | None:
        """Return float32 [N, d], one vector a stay, from which alone all its probabilities follow; None where a method has none such."""
        return None

    def fit_report(self) -> dict[str, float]:
        """Return finite numbers that a fitted method says of its fit, by a name in plain words; cells keep them, reports print them."""
        return {}

    def state(self) -> dict[str, np.ndarray]:
        """Return everything that ``fit`` found, as plain arrays by name (numbers, bools, text; no objects, so no pickle)."""
        raise NotImplementedError

    def load_state(self, state: dict[str, np.ndarray]) -> Self:
        """Restore the method, constructed with the same configuration and seed, from its ``state``: it predicts the same."""
        raise NotImplementedError


def prefix(name: str, state: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the state of a part called ``name`` with the keys ``name.key``, so that states of several parts can be merged."""
    return {f"{name}.{key}": value for key, value in state.items()}


def unprefix(name: str, state: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the state of the part called ``name``, its keys as they were before ``prefix``."""
    return {key.removeprefix(f"{name}."): value for key, value in state.items() if key.startswith(f"{name}.")}
