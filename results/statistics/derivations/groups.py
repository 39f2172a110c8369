"""What each row is worth by sex, age band, ethnicity and whatever other groups a cohort has, and the gaps between groups."""

from __future__ import annotations

from typing import Any

import pandas as pd

from results.plan import Plan
from results.statistics.fold_values import Memo
from results.statistics.subgroups import UNKNOWN, compute_subgroups
from results.storage.store import Store

GAPS = ("auc", "in_the_large", "flagged", "tpr", "fpr")
NOT_GROUPS = ("landmark", "row", "site")


def derive(store: Store, plan: Plan, resamples: int, memo: Memo | None = None) -> dict[str, Any]:
    """Return what ``compute_subgroups`` gives, with an attribute a group of the cohort, and ``gap_<metric>`` for each of GAPS.

    A stay whose group is not recorded is in the group ``unknown``; a cohort without groups has neither groups nor values.
    """
    stored = store.groups(plan.name)

    def partition(landmark: str, stays: pd.DataFrame) -> pd.DataFrame:
        if stored is None:
            return pd.DataFrame(index=stays.index)
        own = stored[stored["landmark"] == landmark].set_index("row").reindex(stays["row"]).set_index(stays.index)
        own = own.drop(columns=[name for name in NOT_GROUPS if name in own]).dropna(axis="columns", how="all")
        return own.astype(object).fillna(UNKNOWN).astype(str)

    return compute_subgroups(store, plan, partition, resamples, gaps=GAPS)
