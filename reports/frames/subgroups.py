"""What is derived by group of stays (``results/statistics/subgroups.py``) as a tidy frame; nothing missing silently."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from reports.frames.tidy import COLUMNS, EMPTY, get_row_state, set_dtypes
from results.plan import Plan
from results.rows import TableRow, list_rows
from results.storage.store import Store

FRAME = (*COLUMNS, "attribute", "ci_low", "ci_high", "resamples", "alarm_share", "note")
"""Columns of the CSV."""
GAP = "gap_"


def build_subgroup_frame(store: Store, plan: Plan, name: str) -> pd.DataFrame:
    """Return every number of the derivation ``name`` of a plan: a row x landmark x task x attribute x group x metric.

    Columns: FRAME, then ``title``, ``known``, ``stage``. ``status``: as in the tidy frame, or ``too_few`` where the group is too small
    for a number; ``n`` and ``positives`` are those of the row's own predictions, or of the cohort where it has none. Gaps (metric
    ``gap_...``) are the group's mean less that of the largest group of its attribute; ``alarm_share``: the share of the validation part
    that the alarm of ``flagged``, ``tpr`` and ``fpr`` is set for. Empty where nothing was derived.
    """
    derived = (store.statistics(plan.name) or {}).get(name)
    if not derived or not derived["groups"]:
        return pd.DataFrame(columns=[*FRAME, "title", "known", "stage"])
    keys = ("landmark", "task", "method", "variant", "attribute", "group")
    values = {tuple(v[k] for k in keys): v for v in derived["values"]}
    metrics = [*derived["metrics"], *(GAP + metric for metric in derived["gaps"])]
    states = _collect_states(store, plan)
    numbers = []
    for row in list_rows(plan):
        for group in derived["groups"]:
            cells = states.get((row.method, row.variant, group["landmark"]))
            if cells is None:
                continue
            where = {k: group[k] for k in ("landmark", "task", "attribute", "group")} | _describe_row(row)
            value = values.get(tuple(where[k] for k in keys))
            numbers += [
                where | {"metric": metric} | _describe_number(value, metric, group, cells, plan.folds)
                for metric in metrics
                if not metric.startswith(GAP) or not group["reference"]
            ]
    frame = pd.DataFrame(numbers)
    frame = frame.assign(experiment=plan.experiment, dataset=plan.dataset, protocol=plan.protocol)
    frame["alarm_share"] = derived["flagged_share"] if "flagged" in metrics else np.nan
    return set_dtypes(frame.astype({"ci_low": float, "ci_high": float}))[[*FRAME, "title", "known", "stage"]]


def _collect_states(store: Store, plan: Plan) -> dict[tuple[str, str, str], tuple[str, str]]:
    """Return by (method, variant, landmark) the status and note of the row's cells; no entry where the row has no cell planned."""
    rows = list_rows(plan)
    records = {p.key: store.record(p) for row in rows for p in row.cells}
    return {
        (row.method, row.variant, landmark): get_row_state(row, landmark, records)[:2]
        for row in rows
        for landmark in dict.fromkeys(p.cell.landmark for p in row.cells)
    }


def _describe_row(row: TableRow) -> dict[str, Any]:
    return {k: getattr(row, k) for k in ("method", "variant", "title", "known", "stage")}


def _describe_number(
    value: dict[str, Any] | None, metric: str, group: dict[str, Any], cells: tuple[str, str], folds: int
) -> dict[str, Any]:
    empty = EMPTY | {"ci_low": np.nan, "ci_high": np.nan, "resamples": 0}
    if value is None:
        counts = {"n": group["n"], "positives": group["positives"]}
        if cells[0] in ("failed", "skipped", "missing"):
            return empty | counts | {"status": cells[0], "note": cells[1]}
        return empty | counts | {"status": "missing", "note": "done since the statistics were derived: run again"}
    counts = {"n": value["n"], "positives": value["positives"]}
    if value["reason"]:
        return empty | counts | {"status": "too_few", "note": value["reason"]}
    found = value["metrics"].get(metric)
    if found is None or found["mean"] is None:
        why = (
            "the largest group has too few stays to compare with"
            if metric.startswith(GAP)
            else "undefined in every fold"
        )
        return empty | counts | {"status": "undefined", "note": why}
    short = found["folds"] < folds
    note = f"from {found['folds']} of {folds} folds" if short else ""
    return (
        counts
        | {k: np.nan if v is None else v for k, v in found.items()}
        | {"status": "partial" if short else "done", "note": note}
    )
