"""By sex, age band, ethnicity and what other groups a cohort has: discrimination, calibration, and gaps at one alarm threshold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from reports.figures.dots import draw_dots
from reports.figures.drawing import create_figure
from reports.frames.subgroups import FRAME, build_subgroup_frame
from reports.report import Figure, Section
from reports.tables.captions import describe_setting
from reports.tables.subgroup_places import FEW, SubgroupTable, build_empty_table, build_subgroup_tables
from reports.tables.table import Entry, Table, make_text_entry
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
    """Return for each landmark and task the reference by group, the gaps of every row, and the rates as dots.

    One sentence where a cohort has no groups. The CSV ``_groups`` has every number.
    """
    tables, frames, figures = [], [], []
    for plan in plans:
        frame = build_subgroup_frame(store, plan, DERIVED)
        frames.append(frame[list(FRAME)])
        if frame.empty:
            tables.append(build_empty_table(store, plan, "By group of patients", _explain_nothing(store, plan)))
            continue
        how = HOW.format(share=frame["alarm_share"].iloc[0])
        for subgroups in build_subgroup_tables(store, plan, DERIVED, frame):
            about = f"{how}. {BOOTSTRAP} {describe_setting(store, plan, subgroups.landmark)}"
            tables += [_build_metrics_table(subgroups, about), _build_gap_table(subgroups, about)]
            figures.append(_draw_figure(subgroups, about))
    return Section(tuple(tables), {"_groups": pd.concat(frames, ignore_index=True)}, tuple(figures))


def _explain_nothing(store: Store, plan: Plan) -> str:
    if DERIVED not in (store.statistics(plan.name) or {}):
        return "nothing derived yet, run the experiment"
    stored = store.groups(plan.name)
    if stored is not None and set(stored.columns) - {"landmark", "row", "site"}:
        return "no cell is done, so that there is nothing to compare yet"
    return f"{plan.dataset} records no groups of patients, so that this experiment says nothing about them"


def _build_metrics_table(subgroups: SubgroupTable, about: str) -> Table:
    """Build the table of all metrics of the reference, or of the plan's first row where it has none, by group."""
    rows = list_rows(subgroups.plan)
    chosen = find_reference_row(subgroups.plan, rows) or rows[0]
    row, named = (chosen.method, chosen.variant), _name_groups(subgroups.groups)
    columns = [("Stays", name) for name in ("N", "positive", "prevalence")] + [
        (chosen.title, m) for m in PRINTED.values()
    ]
    printed = [
        (
            name,
            False,
            (
                *_build_count_entries(g),
                *(subgroups.build_entry(row, g, m, m in WITH_INTERVAL, m == "in_the_large") for m in PRINTED),
            ),
        )
        for name, g in named
    ]
    caption = f"{chosen.title} by group, {subgroups.name}: means over folds [95 % interval]. {TERMS} {about}"
    return Table(
        tuple(columns), tuple(printed), caption, tuple(subgroups.collect_notes([row], subgroups.groups, PRINTED))
    )


def _build_gap_table(subgroups: SubgroupTable, about: str) -> Table:
    """Build the table of gaps of true and false positive rate of every row, each group against the largest of its attribute."""
    columns = [("Stays", "N"), ("Stays", "positive")] + [
        (t, name) for t in subgroups.titles.values() for name in GAPS.values()
    ]
    printed = []
    for name, g in _name_groups(subgroups.groups):
        entries = [
            make_text_entry(BASE) if g["reference"] else subgroups.build_entry(row, g, m, signed=True)
            for row in subgroups.titles
            for m in GAPS
        ]
        printed.append((name, False, (*_build_count_entries(g)[:2], *entries)))
    caption = (
        f"Gaps of true and false positive rate by group, {subgroups.name}: the group's rate less that of the largest group of its kind "
        f"({BASE}) [95 % interval, not adjusted for the number of gaps]. {about}"
    )
    return Table(
        tuple(columns),
        tuple(printed),
        caption,
        tuple(subgroups.collect_notes(subgroups.titles, subgroups.groups, GAPS)),
    )


def _draw_figure(subgroups: SubgroupTable, about: str) -> Figure:
    """Draw a panel for each metric; groups down; a dot with its interval for each row of the plan."""
    named, rows = _name_groups(subgroups.groups), subgroups.final
    heights = np.array([0.35 if g["reason"] else 1.0 for _, g in named])
    edges = np.concatenate([[0], np.cumsum(heights)])
    middle = edges[:-1] + heights / 2
    figure, axes = create_figure(11, 1.5 + 0.14 * (len(rows) + 1) * edges[-1], 1, len(PANELS))
    for panel, (metric, label) in zip(axes, PANELS.items(), strict=True):
        series = [
            (subgroups.compose_label(row, metric), [subgroups.get_estimate(row, g, metric) for _, g in named])
            for row in rows
        ]
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
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    what = f"By group of patients, {subgroups.name}, {subgroups.plan.dataset}"
    alt = f"{what}: {', '.join(PANELS.values())} of {len(rows)} rows in {len(named)} groups, each a dot with its interval."
    name = "-".join((DERIVED, subgroups.plan.dataset, subgroups.plan.protocol, subgroups.landmark, subgroups.task))
    caption = f"{what}: mean over folds with its 95 % interval; the number of stays in brackets. {about}"
    return Figure(name, caption, alt, figure)


def _name_groups(groups: list[dict[str, Any]]) -> list[tuple[str, dict[str, Any]]]:
    """Return groups with the name of their kind: by kind, then by name, the unknown last."""
    kinds = list(dict.fromkeys(g["attribute"] for g in groups))
    ordered = sorted(groups, key=lambda g: (kinds.index(g["attribute"]), g["group"] == "unknown", g["group"]))
    return [(f"{g['attribute'].replace('_', ' ')}: {g['group']}", g) for g in ordered]


def _build_count_entries(group: dict[str, Any]) -> tuple[Entry, ...]:
    share = f"{group['positives'] / group['n']:.1%}" if group["n"] else "–"
    return make_text_entry(f"{group['n']:,}"), make_text_entry(f"{group['positives']:,}"), make_text_entry(share)
