"""Checks on odd cohorts: what every hospital has sooner or later must give predictions, not a crash or NaN."""

from __future__ import annotations

import numpy as np

from benchmark.check.cohorts import hide_modalities, mark_seen_patterns, replace_fields, replace_values
from benchmark.check.harness import Fault, Harness, Skip
from datasets.cohort import Cohort

FEW = 6
"""Stays of each class in a tiny training part."""


def unseen_pattern(harness: Harness) -> None:
    """A later patient may have a combination of modalities that no training stay had."""
    patterns, count = np.unique(harness.train.observed, axis=0, return_counts=True)
    if len(patterns) < 2:
        raise Skip("the training part has one pattern only")
    left_out = patterns[np.argsort(count)[-2]]
    kept = [(c.observed != left_out).any(axis=1) for c in (harness.train, harness.valid)]
    _expect_finite(harness, harness.train.take(kept[0]), harness.valid.take(kept[1]), harness.test)


def single_modality(harness: Harness) -> None:
    """A stay may have one modality only, whichever it is."""
    _require_modalities(harness, 2)
    _expect_finite(harness, *_drop_unseen_patterns(*(_leave_one_modality(c) for c in _list_parts(harness))))


def nothing_observed(harness: Harness) -> None:
    """A stay may have no modality at all."""
    _expect_finite(harness, *(hide_modalities(c, np.arange(len(c))[:, None] % 5 == 0) for c in _list_parts(harness)))


def absent_modality(harness: Harness) -> None:
    """A modality may be one that no training stay has, while later stays do."""
    _require_modalities(harness, 3)
    last = np.arange(len(harness.train.modalities)) == len(harness.train.modalities) - 1
    train, valid, test = (c.take(c.observed[:, ~last].sum(axis=1) >= 2) for c in _list_parts(harness))
    seen = mark_seen_patterns(train.observed & ~last, test.observed & ~last)
    _expect_finite(harness, hide_modalities(train, last[None]), hide_modalities(valid, last[None]), test.take(seen))


def constant_feature(harness: Harness) -> None:
    """A feature may be constant in training, and vary later."""
    train, valid = (_set_first_feature(c, 1.0) for c in (harness.train, harness.valid))
    _expect_finite(harness, train, valid, harness.test)


def unrecorded_feature(harness: Harness) -> None:
    """A feature may be recorded for no training stay, and for later ones."""
    train, valid = (_set_first_feature(c, np.nan) for c in (harness.train, harness.valid))
    _expect_finite(harness, train, valid, harness.test)


def single_class(harness: Harness) -> None:
    """A task may have one class only among the training stays, or not be defined for any of them."""
    for only in (0.0, np.nan):
        y = harness.train.outcomes.copy()
        y[:, 0] = np.where(np.isnan(y[:, 0]), np.nan, only)
        _expect_finite(harness, replace_fields(harness.train, outcomes=y), harness.valid, harness.test)


def single_class_validation(harness: Harness) -> None:
    """The validation part may have one class only, where no AUC exists to choose by."""
    y = np.where(np.isnan(harness.valid.outcomes), np.nan, 0).astype(np.float32)
    _expect_finite(harness, harness.train, replace_fields(harness.valid, outcomes=y), harness.test)


def tiny(harness: Harness) -> None:
    """A dozen training stays and four validation stays are enough to run."""
    y = harness.train.outcomes[:, 0]
    rows = np.concatenate([np.flatnonzero(y == c)[:FEW] for c in (0, 1)])
    _expect_finite(
        harness, *_drop_unseen_patterns(harness.train.take(rows), harness.valid.take(np.arange(4)), harness.test)
    )


def last_batch(harness: Harness) -> None:
    """The last batch of an epoch may hold a single stay (65 stays, one more than full batches of 8, 16, 32 or 64)."""
    if len(harness.train) < 65:
        raise Skip("the training part has fewer than 65 stays")
    _expect_finite(harness, *_drop_unseen_patterns(harness.train.take(np.arange(65)), harness.valid, harness.test))


def one_modality_one_task(harness: Harness) -> None:
    """A cohort may have one modality and one task."""
    _expect_finite(
        harness,
        *(
            replace_fields(
                c,
                modalities=c.modalities[:1],
                observed=c.observed[:, :1],
                outcomes=c.outcomes[:, :1],
                tasks=c.tasks[:1],
            ).take(c.observed[:, 0])
            for c in _list_parts(harness)
        ),
    )


def _list_parts(harness: Harness) -> tuple[Cohort, Cohort, Cohort]:
    return harness.train, harness.valid, harness.test


def _require_modalities(harness: Harness, least: int) -> None:
    if len(harness.train.modalities) < least:
        raise Skip(f"needs a cohort with {least} modalities or more")


def _expect_finite(harness: Harness, train: Cohort, valid: Cohort, test: Cohort) -> None:
    """Fit and predict.

    Raises:
        Fault: a prediction is not finite for a stay that the ordinary cohort gave a finite one.
    """
    p = harness.predict(harness.fit(train, valid), test)
    ordinary = dict(zip(harness.test.patient.tolist(), np.isfinite(harness.prediction).all(axis=1), strict=True))
    bad = ~np.isfinite(p).all(axis=1) & np.array([ordinary[i] for i in test.patient.tolist()], dtype=bool)
    if bad.any():
        raise Fault(f"{bad.sum()} of {len(p)} predictions are not finite, the first in row {np.flatnonzero(bad)[0]}")


def _drop_unseen_patterns(train: Cohort, valid: Cohort, test: Cohort) -> tuple[Cohort, Cohort, Cohort]:
    """Return the parts without the later stays whose pattern no training stay has."""
    valid, test = (c.take(mark_seen_patterns(train.observed, c.observed)) for c in (valid, test))
    return train, valid, test


def _leave_one_modality(cohort: Cohort) -> Cohort:
    """Return the cohort, every second stay with one of its modalities alone, each in turn."""
    rank = np.where(cohort.observed, cohort.observed.cumsum(axis=1) - 1, -1)
    chosen = np.arange(len(cohort)) // 2 % np.maximum(cohort.observed.sum(axis=1), 1)
    return hide_modalities(cohort, (rank != chosen[:, None]) & (np.arange(len(cohort))[:, None] % 2 == 0))


def _set_first_feature(cohort: Cohort, value: float) -> Cohort:
    """Return the cohort with one value in the first modality's first feature wherever that modality is observed."""
    values = [m.values.copy() for m in cohort.modalities]
    values[0][cohort.observed[:, 0], 0] = value
    return replace_values(cohort, values)
