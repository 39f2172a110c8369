"""Checks on odd cohorts: what every hospital has sooner or later must give predictions, not a crash or NaN."""

from __future__ import annotations

import numpy as np

from benchmark.check.bench import Bench, Fault, Skip
from benchmark.check.cohorts import changed, hidden, seen_patterns, with_values
from datasets.cohort import Cohort

FEW = 6
"""Stays of each class in a tiny training part."""


def unseen_pattern(bench: Bench) -> None:
    """A later patient may have a combination of modalities that no training stay had."""
    patterns, count = np.unique(bench.train.observed, axis=0, return_counts=True)
    if len(patterns) < 2:
        raise Skip("the training part has one pattern only")
    left_out = patterns[np.argsort(count)[-2]]
    kept = [(c.observed != left_out).any(axis=1) for c in (bench.train, bench.valid)]
    _expect_finite(bench, bench.train.take(kept[0]), bench.valid.take(kept[1]), bench.test)


def single_modality(bench: Bench) -> None:
    """A stay may have one modality only, whichever it is."""
    _needs_modalities(bench, 2)
    _expect_finite(bench, *_seen(*(_one_left(c) for c in _parts(bench))))


def nothing_observed(bench: Bench) -> None:
    """A stay may have no modality at all."""
    _expect_finite(bench, *(hidden(c, np.arange(len(c))[:, None] % 5 == 0) for c in _parts(bench)))


def absent_modality(bench: Bench) -> None:
    """A modality may be one that no training stay has, while later stays do."""
    _needs_modalities(bench, 3)
    last = np.arange(len(bench.train.modalities)) == len(bench.train.modalities) - 1
    train, valid, test = (c.take(c.observed[:, ~last].sum(axis=1) >= 2) for c in _parts(bench))
    seen = seen_patterns(train.observed & ~last, test.observed & ~last)
    _expect_finite(bench, hidden(train, last[None]), hidden(valid, last[None]), test.take(seen))


def constant_feature(bench: Bench) -> None:
    """A feature may be constant in training, and vary later."""
    train, valid = (_with_first_feature(c, 1.0) for c in (bench.train, bench.valid))
    _expect_finite(bench, train, valid, bench.test)


def unrecorded_feature(bench: Bench) -> None:
    """A feature may be recorded for no training stay, and for later ones."""
    train, valid = (_with_first_feature(c, np.nan) for c in (bench.train, bench.valid))
    _expect_finite(bench, train, valid, bench.test)


def single_class(bench: Bench) -> None:
    """A task may have one class only among the training stays, or not be defined for any of them."""
    for only in (0.0, np.nan):
        y = bench.train.outcomes.copy()
        y[:, 0] = np.where(np.isnan(y[:, 0]), np.nan, only)
        _expect_finite(bench, changed(bench.train, outcomes=y), bench.valid, bench.test)


def single_class_validation(bench: Bench) -> None:
    """The validation part may have one class only, where no AUC exists to choose by."""
    y = np.where(np.isnan(bench.valid.outcomes), np.nan, 0).astype(np.float32)
    _expect_finite(bench, bench.train, changed(bench.valid, outcomes=y), bench.test)


def tiny(bench: Bench) -> None:
    """A dozen training stays and four validation stays are enough to run."""
    y = bench.train.outcomes[:, 0]
    rows = np.concatenate([np.flatnonzero(y == c)[:FEW] for c in (0, 1)])
    _expect_finite(bench, *_seen(bench.train.take(rows), bench.valid.take(np.arange(4)), bench.test))


def last_batch(bench: Bench) -> None:
    """The last batch of an epoch may hold a single stay (65 stays, one more than full batches of 8, 16, 32 or 64)."""
    if len(bench.train) < 65:
        raise Skip("the training part has fewer than 65 stays")
    _expect_finite(bench, *_seen(bench.train.take(np.arange(65)), bench.valid, bench.test))


def one_modality_one_task(bench: Bench) -> None:
    """A cohort may have one modality and one task."""
    _expect_finite(
        bench,
        *(
            changed(
                c,
                modalities=c.modalities[:1],
                observed=c.observed[:, :1],
                outcomes=c.outcomes[:, :1],
                tasks=c.tasks[:1],
            ).take(c.observed[:, 0])
            for c in _parts(bench)
        ),
    )


def _parts(bench: Bench) -> tuple[Cohort, Cohort, Cohort]:
    return bench.train, bench.valid, bench.test


def _needs_modalities(bench: Bench, least: int) -> None:
    if len(bench.train.modalities) < least:
        raise Skip(f"needs a cohort with {least} modalities or more")


def _expect_finite(bench: Bench, train: Cohort, valid: Cohort, test: Cohort) -> None:
    """Raises:
    Fault: a prediction is not finite for a stay that the ordinary cohort gave a finite one.
    """
    p = bench.predict(bench.fit(train, valid), test)
    ordinary = dict(zip(bench.test.patient.tolist(), np.isfinite(bench.prediction).all(axis=1), strict=True))
    bad = ~np.isfinite(p).all(axis=1) & np.array([ordinary[i] for i in test.patient.tolist()], dtype=bool)
    if bad.any():
        raise Fault(f"{bad.sum()} of {len(p)} predictions are not finite, the first in row {np.flatnonzero(bad)[0]}")


def _seen(train: Cohort, valid: Cohort, test: Cohort) -> tuple[Cohort, Cohort, Cohort]:
    """Without the later stays whose pattern no training stay has."""
    valid, test = (c.take(seen_patterns(train.observed, c.observed)) for c in (valid, test))
    return train, valid, test


def _one_left(cohort: Cohort) -> Cohort:
    """The cohort, every second stay with one of its modalities alone, each in turn."""
    rank = np.where(cohort.observed, cohort.observed.cumsum(axis=1) - 1, -1)
    chosen = np.arange(len(cohort)) // 2 % np.maximum(cohort.observed.sum(axis=1), 1)
    return hidden(cohort, (rank != chosen[:, None]) & (np.arange(len(cohort))[:, None] % 2 == 0))


def _with_first_feature(cohort: Cohort, value: float) -> Cohort:
    """The cohort with one value in the first modality's first feature wherever that modality is observed."""
    values = [m.values.copy() for m in cohort.modalities]
    values[0][cohort.observed[:, 0], 0] = value
    return with_values(cohort, values)
