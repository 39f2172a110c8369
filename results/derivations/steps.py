"""Each step of the ablation ladder against the step before it."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from results.fold_values import Memo
from results.ladder import LADDER, rung
from results.paired import Pair, compare
from results.rows import rows_of
from results.store import Store


def derive(store: Store, plan: dict[str, Any], resamples: int, memo: Memo | None = None) -> list[dict[str, Any]]:
    """The records of ``results.paired.compare`` for each step but the first against the step before; ``name`` is the step's."""
    rows = rows_of(plan)
    steps = pairwise((step.name, rung(step, plan["reference"], rows)) for step in LADDER)
    return compare(store, plan, [Pair(name, row, base) for (_, base), (name, row) in steps], resamples, memo)
