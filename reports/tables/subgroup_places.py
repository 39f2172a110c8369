"""One landmark and task of what is derived by group of stays, as entries of tables and points of figures."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from reports.tables.captions import describe_setting
from reports.tables.table import NOT_PLANNED, WORDS, Entry, Estimate, Table, get_task_title, make_text_entry
from results.plan import Plan
from results.storage.store import Store

FEW = "too few"
FEW_NOTE = f"{FEW}: fewer than ten positives or ten negatives over all folds, so that there are counts and no number."
MARK_NOTE = "† fewer folds than planned: in the others the group has one class only, or cells are not done; the CSV says how many."


@dataclass(frozen=True, eq=False)
class SubgroupTable:
    """One landmark and task of a plan: its groups (the largest first, as ``results.statistics.subgroups`` counts them), its rows
    (method, variant) -> title in print order, those before a rectifier apart, and
    every number by (method, variant, attribute, group, metric)."""

    plan: Plan
    landmark: str
    task: str
    groups: list[dict[str, Any]]
    titles: dict[tuple[str, str], str]
    before: frozenset[tuple[str, str]]
    known: frozenset[tuple[str, str]]
    cells: dict[tuple[str, ...], dict[str, Any]]

    @property
    def name(self) -> str:
        """The task and its landmark, to be printed."""
        return f"{get_task_title(self.task)} ({self.landmark})"

    @property
    def final(self) -> dict[tuple[str, str], str]:
        """The rows without those before a rectifier."""
        return {row: title for row, title in self.titles.items() if row not in self.before}

    def find_cell(self, row: tuple[str, str], group: dict[str, Any], metric: str) -> dict[str, Any] | None:
        """Return the row of the tidy frame for a row, group and metric, or None."""
        return self.cells.get((*row, group["attribute"], group["group"], metric))

    def build_entry(
        self, row: tuple[str, str], group: dict[str, Any], metric: str, interval: bool = True, signed: bool = False
    ) -> Entry:
        """Return what a table shows for it: a number with its interval, or a word why there is none."""
        cell = self.find_cell(row, group, metric)
        if cell is None:
            return NOT_PLANNED
        if cell["status"] not in ("done", "partial"):
            return make_text_entry(FEW if cell["status"] == "too_few" else WORDS[cell["status"]])
        bounds = (float(cell["ci_low"]), float(cell["ci_high"]))
        shown = bounds if interval and np.isfinite(bounds).all() else None
        return Entry(float(cell["mean"]), None, "", "†" if cell["status"] == "partial" else "", False, shown, signed)

    def get_estimate(self, row: tuple[str, str], group: dict[str, Any], metric: str) -> Estimate | None:
        """Return (mean, low, high), the mean thrice without an interval; None where there is no number."""
        cell = self.find_cell(row, group, metric)
        if cell is None or math.isnan(cell["mean"]):
            return None
        mean, low, high = (float(cell[k]) for k in ("mean", "ci_low", "ci_high"))
        return (mean, low, high) if math.isfinite(low) else (mean, mean, mean)

    def compose_label(self, row: tuple[str, str], metric: str) -> str:
        """Return the title of a row for a figure's legend, with the word for why it is not drawn at all."""
        cells = [self.find_cell(row, group, metric) for group in self.groups]
        states = {c["status"] for c in cells if c}
        lost = next((s for s in ("failed", "skipped", "missing") if states == {s}), None)
        return f"{self.titles[row]} ({lost})" if lost else self.titles[row]

    def collect_notes(
        self, rows: Iterable[tuple[str, str]], groups: Iterable[dict[str, Any]], metrics: Iterable[str]
    ) -> list[str]:
        """Say what the words and marks of these entries mean, and which rows have predictions on some of the stays only."""
        said: dict[str, None] = {}
        keys = [(row, g, m) for row in rows for g in groups for m in metrics]
        found = [(row, cell) for row, g, m in keys if (cell := self.find_cell(row, g, m))]
        for row, cell in found:
            if cell["status"] in ("failed", "skipped", "missing"):
                said[f"{self.titles[row]} ({self.landmark}): {cell['note']}."] = None
        states = {cell["status"] for _, cell in found}
        said |= dict.fromkeys([FEW_NOTE] if "too_few" in states else [])
        said |= dict.fromkeys([MARK_NOTE] if "partial" in states else [])
        for row in dict.fromkeys(row for row, cell in found if cell["status"] in ("done", "too_few")):
            said |= dict.fromkeys(self._note_coverage(row))
        return list(said)

    def _note_coverage(self, row: tuple[str, str]) -> list[str]:
        attribute = self.groups[0]["attribute"]
        metric = next(key[-1] for key in self.cells)
        own = [self.find_cell(row, g, metric) for g in self.groups if g["attribute"] == attribute]
        n, of = sum(int(c["n"]) for c in own if c), self.plan.landmarks[self.landmark].tasks[self.task].n
        return [f"{self.titles[row]}: on the {n:,} of {of:,} stays that have its prediction."] if n < of else []


def build_subgroup_tables(store: Store, plan: Plan, name: str, frame: pd.DataFrame) -> list[SubgroupTable]:
    """Return a SubgroupTable for each landmark and task of a derivation; ``frame`` is its ``build_subgroup_frame``."""
    derived = (store.statistics(plan.name) or {}).get(name) or {"groups": []}
    parts = []
    for (landmark, task), own in frame.groupby(["landmark", "task"], sort=False):
        records = own.to_dict("records")
        cells = {tuple(r[k] for k in ("method", "variant", "attribute", "group", "metric")): r for r in records}
        rows = {(r["method"], r["variant"]): r for r in records}
        groups = [g for g in derived["groups"] if (g["landmark"], g["task"]) == (landmark, task)]
        titles = {row: r["title"] for row, r in rows.items()}
        before = frozenset(row for row, r in rows.items() if r["stage"] == "base")
        known = frozenset(row for row, r in rows.items() if r["known"])
        parts.append(SubgroupTable(plan, landmark, task, groups, titles, before, known, cells))
    return parts


def build_empty_table(store: Store, plan: Plan, what: str, why: str) -> Table:
    """Build the table that stands where there is nothing to show, and says why."""
    return Table(
        ((what, ""),),
        (("all rows", False, (make_text_entry(why),)),),
        f"{what}: {why}. {describe_setting(store, plan)}",
        (),
    )
