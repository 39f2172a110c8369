"""A1: the sampler's positions 0..n_train-1, meant for the training rows, are used on the whole dataset.

Each epoch draws n_train positions with replacement, by weights made for the training rows: .8 of the inverse frequency of the readmission
outcome and .2 of the inverse frequency of the pattern. Position k stands for row k of the dataset, so the weights belong to other rows.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from benchmark.audit.edits import find_role
from datasets.cohort import Cohort, name_patterns
from methods.base import Method
from methods.common.training import TorchMethod


def find_reached_rows(train: np.ndarray) -> np.ndarray:
    """Return the rows that the positions 0..n_train-1 reach: the first n_train of the dataset, test and validation rows among them."""
    return np.arange(len(train))


def compute_weights(train: Cohort) -> np.ndarray:
    """Return the weights of the training rows, float64 [n_train], mean 1: by the readmission outcome (else the first task) and the
    pattern."""
    t = next((i for i, task in enumerate(train.tasks) if find_role(task) == "readmission"), 0)
    outcome = np.nan_to_num(train.outcomes[:, t])
    by_outcome = _weigh_by_inverse_frequency(outcome)
    by_pattern = _weigh_by_inverse_frequency(np.array(name_patterns(train.observed, train.modality_names)))
    both = 0.8 * by_outcome + 0.2 * by_pattern
    return both / both.mean()


def draw_like_released(method: Method, train: Cohort) -> None:
    """Make ``method`` draw each epoch as described above; one with a loop of its own sees each reached row once an epoch instead."""
    if isinstance(method, TorchMethod):
        method.epoch_order = make_weighted_order(compute_weights(train))


def make_weighted_order(weight: np.ndarray) -> Callable[[int, torch.Generator], torch.Tensor]:
    """Return a function for `methods.common.training.TorchMethod.epoch_order` that draws n positions with replacement, by weight [n]."""
    given = torch.as_tensor(weight)

    def order(n: int, generator: torch.Generator) -> torch.Tensor:
        return torch.multinomial(given, n, replacement=True, generator=generator)

    return order


def _weigh_by_inverse_frequency(values: np.ndarray) -> np.ndarray:
    _, code, count = np.unique(values, return_inverse=True, return_counts=True)
    inverse = 1.0 / count[code.ravel()]
    return inverse / inverse.mean()
