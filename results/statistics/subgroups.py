"""Metrics within groups of stays, for every row of a plan: the one computation behind patterns, subgroups and hospitals.

A partition gives each tested stay one group an attribute (``pattern``: ``S+T``; ``sex``: ``Female``; ...). As everywhere, a metric is
taken within a fold, averaged over seeds, then over the folds in which it is defined; patients are resampled within folds, and a
resample is the same for all rows, tasks and groups. Groups with fewer than ten positives or ten negatives have counts and no number.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from results.metrics.scores import expected_calibration_error
from results.plan import Plan
from results.rows import TableRow, list_rows
from results.statistics.bootstrap import (
    average_defined,
    compute_interval,
    compute_weighted_metrics,
    compute_weighted_sums,
    draw_weights,
)
from results.statistics.summary import summarise
from results.storage.store import Store

LEAST = 10
"""Positives and negatives that a group must have, over the test parts of all folds."""
FLAGGED = 0.2
"""Share of the validation part's stays at or above the threshold of the true and false positive rate."""
METRICS = ("auc", "auprc", "brier", "log_loss", "in_the_large", "ece", "flagged", "tpr", "fpr")
UNKNOWN = "unknown"
EPSILON = float(np.finfo(np.float64).eps)

Partition = Callable[[str, pd.DataFrame], pd.DataFrame]
"""(landmark, tested stays with ``row, patient, pattern``) -> the same index, a column of labels an attribute."""


@dataclass(frozen=True, eq=False)
class CellPredictions:
    """Test predictions of one cell on one task: ``place`` [n] of each row among its fold's tested stays, and the alarm's threshold."""

    fold: int
    seed: int
    place: np.ndarray
    label: np.ndarray
    probability: np.ndarray
    threshold: float


@dataclass(frozen=True, eq=False)
class GroupScores:
    """One row in one group: rows and positives over its folds, why there is no number, and by metric its printed values and its mean
    over folds [1 + B], the first without resampling."""

    n: int
    positives: int
    reason: str | None
    values: dict[str, dict[str, Any]]
    means: dict[str, np.ndarray]


def compute_subgroups(
    store: Store,
    plan: Plan,
    partition: Partition,
    resamples: int,
    metrics: Sequence[str] = METRICS,
    gaps: Sequence[str] = (),
) -> dict[str, Any]:
    """Return metrics by group as JSON values.

    - ``least``, ``flagged_share``: LEAST and FLAGGED; ``metrics``, ``gaps``: which are computed.
    - ``groups``: by landmark, task, attribute and group ``n`` and ``positives`` over the tested stays with a label, ``reason`` where
      they are too few, and ``reference``: whether it is the largest group of its attribute, with which gaps compare.
    - ``values``: the same keys and ``method, variant``; ``n, positives, reason`` of the row's own predictions; ``metrics``: metric ->
      ``mean, sd_seeds, sd_folds, folds, seeds, ci_low, ci_high, resamples``, and ``gap_<metric>`` for each of ``gaps``: the group's
      mean less that of the reference. A row of which no cell is done has no values.

    Metrics: see ``compute_group_metrics``.
    """
    rows = list_rows(plan)
    groups: list[dict[str, Any]] = []
    values: list[dict[str, Any]] = []
    for landmark, facts in plan.landmarks.items():
        stays = list_tested_stays(store, rows, landmark)
        labels = partition(landmark, stays) if len(stays) else pd.DataFrame()
        folds = {fold: own.index for fold, own in stays.groupby("fold")}
        weights = {
            fold: draw_weights(stays.loc[i, "row"].to_numpy(), stays.loc[i, "patient"].to_numpy(), fold, resamples)
            for fold, i in folds.items()
        }
        references: dict[tuple[str, str], str] = {}
        for task in facts.tasks:
            for attribute in labels:
                found = _count_groups(labels[attribute], stays[task]) if task in stays else []
                for own in found:
                    if own["reference"]:
                        references[task, attribute] = own["group"]
                groups += [{"landmark": landmark, "task": task, "attribute": attribute, **g} for g in found]
        for row in rows if len(labels.columns) else ():
            for task, parts in _collect_predictions(store, row, landmark, stays, folds).items():
                for attribute in labels:
                    codes = {fold: labels.loc[i, attribute].to_numpy() for fold, i in folds.items()}
                    scored = {
                        group: score_group(parts, codes, group, weights, metrics)
                        for group in dict.fromkeys(labels[attribute])
                    }
                    reference = scored.get(references.get((task, attribute), ""))
                    where = {"landmark": landmark, "task": task, "method": row.method, "variant": row.variant}
                    values += [
                        {**where, "attribute": attribute, "group": group, "n": s.n, "positives": s.positives}
                        | {"reason": s.reason, "metrics": s.values | _compute_gaps(s, reference, gaps)}
                        for group, s in scored.items()
                    ]
    said = {"least": LEAST, "flagged_share": FLAGGED, "metrics": list(metrics), "gaps": list(gaps)}
    return said | {"groups": groups, "values": values}


def list_tested_stays(store: Store, rows: Sequence[TableRow], landmark: str) -> pd.DataFrame:
    """Return every stay that a cell done at ``landmark`` was tested on, by fold and row.

    Columns: ``fold, row, patient, pattern`` and a column of labels a task.
    """
    done = {p.key: p for row in rows for p in row.cells if p.cell.landmark == landmark and _is_done(store, p)}
    found: dict[int, pd.DataFrame] = {}
    for planned in done.values():
        frame = store.predictions(planned)
        frame = frame.loc[frame["split"] == "test", ["row", "patient", "pattern", "task", "label"]]
        frame = frame.astype({"pattern": str, "task": str})
        before = found.get(planned.cell.fold)
        if before is None or not frame["row"].isin(before["row"]).all():
            found[planned.cell.fold] = pd.concat([before, frame]).drop_duplicates(["row", "task"])
    if not found:
        return pd.DataFrame(columns=["fold", "row", "patient", "pattern"])
    long = pd.concat([frame.assign(fold=fold) for fold, frame in found.items()])
    keys = ["fold", "row", "patient", "pattern"]
    wide = long.set_index([*keys, "task"])["label"].unstack("task").reset_index()
    return wide.sort_values(["fold", "row"], ignore_index=True)


def score_group(
    parts: Sequence[CellPredictions],
    codes: dict[int, np.ndarray],
    group: str,
    weights: dict[int, np.ndarray],
    metrics: Sequence[str] = METRICS,
) -> GroupScores:
    """Score one row in one group, from its cells' predictions on one task.

    Args:
        parts: of all folds and seeds that are done.
        codes: fold -> the group of each of its tested stays.
        group: which.
        weights: fold -> ``draw_weights`` of its tested stays.
        metrics: which to keep.
    """
    inside = [(part, np.flatnonzero(codes[part.fold][part.place] == group)) for part in parts]
    once = {part.fold: part.label[here] for part, here in inside}
    n, positives = sum(len(y) for y in once.values()), int(sum(y.sum() for y in once.values()))
    reason = explain_too_few(n, positives)
    if reason:
        return GroupScores(n, positives, reason, {}, {})
    by_fold: dict[int, list[tuple[int, dict[str, np.ndarray]]]] = {}
    for part, here in inside:
        w = weights[part.fold][:, part.place[here]]
        found = compute_group_metrics(part.label[here], part.probability[here], w, part.threshold)
        by_fold.setdefault(part.fold, []).append((part.seed, found))
    values, means = {}, {}
    for metric in metrics:
        seeds = sorted({part.seed for part in parts})
        matrix = np.full((len(by_fold), len(seeds)), np.nan)
        for f, cells in enumerate(by_fold.values()):
            for seed, found in cells:
                matrix[f, seeds.index(seed)] = found[metric][0]
        folds = [average_defined([found[metric] for _, found in cells]) for cells in by_fold.values()]
        finite = [f for f in folds if np.isfinite(f[0])]
        means[metric] = average_defined(finite) if finite else np.full(len(folds[0]), np.nan)
        s = summarise(matrix)
        values[metric] = _summarise_metric(means[metric], s.folds, s.seeds, s.sd_seeds, s.sd_folds)
    return GroupScores(n, positives, None, values, means)


def compute_group_metrics(
    label: np.ndarray, probability: np.ndarray, weights: np.ndarray, threshold: float
) -> dict[str, np.ndarray]:
    """Return METRICS -> float64 [B], NaN where a resample lacks what the metric needs.

    - ``auc``, ``auprc``, ``brier``, ``log_loss``;
    - ``in_the_large``: mean of label - probability, the error of the group's mean prediction (0 is ideal, above 0: risks too low);
    - ``ece``: expected calibration error, without resampling (first place alone), as resampled rows would inflate it;
    - ``flagged``: share at or above ``threshold``; ``tpr``, ``fpr``: the same among positives and among negatives.

    Args:
        label: [n] of 0 and 1.
        probability: [n].
        weights: [B, n], the first row all ones.
        threshold: of the alarm.
    """
    found = compute_weighted_metrics(label, probability, weights)
    alarm = (probability >= threshold).astype(np.float64)
    p = np.clip(probability, EPSILON, 1 - EPSILON)
    loss = -(label * np.log(p) + (1 - label) * np.log1p(-p))
    columns = (np.ones(len(label)), label, loss, label - probability, alarm, alarm * label)
    total, positives, loss, error, flagged, hits = compute_weighted_sums(np.column_stack(columns), weights).T
    ece = np.full(len(weights), np.nan)
    if len(label):
        ece[0] = expected_calibration_error(label, probability)
    with np.errstate(invalid="ignore", divide="ignore"):
        return found | {
            "log_loss": loss / total,
            "in_the_large": error / total,
            "ece": ece,
            "flagged": flagged / total,
            "tpr": hits / positives,
            "fpr": (flagged - hits) / (total - positives),
        }


def choose_alarm_threshold(valid: np.ndarray, share: float = FLAGGED) -> float:
    """Return the value at or above which ``share`` of the validation part's predictions [n] lie (more with ties); reads no label.

    Without predictions there is no threshold: NaN, under which nobody is flagged.
    """
    return float(np.quantile(valid, 1 - share, method="higher")) if len(valid) else math.nan


def explain_too_few(n: int, positives: int, least: int = LEAST) -> str | None:
    """Return why a group of this size has no number, or None."""
    for count, what in ((positives, "positives"), (n - positives, "negatives")):
        if count < least:
            return f"{count} {what}: fewer than {least}"
    return None


def _collect_predictions(
    store: Store, row: TableRow, landmark: str, stays: pd.DataFrame, folds: dict[int, pd.Index]
) -> dict[str, list[CellPredictions]]:
    """Return a row's predictions at a landmark by task; none of rows whose cells are not done."""
    column = "probability" if row.stage == "final" else "probability_base"
    found: dict[str, list[CellPredictions]] = {}
    for planned in row.cells:
        if planned.cell.landmark != landmark or not _is_done(store, planned):
            continue
        tested = stays.loc[folds[planned.cell.fold], "row"].to_numpy()
        frame = store.predictions(planned).dropna(subset=["label", column])
        for task, own in frame.groupby("task", observed=True, sort=False):
            test = own[own["split"] == "test"]
            threshold = choose_alarm_threshold(own.loc[own["split"] == "valid", column].to_numpy(np.float64))
            place = np.searchsorted(tested, test["row"].to_numpy())
            label, probability = test["label"].to_numpy(np.float64), test[column].to_numpy(np.float64)
            part = CellPredictions(planned.cell.fold, planned.cell.seed, place, label, probability, threshold)
            found.setdefault(str(task), []).append(part)
    return found


def _count_groups(groups: pd.Series, label: pd.Series) -> list[dict[str, Any]]:
    """Count rows with a label and positives by group, the largest first; the largest known group with numbers is the reference."""
    frame = pd.DataFrame({"group": groups, "n": label.notna().astype(int), "positives": label.eq(1).astype(int)})
    counts = frame.groupby("group")[["n", "positives"]].sum()
    counts = counts.sort_index().sort_values("n", ascending=False, kind="stable")
    found = [
        {
            "group": str(g),
            "n": int(n),
            "positives": int(p),
            "reason": explain_too_few(int(n), int(p)),
            "reference": False,
        }
        for g, n, p in counts.itertuples()
    ]
    able = [g for g in found if g["reason"] is None and g["group"] != UNKNOWN]
    for group in able[:1]:
        group["reference"] = True
    return found


def _compute_gaps(own: GroupScores, reference: GroupScores | None, gaps: Sequence[str]) -> dict[str, dict[str, Any]]:
    if own is reference or reference is None or own.reason or reference.reason:
        return {}
    found = {}
    for metric in gaps:
        folds = min(s.values[metric]["folds"] for s in (own, reference))
        seeds = min(s.values[metric]["seeds"] for s in (own, reference))
        found[f"gap_{metric}"] = _summarise_metric(
            own.means[metric] - reference.means[metric], folds, seeds, math.nan, math.nan
        )
    return found


def _summarise_metric(means: np.ndarray, folds: int, seeds: int, sd_seeds: float, sd_folds: float) -> dict[str, Any]:
    low, high, used = compute_interval(means[1:])
    numbers = {"mean": float(means[0]), "sd_seeds": sd_seeds, "sd_folds": sd_folds}
    return {k: v if math.isfinite(v) else None for k, v in numbers.items()} | {
        "folds": folds,
        "seeds": seeds,
        "ci_low": low,
        "ci_high": high,
        "resamples": used,
    }


def _is_done(store: Store, planned: Any) -> bool:
    return (store.record(planned) or {}).get("status") == "done"
