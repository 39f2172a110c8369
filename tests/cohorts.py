"""Small random cohorts for tests."""

from __future__ import annotations

import numpy as np

from datasets.cohort import Cohort, Modality, Series


def random_cohort(
    n: int = 120,
    widths: tuple[int, ...] = (6, 5, 4),
    tasks: tuple[str, ...] = ("readmission_30d", "mortality_inhosp"),
    seed: int = 0,
    signal: float = 2.0,
    pattern_effect: float = 0.5,
    undefined: float = 0.1,
    series: bool = True,
) -> Cohort:
    """Outcomes depend on a latent seen in every modality and on the observation pattern; the first modality is nearly always observed."""
    rng = np.random.default_rng(seed)
    h = rng.normal(size=n)
    shares = np.array([0.95, *np.linspace(0.7, 0.4, len(widths) - 1)])
    observed = rng.random((n, len(widths))) < 1 / (1 + np.exp(-(np.log(shares / (1 - shares)) + 0.5 * h[:, None])))
    modalities = []
    for m, d in enumerate(widths):
        values = (h[:, None] * np.resize([1.0, -1.0, 0.5], d) + 0.5 * rng.normal(size=(n, d))).astype(np.float32)
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
        series=random_series(h, rng) if series else None,
    )


def random_series(h: np.ndarray, rng: np.random.Generator, bins: int = 6, channels: int = 3) -> Series:
    """Series that see the latent h [N]; some stays have bins that end early, some have none."""
    n = len(h)
    length = rng.integers(0, bins + 1, size=n)
    inside = np.arange(bins) < length[:, None]
    mask = (rng.random((n, bins, channels)) < 0.5) & inside[:, :, None]
    values = np.where(mask, h[:, None, None] + 0.7 * rng.normal(size=mask.shape), np.nan).astype(np.float32)
    hours = np.where(inside, np.arange(bins) + 1.0, np.nan).astype(np.float32)
    return Series(values, mask, hours, tuple(f"c{j}" for j in range(channels)))
