"""What fitted methods say of their fits (``Method.fit_report``): one row a number, over folds and seeds."""

from __future__ import annotations

import pandas as pd

from results.plan import Plan
from results.rows import list_rows
from results.storage.store import Store

COLUMNS = (
    "experiment", "dataset", "landmark", "protocol", "method", "variant", "title", "quantity", "mean", "sd", "minimum", "maximum", "cells",
)  # fmt: skip


def collect_fit_reports(store: Store, plan: Plan) -> pd.DataFrame:
    """Collect the numbers that the cells of a plan report of their fits: COLUMNS, ``mean`` to ``maximum`` over ``cells`` cells.

    ``sd`` is that of the cells around their mean (n - 1), NaN where there is one.
    """
    found = [
        (plan.experiment, plan.dataset, c.landmark, plan.protocol, c.method, row.variant, row.title, quantity, float(value))
        for row in list_rows(plan)
        if row.stage == "final"
        for c, record in ((planned.cell, store.record(planned)) for planned in row.cells)
        for quantity, value in ((record or {}).get("fit_report") or {}).items()
    ]  # fmt: skip
    frame = pd.DataFrame(found, columns=[*COLUMNS[:8], "value"])
    grouped = frame.groupby(list(COLUMNS[:8]), sort=False)["value"]
    return grouped.agg(mean="mean", sd="std", minimum="min", maximum="max", cells="count").reset_index()
