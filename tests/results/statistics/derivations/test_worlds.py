"""The derivation of ``worlds``: differences by fold, recomputed from the predictions, on the same tasks for every row."""

import numpy as np
import pytest
from sklearn.metrics import log_loss, roc_auc_score

from results.statistics.derivations.worlds import derive
from tests.stores import fabricate

ROWS = (
    ("zero_fill", "default", "off", "Zero-filling", "method", 1.0),
    ("logistic", "default", "off", "Logistic regression", "method", 0.8),
    ("crl_mmnar", "default", "on", "CRL-MMNAR", "method", 0.6),
    ("gru_d", "default", "off", "GRU-D", "method", 0.6),
    ("cm_ae", "default", "off", "CM-AE", "method", 0.6),
    ("ceiling", "default", "off", "Ceiling", "known", 1.6),
)


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    store, plan = fabricate(
        tmp_path_factory.mktemp("store"), rows=ROWS, folds=2, seeds=2,
        skipped=[("gru_d", lm, f) for lm in ("icu_24h", "discharge") for f in range(2)],
        failed=[("cm_ae", "discharge", 1)],
    )  # fmt: skip
    return store, plan, derive(store, plan, 0)


def mean_over_tasks(store, plan, method, fold, metric, column="probability"):
    by_task = {}
    for planned in plan.cells:
        if (planned.cell.method, planned.cell.fold) == (method, fold):
            frame = store.predictions(planned)
            for task, own in frame[frame["split"] == "test"].groupby("task", observed=True):
                by_task.setdefault(task, []).append(metric(own["label"], own[column].astype(float)))
    return np.mean([np.mean(seeds) for seeds in by_task.values()])


def find(found, method, metric, fold, variant="default"):
    at = {"method": method, "variant": variant, "metric": metric, "fold": fold}
    return next(v for v in found["values"] if at.items() <= v.items())


@pytest.mark.parametrize(("metric", "compute"), [("auc", roc_auc_score), ("log_loss", log_loss)])
@pytest.mark.parametrize("fold", [0, 1])
def test_differences_are_those_of_the_predictions(case, metric, compute, fold):
    store, plan, found = case
    plain, logistic, own = (
        mean_over_tasks(store, plan, m, fold, compute) for m in ("zero_fill", "logistic", "crl_mmnar")
    )
    record = find(found, "crl_mmnar", metric, fold)
    assert record["value"] == pytest.approx(own, abs=1e-6)
    assert record["less_zero_fill"] == pytest.approx(own - plain, abs=1e-6)
    assert record["less_logistic"] == pytest.approx(own - logistic, abs=1e-6)
    before = mean_over_tasks(store, plan, "crl_mmnar", fold, compute, "probability_base")
    assert find(found, "crl_mmnar", metric, fold, "no_rectifier")["value"] == pytest.approx(before, abs=1e-6)


def test_a_base_is_not_compared_with_itself_and_what_is_known_with_nothing(case):
    _, _, found = case
    plain = find(found, "zero_fill", "auc", 0)
    assert plain["less_zero_fill"] is None
    assert plain["less_logistic"] == pytest.approx(-find(found, "logistic", "auc", 0)["less_zero_fill"])
    ceiling = find(found, "ceiling", "auc", 0)
    assert (ceiling["less_zero_fill"], ceiling["less_logistic"]) == (None, None)


def test_a_fold_without_all_tasks_does_not_count_and_the_row_says_why(case):
    _, _, found = case
    assert {v["fold"] for v in found["values"] if v["method"] == "cm_ae"} == {0}
    assert not [v for v in found["values"] if v["method"] == "gru_d"]
    state = {r["method"]: (r["status"], r["reason"]) for r in found["rows"] if r["variant"] == "default"}
    assert state["cm_ae"] == ("failed", "out of memory at layer_2 (100 %)")
    assert state["gru_d"] == ("skipped", "no series")
    assert state["logistic"] == ("done", None)


def test_patterns_are_counted(case):
    assert case[2]["patterns"] == {"icu_24h": 1, "discharge": 1}
