"""How much the representation of a stay tells of its observation pattern and of its outcomes.

Norms |h_i| (Euclidean) and correlations are of the test rows. The pattern is decoded by a logistic regression (cross-entropy over the
patterns of the training rows, L2 penalty with C = 1, features standardised) fitted on the training rows' h and asked about the test
rows; a test row whose pattern no training row has counts as wrong. That a pattern can be decoded is no news where it was an input.

Numbers: ``decoded_accuracy``; ``decoded_balanced``, the mean over the patterns of the test rows of the share decoded rightly;
``majority_accuracy``, of answering the training rows' most frequent pattern; ``chance``, 1 / ``patterns``, how many training rows
show. By pattern ``norm`` (mean) and by task ``outcome_rate``. By task ``norm_rate_r``, Pearson's correlation over patterns of the two
(``n``: how many patterns with a defined outcome), and ``norm_outcome_r``, that of norm and outcome over stays (point-biserial).
"""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmark.cell.probes import Fitted, Found
from datasets.cohort import name_patterns

FEWEST = 4
"""Points of a correlation: below, Fisher's interval does not exist and any r comes by chance."""
EQUAL = 1e-5
"""Norms that differ by less than this share are one norm (of a normalised representation)."""


def probe(fitted: Fitted) -> Found:
    """Return the numbers, and the frame ``row, pattern, norm, decoded, majority, patterns`` with a column of outcomes for each task."""
    train, test = (fitted.cohort.take(fitted.rows[part]) for part in ("train", "test"))
    h_train, h = (fitted.method.represent(part.without_outcomes()) for part in (train, test))
    if h_train is None or h is None:
        why = "the method has no one vector a stay that its prediction passes through"
        return [make_number("decoded_accuracy", None, why, n=len(test))], None
    known = np.array(name_patterns(train.observed, train.modality_names))
    names, counts = np.unique(known, return_counts=True)
    frame = pd.DataFrame({
        "row": fitted.rows["test"],
        "pattern": name_patterns(test.observed, test.modality_names),
        "norm": np.linalg.norm(h.astype(np.float64), axis=1),
        "decoded": decode_patterns(h_train, known, h),
        "majority": names[counts.argmax()],
        "patterns": len(names),
        **{task: test.outcomes[:, t] for t, task in enumerate(test.tasks)},
    })  # fmt: skip
    return compute_metrics(frame, test.tasks), frame


def decode_patterns(h_train: np.ndarray, pattern: np.ndarray, h: np.ndarray) -> np.ndarray:
    """Return the pattern [N] of each h [N, d], learned from h_train [n, d] and pattern [n]."""
    # a classifier needs two classes
    if len(set(pattern)) == 1:
        return np.full(len(h), pattern[0])
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(h_train, pattern).predict(h)


def compute_metrics(frame: pd.DataFrame, tasks: tuple[str, ...]) -> list[dict]:
    """Return all numbers of the probe's frame."""
    n, right = len(frame), frame["decoded"] == frame["pattern"]
    patterns = int(frame["patterns"].iloc[0])
    numbers = [
        make_number("decoded_accuracy", right.mean(), n=n),
        make_number("decoded_balanced", right.groupby(frame["pattern"]).mean().mean(), n=n),
        make_number("majority_accuracy", (frame["majority"] == frame["pattern"]).mean(), n=n),
        make_number("chance", 1 / patterns, n=n),
        make_number("patterns", patterns, n=n),
    ]
    norms = frame.groupby("pattern")["norm"].agg(["mean", "size"])
    numbers += [make_number("norm", row["mean"], group=name, n=int(row["size"])) for name, row in norms.iterrows()]
    for task in tasks:
        own = frame[frame[task].notna()]
        by_pattern = own.groupby("pattern").agg(norm=("norm", "mean"), rate=(task, "mean"), n=(task, "size"))
        positives = int(own[task].sum())
        for name, row in by_pattern.iterrows():
            of = round(row["rate"] * row["n"])
            numbers.append(
                make_number("outcome_rate", row["rate"], group=name, task=task, n=int(row["n"]), positives=of)
            )
        for metric, x, y, what in (
            ("norm_rate_r", by_pattern["norm"], by_pattern["rate"], "patterns"),
            ("norm_outcome_r", own["norm"], own[task], "stays"),
        ):
            numbers.append(make_number(metric, *correlate(x, y, what), task=task, n=len(x), positives=positives))
    return numbers


def correlate(x: pd.Series, y: pd.Series, what: str) -> tuple[float | None, str | None]:
    """Return Pearson's r of x and y [n], or None and the reason: too few of ``what``, or one of the two does not vary."""
    if len(x) < FEWEST:
        return None, f"a correlation over {len(x)} {what} says nothing: {FEWEST} are the fewest"
    if np.ptp(x) <= EQUAL * np.abs(x).max():
        return None, "all norms are equal"
    if y.min() == y.max():
        return None, f"all {what} have the same outcome"
    return float(np.corrcoef(x, y)[0, 1]), None


def make_number(
    metric: str,
    value: float | None,
    reason: str | None = None,
    *,
    group: str = "all",
    task: str | None = None,
    n: int,
    positives: int | None = None,
) -> dict:
    """Return one number in the form of the record."""
    at = {"metric": metric, "group": group, "task": task}
    return at | {"value": None if value is None else float(value), "reason": reason, "n": n, "positives": positives}
