"""What each row is worth by observation pattern, over all stays, and by each modality observed and not observed."""

from __future__ import annotations

from typing import Any

import pandas as pd

from results.plan import Plan
from results.statistics.fold_values import Memo
from results.statistics.subgroups import compute_subgroups
from results.storage.store import Store


def derive(store: Store, plan: Plan, resamples: int, memo: Memo | None = None) -> dict[str, Any]:
    """Return what ``compute_subgroups`` gives, with the attributes ``all``, ``pattern`` and ``modality NAME``.

    A modality that every tested stay has, or none, is no attribute: it would repeat ``all``.
    """

    def partition(landmark: str, stays: pd.DataFrame) -> pd.DataFrame:
        labels = pd.DataFrame({"all": "all", "pattern": stays["pattern"]}, index=stays.index)
        observed = stays["pattern"].str.split("+")
        for name in plan.landmarks[landmark].modalities:
            has = observed.map(lambda names, name=name: name in names)
            if 0 < has.sum() < len(has):
                labels[f"modality {name}"] = has.map({True: f"{name} observed", False: f"{name} not observed"})
        return labels

    return compute_subgroups(store, plan, partition, resamples)
