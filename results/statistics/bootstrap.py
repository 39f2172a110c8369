"""Bootstrap over the patients of one fold: integer weights, and metrics under all of them at once.

A resample is a row of weights [n]: how often each row was drawn. The scores of a method are sorted once, and every metric under
all resamples follows from cumulative sums; equal scores are handled as scikit-learn does.
"""

from __future__ import annotations

import hashlib

import numpy as np

METRICS = ("auc", "auprc", "brier")
BLOCK = 2_000_000  # weights handled at once, which bounds the memory


def draw_weights(rows: np.ndarray, patient: np.ndarray, fold: int, resamples: int) -> np.ndarray:
    """Draw weights uint16 [1 + resamples, n]: all ones first (no resampling), then patients drawn with replacement.

    The draw depends on the fold and its rows alone, so every method, task and seed meets the same resamples.

    Args:
        rows: [n] row numbers of the fold's test part, in ascending order.
        patient: [n] the patient of each row; all rows of a patient are drawn together.
        fold: the fold's number.
        resamples: how many.
    """
    digest = hashlib.sha256(np.ascontiguousarray(rows, dtype="<i8").tobytes()).digest()
    rng = np.random.default_rng([fold, *np.frombuffer(digest[:16], dtype="<u4").tolist()])
    unique, position = np.unique(patient, return_inverse=True)
    drawn = rng.multinomial(len(unique), np.full(len(unique), 1 / len(unique)), size=resamples)
    return np.vstack([np.ones((1, len(rows)), np.uint16), drawn.astype(np.uint16)[:, position]])


def compute_weighted_metrics(label: np.ndarray, probability: np.ndarray, weights: np.ndarray) -> dict[str, np.ndarray]:
    """Return AUC, average precision and Brier score under each row of weights; NaN where a resample lacks a class (Brier: a row).

    Args:
        label: [n] of 0 and 1.
        probability: [n].
        weights: [B, n], not negative.

    Returns:
        METRICS -> float64 [B].
    """
    order = np.argsort(-probability, kind="stable")
    descending = probability[order]
    starts = np.flatnonzero(np.r_[True, descending[1:] != descending[:-1]]) if len(order) else np.zeros(0, int)
    positive = label[order] == 1
    error = (probability - label) ** 2
    parts = []
    step = max(1, BLOCK // max(1, len(label)))
    for first in range(0, len(weights), step):
        block = weights[first : first + step]
        total = block.sum(axis=1, dtype=np.float64)
        with np.errstate(invalid="ignore", divide="ignore"):
            brier = block @ error / total
        parts.append((*_compute_rank_metrics(block[:, order].astype(np.float64), positive, starts), brier))
    return {name: np.concatenate(part) for name, part in zip(METRICS, zip(*parts, strict=True), strict=True)}


def _compute_rank_metrics(
    weights: np.ndarray, positive: np.ndarray, starts: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return AUC and average precision, float64 [B] each, of rows in descending order of score; ``starts``: where new scores begin."""
    if not positive.any() or positive.all():
        return np.full(len(weights), np.nan), np.full(len(weights), np.nan)
    if len(starts) < len(positive):
        hits, weights = np.add.reduceat(weights * positive, starts, axis=1), np.add.reduceat(weights, starts, axis=1)
        positive = np.add.reduceat(positive, starts) > 0
        hits = hits[:, positive]
    else:
        hits = weights[:, positive]
    seen = np.cumsum(weights, axis=1)
    zeros = seen[:, -1] - hits.sum(axis=1)
    seen, above = seen[:, positive], np.cumsum(hits, axis=1)  # only scores that a positive row has count from here on
    ones = above[:, -1]
    with np.errstate(invalid="ignore", divide="ignore"):
        # of the pairs (positive, negative), those in the right order, ties counting one half
        ties = (weights[:, positive] - hits) / 2
        auc = np.einsum("bg,bg->b", hits, zeros[:, None] - seen + above + ties) / (ones * zeros)
        precision = np.einsum("bg,bg->b", hits, above / np.maximum(seen, 1)) / ones
    return auc, np.where(zeros > 0, precision, np.nan)


def compute_interval(values: np.ndarray, level: float = 0.95) -> tuple[float | None, float | None, int]:
    """Return the percentile interval (low, high) of the finite values of [B], and how many there are; None below two."""
    finite = values[np.isfinite(values)]
    if len(finite) < 2:
        return None, None, len(finite)
    low, high = np.quantile(finite, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high), len(finite)


def average_defined(folds: list[np.ndarray]) -> np.ndarray:
    """Return the mean [B] over folds' values [B]: a fold that is NaN in a resample is left out of it; NaN where all are."""
    values = np.stack(folds)
    finite = np.isfinite(values)
    count = finite.sum(axis=0)
    return np.where(count > 0, np.where(finite, values, 0).sum(axis=0) / np.maximum(count, 1), np.nan)


def compute_weighted_sums(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return sums float64 [B, k] of the columns of ``values`` [n, k] under each row of ``weights`` [B, n]."""
    step = max(1, BLOCK // max(1, len(values)))
    blocks = [weights[i : i + step] @ values for i in range(0, len(weights), step)]
    return np.concatenate(blocks) if blocks else np.zeros((0, values.shape[1]))
