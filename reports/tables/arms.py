"""The arms of an experiment side by side: the numbers of each, and what stays visible of those that were not run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd

from reports.frames.shares import shares
from reports.frames.tidy import COLUMNS, EMPTY, tidy, typed
from reports.tables.differences import Records, difference_entry, difference_frame, records_of
from reports.tables.table import Entry, Table, entry_of, task_title, words
from results.plan import Plan
from results.storage.store import Store

TO_CEILING = "to the ceiling"
CEILINGS = ("ceiling", "ceiling_series")
MISSING = words("missing")
Place = tuple[str, str]
"""Landmark and task."""


@dataclass(frozen=True, eq=False)
class Arm:
    """An arm: ``at`` axis -> value; without a plan where it was not run. ``numbers``: its tidy frame with shares of the ceiling."""

    name: str
    at: dict[str, Any]
    plan: Plan | None
    numbers: pd.DataFrame
    records: Records

    @cached_property
    def cells(self) -> dict[tuple[str, ...], dict[str, Any]]:
        """The rows of ``numbers`` by method, variant, landmark, task, metric."""
        keys = ("method", "variant", "landmark", "task", "metric")
        return {tuple(c[k] for k in keys): c for c in self.numbers.to_dict("records")}

    def cell(self, method: str, variant: str, place: Place, metric: str) -> dict[str, Any] | None:
        """One number, or None where the arm has no such row."""
        return self.cells.get((method, variant, *place, metric))

    def difference(
        self, name: str, place: Place, method: str | None = None, variant: str | None = None
    ) -> dict[str, Any] | None:
        """The stored difference in AUC of this name (and of this row, where one is given), or None."""
        for r in self.records.values():
            here = (r["name"], r["landmark"], r["task"], r["metric"]) == (name, *place, "auc")
            if here and (method is None or (r["method"], r["variant"]) == (method, variant)):
                return r
        return None


def groups(store: Store, plans: Sequence[Plan]) -> list[list[Arm]]:
    """The arms of each dataset and protocol, in the order of the experiment's file, with those that have no plan."""
    by_group: dict[tuple[str, str], list[Plan]] = {}
    for plan in plans:
        if plan.arm:
            by_group.setdefault((plan.dataset, plan.protocol), []).append(plan)
    return [_arms(store, own) for own in by_group.values()]


def axis_of(arms: list[Arm], axis: str) -> list[tuple[Any, Arm]]:
    """The arms on an axis with their values there; ascending where these are numbers."""
    found = [(arm.at[axis], arm) for arm in arms if axis in arm.at]
    plain = all(isinstance(value, (int, float)) for value, _ in found)
    return sorted(found, key=lambda p: p[0]) if plain else found


def places_of(arms: list[Arm]) -> list[Place]:
    """The landmarks and tasks of the arms that were run."""
    ran = [arm.plan.landmarks for arm in arms if arm.plan]
    return list(
        dict.fromkeys((lm, task) for landmarks in ran for lm, facts in landmarks.items() for task in facts.tasks)
    )


def rows_of_arms(arms: list[Arm]) -> list[tuple[str, str, str, bool]]:
    """(method, variant, title, known) of every row that any arm has, known ones last."""
    found = {
        (r["method"], r["variant"]): (r["method"], r["variant"], r["title"], bool(r["known"]))
        for arm in arms for r in arm.numbers.drop_duplicates(["method", "variant"]).to_dict("records")
    }  # fmt: skip
    return sorted(found.values(), key=lambda row: row[3])


def plans_of(arms: list[Arm]) -> list[Plan]:
    """The plans of the arms that were run."""
    return [arm.plan for arm in arms if arm.plan]


def label(value: Any) -> str:
    """A value of an axis as it is printed."""
    return f"{value:,g}" if isinstance(value, (int, float)) else str(value)


def arms_table(arms: list[Arm], axis: str, title: str, caption: str) -> Table:
    """Values of an axis down, and in each its rows; across, by task: AUC, difference to the ceiling, share of the way to it.

    A value whose arm was not run has one line that says so.
    """
    places = places_of(arms)
    columns = [(task_title(task), head) for _, task in places for head in ("AUC", "To the ceiling", "Share")]
    rows: list[tuple[str, bool, tuple[Entry, ...]]] = []
    notes: dict[str, None] = {}
    for value, arm in axis_of(arms, axis):
        heading = f"{title} = {label(value)}"
        if arm.plan is None:
            rows.append((f"{heading} (not run)", False, (MISSING,) * len(columns)))
            continue
        spread = "sd_seeds" if arm.plan.seeds > 1 else "sd_folds"
        for method, variant, name, known in rows_of_arms(arms):
            entries = []
            for place in places:
                cell = arm.cell(method, variant, place, "auc")
                if cell is None:
                    entries += [words("not known" if known else "not planned"), *([words("–")] * 2)]
                    continue
                entries.append(entry_of(cell, spread))
                if cell["note"]:
                    notes[f"{entries[-1].mark} {heading}: {name} ({task_title(place[1])}): {cell['note']}.".strip()] = (
                        None
                    )
                entries += _beside_ceiling(arm, method, variant, place, known)
            rows.append((f"{heading}: {name}", known, tuple(entries)))
    return Table(tuple(columns), tuple(rows), caption, (*cohorts(axis_of(arms, axis), title), *notes))


def cohorts(points: list[tuple[Any, Arm]], title: str) -> list[str]:
    """A note for each value: N and positives at each landmark, or how to run what was not."""
    notes = []
    for value, arm in points:
        if arm.plan is None:
            notes.append(f"{title} = {label(value)}: not run (arm={arm.name}).")
            continue
        parts = [
            f"{landmark} N = {facts.n:,}, "
            + ", ".join(f"{t.positives:,} positive ({task_title(name)})" for name, t in facts.tasks.items())
            for landmark, facts in arm.plan.landmarks.items()
        ]
        notes.append(f"{title} = {label(value)}: {'; '.join(parts)}.")
    return notes


def arms_frame(arms: list[Arm]) -> pd.DataFrame:
    """AUC and its share of the ceiling for every arm and row, tidy; rows of arms that were not run have status ``missing``."""
    places, found = places_of(arms), []
    ran = next(arm.plan for arm in arms if arm.plan)
    of = {k: getattr(ran, k) for k in ("experiment", "dataset", "protocol")}
    for arm in arms:
        own = arm.numbers[arm.numbers["metric"].isin(["auc", "share_auc", "share_log_loss"])]
        if arm.plan is None:
            empty = [
                of | EMPTY | {"landmark": lm, "task": task, "method": method, "variant": variant, "metric": "auc"}
                for method, variant, _, _ in rows_of_arms(arms) for lm, task in places
            ]  # fmt: skip
            own = typed(pd.DataFrame(empty).assign(group="all", status="missing"))
        for axis, value in arm.at.items():
            found.append(own.reindex(columns=COLUMNS).assign(arm=arm.name, axis=axis, value=str(value)))
    return pd.concat(found, ignore_index=True)


def arms_differences(arms: list[Arm]) -> pd.DataFrame:
    """The stored differences of all arms that were run, with its ``arm`` and where it stands on each axis (``at_<axis>``)."""
    frames = [
        difference_frame(a.plan, a.records, a.numbers).assign(
            arm=a.name, **{f"at_{axis}": v for axis, v in a.at.items()}
        )
        for a in arms
        if a.plan
    ]
    return pd.concat(frames, ignore_index=True)


def _arms(store: Store, plans: list[Plan]) -> list[Arm]:
    by_name = {plan.arm.name: plan for plan in plans if plan.arm}
    first = plans[0].arm
    declared = first.of if first and first.of else [plan.arm for plan in plans if plan.arm]
    return [_arm(store, arm.name, {arm.axis: arm.value, **arm.also}, by_name.get(arm.name)) for arm in declared]


def _arm(store: Store, name: str, at: dict[str, Any], plan: Plan | None) -> Arm:
    if plan is None:
        return Arm(name, at, None, pd.DataFrame(columns=[*COLUMNS, "title", "known"]), {})
    frame = tidy(store, plan)
    of_ceiling = shares(frame, plan)
    numbers = pd.concat([frame, of_ceiling], ignore_index=True) if len(of_ceiling) else frame
    statistics = store.statistics(plan.name)
    records = records_of(statistics, "ceiling") | records_of(statistics, "worth")
    return Arm(name, at, plan, numbers, records)


def _beside_ceiling(arm: Arm, method: str, variant: str, place: Place, known: bool) -> list[Entry]:
    """Difference to the ceiling and share of the way; nothing for what is known, words where no ceiling is offered."""
    if known:
        return [words("–")] * 2
    if all(arm.cell(top, "default", place, "auc") is None for top in CEILINGS):
        return [words("no ceiling")] * 2
    share = arm.cell(method, variant, place, "share_auc")
    entry = words("n/a") if share is None else entry_of(share, "sd_seeds")
    return [difference_entry(arm.difference(TO_CEILING, place, method, variant), arm.numbers), entry]
