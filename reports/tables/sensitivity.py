"""How much a method's AUC changes with its hyper-parameters: the sweeps of a plan, as numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from reports.tables.differences import DifferenceRecords
from results.plan import Plan
from results.rows import TableRow
from results.statistics.changes import find_default, list_changes

MEAN = "mean over tasks"
NAMES = {
    "lr": "Learning rate",
    "weight_decay": "Weight decay",
    "hidden": "Hidden size",
    "dropout": "Dropout",
    "lambda_con": "Contrastive weight",
}
FoldAucs = dict[int, float]
"""Fold -> AUC, seeds averaged."""
Aucs = dict[tuple[str, str, str, str], FoldAucs]
"""By method, variant, landmark, task."""


@dataclass(frozen=True)
class Point:
    """A value of a hyper-parameter and the row that has it; ``default``: it is what the method has anyway."""

    value: Any
    row: TableRow
    default: bool


@dataclass(frozen=True)
class Sweep:
    """The values of one hyper-parameter of one method, ascending, the default among them."""

    base: TableRow
    field: str
    points: tuple[Point, ...]


@dataclass(frozen=True)
class Drop:
    """How far the AUC falls from the default at the worst value; ``at`` is that value, the default where nothing falls.

    ``drop`` >= 0 with ``sd_folds`` of the paired difference; ``stability`` = 100 (1 - drop / AUC at the default), in per cent; ``low`` and
    ``high``: the lowest and highest AUC of the sweep; ``lost``: values without a number. All NaN where the default has no number.
    """

    default: float
    low: float
    high: float
    drop: float
    sd_folds: float
    at: Any
    stability: float
    lost: tuple[Any, ...]


def list_sweeps(plan: Plan) -> list[Sweep]:
    """Return the sweeps of a plan, in print order."""
    found: dict[tuple[str, str, str], list[Point]] = {}
    bases: dict[tuple[str, str, str], TableRow] = {}
    for change in list_changes(plan):
        key = (change.base.method, change.base.variant, change.field)
        bases[key] = change.base
        found.setdefault(key, []).append(Point(change.value, change.row, False))
    return [
        Sweep(
            bases[key], key[2], _sort_points([*points, Point(find_default(bases[key], key[2], plan), bases[key], True)])
        )
        for key, points in found.items()
    ]


def index_aucs(numbers: pd.DataFrame) -> Aucs:
    """Return the AUC by fold of every row of a tidy frame."""
    auc = numbers[numbers["metric"] == "auc"].to_dict("records")
    return {
        (c["method"], c["variant"], c["landmark"], c["task"]): {k: v[0] for k, v in c["by_fold"].items()} for c in auc
    }


def average_by_fold(aucs: Aucs, row: TableRow, tasks: list[tuple[str, str]]) -> FoldAucs:
    """Return AUC of a row by fold, averaged over ``tasks`` (landmark, task): the folds in which all of them have one."""
    folds = [aucs.get((row.method, row.variant, *task), {}) for task in tasks]
    common = set.intersection(*(set(f) for f in folds)) if folds else set()
    return {k: float(np.mean([f[k] for f in folds])) for k in sorted(common)}


def compute_drop(aucs: Aucs, sweep: Sweep, tasks: list[tuple[str, str]]) -> Drop:
    """Return the greatest fall of the AUC, averaged over ``tasks``, from the default to a value of a sweep, on the folds both have."""
    base = average_by_fold(aucs, sweep.base, tasks)
    at_default = next(p.value for p in sweep.points if p.default)
    lost = tuple(p.value for p in sweep.points if not average_by_fold(aucs, p.row, tasks))
    if not base:
        return Drop(np.nan, np.nan, np.nan, np.nan, np.nan, at_default, np.nan, lost)
    default = float(np.mean(list(base.values())))
    means, worst, sd, at = [default], 0.0, np.nan, at_default
    for point in sweep.points:
        own = average_by_fold(aucs, point.row, tasks)
        falls = np.array([base[k] - own[k] for k in base if k in own])
        if len(falls):
            means.append(float(np.mean(list(own.values()))))
            if falls.mean() > worst:
                worst, at = float(falls.mean()), point.value
                sd = float(falls.std(ddof=1)) if len(falls) > 1 else np.nan
    return Drop(default, min(means), max(means), worst, sd, at, 100 * (1 - worst / default), lost)


def _sort_points(points: list[Point]) -> tuple[Point, ...]:
    plain = all(isinstance(p.value, (int, float)) for p in points)
    return tuple(sorted(points, key=lambda p: p.value)) if plain else tuple(points)


@dataclass(frozen=True, eq=False)
class Study:
    """The sweeps of one method: its plan, the plan's tidy frame, the AUC by fold of every row, the stored differences, and the tasks."""

    plan: Plan
    sweeps: tuple[Sweep, ...]
    numbers: pd.DataFrame
    aucs: Aucs
    records: DifferenceRecords
    tasks: list[tuple[str, str]]

    def find_records(self, sweep: Sweep) -> list[dict[str, Any]]:
        """Return the stored differences of a sweep's values to the default."""
        variants = {(p.row.method, p.row.variant) for p in sweep.points if not p.default}
        return [r for r in self.records.values() if (r["method"], r["variant"]) in variants]


def get_field_title(field: str) -> str:
    """Return the printed name of a hyper-parameter."""
    return NAMES.get(field, field)


def format_value(value: Any) -> str:
    """Return a value of a hyper-parameter as it is printed."""
    return f"{value:g}" if isinstance(value, float) else str(value)
