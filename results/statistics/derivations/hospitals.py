"""AUC of each row by hospital, and how many hospitals each fold tests."""

from __future__ import annotations

from typing import Any

import pandas as pd

from results.plan import Plan
from results.statistics.fold_values import Memo
from results.statistics.subgroups import compute_subgroups
from results.storage.store import Store


def derive(store: Store, plan: Plan, resamples: int, memo: Memo | None = None) -> dict[str, Any]:
    """Return what ``compute_subgroups`` gives for the attribute ``site`` and the AUC alone, and ``tested``.

    ``tested``: landmark -> by fold the number of hospitals and of stays in its test part.

    A cohort without sites has neither groups nor values.
    """
    stored = store.groups(plan.name)
    tested: dict[str, list[dict[str, int]]] = {}

    def partition(landmark: str, stays: pd.DataFrame) -> pd.DataFrame:
        if stored is None or "site" not in stored:
            return pd.DataFrame(index=stays.index)
        site = (
            stored[stored["landmark"] == landmark].set_index("row")["site"].reindex(stays["row"]).set_axis(stays.index)
        )
        tested[landmark] = [
            {"fold": int(fold), "sites": int(own.nunique()), "stays": len(own)}
            for fold, own in site.groupby(stays["fold"])
        ]
        return site.astype("Int64").astype(str).to_frame("site")

    return compute_subgroups(store, plan, partition, resamples, metrics=("auc",)) | {"tested": tested}
