"""By sex, age band, ethnicity and what other groups a cohort has: discrimination, calibration, and gaps at one alarm threshold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from reports.figures.dots import draw_dots
from reports.figures.drawing import canvas
from reports.frames.subgroups import FRAME, subgroup_frame
from reports.report import Figure, Section
from reports.tables.captions import setting
from reports.tables.subgroup_places import FEW, Part, not_derived, parts_of
from reports.tables.table import Entry, Table, words
from results.plan import Plan
from results.rows import find_reference_row, list_rows
from results.storage.store import Store

DERIVED = "groups"
PRINTED = {
    "auc": "AUC", "brier": "Brier", "in_the_large": "y - p", "ece": "ECE", "flagged": "flagged", "tpr": "TPR", "fpr": "FPR"
}  # fmt: skip
WITH_INTERVAL = ("auc", "in_the_large")
BASE = "compared with"
GAPS = {"gap_tpr": "TPR gap", "gap_fpr": "FPR gap"}
PANELS = {
    "auc": "AUC",
    "in_the_large": "mean of outcome - prediction",
    "tpr": "true positive rate",
    "fpr": "false positive rate",
}
HOW = (
    "Alarm: at or above the value that the highest {share:.0%} of the validation part's predictions reach, set for each fold and seed "
    "without reading any outcome"
)
BOOTSTRAP = "Intervals: 95 %, bootstrap of patients within folds, the same resamples for every row and group."
TERMS = (
    "y - p: mean of outcome less prediction (above 0: risks too low). ECE: expected calibration error in 15 bins of equal mass; it grows "
    "as a group gets smaller, so that it does not compare groups of different size. Flagged, TPR, FPR: share with an alarm of all, of "
    "the positives, of the negatives."
)


def section(store: Store, plans: Sequence[Plan]) -> Section:
    """For each landmark and task: the reference by group, the gaps of every row, and both as dots; one sentence where a cohort has no
    groups. The CSV ``_groups`` has every number."""
    tables, frames, figures = [], [], []
    for plan in plans:
        frame = subgroup_frame(store, plan, DERIVED)
        frames.append(frame[list(FRAME)])
        if frame.empty:
            tables.append(not_derived(store, plan, "By group of patients", _nothing(store, plan)))
            continue
        how = HOW.format(share=store.statistics(plan.name)[DERIVED]["flagged_share"])
        for part in parts_of(store, plan, DERIVED, frame):
            about = f"{how}. {BOOTSTRAP} {setting(store, plan, part.landmark)}"
            tables += [_own_table(part, about), _gap_table(part, about)]
            figures.append(_figure(part, about))
    return Section(tuple(tables), {"_groups": pd.concat(frames, ignore_index=True)}, tuple(figures))


def _nothing(store: Store, plan: Plan) -> str:
    if DERIVED not in (store.statistics(plan.name) or {}):
        return "nothing derived yet, run the experiment"
    stored = store.groups(plan.name)
    if stored is not None and set(stored.columns) - {"landmark", "row", "site"}:
        return "no cell is done, so that there is nothing to compare yet"
    return f"{plan.dataset} records no groups of patients, so that this experiment says nothing about them"


def _own_table(part: Part, about: str) -> Table:
    """All metrics of the reference, or of the plan's first row where it has none, by group."""
    rows = list_rows(part.plan)
    chosen = find_reference_row(part.plan, rows) or rows[0]
    row, named = (chosen.method, chosen.variant), _named(part.groups)
    columns = [("Stays", name) for name in ("N", "positive", "prevalence")] + [
        (chosen.title, m) for m in PRINTED.values()
    ]
    printed = [
        (name, False, (*_counts(g), *(part.entry(row, g, m, m in WITH_INTERVAL, m == "in_the_large") for m in PRINTED)))
        for name, g in named
    ]
    caption = f"{chosen.title} by group, {part.name}: means over folds [95 % interval]. {TERMS} {about}"
    return Table(tuple(columns), tuple(printed), caption, tuple(part.notes([row], part.groups, PRINTED)))


def _gap_table(part: Part, about: str) -> Table:
    """Gaps of true and false positive rate of every row, each group against the largest of its attribute."""
    columns = [("Stays", "N"), ("Stays", "positive")] + [
        (t, name) for t in part.titles.values() for name in GAPS.values()
    ]
    printed = []
    for name, g in _named(part.groups):
        entries = [
            words(BASE) if g["reference"] else part.entry(row, g, m, signed=True) for row in part.titles for m in GAPS
        ]
        printed.append((name, False, (*_counts(g)[:2], *entries)))
    caption = (
        f"Gaps of true and false positive rate by group, {part.name}: the group's rate less that of the largest group of its kind "
        f"({BASE}) [95 % interval, not adjusted for the number of gaps]. {about}"
    )
    return Table(tuple(columns), tuple(printed), caption, tuple(part.notes(part.titles, part.groups, GAPS)))


def _figure(part: Part, about: str) -> Figure:
    """A panel a metric; groups down; a dot with its interval for each row of the plan."""
    named, rows = _named(part.groups), part.final
    heights = np.array([0.35 if g["reason"] else 1.0 for _, g in named])
    edges = np.concatenate([[0], np.cumsum(heights)])
    middle = edges[:-1] + heights / 2
    picture, axes = canvas(11, 1.5 + 0.14 * (len(rows) + 1) * edges[-1], 1, len(PANELS))
    for panel, (metric, label) in zip(axes, PANELS.items(), strict=True):
        series = [(part.label(row, metric), [part.estimate(row, g, metric) for _, g in named]) for row in rows]
        draw_dots(panel, middle, series)
        across = panel.get_yaxis_transform()
        for y in middle[[bool(g["reason"]) for _, g in named]]:
            panel.text(0.5, y, FEW, transform=across, ha="center", va="center", color="#555555", fontsize=8)
        panel.hlines(edges[1:-1], 0, 1, transform=across, color="#dddddd", linewidth=0.6)
        panel.set_ylim(edges[-1], 0)
        panel.set_yticks(middle, [f"{name} ({g['n']:,})" if panel is axes[0] else "" for name, g in named])
        panel.tick_params(axis="y", length=0)
        panel.set_xlabel(label)
        if metric == "in_the_large":
            panel.axvline(0, color="#8C8C8C", linewidth=0.8)
    picture.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    what = f"By group of patients, {part.name}, {part.plan.dataset}"
    alt = f"{what}: {', '.join(PANELS.values())} of {len(rows)} rows in {len(named)} groups, each a dot with its interval."
    name = "-".join((DERIVED, part.plan.dataset, part.plan.protocol, part.landmark, part.task))
    caption = f"{what}: mean over folds with its 95 % interval; the number of stays in brackets. {about}"
    return Figure(name, caption, alt, picture)


def _named(groups: list[dict[str, Any]]) -> list[tuple[str, dict[str, Any]]]:
    """Groups with the name of their kind: by kind, then by name, the unknown last."""
    kinds = list(dict.fromkeys(g["attribute"] for g in groups))
    ordered = sorted(groups, key=lambda g: (kinds.index(g["attribute"]), g["group"] == "unknown", g["group"]))
    return [(f"{g['attribute'].replace('_', ' ')}: {g['group']}", g) for g in ordered]


def _counts(group: dict[str, Any]) -> tuple[Entry, ...]:
    share = f"{group['positives'] / group['n']:.1%}" if group["n"] else "–"
    return words(f"{group['n']:,}"), words(f"{group['positives']:,}"), words(share)
