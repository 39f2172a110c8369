"""The gate: what a plan's methods score, by seed, and whether they score worse than before by more than the seeds vary.

The metrics are ``auc``, ``auprc`` and ``brier`` of the test part at the final stage, and ``optimism``, the AUC of the validation part less
that of the test part at the base stage: it rises when validation rows are trained on, which the others reward. A value is the mean
over folds. The rows of the method ``all`` are means over the methods: seeds vary them least, so they see a small fault of what
methods share.

A row is worse when it lies on the bad side of the base's mean by more than its tolerance, ``t sd sqrt(1 / new seeds + 1 / base
seeds)`` with the sd over the base's seeds (base seeds - 1 degrees of freedom) and t the one-sided quantile at ALARM / rows (Bonferroni):
a tree without a fault goes red in at most ALARM of all runs with seeds of their own. The tolerance is never below FLOOR: a method that
draws nothing has no spread, and another processor still turns a pair of stays round.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from results.plan import Plan
from results.rows import TableRow, list_rows
from results.storage.store import Store

BETTER = {"auc": 1, "auprc": 1, "brier": -1, "optimism": -1}
"""The metrics, and whether a higher or a lower value is better."""
FLOOR = {"auc": 0.005, "auprc": 0.005, "brier": 0.001, "optimism": 0.005}
"""The least tolerance by metric."""
ALARM = 0.01
"""Probability that any row of a tree without a fault is called worse."""
KEY = ("method", "variant", "dataset", "landmark", "task", "metric")
COUNTS = ("folds", "n", "positives")
"""On what a row was measured: folds, and stays and positives of their test parts together."""
ALL = "all"
VERDICTS = ("worse", "missing", "better", "new", "no tolerance", "ok")
"""What is not ok first. ``missing``: a row of the base that the new one lacks or has cells of that are not done; ``new``: not in the
base; ``no tolerance``: the base has one seed."""
RED = ("worse", "missing")


class GateError(ValueError):
    """Two sets of metrics that cannot be compared or locked; the message says which and why."""


def collect_gate_values(store: Store, plan: Plan) -> pd.DataFrame:
    """Return the metrics: a row a KEY (index), the COUNTS, a column a seed (int), NaN where a fold is not done; without ``all``.

    Rows before a rectifier and rows known of a cohort are left out.
    """
    parts = [_collect_row_values(store, plan, row) for row in list_rows(plan) if row.stage == "final" and not row.known]
    found = [part for part in parts if len(part)]
    if not found:
        return pd.DataFrame(columns=[*KEY, *COUNTS]).set_index(list(KEY))
    values = pd.concat(found, ignore_index=True).set_index([*KEY, "fold", "seed"])
    counts = values.groupby(level=KEY, sort=False)[["n", "positives"]]
    folds = values["value"].unstack("fold")
    by_seed = folds.mean(axis=1, skipna=False).unstack("seed")
    once = values[["n", "positives"]].groupby(level=[*KEY, "fold"]).first()
    totals = once.groupby(level=KEY).sum(min_count=folds.shape[1]).assign(folds=folds.shape[1])
    order = counts.size().index
    return totals.loc[order, list(COUNTS)].join(by_seed.loc[order])


def _collect_row_values(store: Store, plan: Plan, row: TableRow) -> pd.DataFrame:
    """Return KEY, fold, seed, value, n, positives of every planned cell of a row; NaN for what is not done."""
    found = []
    for planned in row.cells:
        cell = planned.cell
        record = store.record(planned)
        done = {} if record is None or record["status"] != "done" else {
            (m["split"], m["stage"], m["task"], m["metric"]): m for m in record["metrics"]
        }  # fmt: skip
        for task in plan.landmarks[cell.landmark].tasks:
            counted = done.get(("test", "final", task, "auc"), {})
            for metric in BETTER:
                found.append({
                    "method": row.method, "variant": row.variant, "dataset": cell.dataset, "landmark": cell.landmark,
                    "task": task, "metric": metric, "fold": cell.fold, "seed": cell.seed, "value": _find_value(done, task, metric),
                    "n": counted.get("n", np.nan), "positives": counted.get("positives", np.nan),
                })  # fmt: skip
    return pd.DataFrame(found)


def _find_value(done: dict[tuple[str, str, str, str], dict[str, Any]], task: str, metric: str) -> float:
    def of(split: str, stage: str, name: str) -> float:
        value = done.get((split, stage, task, name), {}).get("value")
        return np.nan if value is None else value

    if metric == "optimism":
        return of("valid", "base", "auc") - of("test", "base", "auc")
    return of("test", "final", metric)


def list_seeds(values: pd.DataFrame) -> list[Any]:
    """Return the columns that are seeds."""
    return [column for column in values.columns if column not in COUNTS]


def add_method_all(values: pd.DataFrame) -> pd.DataFrame:
    """Return ``values`` with the rows of the method ``all``; none where there are fewer than two methods."""
    if len(values.index.unique("method")) < 2:
        return values
    place = [name for name in KEY if name not in ("method", "variant")]
    grouped = values.groupby(level=place, sort=False)
    mean = grouped[list_seeds(values)].agg(lambda v: v.mean(skipna=False))
    rows = grouped[list(COUNTS)].first().join(mean).reset_index().assign(method=ALL, variant="default")
    return pd.concat([values, rows.set_index(list(KEY))])


def compute_tolerances(base: pd.DataFrame, new_seeds: int, rows: int) -> np.ndarray:
    """Return the tolerance of each row of ``base`` against a mean over ``new_seeds``; NaN where the base has one seed.

    Args:
        rows: how many rows are judged together.
    """
    values = base[list_seeds(base)].to_numpy(float)
    n = np.isfinite(values).sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        spread = base[list_seeds(base)].std(axis=1, ddof=1).to_numpy() * np.sqrt(1 / new_seeds + 1 / n)
        wide = stats.t.isf(ALARM / rows, np.where(n > 1, n - 1, np.nan)) * spread
    floor = base.index.get_level_values("metric").map(FLOOR).to_numpy(float)
    return np.where(n > 1, np.fmax(wide, floor), np.nan)


def judge(base: pd.DataFrame, new: pd.DataFrame, methods: list[str] | None = None) -> pd.DataFrame:
    """Compare two sets of metrics row by row; what is not ok first, the greatest excess over its tolerance first.

    Columns: KEY, ``base``, ``new`` (means over seeds), ``difference`` (new - base), ``tolerance``, ``verdict``.
    ``all`` is the mean over the methods that both have. ``methods`` restricts the rows, not the number that tolerances are for.

    Args:
        base, new: as ``collect_gate_values`` gives them.

    Raises:
        GateError: the two were measured on different stays, or the base has no value.
    """
    base, new = base.dropna(how="all", subset=list_seeds(base)), new.dropna(how="any", subset=list_seeds(new))
    if not len(base):
        raise GateError("the base has no value: none of its cells is done")
    family = len(add_method_all(base))
    if methods is not None:
        base, new = (v[v.index.get_level_values("method").isin(methods)] for v in (base, new))
    check_same_stays(base, new)
    both = base.index.intersection(new.index, sort=False)
    whole_base = pd.concat([base, add_method_all(base.loc[both]).drop(both)])
    whole_new = pd.concat([new, add_method_all(new.loc[both]).drop(both)])
    index = whole_base.index.append(new.index.difference(base.index, sort=False))
    frame = pd.DataFrame(index=index)
    frame["base"] = whole_base[list_seeds(base)].mean(axis=1)
    frame["new"] = whole_new[list_seeds(new)].mean(axis=1)
    frame["difference"] = frame["new"] - frame["base"]
    tolerance = compute_tolerances(whole_base, max(1, len(list_seeds(new))), family)
    frame["tolerance"] = pd.Series(tolerance, index=whole_base.index)
    gain = frame["difference"] * index.get_level_values("metric").map(BETTER)
    frame["verdict"] = np.select(
        [
            frame["base"].isna(),
            frame["new"].isna(),
            frame["tolerance"].isna(),
            gain < -frame["tolerance"],
            gain > frame["tolerance"],
        ],
        ["new", "missing", "no tolerance", "worse", "better"],
        "ok",
    )
    order = pd.DataFrame({"verdict": frame["verdict"].map(VERDICTS.index), "excess": gain.abs() / frame["tolerance"]})
    order = order.reset_index(drop=True).sort_values(["verdict", "excess"], ascending=[True, False], kind="stable")
    return frame.iloc[order.index].reset_index()


def check_same_stays(base: pd.DataFrame, new: pd.DataFrame) -> None:
    """Refuse two sets of metrics that were measured on different stays.

    Raises:
        GateError: at some landmark and task the two were not measured on as many folds, stays and positives.
    """
    place = [name for name in KEY if name not in ("method", "variant", "metric")]
    mine, theirs = (v.groupby(level=place, sort=False)[list(COUNTS)].max() for v in (base, new))
    for at in mine.index.intersection(theirs.index, sort=False):
        a, b = mine.loc[at], theirs.loc[at]
        if (a != b).any():
            was, now = (f"{v['positives']:.0f} of {v['n']:.0f} stays in {v['folds']:.0f} folds" for v in (a, b))
            raise GateError(f"{'/'.join(at)}: base measured on {was}, new on {now}: not the same cohort")
