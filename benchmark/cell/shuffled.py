"""Shuffled outcomes: a cohort in which the truth is an AUC of 0.5."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np

from datasets.cohort import Cohort

SHUFFLE_SEED = 30_000


def shuffle_outcomes(cohort: Cohort, seed: int = SHUFFLE_SEED) -> Cohort:
    """Return the same stays with whole rows of outcomes (undefined ones included) permuted among them; deterministic by ``seed``.

    Nothing of the true assignment is left but what the permutation leaves in place by chance, so a split has to be drawn from the result.
    """
    order = np.random.default_rng(seed).permutation(len(cohort))
    mark = hashlib.sha256(f"{cohort.fingerprint} outcomes shuffled {seed}".encode()).hexdigest()
    return replace(cohort, outcomes=cohort.outcomes[order], fingerprint=mark)
