"""What is slow to derive from stored predictions: bootstrap intervals, and the reference method against each other row.

Predictions of different folds are never pooled into one ranking: every metric is taken within a fold, averaged over seeds, then folds.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np

from results.plan import Plan
from results.rows import TableRow, find_reference_row, hash_keys, list_rows
from results.statistics.bootstrap import METRICS, average_defined, compute_interval
from results.statistics.fold_values import Folds, Memo, compute_fold_values, find_done_cells
from results.statistics.paired import LEVEL, Pair, compare
from results.storage.store import Store

RESAMPLES = 1000


def derive(store: Store, plan: Plan, resamples: int | None = None) -> dict[str, Any]:
    """Return a plan's intervals and comparisons as JSON values, to be stored with ``Store.write_statistics(plan.name, ...)``.

    ``resamples`` is the plan's ``bootstrap``, else 1000; with 0 there are no intervals. Only cells that are done enter; ``basis`` tells a
    report whether more were done since.

    - ``intervals``: one for each row x landmark x task x metric (auc, auprc, brier): ``landmark, task, metric, method, variant``
      (as in the tidy CSV), ``value`` (mean over seeds, then folds), ``ci_low, ci_high`` (percentile interval at ``confidence``),
      ``resamples`` (with a defined value), ``folds, seeds, reason`` (why there is no value).
    - ``comparisons``: each other row against the reference, the records of ``results.statistics.paired.compare``.
    - ``family``: Holm's family is every tested comparison of the AUC with a row of kind ``method``, over all tasks of the plan. Rows
      known of a cohort, rows before the rectifier, and rows with predictions on only some of the stays are outside.

    - and, by name, what each derivation of the plan's ``derived`` gives (``results/statistics/derivations/``).

    A resample in which a fold has one class leaves that fold out of the resample's mean. Patients are drawn within a fold, not
    stratified, and the same resamples serve all rows.
    """
    resamples = resamples if resamples is not None else RESAMPLES if plan.bootstrap is None else plan.bootstrap
    rows = list_rows(plan)
    reference = find_reference_row(plan, rows)
    done = find_done_cells(store, rows)
    memo: Memo = {}
    intervals: list[dict[str, Any]] = []
    for landmark, facts in plan.landmarks.items():
        values, _ = compute_fold_values(store, rows, done, landmark, facts, resamples, memo)
        here = [(i, row) for i, row in enumerate(rows) if any(p.cell.landmark == landmark for p in row.cells)]
        for task in facts.tasks:
            where = {"landmark": landmark, "task": task}
            for i, row in here:
                intervals += [_make_interval(row, values.get((i, task), {}), where, metric) for metric in METRICS]
    comparisons = [] if reference is None else _compare_with(reference, store, plan, rows, resamples, memo)
    further = {
        name: import_module(f"results.statistics.derivations.{name}").derive(store, plan, resamples, memo)
        for name in plan.derived
    }
    return further | {
        "resamples": resamples,
        "confidence": 1 - LEVEL,
        "basis": hash_keys(done),
        "reference": None if reference is None else {"method": reference.method, "variant": reference.variant},
        "family": {
            "metric": "auc",
            "level": LEVEL,
            "adjustment": "holm",
            "size": sum(c["in_family"] for c in comparisons),
        },
        "intervals": intervals,
        "comparisons": comparisons,
    }


def _make_interval(row: TableRow, folds: Folds, where: dict[str, str], metric: str) -> dict[str, Any]:
    """Return one entry of ``intervals``."""
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
    means = average_defined([f.values[metric] for f in finite])
    low, high, used = compute_interval(means[1:], 1 - LEVEL)
    return record | {
        "value": float(means[0]),
        "ci_low": low,
        "ci_high": high,
        "resamples": used,
        "folds": len(finite),
        "seeds": max(f.seeds for f in finite),
        "reason": None,
    }


def _compare_with(
    reference: TableRow, store: Store, plan: Plan, rows: list[TableRow], resamples: int, memo: Memo
) -> list[dict[str, Any]]:
    """Compare each row with the reference at the landmarks that the row is planned at."""
    others = [row for row in rows if row is not reference]
    pairs = [Pair("reference", row, reference, in_family=row.stage == "final") for row in others]
    planned = {(row.method, row.variant, p.cell.landmark) for row in others for p in row.cells}
    records = compare(store, plan, pairs, resamples, memo)
    return [r for r in records if (r["method"], r["variant"], r["landmark"]) in planned]
