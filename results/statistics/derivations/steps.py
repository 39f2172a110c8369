"""Each step of the ablation ladder against the step before it."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from results.plan import Plan
from results.rows import list_rows
from results.statistics.fold_values import Memo
from results.statistics.ladder import LADDER, find_rung
from results.statistics.paired import Pair, compare
from results.storage.store import Store


def derive(store: Store, plan: Plan, resamples: int, memo: Memo | None = None) -> list[dict[str, Any]]:
    """Return the records of ``paired.compare`` for each step but the first against the step before; ``name`` is the step's."""
    rows = list_rows(plan)
    steps = pairwise((step.name, find_rung(step, plan.reference, rows)) for step in LADDER)
    return compare(store, plan, [Pair(name, row, base) for (_, base), (name, row) in steps], resamples, memo)
