import numpy as np
import pytest

from reports.frames.tidy import COLUMNS, build_tidy_frame
from results.metrics.scores import METRICS
from tests.stores import ROWS, fabricate


def one(frame, **wanted):
    found = frame[np.logical_and.reduce([frame[k] == v for k, v in wanted.items()])]
    assert len(found) == 1
    return found.iloc[0]


@pytest.fixture(scope="module")
def frame(fabricated):
    return build_tidy_frame(*fabricated)


def test_columns_start_as_the_contract_says(frame):
    assert ",".join(COLUMNS) == (
        "experiment,dataset,landmark,protocol,task,method,variant,group,metric,mean,sd_seeds,sd_folds,folds,seeds,n,positives,status"
    )
    assert tuple(frame.columns[: len(COLUMNS)]) == COLUMNS


def test_one_row_a_number(frame, fabricated):
    _, plan = fabricated
    assert not frame.duplicated(["landmark", "task", "method", "variant", "metric"]).any()
    plain = frame[frame["metric"] != "rectifier_share_changed"]
    assert len(plain) == (len(plan.rows) + 1) * 3 * len(METRICS)
    assert set(frame["group"]) == {"all"}


def test_mean_and_spread_come_from_the_records(tmp_path):
    store, plan = fabricate(tmp_path, rows=ROWS[:2], n=120, folds=3, seeds=2)
    found = one(build_tidy_frame(store, plan), method="cm_ae", task="icu_90d", metric="brier")
    values = np.full((3, 2), np.nan)
    for planned in plan.cells:
        if planned.cell.method == "cm_ae":
            for m in store.record(planned)["metrics"]:
                if (m["task"], m["metric"], m["split"], m["stage"]) == ("icu_90d", "brier", "test", "final"):
                    values[planned.cell.fold, planned.cell.seed] = m["value"]
    assert found["mean"] == pytest.approx(values.mean(), abs=1e-12)
    assert found["sd_seeds"] == pytest.approx(values.mean(axis=0).std(ddof=1), abs=1e-12)
    assert found["sd_folds"] == pytest.approx(values.mean(axis=1).std(ddof=1), abs=1e-12)
    assert (found["folds"], found["seeds"], found["status"]) == (3, 2, "done")
    # each fold's stays once, whatever the number of seeds
    assert (found["n"], found["positives"]) == (120, plan.landmarks["discharge"].tasks["icu_90d"].positives)


@pytest.mark.parametrize(
    ("method", "task", "status", "folds", "note"),
    [
        ("crl_mmnar", "icu_90d", "done", 5, ""),
        ("s_only", "icu_90d", "partial", 4, "4 of 5 folds (1 missing)"),
        ("cm_ae", "mortality_inhosp", "failed", 0, "5 failed of 5 cells: out of memory at layer_2 (100 %)"),
        ("gru_d", "icu_90d", "skipped", 0, "5 skipped of 5 cells: no series"),
    ],
)
def test_status(frame, method, task, status, folds, note):
    found = one(frame[frame["variant"] == "default"], method=method, task=task, metric="auc")
    assert (found["status"], found["folds"], found["note"]) == (status, folds, note)
    assert np.isnan(found["mean"]) == (status in ("failed", "skipped"))


def test_missing_everywhere(tmp_path):
    store, plan = fabricate(
        tmp_path, rows=ROWS[:2], n=60, folds=2, missing=[("cm_ae", "icu_24h", 0), ("cm_ae", "icu_24h", 1)]
    )
    found = one(build_tidy_frame(store, plan), method="cm_ae", task="mortality_inhosp", metric="auc")
    assert (found["status"], found["note"]) == ("missing", "2 missing of 2 cells")


def test_undefined_metric(tmp_path):
    store, plan = fabricate(tmp_path, rows=ROWS[:2], n=60, folds=2, one_class=("icu_90d",))
    frame = build_tidy_frame(store, plan)
    found = one(frame, method="cm_ae", task="icu_90d", metric="auc")
    assert (found["status"], found["n"], found["positives"]) == ("undefined", 60, 0)
    assert np.isnan(found["mean"])
    assert "one class only" in found["note"]
    assert one(frame, method="cm_ae", task="icu_90d", metric="brier")["status"] == "done"


def test_the_row_before_the_rectifier_reads_the_base_stage(frame, fabricated):
    store, plan = fabricated
    records = [store.record(p) for p in plan.cells if p.cell.method == "crl_mmnar" and p.cell.landmark == "icu_24h"]
    for variant, stage in (("default", "final"), ("no_rectifier", "base")):
        values = [
            m["value"] for r in records for m in r["metrics"]
            if (m["split"], m["stage"], m["metric"], m["task"]) == ("test", stage, "brier", "mortality_inhosp")
        ]  # fmt: skip
        found = one(frame, method="crl_mmnar", variant=variant, task="mortality_inhosp", metric="brier")
        assert found["mean"] == pytest.approx(np.mean(values))


def test_share_that_the_rectifier_changed(frame):
    shares = frame[frame["metric"] == "rectifier_share_changed"]
    assert set(shares["method"] + shares["variant"]) == {"crl_mmnardefault"}
    assert set(shares["mean"]) == {0.25}
