"""What the observation pattern is worth: differences of the best predictions that use it and do not, and of a network with and without.

The pattern is evidence about the latent health (its likelihood) and a cause of the outcome (Delta). The ceiling uses both; the best
predictions that use it as evidence only, as cause only and not at all stand next to it (``datasets/synthetic/truth.py``).
"""

from __future__ import annotations

from typing import Any

from results.plan import Plan
from results.rows import TableRow, list_rows
from results.statistics.fold_values import Memo
from results.statistics.paired import Pair, compare
from results.storage.store import Store

WORTH = {
    "evidence": ("ceiling", "evidence0_cause1"),
    "cause": ("ceiling", "evidence1_cause0"),
    "evidence, cause unused": ("evidence1_cause0", "evidence0_cause0"),
    "cause, evidence unused": ("evidence0_cause1", "evidence0_cause0"),
    "both": ("ceiling", "evidence0_cause0"),
    "as an input": ("zero_fill", "mean_impute"),
}
"""Name -> the row with the pattern and the row without; ``as an input``: a network that is given it, and the same without."""


def derive(store: Store, plan: Plan, resamples: int, memo: Memo | None = None) -> list[dict[str, Any]]:
    """Return the records of ``paired.compare`` for each of WORTH; "not in this plan" where a row is missing."""
    first: dict[str, TableRow] = {}
    for row in list_rows(plan):
        if row.cells:
            first.setdefault(row.method, row)
    return compare(
        store, plan, [Pair(name, first.get(a), first.get(b)) for name, (a, b) in WORTH.items()], resamples, memo
    )
