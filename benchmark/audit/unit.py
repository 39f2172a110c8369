"""The units of the audit, each computed and stored once: a fit under some data and training steps, and a row that corrects a fit's
predictions.

Both are cells of the store. A fit's cell has the predictions before any rectifier; a row's cell has them before and after the
correction of its evaluation steps. All cells of a fold and seed share the draw seed of the suite's own cell, so that rows differ by
their steps alone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmark.audit import cohorts, sampler
from benchmark.audit.cohorts import Dials
from benchmark.audit.correction import LabelledPredictions, correct_predictions
from benchmark.audit.steps import FITTED
from benchmark.cell.record import Frames, run_and_record
from benchmark.cell.run_cell import (
    CellPredictions,
    build_method,
    build_predictions_frame,
    round_as_stored,
    score_predictions,
    validate_probabilities,
)
from benchmark.cell.shuffled import shuffle_outcomes
from benchmark.cell.splits import VALID_SHARE, Split, load_or_draw_split
from benchmark.executors.work import Work
from datasets.cohort import Cohort
from datasets.storage import load_cohort, load_ground_truth
from methods import registry
from results.cell import Cell, PlannedCell
from results.storage.store import Store

PREFIX = "audit-"
Drawn = tuple[Cohort, Split]


@dataclass(frozen=True)
class Ground:
    """The inputs of a unit: the landmark's folder of a built dataset, and that of its whole stays."""

    landmark: Path
    whole: Path


def measure(work: Work, store: Store) -> tuple[dict[str, Any], Frames]:
    """Return the record of a unit and its predictions; ``work.inputs`` is its ground."""
    planned, ground = work.planned, work.inputs

    def fill(record: dict[str, Any], seconds: dict[str, float]) -> Frames:
        of_kind = {"fit": _fit, "row": _correct_fit, "known": _read_known}[planned.config["kind"]]
        drawn = prepare_cohort(planned, ground)
        parts, record["audit"] = of_kind(planned, drawn, ground, store)
        parts = round_as_stored(parts)
        at = _select_rows(drawn, planned)
        record["metrics"] = score_predictions(drawn[0], at, parts)
        return {"predictions": build_predictions_frame(drawn[0], at, parts)}

    return run_and_record(planned, fill)


def prepare_cohort(planned: PlannedCell, ground: Ground) -> Drawn:
    """Return the cohort after the data steps of a unit, and its split: that of the cohort as it was, to which joined stays are added."""
    steps, dials = frozenset(planned.config["steps"]), Dials(**planned.config["dials"])
    cohort = load_audit_cohort(ground.landmark, planned.config["outcomes"])
    split, _ = load_or_draw_split(cohort, ground.landmark / "splits", planned.config["folds"])
    if planned.config["kind"] != "fit" or not registry.info(planned.config["method"]["class"]).uses_series:
        cohort = replace(cohort, series=None)
    whole = load_cohort(ground.whole / "cohort")
    if "A8" in steps:
        cohort = cohorts.add_index_deaths(cohort, whole)
        split = extend_split(split, len(cohort) - len(split.fold), dials.seed)
    if "A9a" in steps:
        cohort = cohorts.use_whole_stay(cohort, whole)
    if "A9b" in steps:
        cohort = cohorts.add_death_flag(cohort, whole)
    if steps & {"A3a", "A3b"}:
        cohort = cohorts.add_later_stays(cohort, whole, dials, "A3a" in steps, "A3b" in steps)
    if "A10" in steps:
        cohort = cohorts.scale_on_all_rows(cohort)
    return cohort, split


def load_audit_cohort(landmark: Path, outcomes: str) -> Cohort:
    """Return the built cohort of a landmark's folder, its outcomes shuffled where ``outcomes`` says so."""
    cohort = load_cohort(landmark / "cohort")
    return shuffle_outcomes(cohort) if outcomes == "shuffled" else cohort


def extend_split(split: Split, more: int, seed: int) -> Split:
    """Return the split with ``more`` stays behind the others: dealt evenly to the folds, and to the validation parts with their
    usual share."""
    rng = np.random.default_rng(seed)
    folds = len(split.valid)
    fold = rng.permutation(more) % folds
    # a stay that a fold tests must not validate in it
    valid = (rng.random((folds, more)) < VALID_SHARE) & (fold != np.arange(folds)[:, None])
    return Split(
        np.concatenate([split.fold, fold.astype(split.fold.dtype)]), np.concatenate([split.valid, valid], axis=1)
    )


def name_fit(steps: frozenset[str]) -> str:
    """Return the variant of the fit under these steps."""
    return f"{PREFIX}fit-{'-'.join(sorted(steps & FITTED)) or 'strict'}"


def _select_rows(drawn: Drawn, planned: PlannedCell) -> dict[str, np.ndarray]:
    _, valid, test = drawn[1].rows(planned.cell.fold)
    return {"valid": valid, "test": test}


def _fit(planned: PlannedCell, drawn: Drawn, ground: Ground, store: Store) -> tuple[CellPredictions, dict[str, Any]]:
    cohort, split = drawn
    train, valid, test = split.rows(planned.cell.fold)
    method = build_method(planned, derive_base_seed(planned.cell))
    given = train
    if "A1" in planned.config["steps"]:
        given = sampler.find_reached_rows(train)
        sampler.draw_like_released(method, cohort.take(train))
    method.fit(cohort.take(given), cohort.take(valid))
    base = {
        part: validate_probabilities(
            method.predict_proba(cohort.take(rows).without_outcomes()), len(rows), cohort.tasks, type(method).__name__
        )
        for part, rows in (("valid", valid), ("test", test))
    }
    facts = {
        "n_train": len(given),
        "n_test": len(test),
        "test_rows_given": int(np.isin(test, given).sum()),
        "training_rows_left_out": int((~np.isin(train, given)).sum()),
    }
    if hasattr(method, "history"):
        facts["epochs"] = len(method.history)
    return CellPredictions(base, base, None), facts


def _correct_fit(
    planned: PlannedCell, drawn: Drawn, ground: Ground, store: Store
) -> tuple[CellPredictions, dict[str, Any]]:
    fit = PlannedCell(Cell(**planned.config["fit"]["cell"]), {}, planned.config["fit"]["key_parts"], "")
    record = store.record(fit)
    if record is None or record["status"] != "done":
        raise RuntimeError(f"its fit is {(record or {}).get('status', 'missing')}: {(record or {}).get('reason')}")
    tasks, parts = drawn[0].tasks, _split_frame(store.predictions(fit), drawn[0].tasks)
    after = correct_predictions(
        parts["valid"], parts["test"], tasks, derive_base_seed(planned.cell), frozenset(planned.config["steps"])
    )
    base = {name: part.probability for name, part in parts.items()}
    return CellPredictions(base, {**base, "test": after}, {}), record["audit"]


def _read_known(
    planned: PlannedCell, drawn: Drawn, ground: Ground, store: Store
) -> tuple[CellPredictions, dict[str, Any]]:
    known = load_ground_truth(ground.landmark / "known").predictions[planned.cell.method]
    given = {part: np.asarray(known[rows], dtype=np.float64) for part, rows in _select_rows(drawn, planned).items()}
    return CellPredictions(given, given, None), {"n_test": len(given["test"])}


def _split_frame(frame: pd.DataFrame, tasks: tuple[str, ...]) -> dict[str, LabelledPredictions]:
    parts = {}
    for split, own in frame.groupby("split", observed=True):
        by_task = [own[own["task"] == task] for task in tasks]
        probability, label = (
            np.stack([f[name].to_numpy(np.float64) for f in by_task], axis=1) for name in ("probability_base", "label")
        )
        parts[str(split)] = LabelledPredictions(probability, label, by_task[0]["pattern"].astype(str).to_numpy())
    return parts


def derive_base_seed(cell: Cell) -> int:
    """Return the draw seed of a run's cell of this method, fold and seed."""
    return replace(cell, variant="default").draw_seed()
