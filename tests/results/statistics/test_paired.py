"""Pairs of rows: differences, intervals and tests against scikit-learn and hand-made formulas on the stored predictions."""

import json

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score
from statsmodels.stats.multitest import multipletests

from results.rows import list_rows
from results.statistics import paired
from results.statistics.bootstrap import draw_weights
from results.statistics.comparison import PairedTest
from results.statistics.paired import Pair, compare
from tests.stores import ROWS, fabricate, rewrite

METRICS = {"auc": roc_auc_score, "auprc": average_precision_score, "brier": brier_score_loss}


def by_fold(store, plan, method, task, metric, column="probability"):
    """The metric by fold, seeds averaged, straight from predictions."""
    values = {}
    for planned in plan.cells:
        if planned.cell.method == method and (store.record(planned) or {}).get("status") == "done":
            frame = store.predictions(planned)
            frame = frame[(frame["split"] == "test") & (frame["task"] == task)]
            if len(frame):
                values.setdefault(planned.cell.fold, []).append(
                    METRICS[metric](frame["label"], frame[column].astype(float))
                )
    return {fold: float(np.mean(v)) for fold, v in values.items()}


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    store, plan = fabricate(
        tmp_path_factory.mktemp("store"),
        n=100,
        folds=3,
        seeds=2,
        failed=[("cm_ae", "icu_24h", fold) for fold in range(3)],
        missing=[("s_only", "discharge", 2)],
    )
    after, before, cm_ae, s_only, ceiling = list_rows(plan)
    pairs = [
        Pair("rectifier", after, before),
        Pair("s_only", s_only, after),
        Pair("cm_ae", cm_ae, s_only),
        Pair("below", cm_ae, ceiling),
        Pair("absent", None, after),
    ]
    return store, plan, compare(store, plan, pairs, 50)


def one(records, **wanted):
    (found,) = [r for r in records if all(r[k] == v for k, v in wanted.items())]
    return found


@pytest.mark.parametrize("metric", METRICS)
def test_difference_is_row_less_base_on_common_folds(case, metric):
    store, plan, records = case
    found = one(records, name="s_only", task="icu_90d", metric=metric)
    own, base = (by_fold(store, plan, m, "icu_90d", metric) for m in ("s_only", "crl_mmnar"))
    difference = np.array([own[k] - base[k] for k in sorted(own.keys() & base.keys())])
    assert found["folds"] == len(difference) == 2
    assert found["difference"] == pytest.approx(difference.mean(), abs=1e-9)
    assert found["value"] - found["base_value"] == pytest.approx(difference.mean(), abs=1e-9)
    assert found["sd_folds"] == pytest.approx(difference.std(ddof=1), abs=1e-9)
    # 100 stays in three folds: one tested, one validates, one trains; only two folds are common, the sizes are of all
    assert (found["n_test"], found["n_train"]) == (pytest.approx(100 / 3), pytest.approx(100 / 3))
    t = difference.mean() / np.sqrt((1 / 2 + 1) * difference.var(ddof=1))
    assert found["p"] == pytest.approx(2 * stats.t.sf(abs(t), 1), rel=1e-6)


def test_the_interval_is_of_95_per_cent_of_the_resamples(case):
    store, plan, records = case
    found = one(records, name="s_only", task="icu_90d", metric="brier")
    values = {}
    for planned in plan.cells:
        if planned.cell.landmark == "discharge" and planned.cell.method in ("s_only", "crl_mmnar"):
            if (store.record(planned) or {}).get("status") != "done":
                continue
            frame = store.predictions(planned).query("split == 'test' and task == 'icu_90d'").sort_values("row")
            weights = draw_weights(frame["row"].to_numpy(), frame["patient"].to_numpy(), planned.cell.fold, 50)
            error = (frame["label"] - frame["probability"].astype(float)).to_numpy() ** 2
            at = values.setdefault(planned.cell.fold, {}).setdefault(planned.cell.method, [])
            at.append(weights @ error / weights.sum(axis=1))
    folds = [np.mean(v["s_only"], axis=0) - np.mean(v["crl_mmnar"], axis=0) for v in values.values() if len(v) == 2]
    low, high = np.quantile(np.mean(folds, axis=0)[1:], [0.025, 0.975])
    assert (found["ci_low"], found["ci_high"]) == (pytest.approx(low, abs=1e-7), pytest.approx(high, abs=1e-7))


def test_what_is_called_goes_by_the_adjusted_p(case, monkeypatch):
    store, plan, _ = case
    monkeypatch.setattr(paired, "compute_corrected_t", lambda *_: PairedTest(2.5, 0.03, None))
    after, _, _, s_only, _ = list_rows(plan)
    family = [r for r in compare(store, plan, [Pair("s_only", s_only, after)], 0) if r["in_family"]]
    assert [(r["p"], r["p_holm"]) for r in family] == [(0.03, pytest.approx(0.09))] * 3
    assert not any(r["better"] or r["worse"] for r in family)


def test_a_seed_that_lacks_stays_is_not_compared(tmp_path):
    store, plan = fabricate(tmp_path, rows=ROWS[:2], n=90, folds=3, seeds=2)
    for planned in plan.cells:
        if planned.cell.method == "cm_ae" and planned.cell.seed == 1:
            frame = store.predictions(planned)
            rewrite(store, planned, store.record(planned), {"predictions": frame[frame["row"] % 2 == 0]})
    after, _, cm_ae = list_rows(plan)
    found = one(compare(store, plan, [Pair("x", cm_ae, after)], 0), task="icu_90d", metric="auc")
    assert (found["difference"], found["reason"]) == (None, "not the same stays: predictions on 45 of 90 test rows")


def test_stages_of_the_same_cells_are_told_apart(case):
    store, plan, records = case
    found = one(records, name="rectifier", task="icu_90d", metric="brier")
    stages = (by_fold(store, plan, "crl_mmnar", "icu_90d", "brier", c) for c in ("probability", "probability_base"))
    after, before = stages
    assert found["difference"] == pytest.approx(np.mean([after[k] - before[k] for k in after]), abs=1e-9)
    assert found["difference"] != 0
    assert (found["variant"], found["base_variant"]) == ("default", "no_rectifier")


def test_holm_over_every_tested_auc(case):
    family = [r for r in case[2] if r["in_family"]]
    assert {(r["name"], r["metric"]) for r in family} == {("rectifier", "auc"), ("s_only", "auc"), ("cm_ae", "auc")}
    assert [r["p_holm"] for r in family] == pytest.approx(
        multipletests([r["p"] for r in family], method="holm")[1].tolist()
    )
    assert all(r["p_holm"] is None for r in case[2] if not r["in_family"])


@pytest.mark.parametrize(
    ("name", "task", "reason"),
    [
        ("cm_ae", "mortality_inhosp", "no fold in common"),
        ("absent", "icu_90d", "not in this plan"),
        ("below", "icu_90d", "known of the cohort, not a method: not tested"),
    ],
)
def test_what_has_no_number_or_no_test_has_a_reason(case, name, task, reason):
    found = one(case[2], name=name, task=task, metric="auc")
    assert found["reason"] == reason
    assert (found["p"], found["in_family"]) == (None, False)
    assert (found["difference"] is None) == (name != "below")


def test_every_pair_task_and_metric_has_a_record_that_can_be_stored(case):
    assert len(case[2]) == 5 * 3 * 3
    json.dumps(case[2], allow_nan=False)


def test_a_clear_difference_is_called_and_in_which_direction(tmp_path):
    rows = (("crl_mmnar", "default", "off", "r", "method", 3.0), ("cm_ae", "default", "off", "m", "method", 0.0))
    store, plan = fabricate(tmp_path, rows=rows, n=400)
    good, bad = list_rows(plan)
    records = compare(store, plan, [Pair("up", good, bad), Pair("down", bad, good)], 0)
    up, down = (one(records, name=n, task="mortality_inhosp", metric="auc") for n in ("up", "down"))
    assert (up["better"], up["worse"], down["better"], down["worse"]) == (True, False, False, True)
    assert (up["ci_low"], up["ci_high"]) == (None, None)


def test_two_rows_with_the_same_predictions_differ_by_nothing(tmp_path):
    store, plan = fabricate(tmp_path, rows=ROWS[1:2], n=60, folds=2)
    (row,) = list_rows(plan)
    records = compare(store, plan, [Pair("itself", row, row)], 20)
    assert {(r["difference"], r["ci_low"], r["ci_high"]) for r in records} == {(0, 0, 0)}
