"""One row of a table against another, paired within folds: difference, bootstrap interval, corrected t-test, Holm's adjustment."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from statsmodels.stats.multitest import multipletests

from results.plan import Plan
from results.rows import TableRow
from results.statistics.bootstrap import METRICS, average_defined, compute_interval
from results.statistics.comparison import compute_corrected_t
from results.statistics.fold_values import Folds, Memo, Sizes, compute_fold_values, find_done_cells
from results.storage.store import Store

LEVEL = 0.05
NUMBERS = ("a", "b", "difference", "sd_folds", "ci_low", "ci_high", "t", "p", "p_holm")


@dataclass(frozen=True)
class Pair:
    """``row`` against ``base`` under a name; either is None where the plan has no such row.

    ``in_family``: whether its tests of the AUC belong to Holm's family.
    """

    name: str
    row: TableRow | None
    base: TableRow | None
    in_family: bool = True


def compare(
    store: Store, plan: Plan, pairs: Sequence[Pair], resamples: int, memo: Memo | None = None
) -> list[dict[str, Any]]:
    """Return a record for each pair x landmark x task x metric (auc, auprc, brier), as JSON values.

    ``name, landmark, task, metric``; ``method, variant, title`` of the row and ``base_method, base_variant, base_title`` (None where the
    plan has none); ``value, base_value, difference`` (row - base, on the folds both have; Brier: lower is better), ``sd_folds`` (standard
    deviation over folds of the paired difference), ``ci_low, ci_high`` (percentile interval at 95 % of the same resamples for all rows),
    ``folds, seeds, n_test, n_train, t, p`` (corrected t-test), ``in_family, p_holm, better, worse``, ``reason``.
    Holm's family is every tested difference of the AUC, over all tasks of the plan and all pairs that belong to it; what is known of a
    cohort is not tested.
    """
    rows = list({id(r): r for pair in pairs for r in (pair.row, pair.base) if r is not None}.values())
    done = find_done_cells(store, rows)
    place = {id(r): i for i, r in enumerate(rows)}
    found: list[dict[str, Any]] = []
    for landmark, facts in plan.landmarks.items():
        values, sizes = compute_fold_values(store, rows, done, landmark, facts, resamples, memo)
        for pair in pairs:
            if not _is_planned_at(pair, landmark):
                continue
            for task in facts.tasks:
                a, b = (
                    values.get((place[id(row)], task), {}) if row is not None else {} for row in (pair.row, pair.base)
                )
                for metric in METRICS:
                    where = {"name": pair.name, "landmark": landmark, "task": task, "metric": metric}
                    found.append(where | _name_pair(pair) | _make_record(pair, a, b, sizes, metric))
    _adjust(found)
    return found


def compute_difference(a: Folds, b: Folds, sizes: Sizes, metric: str, tested: bool) -> dict[str, Any]:
    """Return ``a`` - ``b`` on the folds that both have, seeds averaged before.

    Returns:
        ``a, b, difference, sd_folds, ci_low, ci_high, t, p, p_holm`` (None where there is none), ``folds, seeds, n_test, n_train,
        reason``; no difference where the two do not predict the same stays.
    """
    both = [
        f for f in sorted(a.keys() & b.keys())
        if np.isfinite(a[f].values[metric][0]) and np.isfinite(b[f].values[metric][0])
    ]  # fmt: skip
    record = dict.fromkeys(NUMBERS) | {"folds": len(both), "seeds": 0, "n_test": sizes.test, "n_train": sizes.train}
    if not both:
        return record | {"reason": "no fold in common"}
    covered, total = min(sum(side[f].covered for f in both) for side in (a, b)), sum(b[f].rows for f in both)
    if covered < total:
        return record | {"reason": f"not the same stays: predictions on {covered} of {total} test rows"}
    left, right = ([side[f].values[metric] for f in both] for side in (a, b))
    by_fold = np.array([x[0] - y[0] for x, y in zip(left, right, strict=True)])
    means = average_defined([x - y for x, y in zip(left, right, strict=True)])
    low, high, _ = compute_interval(means[1:], 1 - LEVEL)
    record |= {
        "a": float(np.mean([x[0] for x in left])),
        "b": float(np.mean([y[0] for y in right])),
        "difference": float(means[0]),
        "sd_folds": float(by_fold.std(ddof=1)) if len(both) > 1 else None,
        "ci_low": low,
        "ci_high": high,
        "seeds": max(min(a[f].seeds, b[f].seeds) for f in both),
    }
    if not tested:
        return record | {"reason": "known of the cohort, not a method: not tested"}
    test = compute_corrected_t(by_fold, sizes.test, sizes.train)
    return record | {"t": test.t, "p": test.p, "reason": test.reason}


def _adjust(records: list[dict[str, Any]]) -> None:
    """Adjust the p-values of the records ``in_family`` (Holm), in place, and note which way a difference is called at LEVEL."""
    family = [c for c in records if c["in_family"]]
    if family:
        adjusted = multipletests([c["p"] for c in family], alpha=LEVEL, method="holm")[1]
        for c, p in zip(family, adjusted, strict=True):
            called = math.isfinite(p) and p < LEVEL
            c |= {
                "p_holm": float(p),
                "better": bool(called and c["difference"] > 0),
                "worse": bool(called and c["difference"] < 0),
            }


def _is_planned_at(pair: Pair, landmark: str) -> bool:
    rows = [row for row in (pair.row, pair.base) if row is not None]
    return not rows or any(p.cell.landmark == landmark for row in rows for p in row.cells)


def _name_pair(pair: Pair) -> dict[str, Any]:
    fields = ("method", "variant", "title")
    own = {name: getattr(pair.row, name, None) for name in fields}
    return own | {f"base_{name}": getattr(pair.base, name, None) for name in fields}


def _make_record(pair: Pair, a: Folds, b: Folds, sizes: Sizes, metric: str) -> dict[str, Any]:
    if pair.row is None or pair.base is None:
        record = compute_difference({}, {}, sizes, metric, tested=False) | {"reason": "not in this plan"}
    else:
        record = compute_difference(a, b, sizes, metric, tested=not (pair.row.known or pair.base.known))
    in_family = pair.in_family and metric == "auc" and record["p"] is not None
    renamed = {"value": record.pop("a"), "base_value": record.pop("b")}
    return renamed | record | {"in_family": in_family, "better": False, "worse": False}
