"""What a prediction is worth to a decision: net benefit (Vickers and Elkin 2006, Medical Decision Making 26)."""

from __future__ import annotations

import numpy as np


def net_benefit(label: np.ndarray, probability: np.ndarray, threshold: np.ndarray) -> np.ndarray:
    """Return ``TP / n - FP / n * t / (1 - t)`` [K] of acting on the patients whose probability is at least the threshold t.

    In true positives a patient: t / (1 - t) is how many patients treated in vain one would accept for one treated rightly. Acting on
    nobody is worth 0, on everybody ``treat_all``.

    Args:
        label: [N] of 0 and 1.
        probability: [N].
        threshold: [K] in [0, 1).
    """
    order = np.argsort(probability)
    first = np.searchsorted(probability[order], threshold)
    positives = np.r_[np.cumsum(label[order][::-1])[::-1], 0.0][first]
    treated = len(label) - first
    return (positives - (treated - positives) * threshold / (1 - threshold)) / len(label)


def treat_all(prevalence: float, threshold: np.ndarray) -> np.ndarray:
    """Return the net benefit [K] of acting on everybody, whatever the prediction."""
    return prevalence - (1 - prevalence) * threshold / (1 - threshold)
