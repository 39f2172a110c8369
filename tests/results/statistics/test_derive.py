import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score
from statsmodels.stats.multitest import multipletests

from results.statistics.derive import derive
from tests.stores import ROWS, fabricate, rewrite

COPY = ("copy", "default", "off", "a copy", "method", 0.6)


def fold_values(store, plan, method, task, metric, column="probability"):
    """The metric by fold, seeds averaged, straight from predictions."""
    values = {}
    for planned in plan.cells:
        if planned.cell.method == method and (store.record(planned) or {}).get("status") == "done":
            frame = store.predictions(planned)
            frame = frame[(frame["split"] == "test") & (frame["task"] == task)]
            if len(frame):
                values.setdefault(planned.cell.fold, []).append(metric(frame["label"], frame[column].astype(float)))
    return pd.Series({fold: np.mean(v) for fold, v in values.items()}).sort_index()


def entry(entries, **wanted):
    found = [e for e in entries if all(e[k] == v for k, v in wanted.items())]
    assert len(found) == 1
    return found[0]


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    store, plan = fabricate(
        tmp_path_factory.mktemp("store"),
        seeds=2,
        failed=[("cm_ae", "icu_24h", fold) for fold in range(5)],
        missing=[("s_only", "discharge", 2)],
    )
    return store, plan, derive(store, plan, resamples=200)


@pytest.mark.parametrize(
    ("name", "metric"), [("auc", roc_auc_score), ("auprc", average_precision_score), ("brier", brier_score_loss)]
)
def test_values_are_means_over_folds_of_means_over_seeds(case, name, metric):
    store, plan, statistics = case
    for variant, column in (("default", "probability"), ("no_rectifier", "probability_base")):
        found = entry(statistics["intervals"], method="crl_mmnar", variant=variant, task="icu_90d", metric=name)
        assert found["value"] == pytest.approx(
            fold_values(store, plan, "crl_mmnar", "icu_90d", metric, column).mean(), abs=1e-9
        )
        assert found["ci_low"] < found["value"] < found["ci_high"]
        assert (found["folds"], found["seeds"], found["resamples"]) == (5, 2, 200)


def test_every_row_landmark_task_and_metric_has_an_interval(case):
    _, plan, statistics = case
    tasks = sum(len(facts.tasks) for facts in plan.landmarks.values())
    assert len(statistics["intervals"]) == (len(plan.rows) + 1) * tasks * 3


def test_comparison_on_the_folds_both_have(case):
    store, plan, statistics = case
    found = entry(statistics["comparisons"], method="s_only", task="icu_90d", metric="auc")
    own = fold_values(store, plan, "crl_mmnar", "icu_90d", roc_auc_score)
    other = fold_values(store, plan, "s_only", "icu_90d", roc_auc_score)
    difference = (own - other).dropna()
    assert found["folds"] == len(difference) == 4
    assert found["difference"] == pytest.approx(-difference.mean(), abs=1e-9)
    assert found["value"] - found["base_value"] == pytest.approx(found["difference"])
    assert (found["base_method"], found["base_variant"]) == ("crl_mmnar", "default")
    assert (found["n_test"], found["n_train"]) == (40, 120)
    t = difference.mean() / np.sqrt((1 / 4 + 40 / 120) * difference.var(ddof=1))
    assert found["p"] == pytest.approx(2 * stats.t.sf(abs(t), 3), rel=1e-6)


def test_holm_over_all_tasks_of_the_reference(case):
    _, _, statistics = case
    family = [c for c in statistics["comparisons"] if c["in_family"]]
    assert {(c["method"], c["task"]) for c in family} == {
        ("s_only", "mortality_inhosp"), ("s_only", "readmission_30d"), ("s_only", "icu_90d"),
        ("cm_ae", "readmission_30d"), ("cm_ae", "icu_90d"),
    }  # fmt: skip
    assert statistics["family"]["size"] == 5
    adjusted = multipletests([c["p"] for c in family], method="holm")[1]
    assert [c["p_holm"] for c in family] == pytest.approx(adjusted.tolist())
    for c in statistics["comparisons"]:
        called = c["p_holm"] is not None and c["p_holm"] < 0.05
        assert (c["better"], c["worse"]) == (called and c["difference"] > 0, called and c["difference"] < 0)


def test_known_rows_and_the_row_before_the_rectifier_are_outside_the_family(case):
    _, _, statistics = case
    ceiling = entry(statistics["comparisons"], method="ceiling", task="icu_90d", metric="auc")
    assert ceiling["p"] is None
    assert "not a method" in ceiling["reason"]
    assert ceiling["difference"] > 0
    before = entry(statistics["comparisons"], variant="no_rectifier", task="icu_90d", metric="brier")
    assert before["p"] is not None
    assert not before["in_family"]


def test_a_failed_row_has_no_number_but_a_reason(case):
    _, _, statistics = case
    interval = entry(statistics["intervals"], method="cm_ae", task="mortality_inhosp", metric="auc")
    assert (interval["value"], interval["reason"]) == (None, "no fold is done")
    comparison = entry(statistics["comparisons"], method="cm_ae", task="mortality_inhosp", metric="auc")
    assert (comparison["difference"], comparison["reason"]) == (None, "no fold in common")


def test_can_be_stored(case):
    store, plan, statistics = case
    store.write_statistics(plan.name, statistics)
    assert store.statistics(plan.name) == json.loads(json.dumps(statistics, allow_nan=False))


def test_every_pair_of_rows_meets_the_same_resamples(tmp_path):
    rows = (ROWS[0], COPY)
    store, plan = fabricate(tmp_path, rows=rows, n=100, folds=3)
    cells = {(p.cell.method, p.cell.landmark, p.cell.fold): p for p in plan.cells}
    for (method, landmark, fold), planned in cells.items():
        if method == "copy":
            rewrite(
                store,
                planned,
                store.record(planned),
                {"predictions": store.predictions(cells["crl_mmnar", landmark, fold])},
            )
    statistics = derive(store, plan, resamples=100)
    for c in statistics["comparisons"]:
        if c["method"] == "copy":
            assert (c["difference"], c["ci_low"], c["ci_high"]) == (0, 0, 0)
            assert c["p"] == 1
            assert [c["better"], c["worse"]] == [False, False]


def test_a_row_on_some_stays_only_is_not_compared(tmp_path):
    rows = (*ROWS[:2], ("apache_iva", "default", "off", "APACHE IVa", "known", 0.5))
    store, plan = fabricate(tmp_path, rows=rows, n=120, folds=3, partial_rows=("cm_ae", "apache_iva"))
    statistics = derive(store, plan, resamples=20)
    for method in ("cm_ae", "apache_iva"):
        found = entry(statistics["comparisons"], method=method, task="icu_90d", metric="auc")
        assert (found["in_family"], found["difference"]) == (False, None)
        assert found["reason"] == "not the same stays: predictions on 60 of 120 test rows"
        assert entry(statistics["intervals"], method=method, task="icu_90d", metric="auc")["ci_low"] is not None


def test_predictions_that_are_nan_are_absent_rows(tmp_path):
    rows = (ROWS[0], ("apache_iva", "default", "off", "APACHE IVa", "known", 0.5))
    store, plan = fabricate(tmp_path, rows=rows, n=120, folds=3)
    for planned in plan.cells:
        if planned.cell.method == "apache_iva":
            frame = store.predictions(planned)
            frame.loc[frame["row"] % 2 == 1, ["probability", "probability_base"]] = np.nan
            rewrite(store, planned, store.record(planned), {"predictions": frame})
    found = entry(derive(store, plan, 20)["comparisons"], method="apache_iva", task="icu_90d", metric="auc")
    assert found["reason"] == "not the same stays: predictions on 60 of 120 test rows"


def test_undefined_labels_and_one_class(tmp_path):
    store, plan = fabricate(tmp_path, rows=ROWS[:2], n=90, folds=3, one_class=("icu_90d",))
    statistics = derive(store, plan, resamples=20)
    found = entry(statistics["intervals"], method="cm_ae", task="icu_90d", metric="auc")
    assert (found["value"], found["reason"]) == (None, "one class in every fold's test part")
    assert entry(statistics["intervals"], method="cm_ae", task="icu_90d", metric="brier")["value"] > 0


def test_one_common_fold_gives_no_test(tmp_path):
    missing = [("cm_ae", landmark, fold) for landmark in ("icu_24h", "discharge") for fold in (1, 2)]
    store, plan = fabricate(tmp_path, rows=ROWS[:2], n=90, folds=3, missing=missing)
    found = entry(derive(store, plan, 20)["comparisons"], method="cm_ae", task="icu_90d", metric="auc")
    assert found["difference"] is not None
    assert (found["p"], found["in_family"]) == (None, False)
    assert found["reason"] == "1 fold in common: a test needs two"


def test_the_plan_says_how_many_resamples(tmp_path):
    store, plan = fabricate(tmp_path, rows=ROWS[:2], n=60, folds=2)
    found = derive(store, replace(plan, bootstrap=0))
    assert found["resamples"] == 0
    assert {(e["ci_low"], e["ci_high"]) for e in found["intervals"]} == {(None, None)}
    assert all(e["value"] is not None for e in found["intervals"])


def test_a_plan_of_which_nothing_is_done(tmp_path):
    everything = [(m, lm, f) for m in ("crl_mmnar", "cm_ae") for lm in ("icu_24h", "discharge") for f in range(2)]
    store, plan = fabricate(tmp_path, rows=ROWS[:2], n=60, folds=2, missing=everything)
    statistics = derive(store, plan)
    assert {e["reason"] for e in statistics["intervals"]} == {"no fold is done"}
    assert statistics["family"]["size"] == 0


def test_a_clear_difference_is_called(tmp_path):
    rows = (("crl_mmnar", "default", "off", "r", "method", 3.0), ("cm_ae", "default", "off", "m", "method", 0.0))
    for order, called in ((rows, "worse"), ((("crl_mmnar", *rows[1][1:]), ("cm_ae", *rows[0][1:])), "better")):
        store, plan = fabricate(tmp_path / called, rows=order, n=400)
        found = entry(derive(store, plan, 50)["comparisons"], method="cm_ae", task="mortality_inhosp", metric="auc")
        assert [k for k in ("better", "worse") if found[k]] == [called]
