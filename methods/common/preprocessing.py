"""Inputs of the methods: imputed and standardised features by modality, fitted on training stays only. Imports no torch.

An unobserved slot is never read: rows are selected by ``observed`` before anything is computed, and the slots of the result are zeros.
After standardising, zero is the training mean of every column, so a zero slot is also a mean-filled slot.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import NamedTuple, Self

import numpy as np
from sklearn.decomposition import PCA

from datasets.cohort import Cohort

MOST_MISSING = 0.8
"""A feature missing in more than this share of the training stays that have its modality is dropped (protocol)."""
CLIP = 10.0
"""Standard deviations. A mistyped value of a later stay would else outweigh every other feature of a linear layer."""
_BLOCK = 256


class Inputs(NamedTuple):
    """``x``: float32 [N, width_m] for each modality, zeros where it is unobserved; ``observed``: bool [N, M]."""

    x: tuple[np.ndarray, ...]
    observed: np.ndarray

    def flat(self, pattern: bool) -> np.ndarray:
        """Return float32 [N, sum of widths (+ M)]: all modalities concatenated, followed by the observation pattern if asked for."""
        parts = (*self.x, self.observed.astype(np.float32)) if pattern else self.x
        return np.concatenate(parts, axis=1)


@dataclass(frozen=True, eq=False)
class ModalityStatistics:
    """What is learned about one modality with d features, d' of them kept, k of these with an indicator of being missing.

    ``keep`` int64 [d']; ``median``, ``mean``, ``scale`` float32 [d'] (scale = 1 / sd, 0 for a constant feature);
    ``indicator`` int64 [k] positions in ``keep``; ``indicator_mean`` float32 [k]; ``seen``: any training stay has the modality; ``d``;
    ``rotation`` float32 [d' + k, c]: the leading principal components of these columns, [0, 0] where they stay as they are.
    """

    keep: np.ndarray
    median: np.ndarray
    mean: np.ndarray
    scale: np.ndarray
    indicator: np.ndarray
    indicator_mean: np.ndarray
    seen: np.ndarray
    d: np.ndarray
    rotation: np.ndarray

    @property
    def width(self) -> int:
        """Columns of the transformed modality, at least one."""
        return self.rotation.shape[1] or max(1, len(self.keep) + len(self.indicator))


class Preprocessor:
    """Per modality, on the training stays that have it: drop, impute by the median with indicator, standardise, clip.

    - A feature more than 80 % missing is dropped. A feature with any value missing in training gets an indicator column, centred
      but not scaled (a rare indicator divided by its sd would be a large number).
    - Features are standardised by the mean and sd of the imputed training values and clipped to +-10 sd; a constant feature is 0.
    - A modality that no training stay has (or none of whose features is kept) becomes one column of zeros; one that no training
      stay has also counts as unobserved in every later stay, since nothing was learned of it.
    - ``pca``: a modality with more columns than that is given by its leading principal components, that many at most, of the training
      stays that have it; all are divided by the sd of the first, so that those that are noise stay small. 0: all columns.
    """

    statistics: tuple[ModalityStatistics, ...]

    def __init__(self, pca: int = 0) -> None:
        self.pca = pca

    def fit(self, train: Cohort) -> Self:
        """Fit the preprocessor on ``train``, whose outcomes are not read, and return it."""
        self.statistics = tuple(
            _modality_statistics(modality.values, np.flatnonzero(train.observed[:, m]), self.pca)
            for m, modality in enumerate(train.modalities)
        )
        return self

    @property
    def widths(self) -> tuple[int, ...]:
        """Columns of each transformed modality."""
        return tuple(s.width for s in self.statistics)

    def transform(self, cohort: Cohort) -> Inputs:
        """Return the inputs of the stays of ``cohort``.

        Raises:
            ValueError: the cohort's modalities are not those of the training cohort.
        """
        found = [m.width for m in cohort.modalities]
        expected = [int(s.d) for s in self.statistics]
        if found != expected:
            raise ValueError(
                f"cohort {cohort.name}/{cohort.landmark} has modality sizes {found}, fitted were {expected}"
            )
        seen = np.array([bool(s.seen) for s in self.statistics])
        observed = cohort.observed & seen
        x = tuple(
            _transform(modality.values, np.flatnonzero(observed[:, m]), s)
            for m, (modality, s) in enumerate(zip(cohort.modalities, self.statistics, strict=True))
        )
        return Inputs(x, observed)

    def state(self) -> dict[str, np.ndarray]:
        """Return the fitted statistics as plain arrays."""
        return {
            f"{m}.{f.name}": np.asarray(getattr(s, f.name)) for m, s in enumerate(self.statistics) for f in fields(s)
        }

    def load_state(self, state: dict[str, np.ndarray]) -> Self:
        """Restore the preprocessor from its ``state`` and return it."""
        count = 1 + max(int(key.split(".")[0]) for key in state)
        names = [f.name for f in fields(ModalityStatistics)]
        self.statistics = tuple(ModalityStatistics(**{k: state[f"{m}.{k}"] for k in names}) for m in range(count))
        return self


def raw_features(cohort: Cohort) -> np.ndarray:
    """Return float32 [N, sum d_m + M]: all features as recorded, NaN where not recorded or unobserved, followed by the pattern.

    For learners that treat NaN themselves.
    """
    n, widths = len(cohort), [m.width for m in cohort.modalities]
    out = np.full((n, sum(widths) + len(widths)), np.nan, dtype=np.float32)
    start = 0
    for m, modality in enumerate(cohort.modalities):
        rows = np.flatnonzero(cohort.observed[:, m])
        out[rows, start : start + modality.width] = modality.values[rows]
        start += modality.width
    out[:, start:] = cohort.observed
    return out


def _modality_statistics(values: np.ndarray, rows: np.ndarray, pca: int) -> ModalityStatistics:
    d = values.shape[1]
    parts = [_block_statistics(values[rows, j : j + _BLOCK], j) for j in range(0, d, _BLOCK)] if len(rows) else []
    columns = [np.concatenate(c) for c in zip(*parts, strict=True)] or [np.zeros(0)] * 5
    keep, median, mean, scale, missing = columns
    indicator = np.flatnonzero(missing > 0)
    f32 = np.float32
    whole = ModalityStatistics(
        keep=keep.astype(np.int64),
        median=median.astype(f32),
        mean=mean.astype(f32),
        scale=scale.astype(f32),
        indicator=indicator,
        indicator_mean=missing[indicator].astype(f32),
        seen=np.array(len(rows) > 0),
        d=np.array(d),
        rotation=np.zeros((0, 0), dtype=f32),
    )
    return _rotate(whole, values, rows, pca)


def _rotate(s: ModalityStatistics, values: np.ndarray, rows: np.ndarray, pca: int) -> ModalityStatistics:
    """Return the statistics with the rotation to ``pca`` leading components, where the modality has more columns than that."""
    count = min(pca, len(rows))
    if not count or s.width <= pca:
        return s
    found = PCA(count, svd_solver="auto", random_state=0).fit(_transform(values, rows, s)[rows])
    largest = max(float(np.sqrt(found.explained_variance_[0])), 1e-6)
    return replace(s, rotation=(found.components_.T / largest).astype(np.float32))


def _block_statistics(x: np.ndarray, start: int) -> tuple[np.ndarray, ...]:
    """Return keep (positions in the modality), median, mean, 1 / sd, share missing: of a block of columns [n, b]."""
    absent = np.isnan(x)
    missing = absent.mean(axis=0)
    kept = np.flatnonzero(missing <= MOST_MISSING)
    x, absent, missing = x[:, kept], absent[:, kept], missing[kept]
    median = _median(x, missing > 0)
    x = np.where(absent, median, x).astype(np.float64)
    mean, sd = x.mean(axis=0), x.std(axis=0)
    constant = sd <= 1e-6 * np.maximum(np.abs(mean), 1e-12)
    scale = np.where(constant, 0.0, 1.0 / np.where(constant, 1.0, sd))
    return kept + start, median, mean, scale, missing


def _median(x: np.ndarray, gaps: np.ndarray) -> np.ndarray:
    """Return median of each column over its recorded values; columns without gaps take the quick way."""
    out = np.empty(x.shape[1], dtype=np.float32)
    out[~gaps] = np.median(x[:, ~gaps], axis=0)
    if gaps.any():
        out[gaps] = np.nanmedian(x[:, gaps], axis=0)
    return out


def _transform(values: np.ndarray, rows: np.ndarray, s: ModalityStatistics) -> np.ndarray:
    out = np.zeros((len(values), s.width), dtype=np.float32)
    if not len(s.keep) or not len(rows):
        return out
    k = len(s.keep)
    for begin in range(0, len(rows), 4096):
        some = rows[begin : begin + 4096]
        x = values[some][:, s.keep]
        absent = np.isnan(x)
        np.copyto(x, s.median, where=absent)
        x -= s.mean
        x *= s.scale
        np.clip(x, -CLIP, CLIP, out=x)
        if s.rotation.size:
            gaps = absent[:, s.indicator] - s.indicator_mean
            out[some] = np.concatenate([x, gaps], axis=1) @ s.rotation
            continue
        out[some, :k] = x
        if len(s.indicator):
            out[some, k:] = absent[:, s.indicator] - s.indicator_mean
    return out
