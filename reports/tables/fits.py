"""The table of what fitted methods say of their fits."""

from __future__ import annotations

import pandas as pd

from reports.tables.table import NOT_PLANNED, Entry, Table
from results.plan import Plan


def build_fits_table(fits: pd.DataFrame, plan: Plan, setting: str, suffix: str = "") -> Table | None:
    """Build the table of one plan from its part of ``reports.frames.fits.collect_fit_reports``; None where no fit reports anything.

    ``setting``: the end of its caption; ``suffix``: behind its title.
    """
    found = {
        (row["title"], row["quantity"], row["landmark"]): Entry(
            row["mean"], None if pd.isna(row["sd"]) else row["sd"], "", "", False
        )
        for row in fits.to_dict("records")
    }
    if not found:
        return None
    lines = dict.fromkeys((title, quantity) for title, quantity, _ in found)
    rows = tuple(
        (f"{title}: {quantity}", False, tuple(found.get((*line, landmark), NOT_PLANNED) for landmark in plan.landmarks))
        for line in lines
        for title, quantity in (line,)
    )
    columns = tuple((landmark, "mean ± sd") for landmark in plan.landmarks)
    caption = f"What fitted methods report of their fits, mean ± standard deviation over folds and seeds. {setting}"
    return Table(columns, rows, caption, (), f"What fits report{suffix}")
