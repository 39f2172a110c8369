from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import average_precision_score, brier_score_loss, log_loss, recall_score, roc_auc_score

from results.metrics.scores import expected_calibration_error
from results.statistics.bootstrap import draw_weights
from results.statistics.derivations import groups, hospitals, patterns
from results.statistics.derive import derive
from results.statistics.subgroups import (
    METRICS,
    CellPredictions,
    choose_alarm_threshold,
    compute_group_metrics,
    explain_too_few,
    score_group,
)
from tests.stores import ROWS, fabricate, rewrite

COPY = ("copy", "default", "off", "a copy", "method", 0.6)
RARE = 8
"""Stays of the pattern that is too rare for a number."""


def pattern_of(row):
    return np.where(row < RARE, "structured+image", np.where(row % 3 == 0, "structured+text", "structured"))


def sex_code(row):
    """Of both sexes in each fold, whose number is row modulo 4; -1: not recorded."""
    return np.where(row % 10 == 9, -1, (row % 12 >= 8).astype(int))


def give_patterns(store, plan):
    """Write three patterns into the stored predictions: one rare, one of a third of the stays, one of the rest; the ceiling loses half of
    its rows. Return the plan with their modalities."""
    modalities = {"structured": 1, "image": 0.1, "text": 0.3}
    for planned in plan.cells:
        record = store.record(planned)
        if record and record["status"] == "done":
            frame = store.predictions(planned)
            frame = frame[frame["row"] % 8 < 4] if planned.cell.method == "ceiling" else frame
            rewrite(store, planned, record, {"predictions": frame.assign(pattern=pattern_of(frame["row"].to_numpy()))})
    return replace(plan, landmarks={k: replace(v, modalities=modalities) for k, v in plan.landmarks.items()})


def give_groups(store, plan, n=200):
    """Store sexes (every tenth unknown), two ethnicities of which one is tiny, and four hospitals."""
    sex = pd.Categorical.from_codes(sex_code(np.arange(n)), ["female", "male"])
    tiny = np.where(np.arange(n) < 6, "rare", "common")
    frames = [
        pd.DataFrame(
            {"landmark": lm, "row": np.arange(n), "sex": sex, "ethnicity": tiny, "site": np.arange(n) % 4 + 100}
        )
        for lm in plan.landmarks
    ]
    store.write_groups(plan.name, pd.concat(frames, ignore_index=True))


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    """Two seeds; CM-AE fails at icu_24h; one fold of S only missing at discharge; the ceiling knows half of each fold's stays."""
    store, plan = fabricate(
        tmp_path_factory.mktemp("store"),
        rows=ROWS,
        seeds=2,
        folds=4,
        failed=[("cm_ae", "icu_24h", fold) for fold in range(4)],
        missing=[("s_only", "discharge", 2)],
    )
    plan = give_patterns(store, plan)
    give_groups(store, plan)
    return store, plan


@pytest.fixture(scope="module")
def by_pattern(case):
    return patterns.derive(*case, 50)


def test_parts(store, plan, method, task):
    """(fold, validation part, test part) of each cell, straight from the predictions."""
    for planned in plan.cells:
        if planned.cell.method == method and (store.record(planned) or {}).get("status") == "done":
            frame = store.predictions(planned)
            own = frame[frame["task"] == task].astype({"probability": float, "label": float})
            if len(own):
                yield planned.cell.fold, own[own["split"] == "valid"], own[own["split"] == "test"]


test_parts.__test__ = False


def by_hand(store, plan, method, task, chosen, measure):
    """Mean over folds of means over seeds of ``measure(rows of the group, validation part)``."""
    values = {}
    for fold, valid, test in test_parts(store, plan, method, task):
        values.setdefault(fold, []).append(measure(test[chosen(test["row"])], valid))
    return np.mean([np.mean(v) for v in values.values()])


def value(found, **wanted):
    own = [v for v in found["values"] if all(v[k] == w for k, w in wanted.items())]
    assert len(own) == 1
    return own[0]


@pytest.mark.parametrize("decimals", [1, 9], ids=["ties", "no ties"])
def test_group_metrics_against_scikit_learn(decimals):
    rng = np.random.default_rng(decimals)
    y = (rng.random(60) < 0.4).astype(float)
    p = np.round(np.clip(0.3 * y + 0.6 * rng.random(60), 0.01, 0.99), decimals)
    p[:2] = 0, 1
    weights = draw_weights(np.arange(60), np.arange(60), 0, 40)
    got = compute_group_metrics(y, p, weights, threshold=0.5)
    alarm = p >= 0.5
    assert set(METRICS) <= set(got)
    for b, w in enumerate(weights):
        expected = {
            "auc": roc_auc_score(y, p, sample_weight=w),
            "auprc": average_precision_score(y, p, sample_weight=w),
            "brier": brier_score_loss(y, p, sample_weight=w),
            "log_loss": log_loss(y, p, sample_weight=w),
            "in_the_large": np.average(y - p, weights=w),
            "flagged": np.average(alarm, weights=w),
            "tpr": recall_score(y, alarm, sample_weight=w),
            "fpr": 1 - recall_score(1 - y, ~alarm, sample_weight=w),
        }
        assert {k: got[k][b] for k in expected} == pytest.approx(expected, abs=1e-9)
    assert got["ece"][0] == expected_calibration_error(y, p)
    assert np.isnan(got["ece"][1:]).all()


def test_a_group_of_one_class_has_the_rate_it_can_have():
    got = compute_group_metrics(np.ones(4), np.array([0.1, 0.6, 0.7, 0.8]), np.ones((1, 4)), 0.65)
    assert (got["tpr"][0], got["flagged"][0]) == (0.5, 0.5)
    assert np.isnan([got["fpr"][0], got["auc"][0]]).all()


def test_the_alarm_is_set_for_a_share_of_the_validation_part():
    p = np.random.default_rng(0).permutation(np.arange(100) / 100)
    assert (p >= choose_alarm_threshold(p)).mean() == pytest.approx(0.2, abs=0.011)
    assert choose_alarm_threshold(np.full(10, 0.3)) == 0.3
    assert not (p >= choose_alarm_threshold(np.array([]))).any()


@pytest.mark.parametrize(
    ("n", "positives", "why"),
    [
        (20, 10, None),
        (30, 9, "9 positives: fewer than 10"),
        (30, 21, "9 negatives: fewer than 10"),
        (0, 0, "0 positives: fewer than 10"),
    ],
)
def test_small_groups_are_refused(n, positives, why):
    assert explain_too_few(n, positives) == why


def test_a_refused_group_keeps_its_counts_and_has_no_number():
    label = np.r_[np.ones(9), np.zeros(30)]
    part = CellPredictions(0, 0, np.arange(39), label, np.linspace(0, 1, 39), 0.5)
    weights = {0: np.ones((1, 39))}
    found = score_group([part], {0: np.repeat("a", 39)}, "a", weights)
    assert (found.n, found.positives, found.values, found.reason) == (39, 9, {}, "9 positives: fewer than 10")
    assert score_group([part], {0: np.repeat("a", 39)}, "b", weights).n == 0


def test_the_spreads_over_seeds_and_over_folds_are_told_apart():
    rng = np.random.default_rng(0)
    label = np.tile([0.0, 0.0, 1.0], 20)
    parts = [CellPredictions(f, s, np.arange(60), label, rng.random(60), 0.5) for f in range(3) for s in range(2)]
    codes, weights = (dict.fromkeys(range(3), value) for value in (np.repeat("a", 60), np.ones((1, 60))))
    found = score_group(parts, codes, "a", weights, ("brier",)).values["brier"]
    errors = np.array([np.mean((label - part.probability) ** 2) for part in parts]).reshape(3, 2)
    assert found["sd_seeds"] == pytest.approx(errors.mean(axis=0).std(ddof=1))
    assert found["sd_folds"] == pytest.approx(errors.mean(axis=1).std(ddof=1))


@pytest.mark.parametrize("pattern", ["structured", "structured+text"])
@pytest.mark.parametrize(("metric", "measure"), [
    ("auc", lambda t, _: roc_auc_score(t["label"], t["probability"])),
    ("auprc", lambda t, _: average_precision_score(t["label"], t["probability"])),
    ("log_loss", lambda t, _: log_loss(t["label"], t["probability"].clip(1e-15, 1 - 1e-15))),
    ("in_the_large", lambda t, _: (t["label"] - t["probability"]).mean()),
    ("tpr", lambda t, v: (t.loc[t["label"] == 1, "probability"] >= np.quantile(v["probability"], 0.8, method="higher")).mean()),
    ("fpr", lambda t, v: (t.loc[t["label"] == 0, "probability"] >= np.quantile(v["probability"], 0.8, method="higher")).mean()),
])  # fmt: skip
def test_values_by_pattern_straight_from_the_predictions(case, by_pattern, pattern, metric, measure):
    store, plan = case
    found = by_pattern
    own = value(found, method="crl_mmnar", variant="default", task="icu_90d", group=pattern)
    expected = by_hand(store, plan, "crl_mmnar", "icu_90d", lambda row: pattern_of(row) == pattern, measure)
    assert own["metrics"][metric]["mean"] == pytest.approx(expected, abs=1e-7)
    assert (own["metrics"][metric]["folds"], own["metrics"][metric]["seeds"]) == (4, 2)


def test_every_pattern_and_modality_is_counted(by_pattern):
    found = by_pattern
    own = [g for g in found["groups"] if g["task"] == "icu_90d"]
    counts = {g["group"]: g["n"] for g in own}
    assert counts == {
        "all": 200, "structured": 128, "structured+text": 64, "structured+image": RARE,
        "text observed": 64, "text not observed": 136, "image observed": RARE, "image not observed": 192,
    }  # fmt: skip
    reasons = {g["group"]: g["reason"] for g in own if g["attribute"] == "pattern"}
    assert list(reasons) == ["structured", "structured+text", "structured+image"]
    assert "fewer than 10" in reasons["structured+image"]
    rare = [v for v in found["values"] if v["group"] == "structured+image"]
    assert rare
    assert all(v["metrics"] == {} and "fewer than 10" in v["reason"] for v in rare)


def test_all_stays_are_as_in_the_intervals_of_the_plan(case, by_pattern):
    store, plan = case
    found, statistics = by_pattern, derive(store, plan, 50)
    compared = 0
    for i in statistics["intervals"]:
        if i["value"] is not None:
            where = {k: i[k] for k in ("landmark", "task", "method", "variant")}
            own = value(found, **where, group="all")["metrics"][i["metric"]]
            assert [own["mean"], own["ci_low"], own["ci_high"]] == pytest.approx(
                [i["value"], i["ci_low"], i["ci_high"]], abs=1e-9
            )
            compared += 1
    assert compared > 20


def test_a_failed_row_has_no_values_and_a_missing_fold_counts_less(by_pattern):
    found = by_pattern
    assert not [v for v in found["values"] if (v["method"], v["landmark"]) == ("cm_ae", "icu_24h")]
    own = value(found, method="s_only", task="icu_90d", group="all")
    assert (own["n"], own["metrics"]["auc"]["folds"]) == (150, 3)
    assert value(found, method="ceiling", task="icu_90d", group="all")["n"] == 100


def test_a_resample_is_the_same_for_all_rows_and_groups(tmp_path):
    store, plan = fabricate(tmp_path, rows=(ROWS[0], COPY), folds=3)
    cells = {(p.cell.method, p.cell.landmark, p.cell.fold): p for p in plan.cells}
    for (method, landmark, fold), planned in cells.items():
        if method == "copy":
            frame = store.predictions(cells["crl_mmnar", landmark, fold])
            rewrite(store, planned, store.record(planned), {"predictions": frame})
    sex = pd.DataFrame({"row": np.arange(200), "sex": np.where(np.arange(200) % 2, "male", "female"), "twin": "one"})
    store.write_groups(plan.name, pd.concat([sex.assign(landmark=lm) for lm in plan.landmarks]))
    found = groups.derive(store, plan, 60)
    assert len(found["values"]) == 3 * 3 * 3
    for v in found["values"]:
        if v["method"] == "copy":
            assert (
                v["metrics"]
                == value(found, **{k: v[k] for k in ("task", "group")}, method="crl_mmnar", variant="default")[
                    "metrics"
                ]
            )
    everyone, halves = (
        [value(found, task="icu_90d", method="copy", group=g)["metrics"]["flagged"] for g in names]
        for names in (["one"], ["female", "male"])
    )
    assert everyone[0]["ci_low"] > min(h["ci_low"] for h in halves)


def test_gaps_by_hand(case):
    store, plan = case
    found = groups.derive(store, plan, 30)

    def rate(of):
        def measure(test, valid):
            threshold = np.quantile(valid["probability"], 0.8, method="higher")
            return (test.loc[test["label"] == of, "probability"] >= threshold).mean()

        return measure

    sex = np.array(["female", "male", "unknown"])[sex_code(np.arange(200))]
    counts = {g["group"]: g for g in found["groups"] if (g["task"], g["attribute"]) == ("readmission_30d", "sex")}
    assert {g: c["n"] for g, c in counts.items()} == {g: (sex == g).sum() for g in ("female", "male", "unknown")}
    assert [g for g, c in counts.items() if c["reference"]] == ["female"]
    own = value(found, method="cm_ae", task="readmission_30d", group="male")["metrics"]
    for metric, of in (("tpr", 1), ("fpr", 0)):
        male, female = (
            by_hand(store, plan, "cm_ae", "readmission_30d", lambda row, s=s: sex[row] == s, rate(of))
            for s in ("male", "female")
        )
        assert own[metric]["mean"] == pytest.approx(male)
        assert own[f"gap_{metric}"]["mean"] == pytest.approx(male - female)
        assert own[f"gap_{metric}"]["ci_low"] < male - female < own[f"gap_{metric}"]["ci_high"]
    reference = value(found, method="cm_ae", task="readmission_30d", group="female")["metrics"]
    assert not [m for m in reference if m.startswith("gap_")]


def test_site_and_row_are_no_groups(case):
    store, plan = case
    assert {g["attribute"] for g in groups.derive(store, plan, 0)["groups"]} == {"sex", "ethnicity"}


def test_the_largest_group_is_compared_with_only_if_it_is_known(case):
    store, plan = case
    frame = store.groups(plan.name)
    store.write_groups(plan.name, frame.assign(sex=frame["sex"].where(frame["row"] % 3 == 0)))
    found = groups.derive(store, plan, 0)
    give_groups(store, plan)
    own = [g for g in found["groups"] if (g["task"], g["attribute"]) == ("readmission_30d", "sex")]
    assert own[0]["group"] == "unknown"
    assert [g["group"] for g in own if g["reference"]] == [own[1]["group"]]


def test_a_cohort_without_groups_has_nothing(tmp_path):
    store, plan = fabricate(tmp_path, rows=ROWS[:1], n=80, folds=2)
    assert groups.derive(store, plan, 5)["groups"] == []
    store.write_groups(plan.name, pd.DataFrame({"landmark": "icu_24h", "row": np.arange(80), "site": 1}))
    assert groups.derive(store, plan, 5)["groups"] == []
    assert hospitals.derive(store, plan, 5)["tested"]["icu_24h"] == [
        {"fold": f, "sites": 1, "stays": 40} for f in (0, 1)
    ]


def test_hospitals_are_counted_by_fold(case):
    store, plan = case
    found = hospitals.derive(store, plan, 5)
    # stay i is tested in fold i mod 4 and lies in hospital i mod 4: a hospital a fold
    assert found["tested"]["discharge"] == [{"fold": f, "sites": 1, "stays": 50} for f in range(4)]
    own = value(found, method="crl_mmnar", variant="default", task="icu_90d", group="102")
    assert own["metrics"]["auc"]["folds"] == 1
    assert list(own["metrics"]) == ["auc"]
    cells = [
        roc_auc_score(t["label"], t["probability"])
        for f, _, t in test_parts(store, plan, "crl_mmnar", "icu_90d")
        if f == 2
    ]
    assert own["metrics"]["auc"]["mean"] == pytest.approx(np.mean(cells))


def test_nothing_done(tmp_path):
    everything = [("cm_ae", lm, f) for lm in ("icu_24h", "discharge") for f in range(2)]
    store, plan = fabricate(tmp_path, rows=ROWS[1:2], n=60, folds=2, missing=everything)
    found = patterns.derive(store, plan, 5)
    assert (found["groups"], found["values"]) == ([], [])
