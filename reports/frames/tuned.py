"""What tuning chose: one row a method, landmark and fold."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from results.plan import Plan
from results.rows import list_rows
from results.storage.store import Store

COLUMNS = (
    "experiment", "dataset", "landmark", "protocol", "method", "variant", "fold", "tuning", "candidates", "trials", "failed", "chosen",
    "score", "trial_seeds", "reason",
)  # fmt: skip


def collect_tuning(store: Store, plans: Sequence[Plan]) -> pd.DataFrame:
    """Collect what tuning chose in the cells of the plans, a row for each method, landmark and fold (whose seeds share their choice).

    COLUMNS: how many candidates and trials there were and failed, the hyper-parameters chosen (``field=value; ...``), their mean validation
    score over ``trial_seeds`` trials, or the reason why nothing was chosen.
    """
    found = {}
    for plan in plans:
        for row in (row for row in list_rows(plan) if row.stage == "final"):
            for planned in row.cells:
                record = store.record(planned)
                if record and record.get("tuning"):
                    cell, choice = planned.cell, record["tuning"]
                    where = (
                        plan.experiment,
                        cell.dataset,
                        cell.landmark,
                        cell.protocol,
                        cell.method,
                        row.variant,
                        cell.fold,
                    )
                    found[(*where, cell.tuning)] = (
                        choice["candidates"],
                        choice["trials"],
                        choice["failed"],
                        "; ".join(f"{field}={value}" for field, value in (choice["change"] or {}).items()),
                        choice["score"],
                        choice["seeds"],
                        choice["reason"],
                    )
    return pd.DataFrame([(*where, *choice) for where, choice in found.items()], columns=list(COLUMNS))
