"""A fabricated store with a failed row, a missing and a skipped cell, its statistics stored."""

import shutil

import pytest

from results.rows import list_rows
from results.statistics.derive import derive
from results.storage.store import Store
from tests.stores import ROWS, fabricate


@pytest.fixture(scope="session")
def fabricated(tmp_path_factory):
    """(store, plan): CM-AE failed at icu_24h, one fold of "s_only" missing at discharge, GRU-D skipped there."""
    root = tmp_path_factory.mktemp("fabricated")
    rows = (*ROWS[:3], ("gru_d", "default", "off", "GRU-D", "method", 0.5), ROWS[3])
    store, plan = fabricate(
        root,
        rows=rows,
        n=150,
        failed=[("cm_ae", "icu_24h", fold) for fold in range(5)],
        missing=[("s_only", "discharge", 2)],
        skipped=[("gru_d", "discharge", fold) for fold in range(5)],
    )
    store.write_statistics(plan.name, derive(store, plan, resamples=50))
    return store, plan


@pytest.fixture(scope="session")
def with_curves(fabricated, tmp_path_factory):
    """A copy of the fabricated store, its statistics with made-up curves: none where a row has no number."""
    store, plan = fabricated
    copy = Store(shutil.copytree(store.root, tmp_path_factory.mktemp("with_curves") / "cells"))
    statistics = copy.statistics(plan.name)
    copy.write_statistics(plan.name, statistics | {"curves": made_curves(plan, statistics)})
    return copy, plan


def made_curves(plan, statistics):
    """Curves as ``results/statistics/derivations/curves.py`` stores them, of which only the form is true."""
    grid, intervals = [i / 50 for i in range(51)], statistics["intervals"]
    curves = []
    for row in list_rows(plan):
        for landmark, facts in plan.landmarks.items():
            for task in facts.tasks:
                at = {"landmark": landmark, "task": task, "method": row.method, "variant": row.variant}
                auc = next(
                    v for v in intervals if v["metric"] == "auc" and all(v[k] == at[k] for k in at)
                )["value"]  # fmt: skip
                curve = {"title": row.title, "known": row.known, "reason": None, "prevalence": 0.2, "net_benefit": None}
                if auc is None:
                    curve |= dict.fromkeys(("tpr", "precision", "reliability")) | {"reason": "no cell is done"}
                else:
                    bins = {"predicted": [0.1, 0.3], "observed": [0.12, 0.28], "low": [0.05, 0.2], "high": [0.2, 0.4]}
                    tpr = [x ** ((1 - auc) / auc) for x in grid]
                    curve |= {
                        "tpr": tpr,
                        "precision": [1 - 0.8 * x for x in grid],
                        "reliability": {"n": [75, 75], **bins},
                    }
                curves.append(at | curve)
    return {"fpr": grid, "recall": grid, "curves": curves}
