"""A sweep's rows against the row with the defaults, one hyper-parameter at a time."""

from __future__ import annotations

from typing import Any

from results.plan import Plan
from results.statistics.changes import list_changes
from results.statistics.fold_values import Memo
from results.statistics.paired import Pair, compare
from results.storage.store import Store


def derive(store: Store, plan: Plan, resamples: int, memo: Memo | None = None) -> list[dict[str, Any]]:
    """Return the records of ``paired.compare`` for each changed row against its method's defaults; ``name`` is the variant."""
    return compare(store, plan, [Pair(c.row.variant, c.row, c.base) for c in list_changes(plan)], resamples, memo)
