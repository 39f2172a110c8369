"""Whether probabilities mean what they say: bins of equal mass, calibration errors, the reliability curve and the recalibrating line."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from sklearn.linear_model import LogisticRegression
from statsmodels.stats.proportion import proportion_confint

ECE_BINS = 15
CURVE_BINS = 10
LOGIT_CLIP = 1e-7


@dataclass(frozen=True, eq=False)
class Bins:
    """Rows by bin of ascending probability, float64 [k] each: how many (``n``), sum of their probabilities, of their labels.

    ``n`` may be 0, and fractional where the bins of several cells have been averaged.
    """

    n: np.ndarray
    probability: np.ndarray
    label: np.ndarray


def assign_bins(probability: np.ndarray, bins: int) -> np.ndarray:
    """Return the bin [N], 0 to ``bins`` - 1, of each row: cut at quantiles, so that equal probabilities share a bin."""
    edges = np.quantile(probability, np.linspace(0, 1, bins + 1)[1:-1])
    return np.searchsorted(edges, probability)


def sum_bins(label: np.ndarray, probability: np.ndarray, where: np.ndarray, bins: int) -> Bins:
    """Add up the rows [N] by the bin ``where`` [N] that each is in."""
    sums = [np.bincount(where, weights=w, minlength=bins) for w in (None, probability, label)]
    return Bins(*(s.astype(np.float64) for s in sums))


def expected_calibration_error(label: np.ndarray, probability: np.ndarray, bins: int = ECE_BINS) -> float:
    """Return mean over rows of |mean label - mean probability| of the row's bin of equal mass."""
    found = sum_bins(label, probability, assign_bins(probability, bins), bins)
    return float(np.abs(found.label - found.probability).sum() / len(label))


def debiased_calibration_error(label: np.ndarray, probability: np.ndarray, bins: int = ECE_BINS) -> float:
    """Return the root of the debiased squared calibration error (Kumar, Liang and Ma 2019, NeurIPS, definition 4.1), at least 0.

    ``sum_b n_b / n [ (o_b - p_b)^2 - o_b (1 - o_b) / (n_b - 1) ]`` with o_b the mean label and p_b the mean probability of bin b. The
    binomial noise of o_b adds its variance to the square even where calibration is perfect; the last term is its unbiased estimate.
    On the scale of probabilities, as the expected calibration error is, but it weighs gaps by their square. With perfect
    calibration, a prevalence of .14 and 300 rows its mean is .017, and that of the plain error .055 (600 draws).

    Bins of equal mass, as many as have two rows each; a row alone in its bin, among ties, joins the next larger one.

    Args:
        label: [N] of 0 and 1, N at least 2.
        probability: [N] in [0, 1].
    """
    bins = min(bins, len(label) // 2)
    where = assign_bins(probability, bins)
    count = np.bincount(where, minlength=bins)
    several = np.flatnonzero(count > 1)
    alone = count[where] == 1
    # a bin of one row has no unbiased variance (n - 1 = 0): its row joins the next larger bin that has two
    where[alone] = several[np.minimum(np.searchsorted(several, where[alone]), len(several) - 1)]
    found = sum_bins(label, probability, where, bins)
    n, p, o = (x[found.n > 0] for x in (found.n, found.probability, found.label))
    p, o = p / n, o / n
    squared = np.sum(n * ((o - p) ** 2 - o * (1 - o) / (n - 1))) / len(label)
    return float(np.sqrt(max(squared, 0.0)))


def make_reliability_bins(label: np.ndarray, probability: np.ndarray, bins: int = CURVE_BINS) -> Bins:
    """Return the bins of equal mass of a reliability curve."""
    return sum_bins(label, probability, assign_bins(probability, bins), bins)


def compute_reliability(bins: Bins, confidence: float = 0.95) -> dict[str, np.ndarray]:
    """Return ``n, predicted, observed, low, high`` [k] of the bins that have rows.

    That is the mean probability, and the rate of positives with its Wilson interval.
    """
    n, probability, label = (x[bins.n > 0] for x in (bins.n, bins.probability, bins.label))
    low, high = proportion_confint(label, n, alpha=1 - confidence, method="wilson")
    return {"n": n, "predicted": probability / n, "observed": label / n, "low": low, "high": high}


def fit_recalibration(label: np.ndarray, probability: np.ndarray) -> tuple[tuple[float, float] | None, str | None]:
    """Fit (intercept, slope) of a logistic regression of the label on the logit of the probability, not regularised (Cox 1958).

    None, and why, where there is no such line. Both classes must be there.
    """
    x = logit(probability)
    zeros, ones = x[label == 0], x[label == 1]
    if x.min() == x.max():
        return None, "all probabilities are equal"
    if zeros.max() <= ones.min() or ones.max() <= zeros.min():
        return None, "the probabilities separate the classes, so the slope is infinite"
    centre, spread = x.mean(), x.std()
    fit = LogisticRegression(C=np.inf, solver="newton-cholesky", tol=1e-10, max_iter=200).fit(
        ((x - centre) / spread)[:, None], label
    )
    slope = float(fit.coef_[0, 0] / spread)
    return (float(fit.intercept_[0] - slope * centre), slope), None


def logit(probability: np.ndarray) -> np.ndarray:
    """Return the log odds, probabilities cut at 1e-7 and 1 - 1e-7."""
    p = np.clip(probability, LOGIT_CLIP, 1 - LOGIT_CLIP)
    return np.log(p) - np.log1p(-p)
