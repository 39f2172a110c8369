"""Reliability, ROC, precision-recall and decision curves, ready to be drawn: ``statistics["curves"]``.

The value (numbers rounded to 5 digits; None where nothing can be computed)::

    {"fpr":       [51],  false positive rates, 0 to 1
     "recall":    [51],  0 to 1
     "threshold": [50],  probabilities from which one would act, .01 to .50
     "confidence": .95,
     "curves": [one for each row x landmark x task, in print order,
        {"landmark", "task", "method", "variant",    as in the tidy CSV; "no_rectifier" is the row before its rectifier
         "title", "known", "series",                 the row's, as in ``results.rows.TableRow``
         "folds", "seeds",                           from how many; 0 where no cell is done
         "folds_ranked",                             folds whose test part has both classes: those of tpr and precision
         "n", "positives",                           labels that entered, summed over folds
         "prevalence",                               mean over folds, or None
         "reason",                                   why there is no curve, or None
         "tpr":         [51] or None,                true positive rate at each fpr; draw from (0, 0)
         "precision":   [51] or None,                at each recall, as steps (``drawstyle="steps-pre"``)
         "net_benefit": [50] or None,                at each threshold, of acting on the prediction
         "treat_all":   [50] or None,                of acting on everybody; on nobody it is 0
         "reliability": None or
            {"n": [k],                               rows of each bin, summed over folds (a mean over seeds: not always whole)
             "predicted": [k], "observed": [k],      mean probability and rate of positives of each bin, k <= 10
             "low": [k], "high": [k]}}]}             Wilson interval of the observed rate

Predictions of different folds or seeds are never pooled into one ranking. ROC and precision-recall curves are averaged vertically (Fawcett
2006, Pattern Recognition Letters 27, algorithm 3): each cell's curve is read at the grid, seeds are averaged within a fold, then folds.
Between two points a ROC curve is linear; a precision-recall curve is a step (linear interpolation is too optimistic: Davis and
Goadrich 2006), so that the areas are the AUC and the average precision of the table. Net benefit is averaged likewise. Bins of
equal mass are cut within each cell; the k-th bins of all cells are then added up, seeds counting as one patient.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.metrics import precision_recall_curve, roc_curve

from results.metrics.calibration import Bins, compute_reliability, make_reliability_bins
from results.metrics.decision import net_benefit, treat_all
from results.plan import Plan
from results.rows import TableRow, list_rows
from results.statistics.fold_values import Memo
from results.storage.store import Store

RATES = np.linspace(0, 1, 51)
THRESHOLDS = np.linspace(0.01, 0.5, 50)
CONFIDENCE = 0.95
DIGITS = 5
RANKED = ("tpr", "precision")


@dataclass(frozen=True, eq=False)
class CellCurves:
    """One cell's curves on one task: ``tpr``, ``precision`` (where there are two classes) and ``net_benefit`` at the grids; bins."""

    n: int
    positives: int
    curves: dict[str, np.ndarray]
    bins: Bins


def derive(store: Store, plan: Plan, resamples: int, memo: Memo | None = None) -> dict[str, Any]:
    """Return the value of this module's docstring; ``resamples`` is not used."""
    curves = []
    for row in list_rows(plan):
        for landmark, facts in plan.landmarks.items():
            if any(p.cell.landmark == landmark for p in row.cells):
                found = _collect_cell_curves(store, row, landmark, tuple(facts.tasks))
                curves += [_make_entry(row, landmark, task, folds) for task, folds in found.items()]
    grids = {"fpr": _round_values(RATES), "recall": _round_values(RATES), "threshold": _round_values(THRESHOLDS)}
    return grids | {"confidence": CONFIDENCE, "curves": curves}


def interpolate_tpr(label: np.ndarray, probability: np.ndarray, fpr: np.ndarray) -> np.ndarray:
    """Return the true positive rate of the ROC curve at each ``fpr``, linear in between; the highest where the curve is vertical."""
    false, true, _ = roc_curve(label, probability)
    return np.interp(fpr, false, true)


def read_precision(label: np.ndarray, probability: np.ndarray, recall: np.ndarray) -> np.ndarray:
    """Return the precision at the highest threshold that reaches each ``recall``: the steps of which average precision is the area."""
    precision, reached, _ = precision_recall_curve(label, probability)
    precision, reached = precision[-2::-1], reached[-2::-1]  # ascending recall, without (0, 1), which no threshold has
    return precision[np.searchsorted(reached, np.maximum(recall - 1e-9, 1e-12))]


def compute_cell_curves(label: np.ndarray, probability: np.ndarray) -> CellCurves:
    """Return the curves of one cell's predictions on one task: [N] labels of 0 and 1, N > 0, and probabilities."""
    curves = {"net_benefit": net_benefit(label, probability, THRESHOLDS)}
    if 0 < label.sum() < len(label):
        curves |= {
            "tpr": interpolate_tpr(label, probability, RATES),
            "precision": read_precision(label, probability, RATES),
        }
    return CellCurves(len(label), int(label.sum()), curves, make_reliability_bins(label, probability))


def _collect_cell_curves(
    store: Store, row: TableRow, landmark: str, tasks: tuple[str, ...]
) -> dict[str, dict[int, list[CellCurves]]]:
    """Return task -> fold -> its seeds' curves, of cells that are done and have rows with a label and a prediction."""
    column = "probability" if row.stage == "final" else "probability_base"
    found: dict[str, dict[int, list[CellCurves]]] = {task: {} for task in tasks}
    for planned in row.cells:
        if planned.cell.landmark == landmark and (store.record(planned) or {}).get("status") == "done":
            frame = store.predictions(planned)
            frame = frame[frame["split"] == "test"].dropna(subset=["label", column])
            for task in tasks:
                own = frame[frame["task"] == task]
                if len(own):
                    curves = compute_cell_curves(own["label"].to_numpy(np.float64), own[column].to_numpy(np.float64))
                    found[task].setdefault(planned.cell.fold, []).append(curves)
    return found


def _make_entry(row: TableRow, landmark: str, task: str, folds: dict[int, list[CellCurves]]) -> dict[str, Any]:
    """Return one entry of ``curves``."""
    names = {"method": row.method, "variant": row.variant, "title": row.title, "known": row.known, "series": row.series}
    entry: dict[str, Any] = {"landmark": landmark, "task": task, **names}
    firsts = [seeds[0] for seeds in folds.values()]
    ranked = sum("tpr" in seeds.curves for seeds in firsts)
    entry |= {
        "folds": len(folds),
        "seeds": max((len(seeds) for seeds in folds.values()), default=0),
        "folds_ranked": ranked,
        "n": sum(c.n for c in firsts),
        "positives": sum(c.positives for c in firsts),
        "prevalence": None,
        "reason": None,
    }
    if not folds:
        return (
            entry | dict.fromkeys((*RANKED, "net_benefit", "treat_all", "reliability")) | {"reason": "no fold is done"}
        )
    prevalence = float(np.mean([c.positives / c.n for c in firsts]))
    curves = {name: _average_curves(folds, name) for name in (*RANKED, "net_benefit")}
    curve = compute_reliability(_add_bins(folds), CONFIDENCE)
    return entry | curves | {
        "prevalence": round(prevalence, DIGITS),
        "reason": None if ranked else "one class in every fold's test part",
        "treat_all": _round_values(treat_all(prevalence, THRESHOLDS)),
        "reliability": {name: _round_values(values) for name, values in curve.items()},
    }  # fmt: skip


def _average_curves(folds: dict[int, list[CellCurves]], name: str) -> list[float] | None:
    """Return the mean over folds of the means over seeds, of the folds that have this curve."""
    means = [np.mean([c.curves[name] for c in seeds], axis=0) for seeds in folds.values() if name in seeds[0].curves]
    return _round_values(np.mean(means, axis=0)) if means else None


def _add_bins(folds: dict[int, list[CellCurves]]) -> Bins:
    """Add up the k-th bins of all folds, each a mean over its seeds."""
    means = [
        [np.mean([getattr(c.bins, field) for c in seeds], axis=0) for field in ("n", "probability", "label")]
        for seeds in folds.values()
    ]
    return Bins(*np.sum(means, axis=0))


def _round_values(values: np.ndarray) -> list[float]:
    return [round(float(v), DIGITS) for v in values]
