"""What the method of this package computes with."""

import numpy as np


def class_direction(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Weights [P + 1], the last the intercept, along the difference of the two classes' means, for x [n, P] and y [n] in {0, 1}."""
    low, high = x[y == 0].mean(axis=0), x[y == 1].mean(axis=0)
    step = (high - low) / x.shape[1]
    return np.append(step, -step @ (high + low) / 2)
