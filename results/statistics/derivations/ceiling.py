"""On a cohort whose truth is known: how far each method stays below the best possible prediction."""

from __future__ import annotations

from typing import Any

from results.plan import Plan
from results.rows import list_rows
from results.statistics.fold_values import Memo
from results.statistics.paired import Pair, compare
from results.storage.store import Store

NAME = "to the ceiling"


def derive(store: Store, plan: Plan, resamples: int, memo: Memo | None = None) -> list[dict[str, Any]]:
    """Return the records of ``paired.compare`` for each method against its ceiling (negative below it); none without one.

    A method that reads the series is held against the ceiling with series, where there is one.
    """
    rows = [row for row in list_rows(plan) if row.cells]
    tops = {row.method: row for row in rows if row.method in ("ceiling", "ceiling_series")}
    if "ceiling" not in tops:
        return []
    top = {False: tops["ceiling"], True: tops.get("ceiling_series", tops["ceiling"])}
    return compare(store, plan, [Pair(NAME, row, top[row.series]) for row in rows if not row.known], resamples, memo)
