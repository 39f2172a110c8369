import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from results.statistics.derivations.curves import RATES, THRESHOLDS, derive, interpolate_tpr, read_precision
from results.statistics.derive import derive as derive_all
from tests.stores import ROWS, fabricate, rewrite


def entry(value, method, task, variant="default"):
    found = [c for c in value["curves"] if (c["method"], c["task"], c["variant"]) == (method, task, variant)]
    assert len(found) == 1
    return found[0]


def cells_of(store, plan, method, task, column="probability"):
    """fold -> (label, probability) of each seed, straight from predictions."""
    found = {}
    for planned in plan.cells:
        if planned.cell.method == method and (store.record(planned) or {}).get("status") == "done":
            frame = store.predictions(planned)
            frame = frame[(frame["split"] == "test") & (frame["task"] == task)]
            if len(frame):
                pair = frame["label"].to_numpy(float), frame[column].to_numpy(float)
                found.setdefault(planned.cell.fold, []).append(pair)
    return found


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    store, plan = fabricate(
        tmp_path_factory.mktemp("store"),
        seeds=2,
        failed=[("cm_ae", "icu_24h", fold) for fold in range(5)],
        missing=[("s_only", "discharge", 2)],
    )
    for planned in plan.cells:  # one fold of one row has one seed only
        if (planned.cell.method, planned.cell.fold, planned.cell.seed) == ("crl_mmnar", 3, 1):
            shutil.rmtree(store.folder(planned))
    return store, plan, derive(store, plan, 0)


@pytest.mark.parametrize("decimals", [1, 8], ids=["ties", "no ties"])
def test_areas_are_auc_and_average_precision(decimals):
    rng = np.random.default_rng(0)
    label = (rng.random(80) < 0.3).astype(float)
    p = np.round(1 / (1 + np.exp(-label - rng.normal(size=80))), decimals)
    fine = (np.arange(200_000) + 0.5) / 200_000
    assert interpolate_tpr(label, p, fine).mean() == pytest.approx(roc_auc_score(label, p), abs=1e-4)
    assert read_precision(label, p, fine).mean() == pytest.approx(average_precision_score(label, p), abs=1e-4)


def test_worked_example():
    label, p = np.array([0.0, 1, 0, 1]), np.array([0.9, 0.8, 0.3, 0.2])
    assert interpolate_tpr(label, p, np.array([0, 0.25, 0.5, 0.75, 1])) == pytest.approx([0, 0, 0.5, 0.5, 1])
    assert read_precision(label, p, np.array([0, 0.5, 0.51, 1])) == pytest.approx([0.5, 0.5, 0.5, 0.5])
    label = np.array([1.0, 0, 0, 1])
    assert interpolate_tpr(label, p, np.array([0, 0.5, 1])) == pytest.approx([0.5, 0.5, 1])
    assert read_precision(label, p, np.array([0, 0.5, 0.51, 1])) == pytest.approx([1, 1, 0.5, 0.5])


@pytest.mark.parametrize(("variant", "column"), [("default", "probability"), ("no_rectifier", "probability_base")])
def test_means_over_seeds_within_folds_then_folds(case, variant, column):
    store, plan, value = case
    found = entry(value, "crl_mmnar", "icu_90d", variant)
    cells = cells_of(store, plan, "crl_mmnar", "icu_90d", column)
    assert sorted(map(len, cells.values())) == [1, 2, 2, 2, 2]
    assert (found["folds"], found["seeds"], found["folds_ranked"]) == (5, 2, 5)

    def mean(curve):
        return np.mean([np.mean([curve(*pair) for pair in seeds], axis=0) for seeds in cells.values()], axis=0)

    def true_rate(label, p):
        false, true, _ = roc_curve(label, p, drop_intermediate=False)
        return np.interp(RATES, false, true)

    def benefit(label, p):
        return [
            np.mean(label * (p >= t)) - np.mean((1 - label) * (p >= t)) * t / (1 - t) for t in THRESHOLDS
        ]  # fmt: skip

    assert found["tpr"] == pytest.approx(mean(true_rate), abs=1e-5)
    assert found["net_benefit"] == pytest.approx(mean(benefit), abs=1e-5)
    assert np.mean(found["precision"]) == pytest.approx(mean(average_precision_score), abs=0.02)
    prevalence = np.mean([seeds[0][0].mean() for seeds in cells.values()])
    assert found["prevalence"] == pytest.approx(prevalence, abs=1e-5)
    assert found["treat_all"][9] == pytest.approx(prevalence - (1 - prevalence) / 9, abs=1e-5)
    assert found["n"] == 200
    assert found["positives"] == sum(seeds[0][0].sum() for seeds in cells.values())


def test_reliability_adds_up_to_the_folds_with_seeds_as_one(case):
    store, plan, value = case
    found = entry(value, "crl_mmnar", "icu_90d")
    bins = found["reliability"]
    cells = cells_of(store, plan, "crl_mmnar", "icu_90d")
    n = np.array(bins["n"])
    assert n.sum() == pytest.approx(200)
    assert len(n) == 10
    predicted = sum(np.mean([p.sum() for _, p in seeds]) for seeds in cells.values())
    assert n @ bins["predicted"] == pytest.approx(predicted, abs=0.01)
    assert n @ bins["observed"] == pytest.approx(found["positives"], abs=0.01)
    assert bins["predicted"] == sorted(bins["predicted"])
    for low, rate, high in zip(bins["low"], bins["observed"], bins["high"], strict=True):
        assert low <= rate <= high
    lowest = [np.mean([np.sort(p)[:4].mean() for _, p in seeds]) for seeds in cells.values()]
    assert bins["predicted"][0] == pytest.approx(np.mean(lowest), abs=1e-4)


def test_folds_are_not_pooled_into_one_ranking(tmp_path):
    """Every fold ranks perfectly, each on a scale of its own: pooled, the true positive rate would start near one half."""
    store, plan = fabricate(tmp_path, rows=ROWS[1:2], n=100, folds=2, seeds=2)
    for planned in plan.cells:
        frame = store.predictions(planned)
        p = 0.1 + 0.3 * frame["label"] + 0.45 * ((planned.cell.fold + planned.cell.seed) % 2)
        rewrite(store, planned, store.record(planned), {"predictions": frame.assign(probability=p)})
    found = entry(derive(store, plan, 0), "cm_ae", "icu_90d")
    assert set(found["tpr"]) == {1.0}
    assert set(found["precision"]) == {1.0}


def test_every_row_landmark_and_task_has_an_entry_of_the_documented_shape(case):
    _, plan, value = case
    assert len(value["curves"]) == (len(plan.rows) + 1) * 3
    assert (len(value["fpr"]), len(value["recall"]), len(value["threshold"])) == (51, 51, 50)
    assert (value["threshold"][0], value["threshold"][-1]) == (0.01, 0.5)
    for c in value["curves"]:
        if c["folds"]:
            lengths = [len(c[name]) for name in ("tpr", "precision", "net_benefit", "treat_all")]
            assert lengths == [51, 51, 50, 50]
            assert np.all(np.diff(c["tpr"]) >= 0)
    assert json.loads(json.dumps(value, allow_nan=False)) == value


def test_what_is_not_done_says_so(case):
    _, _, value = case
    failed = entry(value, "cm_ae", "mortality_inhosp")
    assert (failed["reason"], failed["folds"], failed["n"]) == ("no fold is done", 0, 0)
    assert all(failed[k] is None for k in ("tpr", "precision", "net_benefit", "treat_all", "reliability", "prevalence"))
    assert entry(value, "s_only", "icu_90d")["folds"] == 4


def test_one_class_has_no_ranking_but_the_rest(tmp_path):
    store, plan = fabricate(tmp_path, rows=ROWS[1:2], n=60, folds=2, one_class=("icu_90d",))
    found = entry(derive(store, plan, 0), "cm_ae", "icu_90d")
    assert (found["tpr"], found["precision"], found["folds_ranked"]) == (None, None, 0)
    assert found["reason"] == "one class in every fold's test part"
    assert (found["prevalence"], set(found["reliability"]["observed"])) == (0, {0.0})


def test_rows_without_a_label_or_a_prediction_are_left_out(tmp_path):
    store, plan = fabricate(tmp_path, rows=ROWS[1:2], n=100, folds=2)
    for planned in plan.cells:
        frame = store.predictions(planned)
        frame.loc[frame["row"] % 4 == 0, "probability"] = np.nan
        frame.loc[frame["row"] % 4 == 1, "label"] = np.nan
        rewrite(store, planned, store.record(planned), {"predictions": frame})
    assert entry(derive(store, plan, 0), "cm_ae", "icu_90d")["n"] == 50


def test_is_stored_under_its_name_where_the_plan_asks(tmp_path):
    store, plan = fabricate(tmp_path, rows=ROWS[1:2], n=40, folds=2)
    assert derive_all(store, replace(plan, derived=["curves"]), 0)["curves"] == derive(store, plan, 0)
    assert "curves" not in derive_all(store, plan, 0)
