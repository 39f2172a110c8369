"""How far more stays bring each method: AUC against the number of stays, with the ceiling."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from reports.figures.arm_figures import draw_arms_figure
from reports.report import Section
from reports.tables.arms import (
    ArmResults,
    build_arm_differences,
    build_arms_frame,
    build_arms_table,
    format_axis_value,
    group_arms,
    list_plans,
    order_along_axis,
)
from reports.tables.captions import compose_short_caption
from results.plan import Plan
from results.storage.store import Store

WHAT = (
    "Learning curve: AUC against the number of stays of the cohort, of which a fold is tested, 15 % of the rest are the validation part, "
    "and the others are trained on; the ceiling is the best prediction that the truth allows and needs no training."
)
TABLE = (
    " To the ceiling: the method's AUC less the ceiling's, paired within folds, with the 95 % interval of a bootstrap over patients; "
    "share: (AUC - 1/2) / (ceiling - 1/2)."
)
DRAWN = " Bars: standard deviation over folds."


def section(store: Store, plans: Sequence[Plan]) -> Section:
    """Return a table and a figure for each dataset and protocol; the frames hold every arm, those that were not run as ``missing``."""
    arms = group_arms(store, plans)
    if not arms:
        return Section()
    tables = [
        build_arms_table(
            own, "n", "n", compose_short_caption(store, list_plans(own), WHAT + TABLE + _list_left_out(own))
        )
        for own in arms
    ]
    figures = []
    for own in arms:
        plan = list_plans(own)[0]
        caption = compose_short_caption(store, list_plans(own), WHAT + DRAWN + _list_left_out(own))
        name = f"learning_curve-{plan.dataset}-{plan.protocol}"
        figures.append(draw_arms_figure(own, "n", "Stays", name, caption, log=True))
    frames = {
        "_arms": pd.concat([build_arms_frame(own) for own in arms], ignore_index=True),
        "_to_ceiling": pd.concat([build_arm_differences(own) for own in arms], ignore_index=True),
    }
    return Section(tuple(tables), frames, tuple(figures))


def _list_left_out(arms: list[ArmResults]) -> str:
    missing = [format_axis_value(value) for value, arm in order_along_axis(arms, "n") if arm.plan is None]
    return f" Not run: n = {'; '.join(missing)}." if missing else ""
