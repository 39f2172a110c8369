"""Each row of a draw against the plain network and against logistic regression, by fold: AUC and log loss, means over tasks."""

from __future__ import annotations

from typing import Any

import numpy as np

from results.plan import Plan
from results.rows import TableRow, list_rows
from results.statistics.fold_values import Memo
from results.storage.store import Store

PLAIN = "zero_fill"
BASES = (PLAIN, "logistic")
METRICS = ("auc", "log_loss")
Values = dict[tuple[int, str, str], dict[int, float]]
"""By fold, landmark and task: the metric of each seed."""


def derive(store: Store, plan: Plan, resamples: int, memo: Memo | None = None) -> dict[str, Any]:
    """Return ``rows``, ``values`` and ``patterns`` of a plan, from the records of its cells; nothing is resampled.

    - ``rows``: ``method, variant, title, known``, ``status`` (``done``, else ``failed``, ``skipped`` or ``missing``: the first that a
      cell has) and ``reason``.
    - ``values``: for each row, metric and fold the mean over tasks, seeds averaged before: ``method, variant, metric, fold, value``, and
      by base the mean over tasks of the row less the base, ``less_zero_fill`` and ``less_logistic`` (None for the base itself and for
      what is known). A fold counts where the row has a value on every task on which the plain network has one (without that network:
      every task of the plan), so that all rows are means over the same tasks; the predictions are on the same stays.
    - ``patterns``: landmark -> how many observation patterns its stays have (none where no cell is done).
    """
    rows = [row for row in list_rows(plan) if row.cells]
    records = {p.key: store.record(p) for row in rows for p in row.cells}
    found = {id(row): {metric: _collect(row, records, metric) for metric in METRICS} for row in rows}
    first = {row.method: row for row in reversed(rows) if row.stage == "final"}
    values = []
    for row in rows:
        for metric in METRICS:
            own = found[id(row)][metric]
            bases = {name: found[id(first[name])][metric] for name in BASES if name in first}
            for fold in range(plan.folds):
                wanted = _list_tasks(bases[PLAIN], fold) if PLAIN in bases else plan.landmark_tasks
                at = [(fold, *place) for place in wanted]
                if not at or any(place not in own for place in at):
                    continue
                entry = {"method": row.method, "variant": row.variant, "metric": metric, "fold": fold}
                means = np.array([_average(own[place]) for place in at])
                for name in BASES:
                    base = bases.get(name, {})
                    apart = not row.known and first.get(name) is not row and all(place in base for place in at)
                    less = [_average(base[place]) for place in at] if apart else []
                    entry[f"less_{name}"] = float(np.mean(means - less)) if apart else None
                values.append(entry | {"value": float(means.mean())})
    return {
        "rows": [_describe(row, records) for row in rows],
        "values": values,
        "patterns": _count_patterns(store, rows),
    }


def _collect(row: TableRow, records: dict[str, Any], metric: str) -> Values:
    values: Values = {}
    for planned in row.cells:
        cell, record = planned.cell, records[planned.key] or {"status": "missing"}
        for m in record["metrics"] if record["status"] == "done" else ():
            if (m["split"], m["stage"], m["metric"]) == ("test", row.stage, metric) and m["value"] is not None:
                values.setdefault((cell.fold, cell.landmark, m["task"]), {})[cell.seed] = m["value"]
    return values


def _list_tasks(values: Values, fold: int) -> list[tuple[str, str]]:
    return [(landmark, task) for of, landmark, task in values if of == fold]


def _average(by_seed: dict[int, float]) -> float:
    return float(np.mean(list(by_seed.values())))


def _describe(row: TableRow, records: dict[str, Any]) -> dict[str, Any]:
    states = [
        (record["status"], record["reason"]) if record else ("missing", None)
        for record in (records[p.key] for p in row.cells)
    ]
    status, reason = next((state for state in states if state[0] != "done"), ("done", None))
    named = {"method": row.method, "variant": row.variant, "title": row.title, "known": row.known}
    return named | {"status": status, "reason": reason}


def _count_patterns(store: Store, rows: list[TableRow]) -> dict[str, int]:
    """Count the patterns of the stays tested, by landmark, from the cells of the first row that is done."""
    seen: dict[str, set[str]] = {}
    for landmark in dict.fromkeys(p.cell.landmark for row in rows for p in row.cells):
        for row in rows:
            cells = {p.cell.fold: p for p in row.cells if p.cell.landmark == landmark}
            if cells and all((store.record(p) or {}).get("status") == "done" for p in cells.values()):
                frames = [store.predictions(p) for p in cells.values()]
                seen[landmark] = {str(x) for f in frames for x in f.loc[f["split"] == "test", "pattern"].unique()}
                break
    return {landmark: len(patterns) for landmark, patterns in seen.items()}
