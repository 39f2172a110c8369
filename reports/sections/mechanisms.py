"""Other mechanisms of missingness: each method with the ceiling, and what the observation pattern is worth."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from reports.figures.arm_figures import draw_arms_figure
from reports.report import Figure, Section
from reports.tables.arms import (
    MISSING,
    ArmResults,
    build_arm_differences,
    build_arms_frame,
    build_arms_table,
    describe_cohorts,
    format_axis_value,
    group_arms,
    list_landmark_tasks,
    list_plans,
    order_along_axis,
)
from reports.tables.captions import compose_short_caption
from reports.tables.differences import build_difference_entry
from reports.tables.table import Entry, Table, build_entry, get_task_title, make_text_entry
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
    """Return for each dataset, protocol and axis two tables and a figure; the frames hold every arm, those not run as ``missing``."""
    tables: list[Table] = []
    figures: list[Figure] = []
    arms = group_arms(store, plans)
    for own in arms:
        ran = list_plans(own)
        for axis in dict.fromkeys(axis for arm in own for axis in arm.at):
            title = AXES.get(axis, axis)
            methods, pattern, drawn = (
                compose_short_caption(store, ran, what.format(axis=title) + _list_left_out(own, axis))
                for what in (METHODS, PATTERN, FIGURE)
            )
            tables += [build_arms_table(own, axis, axis, methods), build_worth_table(own, axis, pattern)]
            name = f"{axis}-{ran[0].dataset}-{ran[0].protocol}"
            figures.append(draw_arms_figure(own, axis, title, name, drawn, DRAWN))
    if not arms:
        return Section()
    frames = {
        "_arms": pd.concat([build_arms_frame(own) for own in arms], ignore_index=True),
        "_worth": pd.concat([build_arm_differences(own) for own in arms], ignore_index=True),
    }
    return Section(tuple(tables), frames, tuple(figures))


def build_worth_table(arms: list[ArmResults], axis: str, caption: str) -> Table:
    """Build a table of an axis' values and tasks down; across, the best prediction without the pattern and what each use of it adds."""
    columns = (("Pattern unused", "ceiling AUC"), *WORTH.values())
    rows: list[tuple[str, bool, tuple[Entry, ...]]] = []
    for value, arm in order_along_axis(arms, axis):
        heading = f"{axis} = {format_axis_value(value)}"
        if arm.plan is None:
            rows.append((f"{heading} (not run)", False, (MISSING,) * len(columns)))
            continue
        spread = "sd_seeds" if arm.plan.seeds > 1 else "sd_folds"
        for landmark_task in list_landmark_tasks(arms):
            cell = arm.find_cell("evidence0_cause0", "default", landmark_task, "auc")
            first = (
                make_text_entry("not known")
                if cell is None
                else build_entry(cell, "sd_folds" if cell["seeds"] == 1 else spread)
            )
            found = [build_difference_entry(arm.find_difference(name, landmark_task), arm.numbers) for name in WORTH]
            rows.append((f"{heading}: {get_task_title(landmark_task[1])}", False, (first, *found)))
    return Table(columns, tuple(rows), caption, tuple(describe_cohorts(order_along_axis(arms, axis), axis)))


def _list_left_out(arms: list[ArmResults], axis: str) -> str:
    missing = [format_axis_value(value) for value, arm in order_along_axis(arms, axis) if arm.plan is None]
    return f" Not run: {axis} = {'; '.join(missing)}." if missing else ""
