"""The test predictions of a fitted method when a modality is withheld from every test stay, one modality at a time.

Withheld: unobserved in ``observed`` and NaN in its values. The series of labs and vitals is not gated by ``observed``: a method that
reads it still does. A modality that every stay has is withheld too, which makes patterns that no training stay showed. Predictions are
those before the rectifier.

Numbers: every metric of ``results/metrics/scores.py`` by task, ``group`` the modality withheld (``nothing``: complete inputs), and, for
the modalities, the same with ``_difference``, from complete inputs; ``withheld_from``: how many stays had the modality.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from benchmark.cell.probes import Fitted, Found
from datasets.cohort import Cohort
from results.metrics.scores import score

NOTHING = "nothing"


def probe(fitted: Fitted) -> Found:
    """Return the numbers, and the frame ``withheld, row, task, label, probability`` (single precision, as predictions are stored and
    scored)."""
    test = fitted.cohort.take(fitted.rows["test"])
    parts, had = [], {}
    for name in (NOTHING, *test.modality_names):
        given = test if name == NOTHING else withhold_modality(test, name)
        had[name] = int((test.observed & ~given.observed).sum())
        probability = fitted.method.predict_proba(given.without_outcomes())
        parts += [
            pd.DataFrame({
                "withheld": name, "row": fitted.rows["test"], "task": task,
                "label": test.outcomes[:, t], "probability": np.asarray(probability, np.float32)[:, t],
            })
            for t, task in enumerate(test.tasks)
        ]  # fmt: skip
    frame = pd.concat(parts, ignore_index=True).astype({"withheld": "category", "task": "category"})
    counts = [
        {"metric": "withheld_from", "group": name, "task": None, "value": k, "reason": None, "n": len(test), "positives": None}
        for name, k in had.items() if name != NOTHING
    ]  # fmt: skip
    return counts + compute_metrics(frame), frame


def withhold_modality(cohort: Cohort, name: str) -> Cohort:
    """Return the cohort in which no stay has the modality called ``name``."""
    m = cohort.modality_names.index(name)
    observed = cohort.observed.copy()
    observed[:, m] = False
    modalities = tuple(
        replace(modality, values=np.full_like(modality.values, np.nan)) if j == m else modality
        for j, modality in enumerate(cohort.modalities)
    )
    return replace(cohort, observed=observed, modalities=modalities, fingerprint=f"{cohort.fingerprint} without {name}")


def compute_metrics(frame: pd.DataFrame) -> list[dict]:
    """Return the metrics and differences of the probe's frame."""
    numbers = []
    for task, of_task in frame.groupby("task", sort=False, observed=True):
        scored = {
            name: score(own["label"].to_numpy(), own["probability"].to_numpy(np.float64))
            for name, own in of_task.groupby("withheld", sort=False, observed=True)
        }
        for name, metrics in scored.items():
            for metric, complete in zip(metrics, scored[NOTHING], strict=True):
                at = {"group": name, "task": task, "n": metric.n, "positives": metric.positives}
                numbers.append({"metric": metric.metric, "value": metric.value, "reason": metric.reason, **at})
                if name != NOTHING:
                    difference = (
                        None if metric.value is None or complete.value is None else metric.value - complete.value
                    )
                    why = metric.reason or complete.reason
                    numbers.append({"metric": f"{metric.metric}_difference", "value": difference, "reason": why, **at})
    return numbers
