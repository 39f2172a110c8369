"""Metrics of one task: what a set of probabilities is worth against labels.

A metric that needs two classes is None, with the reason, where there is one; the Brier score and the log loss need only rows.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy.special import expit
from sklearn.metrics import average_precision_score, brier_score_loss, log_loss, roc_auc_score

from results.metrics.calibration import debiased_calibration_error, expected_calibration_error, fit_recalibration, logit

METRICS = (
    "auc", "auprc", "brier", "log_loss", "calibration_slope", "calibration_intercept", "ece", "ece_debiased",
    "auprc_normalised",
)  # fmt: skip
ONE_CLASS_IS_ENOUGH = ("brier", "log_loss")


@dataclass(frozen=True)
class Metric:
    """A value, or None with the reason; from ``n`` rows with a defined label, ``positives`` of them 1."""

    metric: str
    value: float | None
    reason: str | None
    n: int
    positives: int

    def as_record(self, split: str, stage: str, task: str) -> dict[str, Any]:
        """Return the metric as it stands in a cell's record (``cell.json``, ``metrics``)."""
        return {"split": split, "stage": stage, "task": task, **asdict(self)}


def score(label: np.ndarray, probability: np.ndarray) -> list[Metric]:
    """Return all METRICS of one task, in that order.

    - ``auc``; ``auprc``: average precision, no interpolation; ``brier``; ``log_loss`` (natural logarithm);
    - ``calibration_slope``, ``calibration_intercept``: of one unregularised logistic regression of the label on the logit of the
      probability (Cox 1958; 1 and 0 are ideal), logits cut at a probability of 1e-7;
    - ``ece``: expected calibration error over 15 bins of equal mass; equal probabilities share a bin;
    - ``ece_debiased``: root of the squared error of the same bins less its bias by chance (``results.metrics.calibration``);
    - ``auprc_normalised``: (AP - prevalence) / (1 - prevalence), 0 for a constant prediction, 1 for a perfect one.

    Args:
        label: [N] of 0, 1 or NaN (undefined: the row is left out).
        probability: [N] in [0, 1]; not read where the label is NaN.

    Raises:
        ValueError: shapes differ, a label is none of 0, 1, NaN, or a probability is not in [0, 1].
    """
    y, p = select_defined(label, probability)
    n, positives = len(y), int(y.sum())
    reason = None if 0 < positives < n else f"the part has {_describe_classes(n, positives)}"
    if reason:
        values: dict[str, float | None] = (
            {"brier": float(np.mean((p - y) ** 2)), "log_loss": _compute_log_loss(y, p)} if n else {}
        )
        return [
            Metric(name, values.get(name), None if name in values else reason, n, positives) for name in METRICS
        ]  # fmt: skip
    prevalence, precision = positives / n, float(average_precision_score(y, p))
    values = {
        "auc": float(roc_auc_score(y, p)),
        "auprc": precision,
        "brier": float(brier_score_loss(y, p)),
        "log_loss": _compute_log_loss(y, p),
        "ece": expected_calibration_error(y, p),
        "ece_debiased": debiased_calibration_error(y, p),
        "auprc_normalised": (precision - prevalence) / (1 - prevalence),
    }
    line, why = fit_recalibration(y, p)
    if line is not None:
        values |= {"calibration_intercept": line[0], "calibration_slope": line[1]}
    return [Metric(name, values.get(name), None if name in values else why, n, positives) for name in METRICS]


def score_recalibrated(
    valid_label: np.ndarray, valid_probability: np.ndarray, label: np.ndarray, probability: np.ndarray
) -> Metric:
    """Return the Brier score of the test part after logistic recalibration (intercept, slope) fitted on the validation part.

    It makes losses comparable that distort probabilities (focal loss). Shapes and errors as in ``score``.
    """
    y, p = select_defined(label, probability)
    n, positives = len(y), int(y.sum())
    line, why = _fit_recalibration(*select_defined(valid_label, valid_probability))
    if line is None:
        return Metric("brier_recalibrated", None, f"not recalibrated: in the validation part {why}", n, positives)
    if n == 0:
        return Metric("brier_recalibrated", None, f"the part has {_describe_classes(0, 0)}", 0, 0)
    moved = expit(line[0] + line[1] * logit(p))
    return Metric("brier_recalibrated", float(np.mean((moved - y) ** 2)), None, n, positives)


def select_defined(label: np.ndarray, probability: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Check labels and probabilities (float64) and return the rows whose label is not NaN."""
    y, p = np.asarray(label, dtype=np.float64), np.asarray(probability, dtype=np.float64)
    if y.shape != p.shape or y.ndim != 1:
        raise ValueError(f"label has shape {y.shape}, probability {p.shape}: both must be [N]")
    keep = ~np.isnan(y)
    y, p = y[keep], p[keep]
    if not np.isin(y, (0, 1)).all():
        raise ValueError(f"label {y[~np.isin(y, (0, 1))][0]:g} is none of 0, 1, NaN")
    outside = ~((p >= 0) & (p <= 1))
    if outside.any():
        raise ValueError(f"probability {p[outside][0]:g} is not in [0, 1] (row {np.flatnonzero(keep)[outside][0]})")
    return y, p


def _fit_recalibration(y: np.ndarray, p: np.ndarray) -> tuple[tuple[float, float] | None, str | None]:
    """Return (intercept, slope), or None and why there is no such line."""
    n, positives = len(y), int(y.sum())
    return fit_recalibration(y, p) if 0 < positives < n else (None, f"the part has {_describe_classes(n, positives)}")


def _compute_log_loss(y: np.ndarray, p: np.ndarray) -> float:
    return float(log_loss(y, p, labels=[0.0, 1.0]))


def _describe_classes(n: int, positives: int) -> str:
    if n == 0:
        return "no rows with a label"
    return f"one class only ({positives} of {n} are positive)"
