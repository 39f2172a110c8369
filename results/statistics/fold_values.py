"""Metrics of a plan's rows by fold, without resampling and under the resamples that all rows share.

Predictions of different folds are never pooled into one ranking: every metric is taken within a fold, averaged over seeds, then folds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from results.cell import PlannedCell
from results.plan import Landmark
from results.rows import TableRow
from results.statistics.bootstrap import METRICS, average_defined, compute_weighted_metrics, draw_weights
from results.storage.store import Store


@dataclass(frozen=True)
class FoldValues:
    """A row's metrics on one task in one fold, seeds averaged: metric -> [1 + B], the first without resampling."""

    values: dict[str, np.ndarray]
    seeds: int
    covered: int
    rows: int


@dataclass(frozen=True)
class Sizes:
    """Rows of a landmark's parts, means over its folds."""

    test: float
    train: float


Folds = dict[int, FoldValues]
Memo = dict[tuple[str, str, str, bytes], tuple[dict[str, np.ndarray], int]]
"""Scores under resamples, each computed once however many tables ask: (key, stage, task, test rows) -> metrics and rows."""


def find_done_cells(store: Store, rows: Sequence[TableRow]) -> dict[str, PlannedCell]:
    """Return the cells of ``rows`` that are done, by key."""
    return {p.key: p for row in rows for p in row.cells if (store.record(p) or {}).get("status") == "done"}


def compute_fold_values(
    store: Store,
    rows: Sequence[TableRow],
    done: dict[str, PlannedCell],
    landmark: str,
    facts: Landmark,
    resamples: int,
    memo: Memo | None = None,
) -> tuple[dict[tuple[int, str], Folds], Sizes]:
    """Return values of ``rows`` at one landmark, by (row's index in ``rows``, task), and the sizes of the parts.

    Args:
        done: as ``find_done_cells`` gives it, of these rows at least.
        facts: the landmark's entry of the plan.
        resamples: bootstrap resamples of each fold's patients; the same for every row.
        memo: what was scored before, of this store and with as many resamples; what is scored now is added.
    """
    by_fold: dict[int, dict[str, PlannedCell]] = {}
    for key, planned in done.items():
        if planned.cell.landmark == landmark:
            by_fold.setdefault(planned.cell.fold, {})[key] = planned
    values: dict[tuple[int, str], Folds] = {}
    scored: Memo = {} if memo is None else memo
    tests, trains = [], []
    for fold, cells in sorted(by_fold.items()):
        frames = {key: store.predictions(planned) for key, planned in cells.items()}
        stays = pd.concat([f[["split", "row", "patient"]] for f in frames.values()]).drop_duplicates()
        test = stays[stays["split"] == "test"].sort_values("row")
        tests.append(len(test))
        trains.append(facts.n - len(stays))
        tested = test["row"].to_numpy().tobytes()
        weights = draw_weights(test["row"].to_numpy(), test["patient"].to_numpy(), fold, resamples)
        frames = {key: frame[frame["split"] == "test"].dropna(subset=["label"]) for key, frame in frames.items()}
        for task in facts.tasks:
            parts = {key: frame[frame["task"] == task] for key, frame in frames.items()}
            total = len(pd.unique(pd.concat([part["row"] for part in parts.values()]))) if parts else 0
            for i, row in enumerate(rows):
                found = []
                for planned in row.cells:
                    if planned.key in parts:
                        at = (planned.key, row.stage, task, tested)
                        if at not in scored:
                            scored[at] = _score_cell(parts[planned.key], row.stage, test["row"].to_numpy(), weights)
                        found.append(scored[at])
                if found:
                    means = {m: average_defined([f[0][m] for f in found]) for m in METRICS}
                    covered = min(f[1] for f in found)
                    values.setdefault((i, task), {})[fold] = FoldValues(means, len(found), covered, total)
    return values, Sizes(float(np.mean(tests)) if tests else 0.0, float(np.mean(trains)) if trains else 0.0)


def _score_cell(
    part: pd.DataFrame, stage: str, rows: np.ndarray, weights: np.ndarray
) -> tuple[dict[str, np.ndarray], int]:
    """Return the metrics under all weights of one cell's predictions on one task, and on how many rows."""
    part = part.dropna(subset=["probability" if stage == "final" else "probability_base"])
    probability = part["probability" if stage == "final" else "probability_base"].to_numpy(np.float64)
    position = np.searchsorted(rows, part["row"].to_numpy())
    own = weights if np.array_equal(position, np.arange(len(rows))) else weights[:, position]
    return compute_weighted_metrics(part["label"].to_numpy(np.float64), probability, own), len(part)
