"""Stored records to the tidy frame: one row a number, from which every table and CSV is made."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from results.rows import Row, rows_of
from results.store import Store
from results.summary import summarise

COLUMNS = (
    "experiment", "dataset", "landmark", "protocol", "task", "method", "variant", "group", "metric",
    "mean", "sd_seeds", "sd_folds", "folds", "seeds", "n", "positives", "status",
)  # fmt: skip
PRINTED = ("auc", "auprc", "brier")
EMPTY = {"mean": np.nan, "sd_seeds": np.nan, "sd_folds": np.nan, "folds": 0, "seeds": 0, "n": pd.NA, "positives": pd.NA}


def tidy(store: Store, plan: dict[str, Any]) -> pd.DataFrame:
    """All numbers of a plan, in print order; none where a row has no cell planned at a landmark (APACHE knows no readmission).

    Columns: COLUMNS, then for the tables ``title``, ``known``, ``stage``, ``series``, ``by_fold`` (fold -> mean over seeds, n,
    positives) and ``note``
    (why a number is missing or rests on fewer cells); only COLUMNS go to the CSV. ``status``: ``done``, ``partial`` (some cells missing,
    or the metric undefined in some), ``failed``, ``skipped``, ``missing`` (no cell is done), ``undefined`` (done, but the metric has no
    value). ``n`` and ``positives`` are sums over the folds' test parts.
    """
    rows = rows_of(plan)
    records = {p.key: store.record(p) for row in rows for p in row.cells}
    metrics = _metrics(records.values())
    numbers = []
    for row in rows:
        for landmark, facts in plan["landmarks"].items():
            if not any(p.cell.landmark == landmark for p in row.cells):
                continue
            values = _values(row, landmark, records)
            status, note, expected = state(row, landmark, records)
            for task in facts["tasks"]:
                own = values[values["task"] == task]
                for metric in metrics + (("rectifier_share_changed",) if _rectified(row, landmark, records) else ()):
                    where = {"landmark": landmark, "task": task, "metric": metric}
                    numbers.append(where | number(own[own["metric"] == metric], status, note, expected) | _names(row))
    frame = pd.DataFrame(numbers)
    frame = frame.assign(experiment=plan["experiment"], dataset=plan["dataset"], protocol=plan["protocol"], group="all")
    return typed(frame)[[*COLUMNS, "title", "known", "stage", "series", "by_fold", "note"]]


def typed(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with whole numbers where they are counts, empty where there are none."""
    return frame.astype(
        {"folds": "Int64", "seeds": "Int64", "n": "Int64", "positives": "Int64", "mean": float, "sd_seeds": float}
    )


def _names(row: Row) -> dict[str, Any]:
    names = ("method", "variant", "title", "known", "stage", "series")
    return {name: getattr(row, name) for name in names}


def _metrics(records: Iterable[dict[str, Any] | None]) -> tuple[str, ...]:
    """The metrics that any record has on its test part, the printed ones first."""
    found = {m["metric"]: None for r in records if r for m in r["metrics"] if m["split"] == "test"}
    return tuple(dict.fromkeys((*PRINTED, *found)))


def _values(row: Row, landmark: str, records: dict[str, Any]) -> pd.DataFrame:
    """Every test value of a row at a landmark: task, metric, fold, seed, value, reason, n, positives."""
    values = []
    for planned in row.cells:
        record = records[planned.key]
        if planned.cell.landmark != landmark or not record or record["status"] != "done":
            continue
        at = {"fold": planned.cell.fold, "seed": planned.cell.seed}
        values += [m | at for m in record["metrics"] if m["split"] == "test" and m["stage"] == row.stage]
        if row.stage == "final" and record.get("rectifier"):
            changed = record["rectifier"]["share_changed"]
            counts = {m["task"]: m for m in values if m["fold"] == at["fold"] and m["seed"] == at["seed"]}
            values += [
                counts[task] | {"metric": "rectifier_share_changed", "value": share, "reason": None}
                for task, share in changed.items() if task in counts
            ]  # fmt: skip
    return pd.DataFrame(values, columns=["task", "metric", "fold", "seed", "value", "reason", "n", "positives"])


def _rectified(row: Row, landmark: str, records: dict[str, Any]) -> bool:
    return row.stage == "final" and any(
        p.cell.landmark == landmark and (records[p.key] or {}).get("rectifier") for p in row.cells
    )  # fmt: skip


def state(row: Row, landmark: str, records: dict[str, Any]) -> tuple[str, str, int]:
    """(status, note, number of cells) of a row at a landmark; ``records``: key -> record or None."""
    cells = [p for p in row.cells if p.cell.landmark == landmark]
    states = ["missing" if records[p.key] is None else records[p.key]["status"] for p in cells]
    count = {s: states.count(s) for s in ("done", "failed", "skipped", "missing") if s in states}
    reasons = dict.fromkeys(records[p.key]["reason"] for p in cells if records[p.key] and records[p.key].get("reason"))
    lost = ", ".join(f"{k} {s}" for s, k in count.items() if s != "done")
    because = f": {'; '.join(reasons)}" if reasons else ""
    done = count.get("done", 0)
    if done == len(cells):
        return "done", "", len(cells)
    if done:
        seeds = len({p.cell.seed for p in cells})
        unit = "folds" if seeds == 1 else f"cells (folds x {seeds} seeds)"
        return "partial", f"{done} of {len(cells)} {unit} ({lost}{because})", len(cells)
    status = next((s for s in ("failed", "skipped") if s in count), "missing")
    return status, f"{lost} of {len(cells)} cells{because}", len(cells)


def number(values: pd.DataFrame, status: str, note: str, expected: int) -> dict[str, Any]:
    """Means and spreads of one metric, from its values by fold and seed; the rest as ``state`` gives it."""
    if status not in ("done", "partial"):
        return EMPTY | {"status": status, "note": note, "by_fold": {}}
    reasons = "; ".join(dict.fromkeys(values["reason"].dropna()))
    given = values["value"].notna().to_numpy()
    if not given.any():
        return EMPTY | {"status": "undefined", "note": reasons or "not in the record", "by_fold": {}} | _counts(values)
    if given.sum() < expected and status == "done":
        status, note = "partial", f"defined in {given.sum()} of {expected} cells ({reasons or 'not in the record'})"
    columns = (values[c].to_numpy()[given] for c in ("fold", "seed", "value", "n", "positives"))
    fold, seed, value, n, positives = columns
    folds, first, row = np.unique(fold, return_index=True, return_inverse=True)
    seeds, column = np.unique(seed, return_inverse=True)
    matrix = np.full((len(folds), len(seeds)), np.nan)
    matrix[row, column] = value.astype(float)
    s = summarise(matrix)
    numbers = {"mean": s.mean, "sd_seeds": s.sd_seeds, "sd_folds": s.sd_folds, "folds": s.folds, "seeds": s.seeds}
    by_fold = {
        int(f): (float(v), int(n[i]), int(positives[i]))
        for f, v, i in zip(folds, np.nanmean(matrix, axis=1), first, strict=True)
    }
    counts = {"n": int(n[first].sum()), "positives": int(positives[first].sum())}
    return numbers | counts | {"status": status, "note": note, "by_fold": by_fold}


def _counts(values: pd.DataFrame) -> dict[str, Any]:
    """Rows and positives over the folds that enter, each fold once."""
    once = values.drop_duplicates("fold")
    return (
        {"n": int(once["n"].sum()), "positives": int(once["positives"].sum())}
        if len(once)
        else {"n": pd.NA, "positives": pd.NA}
    )
