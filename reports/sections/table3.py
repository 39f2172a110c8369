"""Table 3: each row by observation pattern and by modality, with a map of method x pattern."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from reports.figures.heat_map import heat_map
from reports.frames.subgroups import FRAME, subgroup_frame
from reports.report import Figure, Section
from reports.tables.captions import setting
from reports.tables.subgroup_places import Part, not_derived, parts_of
from reports.tables.table import Entry, Table, plain, words
from results.plan import Plan
from results.storage.store import Store

DERIVED = "patterns"
AT_LEAST = 12
"""Patterns that are printed, the most frequent first, even where they are too small for a number."""
IN_MAP = 8
"""The same, in the map."""
NUMBERS = "Intervals: bootstrap of patients within folds, the same resamples for every row."


def section(store: Store, plans: Sequence[Plan]) -> Section:
    """Tables and a map a landmark and task; the CSV ``_patterns`` has every pattern."""
    tables, frames, figures = [], [], []
    for plan in plans:
        frame = subgroup_frame(store, plan, DERIVED)
        frames.append(frame[list(FRAME)])
        if frame.empty:
            tables.append(not_derived(store, plan, "By observation pattern", "nothing derived yet, run the experiment"))
            continue
        for part in parts_of(store, plan, DERIVED, frame):
            about = setting(store, plan, part.landmark)
            tables += pattern_tables(part, about)
            figures.append(pattern_map(part, about))
    return Section(tuple(tables), {"_patterns": pd.concat(frames, ignore_index=True)}, tuple(figures))


def pattern_tables(part: Part, about: str) -> list[Table]:
    """AUC by pattern; AUPRC and calibration in the large by pattern; AUC with each modality observed and not."""
    shown, rest = printed_patterns(part)
    auc = _table(
        part,
        shown,
        {"auc": "AUC"},
        f"AUC by observation pattern, {part.name}: mean over folds [95 % interval]. {NUMBERS} {about}",
    )
    more = _table(
        part,
        shown,
        {"auprc": "AUPRC", "in_the_large": "y - p"},
        f"AUPRC and y - p by observation pattern, {part.name}: means over folds. AUPRC depends on the prevalence of the pattern: it "
        f"compares rows and not patterns; y - p is the mean of outcome less prediction (above 0: risks too low). {about}",
        interval=False,
    )
    tables = [replace(table, notes=(*table.notes, *rest)) for table in (auc, more)]
    modalities = [g for g in part.groups if g["attribute"].startswith("modality ")]
    if modalities:
        order = [f"modality {name}" for name in part.plan.landmarks[part.landmark].modalities]
        modalities.sort(key=lambda g: (order.index(g["attribute"]), g["group"].endswith(" not observed")))
        caption = (
            f"AUC by modality observed or not, {part.name}: mean over folds [95 % interval]. {NUMBERS} Stays that lack one differ in "
            f"more than the modality: this is no effect of observing it. {about}"
        )
        tables.append(_table(part, modalities, {"auc": "AUC"}, caption))
    return tables


def pattern_maps(store: Store, plan: Plan) -> list[Figure]:
    """The map of each landmark and task of a plan; none where no patterns were derived."""
    frame = subgroup_frame(store, plan, DERIVED)
    if frame.empty:
        return []
    return [pattern_map(part, setting(store, plan, part.landmark)) for part in parts_of(store, plan, DERIVED, frame)]


def printed_patterns(part: Part, at_least: int = AT_LEAST) -> tuple[list[dict[str, Any]], list[str]]:
    """All stays, then the patterns to print, the most frequent first, and a note on the others, which the CSV has.

    Printed are those that have numbers, and the most frequent of the others up to ``at_least`` in all.
    """
    everyone = [g for g in part.groups if g["attribute"] == "all"]
    patterns = [g for g in part.groups if g["attribute"] == "pattern"]
    small = [g["group"] for g in patterns if g["reason"]]
    left = small[max(0, at_least - (len(patterns) - len(small))) :]
    stays = sum(g["n"] for g in patterns if g["group"] in left)
    rest = [f"Not shown, in the CSV: {len(left)} rarer patterns with {stays:,} stays."] if left else []
    return everyone + [g for g in patterns if g["group"] not in left], rest


def pattern_map(part: Part, about: str) -> Figure:
    """The map of the AUC, row x pattern."""
    shown, rest = printed_patterns(part, IN_MAP)
    entries = {title: [part.entry(row, g, "auc", interval=False) for g in shown] for row, title in part.final.items()}
    heads = [f"{_title(g, part)}\nn = {g['n']:,}" for g in shown]
    numbers = pd.DataFrame([[e.mean for e in row] for row in entries.values()], list(entries), heads).astype(float)
    labels = pd.DataFrame([[_label(e) for e in row] for row in entries.values()], list(entries), heads)
    picture = heat_map(numbers, labels, "AUC", 0.5, float(np.nanmax([0.55, *numbers.to_numpy().ravel()])))
    what = f"AUC by observation pattern, {part.name}, {part.plan.dataset}"
    span = f"{numbers.min().min():.3f} to {numbers.max().max():.3f}" if numbers.notna().any(axis=None) else "none"
    alt = f"{what}: {len(numbers)} rows by {len(heads)} groups of stays; numbers: {span}."
    caption = " ".join([f"{what}. Hatched: no number, for the reason written there.", *rest, about])
    name = "-".join((DERIVED, part.plan.dataset, part.plan.protocol, part.landmark, part.task))
    return Figure(name, caption, alt, picture)


def pattern_title(pattern: str, modalities: Sequence[str]) -> str:
    """How a pattern is printed: where modalities are many, by those that are absent."""
    absent = [name for name in modalities if name not in pattern.split("+")]
    if len(modalities) <= 4 or len(absent) > len(modalities) / 2:
        return pattern
    return f"without {', '.join(absent)}" if absent else f"all {len(modalities)} modalities"


def _table(
    part: Part, groups: list[dict[str, Any]], metrics: dict[str, str], caption: str, interval: bool = True
) -> Table:
    heads = [(title, name) for title in part.titles.values() for name in metrics.values()]
    rows = []
    for g in groups:
        numbers = [
            part.entry(row, g, metric, interval, signed=metric == "in_the_large")
            for row in part.titles
            for metric in metrics
        ]
        rows.append((_title(g, part), False, (words(f"{g['n']:,}"), words(f"{g['positives']:,}"), *numbers)))
    columns = (("Stays", "N"), ("Stays", "positive"), *heads)
    return Table(columns, tuple(rows), caption, tuple(part.notes(part.titles, groups, metrics)))


def _title(group: dict[str, Any], part: Part) -> str:
    if group["attribute"] == "pattern":
        return pattern_title(group["group"], list(part.plan.landmarks[part.landmark].modalities))
    return "All stays" if group["attribute"] == "all" else group["group"]


def _label(entry: Entry) -> str:
    return plain(entry).replace("0.", ".", 1) if entry.mean is not None else entry.word.replace(" ", "\n")
