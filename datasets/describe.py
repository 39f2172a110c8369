"""What a cohort holds, as plain numbers: sizes, prevalence, observed shares, and the outcomes of each observation
pattern."""

from __future__ import annotations

import numpy as np

from datasets.cohort import Cohort, pattern_names


def describe_cohort(cohort: Cohort) -> dict:
    """Counts of a cohort as JSON values.

    Returns ``n``; ``tasks``: {task: {"n", "positives", "prevalence"}} over the stays where the task is defined
    (prevalence None where there are none); ``modalities``: {name: share of stays in which it is observed} (None in an
    empty cohort); ``patterns``: one {"pattern", "n", "positives": {task: int}} an observation pattern, the most
    frequent first, ties by name.
    """
    n = len(cohort)
    names = np.array(pattern_names(cohort.observed, cohort.modality_names), dtype=object)
    patterns = []
    for name in dict.fromkeys(names):
        here = names == name
        patterns.append(
            {
                "pattern": str(name),
                "n": int(here.sum()),
                "positives": {task: int((cohort.outcomes[here, t] == 1).sum()) for t, task in enumerate(cohort.tasks)},
            }
        )
    return {
        "n": n,
        "tasks": {task: _task(cohort.outcomes[:, t]) for t, task in enumerate(cohort.tasks)},
        "modalities": {
            name: float(cohort.observed[:, m].mean()) if n else None for m, name in enumerate(cohort.modality_names)
        },
        "patterns": sorted(patterns, key=lambda row: (-row["n"], row["pattern"])),
    }


def _task(outcomes: np.ndarray) -> dict:
    defined = int((~np.isnan(outcomes)).sum())
    positives = int((outcomes == 1).sum())
    return {"n": defined, "positives": positives, "prevalence": positives / defined if defined else None}
