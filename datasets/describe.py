"""What a cohort holds, as plain numbers: sizes, prevalence, observed shares, and the outcomes of each observation
pattern."""

from __future__ import annotations

import itertools

import numpy as np

from datasets.cohort import Cohort, name_patterns


def describe_cohort(cohort: Cohort) -> dict:
    """Count what a cohort holds, as JSON values.

    Returns ``n``; ``tasks``: {task: {"n", "positives", "prevalence"}} over the stays where the task is defined
    (prevalence None where there are none); ``modalities``: {name: share of stays in which it is observed} (None in an
    empty cohort); ``patterns``: one {"pattern", "n", "positives": {task: int}, "defined": {task: int}} an observation
    pattern, the most frequent first, ties by name.
    """
    n = len(cohort)
    names = np.array(name_patterns(cohort.observed, cohort.modality_names), dtype=object)
    patterns = []
    for name in dict.fromkeys(names):
        here = names == name
        patterns.append(
            {
                "pattern": str(name),
                "n": int(here.sum()),
                "positives": {task: int((cohort.outcomes[here, t] == 1).sum()) for t, task in enumerate(cohort.tasks)},
                "defined": {
                    task: int((~np.isnan(cohort.outcomes[here, t])).sum()) for t, task in enumerate(cohort.tasks)
                },
            }
        )
    return {
        "n": n,
        "tasks": {task: _describe_task(cohort.outcomes[:, t]) for t, task in enumerate(cohort.tasks)},
        "modalities": {
            name: float(cohort.observed[:, m].mean()) if n else None for m, name in enumerate(cohort.modality_names)
        },
        "patterns": sorted(patterns, key=lambda row: (-row["n"], row["pattern"])),
    }


def add_absent_patterns(cohort: Cohort, patterns: list[dict]) -> list[dict]:
    """Add to the described ``patterns``, with n = 0, those that no stay has: all of the modalities that are not observed in every stay."""
    always = cohort.observed.all(axis=0)
    choices = [(True,) if fixed else (True, False) for fixed in always]
    there = {row["pattern"] for row in patterns}
    names = name_patterns(np.array(list(itertools.product(*choices))), cohort.modality_names)
    none = dict.fromkeys(cohort.tasks, 0)
    return patterns + [{"pattern": n, "n": 0, "positives": none, "defined": none} for n in names if n not in there]


def compute_missing_shares(cohort: Cohort) -> dict[str, dict[str, float]]:
    """Return {modality: {feature: share of the stays with the modality observed in which it is NaN}}, where any feature has some."""
    shares = {}
    for m, modality in enumerate(cohort.modalities):
        seen = cohort.observed[:, m]
        missing = np.isnan(modality.values[seen]).mean(axis=0) if seen.any() else np.zeros(modality.width)
        if missing.any():
            shares[modality.name] = {
                name: round(float(x), 4) for name, x in zip(modality.feature_names, missing, strict=True)
            }
    return shares


def list_constant_features(cohort: Cohort) -> dict[str, dict[str, float | None]]:
    """List {modality: {feature: its one value}}, of the features that are the same in every stay with the modality observed.

    The value is None where the feature is never recorded; NaN next to one value is missing, not another value. A modality without
    such a feature, or observed in no stay, is left out.
    """
    constant = {}
    for m, modality in enumerate(cohort.modalities):
        values = modality.values[cohort.observed[:, m]]
        if not len(values):
            continue
        recorded = ~np.isnan(values)
        low = np.where(recorded, values, np.inf).min(axis=0)
        high = np.where(recorded, values, -np.inf).max(axis=0)
        here = {
            name: float(low[j]) if recorded[:, j].any() else None
            for j, name in enumerate(modality.feature_names)
            if low[j] >= high[j]
        }
        if here:
            constant[modality.name] = here
    return constant


def _describe_task(outcomes: np.ndarray) -> dict:
    defined = int((~np.isnan(outcomes)).sum())
    positives = int((outcomes == 1).sum())
    return {"n": defined, "positives": positives, "prevalence": positives / defined if defined else None}
