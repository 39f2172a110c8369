"""The gate's values from a store, its tolerances and its verdicts."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.metrics import brier_score_loss, roc_auc_score

from results.gate.judge import (
    ALARM,
    COUNTS,
    KEY,
    GateError,
    add_method_all,
    collect_gate_values,
    compute_tolerances,
    judge,
    list_seeds,
)
from tests.stores import ROWS, fabricate

SMALL = {"n": 120, "folds": 2, "landmarks": {"icu_24h": ("mortality_inhosp",)}}


def table(methods=("a", "b", "c"), seeds=20, metrics=("auc", "brier"), mean=0.8, sd=0.01, draw=0, n=300):
    """Values of some methods by seed, drawn from a normal distribution."""
    keys = [(m, "default", "d", "icu_24h", "death", metric) for m in methods for metric in metrics]
    index = pd.MultiIndex.from_tuples(keys, names=KEY)
    values = np.random.default_rng(draw).normal(mean, sd, size=(len(keys), seeds))
    return pd.DataFrame({"folds": 2, "n": n, "positives": 30, **dict(enumerate(values.T))}, index=index)


def moved(values, method, metric, by):
    """``values`` with the seeds of one method, or of several, moved in one metric."""
    out = values.copy()
    methods, metrics = (out.index.get_level_values(name) for name in ("method", "metric"))
    at = methods.isin(np.atleast_1d(method)) & (metrics == metric)
    out.loc[at, list_seeds(out)] += by
    return out


def verdict(found, method, metric):
    """The verdict on one row, None where it has none."""
    row = found[(found["method"] == method) & (found["metric"] == metric)]
    return None if row.empty else row["verdict"].item()


def test_a_value_is_the_mean_over_folds_of_what_the_predictions_give(tmp_path):
    store, plan = fabricate(tmp_path, seeds=2, **SMALL)
    values = collect_gate_values(store, plan)
    assert set(values.index.unique("method")) == {"crl_mmnar", "cm_ae", "s_only"}
    assert set(values.index.unique("variant")) == {"default"}
    for seed in (0, 1):
        cells = [p for p in plan.cells if (p.cell.method, p.cell.seed) == ("crl_mmnar", seed)]
        frames = [store.predictions(p) for p in cells]
        expected = {name: [] for name in ("auc", "brier", "optimism")}
        for frame in frames:
            test, valid = frame[frame["split"] == "test"], frame[frame["split"] == "valid"]
            expected["auc"].append(roc_auc_score(test["label"], test["probability"]))
            expected["brier"].append(brier_score_loss(test["label"], test["probability"]))
            on_valid = roc_auc_score(valid["label"], valid["probability_base"])
            expected["optimism"].append(on_valid - roc_auc_score(test["label"], test["probability_base"]))
        for metric, by_fold in expected.items():
            at = ("crl_mmnar", "default", "embedded-mimic", "icu_24h", "mortality_inhosp", metric)
            assert values.loc[at, seed] == pytest.approx(np.mean(by_fold), abs=1e-6)
            assert tuple(values.loc[at, ["folds", "n"]]) == (2, 120)


@pytest.mark.parametrize("how", ["failed", "missing", "skipped"])
def test_a_cell_that_is_not_done_leaves_its_seed_without_a_value(tmp_path, how):
    clean = collect_gate_values(*fabricate(tmp_path / "clean", rows=ROWS[1:3], **SMALL))
    values = collect_gate_values(
        *fabricate(tmp_path / how, rows=ROWS[1:3], **SMALL, **{how: {("cm_ae", "icu_24h", 1)}})
    )
    lost = values[values[0].isna()]
    assert [key[0] for key in lost.index] == ["cm_ae"] * 4
    assert list(judge(clean, values)["verdict"]).count("missing") == 4


def test_tolerance_is_the_quantile_of_students_t_times_the_spread_of_a_difference():
    base = table(seeds=20)
    first = base[list_seeds(base)].iloc[0].to_numpy()
    quantile = stats.t(df=19).ppf(1 - ALARM / 8)
    assert compute_tolerances(base, 3, rows=8)[0] == pytest.approx(
        quantile * first.std(ddof=1) * np.sqrt(1 / 3 + 1 / 20)
    )


def test_a_method_that_draws_nothing_has_the_floor():
    assert list(compute_tolerances(table(["a"], sd=0.0), 1, rows=2)) == [0.005, 0.001]


def test_one_seed_gives_no_tolerance():
    found = judge(table(seeds=1), table(seeds=1))
    assert set(found["verdict"]) == {"no tolerance"}


def test_seeds_alone_turn_as_many_rows_red_as_was_promised():
    rows, n = 10, 20_000
    base = table([f"m{i}" for i in range(n)], metrics=("auc",), sd=0.1)
    new = np.random.default_rng(1).normal(0.8, 0.1, size=(n, 2)).mean(axis=1)
    alarms = (new - base[list_seeds(base)].mean(axis=1) < -compute_tolerances(base, 2, rows)).sum()
    expected = n * ALARM / rows
    assert abs(alarms - expected) < 4 * np.sqrt(expected)


@pytest.mark.parametrize(
    ("metric", "by", "expected"),
    [("auc", -0.2, "worse"), ("auc", 0.2, "better"), ("brier", 0.2, "worse"), ("brier", -0.2, "better"), ("auc", 0, "ok"),
     ("optimism", 0.2, "worse"), ("optimism", -0.2, "better"), ("auprc", -0.2, "worse")],
)  # fmt: skip
def test_which_side_is_worse(metric, by, expected):
    base = table(metrics=("auc", "auprc", "brier", "optimism"))
    found = judge(base, moved(base, "b", metric, by))
    assert verdict(found, "b", metric) == expected
    assert set(found[found["method"].isin(["a", "c"])]["verdict"]) == {"ok"}
    assert found["verdict"].iloc[0] == expected


def test_the_difference_is_new_less_base():
    base = table(["a"], metrics=("auc",))
    row = judge(base, moved(base, "a", "auc", -0.2)).iloc[0]
    assert row["difference"] == pytest.approx(-0.2)
    assert row["new"] == pytest.approx(row["base"] - 0.2)


def test_a_small_fault_of_all_methods_is_seen_in_their_mean():
    base = table([f"m{i}" for i in range(20)], metrics=("auc",))
    new = moved(base, base.index.unique("method"), "auc", -0.02)[[*COUNTS, 0]]
    found = judge(base, new)
    assert list(found[found["verdict"] == "worse"]["method"]) == ["all"]
    assert found["verdict"].iloc[0] == "worse"


def test_what_only_one_of_the_two_has():
    base, new = table(["a", "b", "c"]), table(["a", "b", "d"])
    found = judge(base, new)
    assert verdict(found, "c", "auc") == "missing"
    assert verdict(found, "d", "auc") == "new"
    mean = found[(found["method"] == "all") & (found["metric"] == "auc")].iloc[0]
    both = base[base.index.get_level_values("method").isin(["a", "b"])]
    assert mean["base"] == pytest.approx(both[list_seeds(both)].xs("auc", level="metric").to_numpy().mean())
    assert list(found["verdict"].drop_duplicates()) == ["missing", "new", "ok"]


def test_chosen_methods_keep_the_tolerance_of_the_whole():
    base = table()
    whole, part = judge(base, base), judge(base, base, ["a"])
    assert set(part["method"]) == {"a"}
    assert part["tolerance"].tolist() == whole[whole["method"] == "a"]["tolerance"].tolist()


def test_mean_over_methods_is_by_place_and_seed():
    values = table(metrics=("auc",))
    mean = add_method_all(values).xs("all", level="method")
    assert mean[7].item() == pytest.approx(values[7].mean())
    assert len(add_method_all(values.iloc[:1])) == 1


def test_other_stays_are_refused():
    with pytest.raises(GateError, match=r"30 of 300 stays in 2 folds, new on 30 of 200 .*not the same cohort"):
        judge(table(), table(n=200))


def test_a_base_without_a_value_is_refused():
    base = table(seeds=1)
    base[0] = np.nan
    with pytest.raises(GateError, match="the base has no value"):
        judge(base, table())
