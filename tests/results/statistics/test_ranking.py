import math

import numpy as np
import pandas as pd
import pytest
from scikit_posthocs import posthoc_nemenyi_friedman
from scipy import stats

from results.statistics.derive import derive
from results.statistics.ranking import (
    LEVEL,
    collect_cohort_values,
    compute_critical_difference,
    find_cliques,
    rank_methods,
)
from tests.stores import ROWS, fabricate


def draw(seed, cohorts=14, methods=7, spread=0.05, decimals=6):
    rng = np.random.default_rng(seed)
    values = rng.normal(np.linspace(0.8, 0.8 - spread, methods), 0.02, (cohorts, methods)).round(decimals)
    columns = rng.permutation([f"m{i}" for i in range(methods)])
    return pd.DataFrame(values, [f"c{i}" for i in range(cohorts)], columns)


@pytest.mark.parametrize(
    ("methods", "q"),
    [(2, 1.960), (3, 2.343), (4, 2.569), (5, 2.728), (6, 2.850), (7, 2.949), (8, 3.031), (9, 3.102), (10, 3.164)],
)
def test_critical_values_of_demsar_table_5(methods, q):
    found = compute_critical_difference(methods, 14) / math.sqrt(methods * (methods + 1) / (6 * 14))
    assert found == pytest.approx(q, abs=1.1e-3)


def test_critical_difference_of_demsars_example():
    # four classifiers on 14 data sets, section 3.2.3
    assert compute_critical_difference(4, 14) == pytest.approx(1.25, abs=0.005)


@pytest.mark.parametrize("decimals", [6, 2], ids=["no ties", "ties"])
def test_friedman_by_its_formula(decimals):
    values = draw(1, decimals=decimals)
    found = rank_methods(values)
    n, k = values.shape
    own = np.array([[np.sum(row > v) + (np.sum(row == v) + 1) / 2 for v in row] for row in values.to_numpy()])
    statistic = 12 * n / (k * (k + 1)) * (np.sum(own.mean(axis=0) ** 2) - k * (k + 1) ** 2 / 4)
    ties = sum(t**3 - t for row in values.to_numpy() for t in np.unique(row, return_counts=True)[1])
    assert (ties > 0) == (decimals == 2)
    assert found.statistic == pytest.approx(statistic / (1 - ties / (n * (k**3 - k))))
    assert found.p == pytest.approx(stats.chi2.sf(found.statistic, k - 1))
    assert found.ranks.to_dict() == pytest.approx(dict(zip(values.columns, own.mean(axis=0), strict=True)))
    assert found.ranks.is_monotonic_increasing
    assert found.ranks.index[0] == values.mean().idxmax()


@pytest.mark.parametrize("seed", range(4))
def test_pairs_told_apart_against_scikit_posthocs(seed):
    values = draw(seed)
    found = rank_methods(values)
    assert found.reason is None
    p = posthoc_nemenyi_friedman(values)
    apart = {
        frozenset((a, b)) for a in values for b in values
        if abs(found.ranks[a] - found.ranks[b]) >= found.critical_difference
    }  # fmt: skip
    assert apart == {frozenset((a, b)) for a in values for b in values if p.at[a, b] < LEVEL}
    together = {frozenset((a, b)) for clique in found.cliques for a in clique for b in clique if a != b}
    assert together == {frozenset((a, b)) for a in values for b in values if a != b} - apart


def test_cliques_are_the_largest_groups():
    ranks = pd.Series([1.0, 2.0, 2.9, 4.0, 9.0], list("abcde"))
    assert find_cliques(ranks, 2.0) == (("a", "b", "c"), ("c", "d"))
    assert find_cliques(ranks, 2.1) == (("a", "b", "c"), ("b", "c", "d"))
    assert find_cliques(ranks, 1.0) == (("b", "c"),)
    assert find_cliques(ranks, 10) == (tuple("abcde"),)


@pytest.mark.parametrize(
    ("cohorts", "methods", "reason"),
    [
        (
            10,
            7,
            "Average ranks without a test: 10 cohorts and 7 methods; the Friedman test needs 11 independent cohorts",
        ),
        (14, 2, "Average ranks without a test: 14 cohorts and 2 methods; the Friedman test needs 11"),
        (1, 7, "Not ranked: 1 cohort and 7 methods"),
        (14, 1, "Not ranked: 14 cohorts and 1 method;"),
    ],
)
def test_too_few(cohorts, methods, reason):
    found = rank_methods(draw(0, cohorts, methods))
    assert found.reason.startswith(reason)
    assert (found.statistic, found.p, found.critical_difference, found.cliques) == (None, None, None, ())
    assert (found.ranks is None) == reason.startswith("Not")


def test_the_least_that_is_tested():
    assert rank_methods(draw(0, 11, 3, spread=0.5)).critical_difference == compute_critical_difference(3, 11)


def test_a_cohort_without_a_method():
    values = draw(0)
    values.loc["c3", "m2"] = np.nan
    found = rank_methods(values)
    assert found.reason == "Not ranked: no value for m2 on c3; every method is needed on every cohort."
    assert found.ranks is None


def test_no_pair_is_tested_where_friedman_finds_nothing():
    values = pd.DataFrame(
        [np.roll(range(6), i) for i in range(12)], [f"c{i}" for i in range(12)], list("abcdef"), dtype=float
    )
    found = rank_methods(values)
    assert found.p == pytest.approx(1)
    assert found.reason.startswith("No pair is tested")
    assert (found.critical_difference, found.cliques) == (None, ())


@pytest.mark.slow
@pytest.mark.parametrize(("cohorts", "methods"), [(11, 3), (12, 3), (11, 14)])
def test_size_of_friedman_at_the_least_numbers(cohorts, methods):
    """Under no difference it rejects in .05 of 2000 draws or not much more (two standard errors are .01)."""
    rng = np.random.default_rng(cohorts * methods)
    draws = rng.random((2000, cohorts, methods))
    rejected = np.mean([stats.friedmanchisquare(*values.T).pvalue < LEVEL for values in draws])
    assert 0.025 < rejected < 0.066


def test_a_cohort_counts_once_with_the_mean_of_its_tasks(tmp_path):
    plans, expected = [], {}
    for i, dataset in enumerate(["embedded-mimic", "embedded-mimic", "embedded-eicu", "eicu", "eicu-demo"]):
        store, plan = fabricate(
            tmp_path, rows=(*ROWS[:2], ROWS[3]), n=40, folds=2, dataset=dataset, draw=i,
            landmarks={"icu_24h": ("mortality_inhosp",), "discharge": ("icu_90d",)},
            failed=[("cm_ae", "icu_24h", fold) for fold in range(2) if dataset == "embedded-eicu"],
        )  # fmt: skip
        statistics = derive(store, plan, resamples=0)
        store.write_statistics(plan.name, statistics)
        plans.append(plan)
        for e in statistics["intervals"]:
            if (e["metric"], e["variant"]) == ("auc", "default"):
                expected.setdefault((dataset, e["method"]), []).append(e["value"])
    values = collect_cohort_values(store, plans)
    assert list(values.index) == ["embedded-mimic", "embedded-eicu", "eicu"]
    assert list(values.columns) == ["CRL-MMNAR", "CM-AE (adapted)"]
    assert len(expected["embedded-mimic", "crl_mmnar"]) == 4
    assert values.at["embedded-mimic", "CRL-MMNAR"] == pytest.approx(np.mean(expected["embedded-mimic", "crl_mmnar"]))
    assert values.at["eicu", "CM-AE (adapted)"] == pytest.approx(np.mean(expected["eicu", "cm_ae"]))
    assert math.isnan(values.at["embedded-eicu", "CM-AE (adapted)"])
    assert rank_methods(values).reason.startswith("Not ranked: no value for CM-AE (adapted) on embedded-eicu;")


def test_nothing_derived_yet(tmp_path):
    store, plan = fabricate(tmp_path, rows=ROWS[:2], n=40, folds=2)
    assert rank_methods(collect_cohort_values(store, [plan])).reason.startswith("Not ranked")


@pytest.mark.parametrize(
    ("datasets", "ranked"),
    [
        (["eicu-demo"], ["eicu-demo"]), (["eicu-demo", "mimic-iv"], ["eicu-demo", "mimic-iv"]), (["eicu-demo", "eicu"], ["eicu"]),
    ],
)  # fmt: skip
def test_a_demo_counts_unless_its_whole_release_is_there(tmp_path, datasets, ranked):
    plans = []
    for i, dataset in enumerate(datasets):
        store, plan = fabricate(tmp_path, rows=ROWS[:2], n=40, folds=2, dataset=dataset, draw=i)
        store.write_statistics(plan.name, derive(store, plan, resamples=0))
        plans.append(plan)
    assert list(collect_cohort_values(store, plans).index) == ranked
