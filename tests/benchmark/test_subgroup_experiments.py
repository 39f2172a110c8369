"""table3, fairness and sites run from the command line: whose cells they share, and that arms keep theirs apart."""

import json

import pandas as pd
import pytest

from results.storage.store import Store
from tests.benchmark.conftest import SMALL

CHEAP = ("known=none", "method=logistic,gbdt", *SMALL)


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "cells")


def test_patterns_and_groups_share_the_cells_of_the_main_table(cli, store, tmp_path):
    assert cli("run", "table1", *CHEAP)[0] == 0
    for experiment in ("table3", "fairness"):
        status, _, err = cli("run", experiment, *CHEAP)
        assert (status, "8 done before, 0 to do" in " ".join(err.split())) == (0, True)
        status, out, _ = cli("report", experiment)
        assert status == 0
    assert "sex: female" in out
    frame = pd.read_csv(tmp_path / "out" / "table3_patterns.csv")
    plan = store.plans("table3")[0]
    stays = (
        frame.query("method == 'gbdt' and metric == 'auc' and attribute == 'pattern'").groupby("landmark")["n"].sum()
    )
    for landmark, facts in plan.landmarks.items():
        assert stays[landmark] == sum(t.n for t in facts.tasks.values())
    groups = pd.read_csv(tmp_path / "out" / "fairness_groups.csv")
    assert set(groups["attribute"]) == {"sex", "age_band"}


def test_the_arms_of_sites_keep_their_cells_apart(cli, store, tmp_path):
    assert "sites applies to embedded-eicu" in cli("run", "sites")[2]
    overrides = ("dataset=embedded-eicu", "known=none", "method=logistic", *SMALL)
    status, _, err = cli("run", "sites", *overrides)
    assert (status, "8 cells, 0 done before" in " ".join(err.split())) == (0, True)
    plans = {plan.arm.name: plan for plan in store.plans("sites")}
    cells = {arm: {p.cell.name: p for p in plan.cells} for arm, plan in plans.items()}
    assert cells["folds"].keys() == cells["sites"].keys()
    site = store.groups(plans["sites"].name).set_index(["landmark", "row"])["site"]
    for name in cells["folds"]:
        shared = []
        for arm in ("folds", "sites"):
            planned = cells[arm][name]
            frame = store.predictions(planned)
            assert store.record(planned)["key"] == planned.key
            sites = {
                part: set(site[planned.cell.landmark][own["row"]])
                for part, own in frame.groupby("split", observed=True)
            }
            shared.append(len(sites["test"] & sites["valid"]))
        assert shared[0] > 0
        assert shared[1] == 0
    assert cli("run", "sites", "arm=folds", *overrides)[2].count("0 to do") == 1
    assert cli("report", "sites", "dataset=embedded-eicu")[0] == 0
    arms = pd.read_csv(tmp_path / "out" / "sites_arms.csv").query("metric == 'auc'")
    for arm, plan in plans.items():
        stored = {(i["task"]): i["value"] for i in store.statistics(plan.name)["intervals"] if i["metric"] == "auc"}
        own = arms[arms["arm"] == arm].set_index("task")["mean"].to_dict()
        assert own == pytest.approx(stored)
    tested = store.statistics(plans["sites"].name)["hospitals"]["tested"]
    assert json.dumps(tested)
    assert all(sum(f["sites"] for f in folds) == site[landmark].nunique() for landmark, folds in tested.items())
