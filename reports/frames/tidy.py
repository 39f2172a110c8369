"""Stored records to the tidy frame: one row for each number, from which every table and CSV is made."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from results.plan import Plan
from results.rows import TableRow, list_rows
from results.statistics.summary import summarise
from results.storage.store import Store

COLUMNS = (
    "experiment", "dataset", "landmark", "protocol", "task", "method", "variant", "group", "metric",
    "mean", "sd_seeds", "sd_folds", "folds", "seeds", "n", "positives", "status",
)  # fmt: skip
PRINTED = ("auc", "auprc", "brier")
EMPTY = {"mean": np.nan, "sd_seeds": np.nan, "sd_folds": np.nan, "folds": 0, "seeds": 0, "n": pd.NA, "positives": pd.NA}


def build_tidy_frame(store: Store, plan: Plan) -> pd.DataFrame:
    """Return all numbers of a plan, in print order; none where a row has no cell planned at a landmark (APACHE has no readmission).

    Columns: COLUMNS, then for the tables ``title``, ``known``, ``stage``, ``series``, ``by_fold`` (fold -> mean over seeds, n, positives)
    and ``note`` (why a number is missing or rests on fewer cells); only COLUMNS go to the CSV. ``n`` and ``positives`` are sums over the
    folds' test parts. ``status``:

    - ``done``; ``partial``: some cells are missing, or the metric is undefined in some;
    - ``failed``, ``skipped``, ``missing``: no cell is done;
    - ``undefined``: done, but the metric has no value.
    """
    rows = list_rows(plan)
    records = {p.key: store.record(p) for row in rows for p in row.cells}
    metrics = _list_metrics(records.values())
    numbers = []
    for row in rows:
        for landmark, facts in plan.landmarks.items():
            if not any(p.cell.landmark == landmark for p in row.cells):
                continue
            values = _collect_values(row, landmark, records)
            status, note, expected = get_row_state(row, landmark, records)
            for task in facts.tasks:
                for metric in metrics + (
                    ("rectifier_share_changed",) if _has_rectifier(row, landmark, records) else ()
                ):
                    where = {"landmark": landmark, "task": task, "metric": metric}
                    numbers.append(
                        where
                        | summarise_values(values.get((task, metric), []), status, note, expected)
                        | _describe_row(row)
                    )
    frame = pd.DataFrame(numbers)
    frame = frame.assign(experiment=plan.experiment, dataset=plan.dataset, protocol=plan.protocol, group="all")
    return set_dtypes(frame)[[*COLUMNS, "title", "known", "stage", "series", "by_fold", "note"]]


def set_dtypes(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the frame with whole numbers where they are counts, empty where there are none."""
    return frame.astype(
        {"folds": "Int64", "seeds": "Int64", "n": "Int64", "positives": "Int64", "mean": float, "sd_seeds": float}
    )


def _describe_row(row: TableRow) -> dict[str, Any]:
    names = ("method", "variant", "title", "known", "stage", "series")
    return {name: getattr(row, name) for name in names}


def _list_metrics(records: Iterable[dict[str, Any] | None]) -> tuple[str, ...]:
    """Return the metrics that any record has on its test part, the printed ones first."""
    found = {m["metric"]: None for r in records if r for m in r["metrics"] if m["split"] == "test"}
    return tuple(dict.fromkeys((*PRINTED, *found)))


def _collect_values(
    row: TableRow, landmark: str, records: dict[str, Any]
) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """Return every test value of a row at a landmark, by (task, metric): fold, seed, value, reason, n, positives."""
    values: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for planned in row.cells:
        record = records[planned.key]
        if planned.cell.landmark != landmark or not record or record["status"] != "done":
            continue
        at = {"fold": planned.cell.fold, "seed": planned.cell.seed}
        own = [m | at for m in record["metrics"] if m["split"] == "test" and m["stage"] == row.stage]
        if row.stage == "final" and record.get("rectifier"):
            counts = {m["task"]: m for m in own}
            own += [
                counts[task] | {"metric": "rectifier_share_changed", "value": share, "reason": None}
                for task, share in record["rectifier"]["share_changed"].items() if task in counts
            ]  # fmt: skip
        for m in own:
            values.setdefault((m["task"], m["metric"]), []).append(m)
    return values


def _has_rectifier(row: TableRow, landmark: str, records: dict[str, Any]) -> bool:
    return row.stage == "final" and any(
        p.cell.landmark == landmark and (records[p.key] or {}).get("rectifier") for p in row.cells
    )  # fmt: skip


def get_row_state(row: TableRow, landmark: str, records: dict[str, Any]) -> tuple[str, str, int]:
    """Return (status, note, number of cells) of a row at a landmark; ``records``: key -> record or None."""
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


def summarise_values(values: list[dict[str, Any]], status: str, note: str, expected: int) -> dict[str, Any]:
    """Return means and spreads of one metric, from its values (``fold, seed, value, reason, n, positives``), with its status and note."""
    if status not in ("done", "partial"):
        return EMPTY | {"status": status, "note": note, "by_fold": {}}
    reasons = "; ".join(dict.fromkeys(v["reason"] for v in values if pd.notna(v["reason"])))
    given = [v for v in values if pd.notna(v["value"])]
    if not given:
        return (
            EMPTY | {"status": "undefined", "note": reasons or "not in the record", "by_fold": {}} | _count_rows(values)
        )
    if len(given) < expected and status == "done":
        status, note = "partial", f"defined in {len(given)} of {expected} cells ({reasons or 'not in the record'})"
    folds, seeds = sorted({v["fold"] for v in given}), sorted({v["seed"] for v in given})
    matrix = np.full((len(folds), len(seeds)), np.nan)
    once: dict[int, dict[str, Any]] = {}
    for v in given:
        matrix[folds.index(v["fold"]), seeds.index(v["seed"])] = v["value"]
        once.setdefault(v["fold"], v)
    s = summarise(matrix)
    numbers = {"mean": s.mean, "sd_seeds": s.sd_seeds, "sd_folds": s.sd_folds, "folds": s.folds, "seeds": s.seeds}
    by_fold = {
        f: (float(mean), once[f]["n"], once[f]["positives"])
        for f, mean in zip(folds, np.nanmean(matrix, axis=1), strict=True)
    }
    return numbers | _count_rows(given) | {"status": status, "note": note, "by_fold": by_fold}


def _count_rows(values: list[dict[str, Any]]) -> dict[str, Any]:
    """Count rows and positives over the folds that enter, each fold once."""
    once = list({v["fold"]: v for v in reversed(values)}.values())
    return {name: sum(v[name] for v in once) for name in ("n", "positives")} if once else {}
