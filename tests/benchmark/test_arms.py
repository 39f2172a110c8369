"""Two arms of an experiment through the command line: run, status, report, and what is known when the pattern is worth nothing."""

import json

import pandas as pd
import pytest

from datasets.synthetic.departures import WORLDS
from results.plan import Arm
from results.storage.store import Store
from tests.benchmark.conftest import SMALL

FEW = (*SMALL, "method=s_only", "method.max_epochs=1")


@pytest.fixture
def two_arms(cli, tmp_path):
    status, _, err = cli("run", "mechanisms", *FEW, "arm=mcar_beta=0,mcar")
    assert status == 0
    assert "2 arms" in err
    return Store(tmp_path / "cells")


def test_each_arm_has_its_plan_and_knows_the_others(two_arms):
    plans = {plan.arm.name: plan for plan in two_arms.plans("mechanisms")}
    assert set(plans) == {"mcar_beta=0", "mcar"}
    fingerprints = [plan.landmarks["icu_24h"].fingerprint for plan in plans.values()]
    assert len(set(fingerprints)) == 2
    of = plans["mcar"].arm.of
    as_drawn = {"kappa": 1.6, "beta": 0.4, "world": "factors"}
    assert Arm("mnar", "mechanism", "mnar", also=as_drawn) in of
    assert {arm.value for arm in of if arm.axis == "world"} | {as_drawn["world"]} == set(WORLDS)


def test_a_pattern_at_random_that_causes_nothing_is_worth_nothing(two_arms):
    plans = {plan.arm.name: plan for plan in two_arms.plans("mechanisms")}
    worth = {
        name: pd.DataFrame(two_arms.statistics(plan.name)["worth"]).query("metric == 'auc' and name != 'as an input'")
        for name, plan in plans.items()
    }
    assert worth["mcar_beta=0"]["difference"].abs().max() < 5e-4
    at_random = worth["mcar"].set_index("name")["difference"]
    assert at_random[["evidence", "evidence, cause unused"]].abs().max() < 5e-4
    assert at_random["cause"].abs().max() > 5e-3


def test_report_and_status_speak_of_the_arms(two_arms, cli, tmp_path):
    assert cli("run", "mechanisms", *FEW, "arm=mcar_beta=0,mcar")[2].count("0 to do") == 1
    status, out, _ = cli("status", "mechanisms", "--json")
    assert status == 0
    assert {row["arm"] for row in json.loads(out)} == {"mcar_beta=0", "mcar"}
    status, out, _ = cli("report", "mechanisms", "--format", "csv")
    assert status == 0
    assert "mechanism = mnar (not run)" in out
    assert "not planned" in out  # zero_fill and mean_impute were not asked for
    frame = pd.read_csv(tmp_path / "out" / "mechanisms_arms.csv")
    assert set(frame.loc[frame["status"] == "missing", "arm"]) >= {"mnar", "mar", "kappa=3.2"}
    assert set(frame.loc[frame["status"] == "done", "arm"]) == {"mcar_beta=0", "mcar"}
