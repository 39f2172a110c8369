"""The measured counterpart of a number that the paper printed, looked up in a report's frames and plans."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from reports.published.paper import COHORTS, METHODS, NEAREST_TASK, NUMBERS, OBSERVED, ROWS, SWEPT, Measure
from reports.tables.table import get_task_title
from results.plan import Plan

KEY = ["dataset", "protocol", "method", "metric"]
TIDY = (*KEY, "landmark", "task", "variant", "group", "mean", "sd_seeds", "sd_folds", "n", "status")
FrameIndex = dict[tuple[str, ...], pd.DataFrame]
"""A tidy frame's rows by KEY."""


@dataclass(frozen=True)
class Measured:
    """A value (None where there is none) with its spread and what it is of; ``same``: the task is the paper's own; ``comment``: why
    there is no value, or what differs."""

    value: float | None = None
    sd: float | None = None
    task: str = ""
    method: str = ""
    variant: str = ""
    same: bool = True
    comment: str = ""


def index_frame(frame: pd.DataFrame) -> FrameIndex:
    """Return a frame with the columns TIDY, by KEY."""
    return dict(list(frame.groupby(KEY, sort=False)))


def find_measured(row: dict[str, Any], plan: Plan, frames: Sequence[FrameIndex]) -> Measured:
    """Find the counterpart of a row of ``reports.published.published.load_published`` in a plan's report."""
    if row["dataset"] in COHORTS and plan.dataset not in COHORTS[row["dataset"]]:
        named = COHORTS[row["dataset"]][0]
        return Measured(
            comment=f"{plan.dataset} cannot speak to numbers of {row['dataset']}: report a run with dataset={named}"
        )
    if row["metric"] in OBSERVED:
        return _count_observed(OBSERVED[row["metric"]], plan)
    if row["table"] == "Table4":
        return _measure_sweep(row, plan, frames)
    if row["table"] == "Table2" and row["metric"] == "delta_auc":
        return _measure_step(row, plan, frames)
    measure = NUMBERS[row["metric"]] if row["table"] == "Text" else ROWS[row["table"]][row["method"]]
    return _search_frames(measure, row, plan, frames)


def _search_frames(measure: Measure, row: dict[str, Any], plan: Plan, frames: Sequence[FrameIndex]) -> Measured:
    """Return the value that the frames hold of a measure: the first frame and variant that have it."""
    metric = measure.metric or ("auc" if row["metric"] == "n" else row["metric"])
    task = measure.task or (None if row["task"] in ("-", "unspecified") else row["task"])
    task = "readmission_30d" if row["metric"] == "n" else task
    defined = {name for facts in plan.landmarks.values() for name in facts.tasks}
    own = next((t for t in (task, *NEAREST_TASK.get((row["dataset"], str(task)), ())) if t in defined), task)
    notes = []
    if own != task:
        notes.append(
            f"{get_task_title(str(task)).lower()} cannot be derived from eICU, which has no dates between hospital stays; "
            f"the nearest task is measured: {get_task_title(str(own))}"
        )
    elif row["task"] == task and task not in defined:
        return Measured(comment=f"{get_task_title(task)} is no task of this report")
    for frame in frames:
        cells = frame.get((plan.dataset, plan.protocol, measure.method, metric))
        if cells is None:
            continue
        cells = cells[cells["task"].eq(own)] if own is not None else cells
        cells = cells[cells["group"].ne("all")] if measure.over else cells[cells["group"].eq(measure.group)]
        for variant in measure.variants:
            of = cells[cells["variant"].eq(variant)]
            if len(of):
                return _read_value(of, measure, row, notes, own != task, plan)
    return Measured(comment="; ".join([*notes, "not among the rows of this report"]))


def _read_value(
    cells: pd.DataFrame, measure: Measure, row: dict[str, Any], notes: list[str], other: bool, plan: Plan
) -> Measured:
    filled = cells[cells["mean"].notna()]
    if row["metric"] == "n":
        filled = cells[cells["n"].notna()]
    names = {"task": str(cells["task"].iloc[0] or ""), "method": measure.method, "variant": cells["variant"].iloc[0]}
    if filled.empty:
        return Measured(
            **names, same=not other, comment="; ".join([*notes, f"{cells['status'].iloc[0].replace('_', ' ')} here"])
        )
    cell = filled.iloc[0]
    if measure.over:
        cell = filled.loc[filled["mean"].idxmin() if measure.over == "min" else filled["mean"].idxmax()]
    if len(set(cells["landmark"])) > 1 and row["task"] == "-":
        notes = [*notes, f"at {cell['landmark']}"]
    if row["metric"] == "n":
        return Measured(float(cell["n"]), None, **names, same=not other, comment="; ".join(notes))
    sd = cell["sd_seeds" if plan.seeds > 1 else "sd_folds"]
    sd = None if pd.isna(sd) or measure.over else float(sd) * measure.factor
    value = float(cell["mean"]) * measure.factor
    return Measured(value, sd, **names, same=not other, comment="; ".join(notes))


def _measure_step(row: dict[str, Any], plan: Plan, frames: Sequence[FrameIndex]) -> Measured:
    """Return a step's AUC less that of the step before."""
    steps = list(ROWS["Table2"])
    at = row | {"metric": "auc"}
    own, before = (
        _search_frames(ROWS["Table2"][steps[i]], at, plan, frames)
        for i in (steps.index(row["method"]), steps.index(row["method"]) - 1)
    )
    if own.value is None or before.value is None:
        return Measured(comment=own.comment or before.comment)
    return Measured(own.value - before.value, None, own.task, own.method, own.variant, own.same, own.comment)


def _count_observed(modalities: tuple[str, ...], plan: Plan) -> Measured:
    """Count the stays that have the modality, at the landmark with the most inputs; all stays where no modality is named."""
    landmark, facts = max(
        plan.landmarks.items(), key=lambda item: sum(share or 0 for share in item[1].modalities.values())
    )
    if not modalities:
        facts = max(plan.landmarks.values(), key=lambda f: f.n)
        return Measured(float(facts.n))
    if len(modalities) > 1 or modalities[0] not in facts.modalities:
        return Measured(comment="this count is not in the plan: data describe prints the patterns")
    return Measured(float(round((facts.modalities[modalities[0]] or 0) * facts.n)), comment=f"at {landmark}")


def _measure_sweep(row: dict[str, Any], plan: Plan, frames: Sequence[FrameIndex]) -> Measured:
    """Return a number of Table 4: what was varied, from the plan; what it did to the AUC, from the frame of the sensitivities."""
    field = SWEPT[row["method"]]
    if row["metric"] in SENSITIVITIES:
        measure = Measure(variants=(field,), metric=SENSITIVITIES[row["metric"]], task="mean over tasks")
        found = _search_frames(measure, row, plan, frames)
        return replace(found, comment="; ".join(filter(None, (found.comment, OF_TASKS))))
    tried = [r.change[field] for r in plan.rows if field in r.change]
    if not tried:
        return Measured(comment="not varied in this report")
    default = next(
        (p.config["method"]["config"][field] for p in plan.cells if p.cell.variant == "default" and p.config), None
    )  # fmt: skip
    factor = plan.settings.lr_factor if field == "lr" else 1
    default = None if default is None else float(f"{default / factor:.6g}")
    values = [*tried, *([] if default is None else [default])]
    found = {"default": default, "range_low": min(values), "range_high": max(values)}[row["metric"]]
    comment = f"before the schedule, which multiplies learning rates by {factor:g}" if factor != 1 else ""
    return Measured(
        None if found is None else float(found), method=METHODS["CRL-MMNAR"], variant=field, comment=comment
    )


SENSITIVITIES = {"max_drop": "max_drop", "stability_pct": "stability", "auc_low": "auc_low", "auc_high": "auc_high"}
OF_TASKS = "mean over the tasks of this report: the paper does not say of which cohort and task its AUC is"
