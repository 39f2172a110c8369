"""Other mechanisms of missingness: each method beside the ceiling, and what the observation pattern is worth."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from reports.figures.arm_figures import arms_figure
from reports.report import Figure, Section
from reports.tables.arms import (
    MISSING,
    Arm,
    arms_differences,
    arms_frame,
    arms_table,
    axis_of,
    cohorts,
    groups,
    label,
    places_of,
    plans_of,
)
from reports.tables.captions import short_caption
from reports.tables.differences import difference_entry
from reports.tables.table import Entry, Table, entry_of, task_title, words
from results.plan import Plan
from results.storage.store import Store

AXES = {
    "kappa": "kappa (strength, MNAR)",
    "mechanism": "mechanism",
    "beta": "beta (effect of the pattern itself)",
    "world": "world",
}
WORTH = {
    "evidence": ("As evidence", "cause used"),
    "evidence, cause unused": ("As evidence", "cause unused"),
    "cause": ("As a cause", "evidence used"),
    "cause, evidence unused": ("As a cause", "evidence unused"),
    "both": ("Both", "together"),
    "as an input": ("As an input of a network", "zero-filling with mask less mean imputation"),
}
"""Names of the stored differences (``results/statistics/derivations/worth.py``) and the headings they stand under."""
DRAWN = {
    "evidence": "as evidence (ceiling)",
    "cause": "as a cause (ceiling)",
    "both": "both (ceiling)",
    "as an input": "as an input (with mask less without)",
}
METHODS = (
    "Each method beside the ceiling, by {axis}. To the ceiling: the method's AUC less the ceiling's, paired within folds, with the 95 % "
    "interval of a bootstrap over patients; share: (AUC - 1/2) / (ceiling - 1/2)."
)
PATTERN = (
    "What the observation pattern is worth in AUC, by {axis}: a 2 x 2 of the best prediction with the pattern as evidence of the latent "
    "health (used or not) and as a cause of the outcome (used or not), and a network with and without the pattern as an input; paired "
    "within folds, with the 95 % interval of a bootstrap over patients. Of the best predictions nothing is fitted, so nothing is tested."
)
FIGURE = (
    "By {axis}: above, AUC of the methods and of the ceiling (bars: standard deviation over folds); below, what the pattern is worth "
    "(bars: 95 % intervals)."
)


def section(store: Store, plans: Sequence[Plan]) -> Section:
    """For each dataset, protocol and axis two tables and a figure; the frames hold every arm, those not run as ``missing``."""
    tables: list[Table] = []
    figures: list[Figure] = []
    arms = groups(store, plans)
    for own in arms:
        ran = plans_of(own)
        for axis in dict.fromkeys(axis for arm in own for axis in arm.at):
            title = AXES.get(axis, axis)
            methods, pattern, drawn = (
                short_caption(store, ran, what.format(axis=title) + _left_out(own, axis))
                for what in (METHODS, PATTERN, FIGURE)
            )
            tables += [arms_table(own, axis, axis, methods), worth_table(own, axis, pattern)]
            name = f"{axis}-{ran[0].dataset}-{ran[0].protocol}"
            figures.append(arms_figure(own, axis, title, name, drawn, DRAWN))
    if not arms:
        return Section()
    frames = {
        "_arms": pd.concat([arms_frame(own) for own in arms], ignore_index=True),
        "_worth": pd.concat([arms_differences(own) for own in arms], ignore_index=True),
    }
    return Section(tuple(tables), frames, tuple(figures))


def worth_table(arms: list[Arm], axis: str, caption: str) -> Table:
    """Values of an axis and tasks down; across, the best prediction without the pattern and what each use of it adds."""
    columns = (("Pattern unused", "ceiling AUC"), *WORTH.values())
    rows: list[tuple[str, bool, tuple[Entry, ...]]] = []
    for value, arm in axis_of(arms, axis):
        heading = f"{axis} = {label(value)}"
        if arm.plan is None:
            rows.append((f"{heading} (not run)", False, (MISSING,) * len(columns)))
            continue
        spread = "sd_seeds" if arm.plan.seeds > 1 else "sd_folds"
        for place in places_of(arms):
            cell = arm.cell("evidence0_cause0", "default", place, "auc")
            first = words("not known") if cell is None else entry_of(cell, "sd_folds" if cell["seeds"] == 1 else spread)
            found = [difference_entry(arm.difference(name, place), arm.numbers) for name in WORTH]
            rows.append((f"{heading}: {task_title(place[1])}", False, (first, *found)))
    return Table(columns, tuple(rows), caption, tuple(cohorts(axis_of(arms, axis), axis)))


def _left_out(arms: list[Arm], axis: str) -> str:
    missing = [label(value) for value, arm in axis_of(arms, axis) if arm.plan is None]
    return f" Not run: {axis} = {'; '.join(missing)}." if missing else ""
