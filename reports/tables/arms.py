"""The arms of an experiment side by side: the numbers of each, and what stays visible of those that were not run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd

from reports.frames.shares import compute_shares
from reports.frames.tidy import COLUMNS, EMPTY, build_tidy_frame, set_dtypes
from reports.tables.differences import DifferenceRecords, build_difference_entry, build_difference_frame, index_records
from reports.tables.table import Entry, Table, build_entry, get_task_title, make_text_entry
from results.plan import Plan
from results.storage.store import Store

TO_CEILING = "to the ceiling"
CEILINGS = ("ceiling", "ceiling_series")
MISSING = make_text_entry("missing")
LandmarkTask = tuple[str, str]
"""A landmark and one of its tasks."""


@dataclass(frozen=True, eq=False)
class ArmResults:
    """The results of an arm: ``at`` axis -> value; without a plan where it was not run.

    ``numbers``: its tidy frame with shares of the ceiling; ``records``: its stored differences.
    """

    name: str
    at: dict[str, Any]
    plan: Plan | None
    numbers: pd.DataFrame
    records: DifferenceRecords

    @cached_property
    def cells(self) -> dict[tuple[str, ...], dict[str, Any]]:
        """The rows of ``numbers`` by method, variant, landmark, task, metric."""
        keys = ("method", "variant", "landmark", "task", "metric")
        return {tuple(c[k] for k in keys): c for c in self.numbers.to_dict("records")}

    def find_cell(self, method: str, variant: str, landmark_task: LandmarkTask, metric: str) -> dict[str, Any] | None:
        """Return one number, or None where the arm has no such row."""
        return self.cells.get((method, variant, *landmark_task, metric))

    def find_difference(
        self, name: str, landmark_task: LandmarkTask, method: str | None = None, variant: str | None = None
    ) -> dict[str, Any] | None:
        """Return the stored difference in AUC of this name (and of this row, where one is given), or None."""
        for r in self.records.values():
            here = (r["name"], r["landmark"], r["task"], r["metric"]) == (name, *landmark_task, "auc")
            if here and (method is None or (r["method"], r["variant"]) == (method, variant)):
                return r
        return None


def group_arms(store: Store, plans: Sequence[Plan]) -> list[list[ArmResults]]:
    """Group the arms by dataset and protocol, in the order of the experiment's file, with those that have no plan."""
    by_group: dict[tuple[str, str], list[Plan]] = {}
    for plan in plans:
        if plan.arm:
            by_group.setdefault((plan.dataset, plan.protocol), []).append(plan)
    return [_load_arms(store, own) for own in by_group.values()]


def order_along_axis(arms: list[ArmResults], axis: str) -> list[tuple[Any, ArmResults]]:
    """Return the arms on an axis with their values there; ascending where these are numbers."""
    found = [(arm.at[axis], arm) for arm in arms if axis in arm.at]
    plain = all(isinstance(value, (int, float)) for value, _ in found)
    return sorted(found, key=lambda p: p[0]) if plain else found


def list_landmark_tasks(arms: list[ArmResults]) -> list[LandmarkTask]:
    """Return the landmarks and tasks of the arms that were run."""
    ran = [arm.plan.landmarks for arm in arms if arm.plan]
    return list(
        dict.fromkeys((lm, task) for landmarks in ran for lm, facts in landmarks.items() for task in facts.tasks)
    )


def list_rows(arms: list[ArmResults]) -> list[tuple[str, str, str, bool]]:
    """Return (method, variant, title, known) of every row that any arm has, known ones last."""
    found = {
        (r["method"], r["variant"]): (r["method"], r["variant"], r["title"], bool(r["known"]))
        for arm in arms for r in arm.numbers.drop_duplicates(["method", "variant"]).to_dict("records")
    }  # fmt: skip
    return sorted(found.values(), key=lambda row: row[3])


def list_plans(arms: list[ArmResults]) -> list[Plan]:
    """Return the plans of the arms that were run."""
    return [arm.plan for arm in arms if arm.plan]


def format_axis_value(value: Any) -> str:
    """Return a value of an axis as it is printed."""
    return f"{value:,g}" if isinstance(value, (int, float)) else str(value)


def build_arms_table(arms: list[ArmResults], axis: str, title: str, caption: str) -> Table:
    """Build a table of an axis' values and their rows; across, by task: AUC, difference to the ceiling, share of the way to it.

    A value whose arm was not run has one line that says so.
    """
    landmark_tasks = list_landmark_tasks(arms)
    columns = [
        (get_task_title(task), head) for _, task in landmark_tasks for head in ("AUC", "To the ceiling", "Share")
    ]
    rows: list[tuple[str, bool, tuple[Entry, ...]]] = []
    notes: dict[str, None] = {}
    for value, arm in order_along_axis(arms, axis):
        heading = f"{title} = {format_axis_value(value)}"
        if arm.plan is None:
            rows.append((f"{heading} (not run)", False, (MISSING,) * len(columns)))
            continue
        spread = "sd_seeds" if arm.plan.seeds > 1 else "sd_folds"
        for method, variant, name, known in list_rows(arms):
            entries = []
            for landmark_task in landmark_tasks:
                cell = arm.find_cell(method, variant, landmark_task, "auc")
                if cell is None:
                    entries += [make_text_entry("not known" if known else "not planned"), *([make_text_entry("–")] * 2)]
                    continue
                entries.append(build_entry(cell, spread))
                if cell["note"]:
                    notes[
                        f"{entries[-1].mark} {heading}: {name} ({get_task_title(landmark_task[1])}): {cell['note']}.".strip()
                    ] = None
                entries += _compare_with_ceiling(arm, method, variant, landmark_task, known)
            rows.append((f"{heading}: {name}", known, tuple(entries)))
    return Table(tuple(columns), tuple(rows), caption, (*describe_cohorts(order_along_axis(arms, axis), title), *notes))


def describe_cohorts(points: list[tuple[Any, ArmResults]], title: str) -> list[str]:
    """Return a note for each value: N and positives at each landmark, or how to run what was not."""
    notes = []
    for value, arm in points:
        if arm.plan is None:
            notes.append(f"{title} = {format_axis_value(value)}: not run (arm={arm.name}).")
            continue
        parts = [
            f"{landmark} N = {facts.n:,}, "
            + ", ".join(f"{t.positives:,} positive ({get_task_title(name)})" for name, t in facts.tasks.items())
            for landmark, facts in arm.plan.landmarks.items()
        ]
        notes.append(f"{title} = {format_axis_value(value)}: {'; '.join(parts)}.")
    return notes


def build_arms_frame(arms: list[ArmResults]) -> pd.DataFrame:
    """Return AUC and its share of the ceiling for every arm and row, tidy; rows of arms that were not run have status ``missing``."""
    landmark_tasks, found = list_landmark_tasks(arms), []
    ran = next(arm.plan for arm in arms if arm.plan)
    of = {k: getattr(ran, k) for k in ("experiment", "dataset", "protocol")}
    for arm in arms:
        own = arm.numbers[arm.numbers["metric"].isin(["auc", "share_auc", "share_log_loss"])]
        if arm.plan is None:
            empty = [
                of | EMPTY | {"landmark": lm, "task": task, "method": method, "variant": variant, "metric": "auc"}
                for method, variant, _, _ in list_rows(arms) for lm, task in landmark_tasks
            ]  # fmt: skip
            own = set_dtypes(pd.DataFrame(empty).assign(group="all", status="missing"))
        for axis, value in arm.at.items():
            found.append(own.reindex(columns=COLUMNS).assign(arm=arm.name, axis=axis, value=str(value)))
    return pd.concat(found, ignore_index=True)


def build_arm_differences(arms: list[ArmResults]) -> pd.DataFrame:
    """Return the stored differences of all arms that were run, with their ``arm`` and its value on each axis (``at_<axis>``)."""
    frames = [
        build_difference_frame(a.plan, a.records, a.numbers).assign(
            arm=a.name, **{f"at_{axis}": v for axis, v in a.at.items()}
        )
        for a in arms
        if a.plan
    ]
    return pd.concat(frames, ignore_index=True)


def _load_arms(store: Store, plans: list[Plan]) -> list[ArmResults]:
    by_name = {plan.arm.name: plan for plan in plans if plan.arm}
    first = plans[0].arm
    declared = first.of if first and first.of else [plan.arm for plan in plans if plan.arm]
    return [_load_arm(store, arm.name, {arm.axis: arm.value, **arm.also}, by_name.get(arm.name)) for arm in declared]


def _load_arm(store: Store, name: str, at: dict[str, Any], plan: Plan | None) -> ArmResults:
    if plan is None:
        return ArmResults(name, at, None, pd.DataFrame(columns=[*COLUMNS, "title", "known"]), {})
    frame = build_tidy_frame(store, plan)
    of_ceiling = compute_shares(frame, plan)
    numbers = pd.concat([frame, of_ceiling], ignore_index=True) if len(of_ceiling) else frame
    statistics = store.statistics(plan.name)
    records = index_records(statistics, "ceiling") | index_records(statistics, "worth")
    return ArmResults(name, at, plan, numbers, records)


def _compare_with_ceiling(
    arm: ArmResults, method: str, variant: str, landmark_task: LandmarkTask, known: bool
) -> list[Entry]:
    """Return difference to the ceiling and share of the way; nothing for what is known, words where no ceiling is offered."""
    if known:
        return [make_text_entry("–")] * 2
    if all(arm.find_cell(top, "default", landmark_task, "auc") is None for top in CEILINGS):
        return [make_text_entry("no ceiling")] * 2
    share = arm.find_cell(method, variant, landmark_task, "share_auc")
    entry = make_text_entry("n/a") if share is None else build_entry(share, "sd_seeds")
    return [build_difference_entry(arm.find_difference(TO_CEILING, landmark_task, method, variant), arm.numbers), entry]
