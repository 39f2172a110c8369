"""Small random cohorts, and the changes that checks make to a cohort."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from datasets.cohort import Cohort, Group, Modality, Series, collect_records

LATENT = (1.0, -1.0, 0.5)
"""How the features of a modality show the latent h, repeated."""


def draw_random_cohort(
    n: int = 120,
    widths: tuple[int, ...] = (6, 5, 4),
    tasks: tuple[str, ...] = ("readmission_30d", "mortality_inhosp"),
    seed: int = 0,
    signal: float = 2.0,
    pattern_effect: float = 0.5,
    undefined: float = 0.1,
    series: bool = True,
) -> Cohort:
    """Draw a cohort whose outcomes depend on a latent seen in every modality and on the observation pattern.

    The first modality is nearly always observed.
    """
    rng = np.random.default_rng(seed)
    h = rng.normal(size=n)
    shares = np.array([0.95, *np.linspace(0.7, 0.4, len(widths) - 1)])
    observed = rng.random((n, len(widths))) < 1 / (1 + np.exp(-(np.log(shares / (1 - shares)) + 0.5 * h[:, None])))
    modalities = []
    for m, d in enumerate(widths):
        values = (h[:, None] * np.resize(LATENT, d) + 0.5 * rng.normal(size=(n, d))).astype(np.float32)
        values[rng.random((n, d)) < 0.1] = np.nan
        values[~observed[:, m]] = np.nan
        modalities.append(Modality(f"m{m}", values, tuple(f"m{m}_{j}" for j in range(d))))
    logits = signal * h + pattern_effect * (observed[:, 1:].sum(axis=1) - 1)
    outcomes = np.stack([rng.random(n) < 1 / (1 + np.exp(-(logits - 0.3 * t))) for t in range(len(tasks))], axis=1)
    outcomes = np.where(rng.random(outcomes.shape) < undefined, np.nan, outcomes).astype(np.float32)
    return Cohort(
        name="random",
        landmark="test",
        patient=rng.permutation(n).astype(np.int64),
        modalities=tuple(modalities),
        observed=observed,
        outcomes=outcomes,
        tasks=tasks,
        series=draw_random_series(h, rng) if series else None,
    )


def draw_random_series(h: np.ndarray, rng: np.random.Generator, bins: int = 6, channels: int = 3) -> Series:
    """Draw series that see the latent h [N]; some stays have bins that end early, some have none."""
    n = len(h)
    length = rng.integers(0, bins + 1, size=n)
    inside = np.arange(bins) < length[:, None]
    mask = (rng.random((n, bins, channels)) < 0.5) & inside[:, :, None]
    values = np.where(mask, h[:, None, None] + 0.7 * rng.normal(size=mask.shape), np.nan).astype(np.float32)
    hours = np.where(inside, np.arange(bins) + 1.0, np.nan).astype(np.float32)
    names = tuple(f"c{j}" for j in range(channels))
    row, step, channel = np.nonzero(mask)
    # thirds of an hour, so that some records share their time and others do not
    recorded = collect_records(row, step + rng.integers(0, 3, len(row)) / 3, channel, values[mask], n, names)
    return Series(values, mask, hours, names, recorded)


@dataclass(frozen=True, eq=False)
class SplitCohort:
    """A cohort and the rows of its training, validation and test part."""

    whole: Cohort
    rows: dict[str, np.ndarray]

    @property
    def train(self) -> Cohort:
        """The training part."""
        return self.whole.take(self.rows["train"])

    @property
    def valid(self) -> Cohort:
        """The validation part."""
        return self.whole.take(self.rows["valid"])

    @property
    def test(self) -> Cohort:
        """The test part."""
        return self.whole.take(self.rows["test"])


def split_ordinary_cohort(cohort: Cohort, train: float = 0.5, valid: float = 0.2) -> SplitCohort:
    """Draw the parts of a cohort at random, without what the odd cohorts are about.

    Left out: stays with fewer than two modalities (where the cohort has two), and later stays whose pattern no training stay has.
    """
    rows = np.random.default_rng(0).permutation(len(cohort))
    rows = rows[cohort.observed[rows].sum(axis=1) >= min(2, len(cohort.modalities))]
    ends = [int(train * len(rows)), int((train + valid) * len(rows))]
    first, *later = np.split(rows, ends)
    later = [r[mark_seen_patterns(cohort.observed[first], cohort.observed[r])] for r in later]
    return SplitCohort(cohort, dict(zip(("train", "valid", "test"), (first, *later), strict=True)))


def mark_seen_patterns(train: np.ndarray, later: np.ndarray) -> np.ndarray:
    """Return which of the patterns ``later`` [N, M] are among those of ``train`` [N_train, M], bool [N]."""
    known = {row.tobytes() for row in train}
    return np.array([row.tobytes() in known for row in later], dtype=bool)


def replace_fields(cohort: Cohort, **fields: Any) -> Cohort:
    """Return the cohort with other contents in the given fields, and a fingerprint of its own."""
    return replace(cohort, **{"fingerprint": "", **fields})


def replace_values(cohort: Cohort, values: list[np.ndarray]) -> Cohort:
    """Return the cohort with other values float32 [N, d_m] in its modalities."""
    pairs = zip(cohort.modalities, values, strict=True)
    return replace_fields(cohort, modalities=tuple(replace(m, values=v.astype(np.float32)) for m, v in pairs))


def spoil_unobserved(cohort: Cohort, seed: int) -> Cohort:
    """Return the cohort with noise, NaN and infinities in the slots of unobserved modalities."""
    rng = np.random.default_rng(seed)
    noise = [rng.choice([np.nan, np.inf, -np.inf, 1e9, 0.0, -3.0], m.values.shape) for m in cohort.modalities]
    seen = cohort.observed.T[:, :, None]
    return replace_values(
        cohort, [np.where(o, m.values, z) for o, m, z in zip(seen, cohort.modalities, noise, strict=True)]
    )


def hide_modalities(cohort: Cohort, hide: np.ndarray) -> Cohort:
    """Return the cohort without the modalities that ``hide`` bool [N, M] marks, NaN in their slots."""
    observed = cohort.observed & ~hide
    values = [np.where(observed[:, m, None], x.values, np.nan) for m, x in enumerate(cohort.modalities)]
    return replace_fields(replace_values(cohort, values), observed=observed)


def make_wild_cohort(cohort: Cohort) -> Cohort:
    """Return the stays with the first stay's pattern, their values far from where they were."""
    some = cohort.take((cohort.observed == cohort.observed[0]).all(axis=1))
    return replace_values(some, [500.0 + 1000.0 * m.values for m in some.modalities])


def replace_keys(cohort: Cohort, seed: int) -> Cohort:
    """Return the same stays under other patient numbers, from other hospitals, in other groups."""
    rng, n = np.random.default_rng(seed), len(cohort)
    codes = rng.integers(0, 3, n).astype(np.int16)
    return replace_fields(
        cohort,
        patient=rng.permutation(10 * n)[:n].astype(np.int64),
        site=rng.integers(0, 5, n),
        groups={"sex": Group(codes, ("a", "b", "c"))},
    )
