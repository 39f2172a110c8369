"""What is slow to derive from stored predictions: bootstrap intervals, and the reference method against each other row.

Predictions of different folds are never pooled into one ranking: every metric is taken within a fold, averaged over seeds, then folds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
import pandas as pd
from statsmodels.stats.multitest import multipletests

from results.bootstrap import METRICS, interval, mean_of_defined, resample_weights, weighted_metrics
from results.cell import PlannedCell
from results.comparison import corrected_t
from results.rows import Row, basis_of, reference_row, rows_of
from results.store import Store

RESAMPLES = 1000
LEVEL = 0.05


@dataclass(frozen=True)
class FoldValues:
    """A row's metrics on one task in one fold, seeds averaged: metric -> [1 + B], the first without resampling."""

    values: dict[str, np.ndarray]
    seeds: int
    covered: int
    rows: int


@dataclass(frozen=True)
class Sizes:
    """Rows of a landmark's parts, means over its folds."""

    test: float
    train: float


Folds = dict[int, FoldValues]


def derive(store: Store, plan: dict[str, Any], resamples: int | None = None) -> dict[str, Any]:
    """Intervals and comparisons of a plan, as JSON values, to be stored with ``Store.write_statistics(plan["name"], ...)``.

    ``resamples`` is the plan's ``bootstrap``, else 1000; with 0 there are no intervals. Only cells that are done enter; ``basis`` tells a
    report whether more were done since.

    - ``intervals``: one for each row x landmark x task x metric (auc, auprc, brier): ``landmark, task, metric, method, variant``
      (as in the tidy CSV), ``value`` (mean over seeds, then folds), ``ci_low, ci_high`` (percentile interval at ``confidence``),
      ``resamples`` (with a defined value), ``folds, seeds, reason`` (why there is no value).
    - ``comparisons``: the reference against each other row, same keys plus ``difference`` (reference - other, on the folds both
      have; Brier: lower is better), ``ci_low, ci_high`` of it, ``reference_value, value`` on those folds, ``n_test, n_train, t, p``
      (corrected t-test), ``in_family, p_holm``, ``win`` (the reference is better, called) and ``loss`` (the other is).
    - ``family``: Holm's family is every tested comparison of the AUC with a row of kind ``method``, over all tasks of the plan. Rows
      known of a cohort, rows before the rectifier, and rows with predictions on only some of the stays are outside.

    - and, by name, what each derivation of the plan's ``derived`` gives (``results/derivations/``).

    A resample in which a fold has one class leaves that fold out of the resample's mean. Patients are drawn within a fold, not
    stratified, and the same resamples serve all rows.
    """
    resamples = plan.get("bootstrap", RESAMPLES) if resamples is None else resamples
    rows = rows_of(plan)
    reference = reference_row(plan, rows)
    done = {p.key: p for row in rows for p in row.cells if (store.record(p) or {}).get("status") == "done"}
    intervals: list[dict[str, Any]] = []
    comparisons: list[dict[str, Any]] = []
    for landmark, facts in plan["landmarks"].items():
        values, sizes = _landmark(store, rows, done, landmark, facts, resamples)
        here = [(i, row) for i, row in enumerate(rows) if any(p.cell.landmark == landmark for p in row.cells)]
        for task in facts["tasks"]:
            where = {"landmark": landmark, "task": task}
            for i, row in here:
                intervals += [_interval(row, values.get((i, task), {}), where, metric) for metric in METRICS]
            if reference is not None:
                own = values.get((rows.index(reference), task), {})
                for i, row in here:
                    if row is not reference:
                        other = values.get((i, task), {})
                        comparisons += [_comparison(own, row, other, sizes, where, metric) for metric in METRICS]
    size = _adjust(comparisons)
    further = {
        name: import_module(f"results.derivations.{name}").derive(store, plan, resamples)
        for name in plan.get("derived", [])
    }
    return further | {
        "resamples": resamples,
        "confidence": 1 - LEVEL,
        "basis": basis_of(done),
        "reference": None if reference is None else {"method": reference.method, "variant": reference.variant},
        "family": {"metric": "auc", "level": LEVEL, "adjustment": "holm", "size": size},
        "intervals": intervals,
        "comparisons": comparisons,
    }


def _landmark(
    store: Store, rows: list[Row], done: dict[str, PlannedCell], landmark: str, facts: dict[str, Any], resamples: int
) -> tuple[dict[tuple[int, str], Folds], Sizes]:
    """Values of all rows at one landmark, by (row's place, task), and the sizes of the parts."""
    by_fold: dict[int, dict[str, PlannedCell]] = {}
    for key, planned in done.items():
        if planned.cell.landmark == landmark:
            by_fold.setdefault(planned.cell.fold, {})[key] = planned
    values: dict[tuple[int, str], Folds] = {}
    tests, trains = [], []
    for fold, cells in sorted(by_fold.items()):
        frames = {key: store.predictions(planned) for key, planned in cells.items()}
        stays = pd.concat([f[["split", "row", "patient"]] for f in frames.values()]).drop_duplicates()
        test = stays[stays["split"] == "test"].sort_values("row")
        tests.append(len(test))
        trains.append(facts["n"] - len(stays))
        weights = resample_weights(test["row"].to_numpy(), test["patient"].to_numpy(), fold, resamples)
        frames = {key: frame[frame["split"] == "test"].dropna(subset=["label"]) for key, frame in frames.items()}
        for task in facts["tasks"]:
            parts = {key: frame[frame["task"] == task] for key, frame in frames.items()}
            total = len(pd.unique(pd.concat([part["row"] for part in parts.values()]))) if parts else 0
            scored: dict[tuple[str, str], tuple[dict[str, np.ndarray], int]] = {}
            for i, row in enumerate(rows):
                found = []
                for planned in row.cells:
                    if planned.key in parts:
                        at = (planned.key, row.stage)
                        if at not in scored:
                            scored[at] = _scored(parts[planned.key], row.stage, test["row"].to_numpy(), weights)
                        found.append(scored[at])
                if found:
                    means = {m: mean_of_defined([f[0][m] for f in found]) for m in METRICS}
                    covered = min(f[1] for f in found)
                    values.setdefault((i, task), {})[fold] = FoldValues(means, len(found), covered, total)
    return values, Sizes(float(np.mean(tests)) if tests else 0.0, float(np.mean(trains)) if trains else 0.0)


def _scored(part: pd.DataFrame, stage: str, rows: np.ndarray, weights: np.ndarray) -> tuple[dict[str, np.ndarray], int]:
    """Metrics under all weights of one cell's predictions on one task, and on how many rows."""
    part = part.dropna(subset=["probability" if stage == "final" else "probability_base"])
    probability = part["probability" if stage == "final" else "probability_base"].to_numpy(np.float64)
    position = np.searchsorted(rows, part["row"].to_numpy())
    own = weights if np.array_equal(position, np.arange(len(rows))) else weights[:, position]
    return weighted_metrics(part["label"].to_numpy(np.float64), probability, own), len(part)


def _interval(row: Row, folds: Folds, where: dict[str, str], metric: str) -> dict[str, Any]:
    """One entry of ``intervals``."""
    record = {**where, "metric": metric, "method": row.method, "variant": row.variant}
    finite = [f for f in folds.values() if np.isfinite(f.values[metric][0])]
    if not finite:
        reason = "no fold is done" if not folds else "one class in every fold's test part"
        return record | {
            "value": None,
            "ci_low": None,
            "ci_high": None,
            "resamples": 0,
            "folds": 0,
            "seeds": 0,
            "reason": reason,
        }
    means = mean_of_defined([f.values[metric] for f in finite])
    low, high, used = interval(means[1:], 1 - LEVEL)
    return record | {
        "value": float(means[0]),
        "ci_low": low,
        "ci_high": high,
        "resamples": used,
        "folds": len(finite),
        "seeds": max(f.seeds for f in finite),
        "reason": None,
    }


def _comparison(own: Folds, row: Row, other: Folds, sizes: Sizes, where: dict[str, str], metric: str) -> dict[str, Any]:
    """One entry of ``comparisons``, before Holm's adjustment."""
    record = {**where, "metric": metric, "method": row.method, "variant": row.variant}
    both = [
        f for f in sorted(own.keys() & other.keys())
        if np.isfinite(own[f].values[metric][0]) and np.isfinite(other[f].values[metric][0])
    ]  # fmt: skip
    empty = dict.fromkeys(("reference_value", "value", "difference", "ci_low", "ci_high", "t", "p", "p_holm"))
    record |= empty | {"folds": len(both), "seeds": 0, "n_test": sizes.test, "n_train": sizes.train}
    record |= {"in_family": False, "win": False, "loss": False, "reason": None}
    covered, total = sum(other[f].covered for f in both), sum(other[f].rows for f in both)
    if not both:
        return record | {"reason": "no fold in common"}
    if covered < total or any(own[f].covered < own[f].rows for f in both):
        return record | {"reason": f"not the same stays: predictions on {covered} of {total} test rows"}
    a, b = [own[f].values[metric] for f in both], [other[f].values[metric] for f in both]
    means = mean_of_defined([x - y for x, y in zip(a, b, strict=True)])
    low, high, _ = interval(means[1:], 1 - LEVEL)
    record |= {
        "reference_value": float(np.mean([x[0] for x in a])),
        "value": float(np.mean([y[0] for y in b])),
        "difference": float(means[0]),
        "ci_low": low,
        "ci_high": high,
        "seeds": max(min(own[f].seeds, other[f].seeds) for f in both),
    }
    if row.known:
        return record | {"reason": "known of the cohort, not a method: not tested"}
    test = corrected_t(np.array([x[0] - y[0] for x, y in zip(a, b, strict=True)]), sizes.test, sizes.train)
    in_family = metric == "auc" and row.stage == "final" and test.p is not None
    return record | {"t": test.t, "p": test.p, "in_family": in_family, "reason": test.reason}


def _adjust(comparisons: list[dict[str, Any]]) -> int:
    """Holm's adjustment over the family, in place; how many comparisons it holds."""
    family = [c for c in comparisons if c["in_family"]]
    if family:
        adjusted = multipletests([c["p"] for c in family], alpha=LEVEL, method="holm")[1]
        for c, p in zip(family, adjusted, strict=True):
            called = math.isfinite(p) and p < LEVEL
            c |= {
                "p_holm": float(p),
                "win": bool(called and c["difference"] > 0),
                "loss": bool(called and c["difference"] < 0),
            }
    return len(family)
