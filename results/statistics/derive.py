"""What is slow to derive from stored predictions: bootstrap intervals, and the reference method against each other row.

Predictions of different folds are never pooled into one ranking: every metric is taken within a fold, averaged over seeds, then folds.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np

from results.plan import Plan
from results.rows import Row, basis_of, reference_row, rows_of
from results.statistics.bootstrap import METRICS, interval, mean_of_defined
from results.statistics.fold_values import Folds, Memo, Sizes, done_cells, fold_values
from results.statistics.paired import LEVEL, adjust, difference
from results.storage.store import Store

RESAMPLES = 1000


def derive(store: Store, plan: Plan, resamples: int | None = None) -> dict[str, Any]:
    """Intervals and comparisons of a plan, as JSON values, to be stored with ``Store.write_statistics(plan.name, ...)``.

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

    - and, by name, what each derivation of the plan's ``derived`` gives (``results/statistics/derivations/``).

    A resample in which a fold has one class leaves that fold out of the resample's mean. Patients are drawn within a fold, not
    stratified, and the same resamples serve all rows.
    """
    resamples = resamples if resamples is not None else RESAMPLES if plan.bootstrap is None else plan.bootstrap
    rows = rows_of(plan)
    reference = reference_row(plan, rows)
    done = done_cells(store, rows)
    memo: Memo = {}
    intervals: list[dict[str, Any]] = []
    comparisons: list[dict[str, Any]] = []
    for landmark, facts in plan.landmarks.items():
        values, sizes = fold_values(store, rows, done, landmark, facts, resamples, memo)
        here = [(i, row) for i, row in enumerate(rows) if any(p.cell.landmark == landmark for p in row.cells)]
        for task in facts.tasks:
            where = {"landmark": landmark, "task": task}
            for i, row in here:
                intervals += [_interval(row, values.get((i, task), {}), where, metric) for metric in METRICS]
            if reference is not None:
                own = values.get((rows.index(reference), task), {})
                for i, row in here:
                    if row is not reference:
                        other = values.get((i, task), {})
                        comparisons += [_comparison(own, row, other, sizes, where, metric) for metric in METRICS]
    size = adjust(comparisons, "win", "loss")
    further = {
        name: import_module(f"results.statistics.derivations.{name}").derive(store, plan, resamples, memo)
        for name in plan.derived
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
    found = difference(own, other, sizes, metric, tested=not row.known)
    in_family = metric == "auc" and row.stage == "final" and found["p"] is not None
    names = {**where, "metric": metric, "method": row.method, "variant": row.variant}
    values = {"reference_value": found.pop("a"), "value": found.pop("b")}
    return names | values | found | {"in_family": in_family, "win": False, "loss": False}
