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


def test_arms_may_be_of_several_datasets_and_make_one_report(cli, tmp_path):
    few = (
        "method=zero_fill,logistic,s_only",
        "method.max_epochs=1",
        "known=ceiling",
        "arm=mnar-1000,ten_modalities-1000",
    )
    small = [dial for dial in SMALL if not dial.startswith("bootstrap")]
    status, _, err = cli("run", "worlds", *small, *few)
    assert status == 0
    assert "worlds on embedded-eicu and embedded-mimic" in err or "worlds on embedded-mimic and embedded-eicu" in err
    plans = {plan.arm.name: plan for plan in Store(tmp_path / "cells").plans("worlds")}
    assert {name: plan.dataset for name, plan in plans.items()} == {
        "mnar-1000": "embedded-mimic", "ten_modalities-1000": "embedded-eicu",
    }  # fmt: skip
    assert {plan.settings.dataset["seed"] for plan in plans.values()} == {1000}
    status, out, _ = cli("report", "worlds", "--format", "csv,html")
    assert status == 0
    assert "AUC of each method less that of the plain network" in out
    frame = pd.read_csv(tmp_path / "out" / "worlds_differences.csv")
    done = frame[frame["status"] == "done"]
    assert set(zip(done["world"], done["dataset"], strict=True)) == {
        ("mnar", "embedded-mimic"), ("ten_modalities", "embedded-eicu"),
    }  # fmt: skip
    assert cli("run", "worlds", *small, *few, "dataset=embedded-mimic")[0] == 2
