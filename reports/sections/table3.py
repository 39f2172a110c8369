"""Table 3: each row by observation pattern and by modality, with a map of method x pattern."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from reports.figures.heat_map import draw_heat_map
from reports.frames.subgroups import FRAME, build_subgroup_frame
from reports.report import Figure, Section
from reports.tables.captions import describe_setting
from reports.tables.subgroup_places import SubgroupTable, build_empty_table, build_subgroup_tables
from reports.tables.table import Entry, Table, format_entry, make_text_entry
from results.plan import Plan
from results.storage.store import Store

DERIVED = "patterns"
AT_LEAST = 12
"""Patterns that are printed, the most frequent first, even where they are too small for a number."""
IN_MAP = 8
"""The same, in the map."""
NUMBERS = "Intervals: bootstrap of patients within folds, the same resamples for every row."


def section(store: Store, plans: Sequence[Plan]) -> Section:
    """Return tables and a map for each landmark and task; the CSV ``_patterns`` has every pattern."""
    tables, frames, figures = [], [], []
    for plan in plans:
        frame = build_subgroup_frame(store, plan, DERIVED)
        frames.append(frame[list(FRAME)])
        if frame.empty:
            tables.append(
                build_empty_table(store, plan, "By observation pattern", "nothing derived yet, run the experiment")
            )
            continue
        for subgroups in build_subgroup_tables(store, plan, DERIVED, frame):
            about = describe_setting(store, plan, subgroups.landmark)
            tables += build_pattern_tables(subgroups, about)
            figures.append(draw_pattern_map(subgroups, about))
    return Section(tuple(tables), {"_patterns": pd.concat(frames, ignore_index=True)}, tuple(figures))


def build_pattern_tables(subgroups: SubgroupTable, about: str) -> list[Table]:
    """Build tables of AUC by pattern; of AUPRC and calibration in the large by pattern; of AUC with each modality observed and not."""
    shown, rest = select_patterns(subgroups)
    auc = _build_table(
        subgroups,
        shown,
        {"auc": "AUC"},
        f"AUC by observation pattern, {subgroups.name}: mean over folds [95 % interval]. {NUMBERS} {about}",
    )
    more = _build_table(
        subgroups,
        shown,
        {"auprc": "AUPRC", "in_the_large": "y - p"},
        f"AUPRC and y - p by observation pattern, {subgroups.name}: means over folds. AUPRC depends on the prevalence of the pattern: it "
        f"compares rows and not patterns; y - p is the mean of outcome less prediction (above 0: risks too low). {about}",
        interval=False,
    )
    tables = [replace(table, notes=(*table.notes, *rest)) for table in (auc, more)]
    modalities = [g for g in subgroups.groups if g["attribute"].startswith("modality ")]
    if modalities:
        order = [f"modality {name}" for name in subgroups.plan.landmarks[subgroups.landmark].modalities]
        modalities.sort(key=lambda g: (order.index(g["attribute"]), g["group"].endswith(" not observed")))
        caption = (
            f"AUC by modality observed or not, {subgroups.name}: mean over folds [95 % interval]. {NUMBERS} Stays that lack one differ in "
            f"more than the modality: this is no effect of observing it. {about}"
        )
        tables.append(_build_table(subgroups, modalities, {"auc": "AUC"}, caption))
    return tables


def draw_pattern_maps(store: Store, plan: Plan) -> list[Figure]:
    """Draw the map of each landmark and task of a plan; none where no patterns were derived."""
    frame = build_subgroup_frame(store, plan, DERIVED)
    if frame.empty:
        return []
    return [
        draw_pattern_map(subgroups, describe_setting(store, plan, subgroups.landmark))
        for subgroups in build_subgroup_tables(store, plan, DERIVED, frame)
    ]


def select_patterns(subgroups: SubgroupTable, at_least: int = AT_LEAST) -> tuple[list[dict[str, Any]], list[str]]:
    """Return all stays, then the patterns to print, the most frequent first, and a note on the others, which the CSV has.

    Printed are those that have numbers, and the most frequent of the others up to ``at_least`` in all.
    """
    everyone = [g for g in subgroups.groups if g["attribute"] == "all"]
    patterns = [g for g in subgroups.groups if g["attribute"] == "pattern"]
    small = [g["group"] for g in patterns if g["reason"]]
    left = small[max(0, at_least - (len(patterns) - len(small))) :]
    stays = sum(g["n"] for g in patterns if g["group"] in left)
    rest = [f"Not shown, in the CSV: {len(left)} rarer patterns with {stays:,} stays."] if left else []
    return everyone + [g for g in patterns if g["group"] not in left], rest


def draw_pattern_map(subgroups: SubgroupTable, about: str) -> Figure:
    """Draw the map of the AUC, row x pattern."""
    shown, rest = select_patterns(subgroups, IN_MAP)
    entries = {
        title: [subgroups.build_entry(row, g, "auc", interval=False) for g in shown]
        for row, title in subgroups.final.items()
    }
    heads = [f"{_format_group(g, subgroups)}\nn = {g['n']:,}" for g in shown]
    numbers = pd.DataFrame([[e.mean for e in row] for row in entries.values()], list(entries), heads).astype(float)
    labels = pd.DataFrame([[_format_label(e) for e in row] for row in entries.values()], list(entries), heads)
    figure = draw_heat_map(numbers, labels, "AUC", 0.5, float(np.nanmax([0.55, *numbers.to_numpy().ravel()])))
    what = f"AUC by observation pattern, {subgroups.name}, {subgroups.plan.dataset}"
    span = f"{numbers.min().min():.3f} to {numbers.max().max():.3f}" if numbers.notna().any(axis=None) else "none"
    alt = f"{what}: {len(numbers)} rows by {len(heads)} groups of stays; numbers: {span}."
    caption = " ".join([f"{what}. Hatched: no number, for the reason written there.", *rest, about])
    name = "-".join((DERIVED, subgroups.plan.dataset, subgroups.plan.protocol, subgroups.landmark, subgroups.task))
    return Figure(name, caption, alt, figure)


def format_pattern(pattern: str, modalities: Sequence[str]) -> str:
    """Return a pattern as it is printed: where modalities are many, by those that are absent."""
    absent = [name for name in modalities if name not in pattern.split("+")]
    if len(modalities) <= 4 or len(absent) > len(modalities) / 2:
        return pattern
    return f"without {', '.join(absent)}" if absent else f"all {len(modalities)} modalities"


def _build_table(
    subgroups: SubgroupTable, groups: list[dict[str, Any]], metrics: dict[str, str], caption: str, interval: bool = True
) -> Table:
    heads = [(title, name) for title in subgroups.titles.values() for name in metrics.values()]
    rows = []
    for g in groups:
        numbers = [
            subgroups.build_entry(row, g, metric, interval, signed=metric == "in_the_large")
            for row in subgroups.titles
            for metric in metrics
        ]
        rows.append(
            (
                _format_group(g, subgroups),
                False,
                (make_text_entry(f"{g['n']:,}"), make_text_entry(f"{g['positives']:,}"), *numbers),
            )
        )
    columns = (("Stays", "N"), ("Stays", "positive"), *heads)
    return Table(columns, tuple(rows), caption, tuple(subgroups.collect_notes(subgroups.titles, groups, metrics)))


def _format_group(group: dict[str, Any], subgroups: SubgroupTable) -> str:
    if group["attribute"] == "pattern":
        return format_pattern(group["group"], list(subgroups.plan.landmarks[subgroups.landmark].modalities))
    return "All stays" if group["attribute"] == "all" else group["group"]


def _format_label(entry: Entry) -> str:
    return format_entry(entry).replace("0.", ".", 1) if entry.mean is not None else entry.word.replace(" ", "\n")
