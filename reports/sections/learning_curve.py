"""How far more stays bring each method: AUC against the number of stays, beside the ceiling."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from reports.figures.arm_figures import arms_figure
from reports.report import Section
from reports.tables.arms import Arm, arms_differences, arms_frame, arms_table, axis_of, groups, label, plans_of
from reports.tables.captions import short_caption
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
    """A table and a figure for each dataset and protocol; the frames hold every arm, those that were not run as ``missing``."""
    arms = groups(store, plans)
    if not arms:
        return Section()
    tables = [
        arms_table(own, "n", "n", short_caption(store, plans_of(own), WHAT + TABLE + _left_out(own))) for own in arms
    ]
    figures = []
    for own in arms:
        plan = plans_of(own)[0]
        caption = short_caption(store, plans_of(own), WHAT + DRAWN + _left_out(own))
        name = f"learning_curve-{plan.dataset}-{plan.protocol}"
        figures.append(arms_figure(own, "n", "Stays", name, caption, log=True))
    frames = {
        "_arms": pd.concat([arms_frame(own) for own in arms], ignore_index=True),
        "_to_ceiling": pd.concat([arms_differences(own) for own in arms], ignore_index=True),
    }
    return Section(tuple(tables), frames, tuple(figures))


def _left_out(arms: list[Arm]) -> str:
    missing = [label(value) for value, arm in axis_of(arms, "n") if arm.plan is None]
    return f" Not run: n = {'; '.join(missing)}." if missing else ""
