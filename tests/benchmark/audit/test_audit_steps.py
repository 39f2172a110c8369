"""Each step does what is said of the released code, and the suite's own parts are what it stands on."""

import dataclasses

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from benchmark.audit import cohorts, sampler
from benchmark.audit.cohorts import Dials
from benchmark.audit.correction import LabelledPredictions, correct_predictions
from benchmark.audit.edits import compute_auc, edit_predictions
from benchmark.audit.noise import Simulation, simulate
from benchmark.audit.released import (
    FACTORS,
    Released,
    apply_jumps,
    choose_reference_pattern,
    damp_delta,
    fit_delta,
    rectify_as_released,
)
from benchmark.audit.steps import CUMULATIVE, FITTED, STEPS, list_step_sets
from benchmark.audit.unit import extend_split
from benchmark.cell.splits import draw_split
from datasets.cohort import Cohort, name_patterns
from datasets.synthetic.cohort import build
from datasets.synthetic.params import SyntheticParams
from methods.common.rectifier import Rectifier
from methods.crl_mmnar import Config, CrlMmnar

RETURNS = ("readmission_30d", "icu_90d")


@pytest.fixture(scope="module")
def built():
    """The embedded cohorts of 400 stays, by landmark."""
    return {
        name: dataclasses.replace(c, series=None)
        for name, (c, _) in build(SyntheticParams(n=400, draws=2, seed=3)).items()
    }


def test_the_released_functions_give_their_worked_numbers():
    p, y = np.linspace(0.05, 0.95, 40), np.array([float(i % 3 == 0) for i in range(40)])
    delta = fit_delta(p, y)
    assert delta == pytest.approx(0.0406669, abs=1e-7)
    assert damp_delta(p, delta) == pytest.approx(0.0331949, abs=1e-7)
    expected = [0.0215, 0.1369, 0.2523, 0.3677, 0.4131, 0.5485, 0.7138, 0.9215]
    np.testing.assert_allclose(apply_jumps(p, delta)[[0, 5, 10, 15, 20, 25, 30, 39]], expected, atol=5e-5)


def test_the_auc_by_ranks_is_that_of_scikit_learn():
    rng = np.random.default_rng(0)
    y, p = (rng.random(200) < 0.3).astype(float), rng.integers(0, 20, 200) / 20
    assert compute_auc(np.r_[y, np.nan], np.r_[p, 0.5]) == pytest.approx(roc_auc_score(y, p), abs=1e-12)
    assert np.isnan(compute_auc(np.zeros(3), np.ones(3)))


def test_moves_toward_own_outcomes_lift_noise_and_nothing_else_does():
    found = {
        (m["stage"], m["task"]): m["value"] for m in simulate(Simulation("noise", 0.10), 0) if m["metric"] == "auc"
    }
    assert found["not_selective", "icu_90d"] > 0.85
    assert found["not_selective", "readmission_30d"] > 0.6
    for task in RETURNS:
        assert abs(found["no_moves", task] - found["base", task]) < 0.02
        assert abs(found["cross_fitted", task] - found["base", task]) < 0.02


def test_without_moves_a_calibrated_base_gains_nothing():
    found = {
        (m["stage"], m["task"]): m["value"] for m in simulate(Simulation("informed", 0.05), 1) if m["metric"] == "auc"
    }
    for task in RETURNS:
        assert found["no_moves", task] - found["base", task] < 0.003


@pytest.mark.parametrize("selective", [True, False])
def test_a_move_reads_the_rows_own_outcome_alone(selective):
    p = np.tile([[0.1, 0.1]], (40, 1))
    y = np.zeros((40, 2))
    y[::4] = 1
    after = edit_predictions(p, y, np.full(40, "S"), RETURNS, selective)
    assert (after[::4] > 0.1).all()
    assert (after[y[:, 0] == 0] == 0.1).all()
    np.testing.assert_array_equal(edit_predictions(p, y, np.full(40, "S"), ("mortality_inhosp", "x"), selective), p)


def test_acceptance_by_the_test_auc_keeps_no_loss():
    rng = np.random.default_rng(0)
    y = (rng.random((300, 2)) < 0.2).astype(float)
    p, pattern = rng.random((300, 2)) * 0.5, np.where(np.arange(300) % 3, "S", "S+R")
    part = LabelledPredictions(p, y, pattern)
    after = correct_predictions(part, part, RETURNS, 0, frozenset({"A4", "A5"}))
    assert all(compute_auc(y[:, t], after[:, t]) >= compute_auc(y[:, t], p[:, t]) for t in range(2))
    assert compute_auc(y[:, 0], rectify_as_released(p, y, pattern, RETURNS, Released())[:, 0]) >= compute_auc(
        y[:, 0], p[:, 0]
    )


@pytest.fixture
def parts():
    """A validation and a test part of three patterns, with a bias by pattern."""
    rng = np.random.default_rng(1)

    def part(n):
        pattern = np.array(["S", "S+R", "S+T+R"])[rng.integers(0, 3, n)]
        y = (rng.random((n, 2)) < np.where(pattern == "S", 0.5, 0.15)[:, None]).astype(float)
        return LabelledPredictions(0.1 + 0.2 * rng.random((n, 2)), y, pattern)

    return part(300), part(400)


def test_no_step_is_the_suites_rectifier_and_a4_the_same_on_test_rows(parts):
    valid, test = parts
    for steps, on in ((frozenset(), valid), (frozenset({"A4"}), test)):
        own = (
            Rectifier("offset", seed=5).fit(on.probability, on.label, on.pattern).apply(test.probability, test.pattern)
        )
        np.testing.assert_array_equal(correct_predictions(valid, test, RETURNS, 5, steps), own)


def test_a7_leaves_the_reference_pattern_and_a6_scales_the_others(parts):
    valid, test = parts
    base = correct_predictions(valid, test, RETURNS, 5, frozenset())
    kept = choose_reference_pattern(test.probability, test.label, test.pattern, RETURNS)
    left = correct_predictions(valid, test, RETURNS, 5, frozenset({"A7"}))
    here = test.pattern == kept
    np.testing.assert_array_equal(left[here], test.probability[here])
    np.testing.assert_array_equal(left[~here], base[~here])
    scaled = correct_predictions(valid, test, RETURNS, 5, frozenset({"A6"}))
    only = test.pattern == "S"
    for t, task in enumerate(("readmission", "icu")):
        shift = (base - test.probability)[only, t]
        assert shift.max() > 0.1
        np.testing.assert_allclose(
            (scaled - test.probability)[only, t], np.minimum(shift * FACTORS[task]["S"], 1), atol=1e-9
        )


def test_later_stays_reach_the_living_alone_and_add_to_the_pattern(built):
    cohort, whole = built["icu_24h"], built["stay"]
    later = cohorts.add_later_stays(cohort, whole, Dials(later_share=1.0), True, True)
    dead = cohort.outcomes[:, 0] == 1
    np.testing.assert_array_equal(later.observed[dead], cohort.observed[dead])
    assert later.observed[~dead].mean() > cohort.observed[~dead].mean() + 0.02
    assert (later.observed >= cohort.observed).all()
    np.testing.assert_array_equal(later.modalities[0].values, cohort.modalities[0].values)


@pytest.mark.parametrize(("contents", "pattern"), [(True, False), (False, True)])
def test_contents_and_pattern_of_later_stays_come_apart(built, contents, pattern):
    cohort, whole = built["discharge"], built["stay"]
    later = cohorts.add_later_stays(cohort, whole, Dials(later_share=0.0), contents, pattern)
    returned = (cohort.outcomes == 1).any(axis=1)
    changed = np.stack([
        ~np.isclose(a.values, b.values, equal_nan=True).all(axis=1)
        for a, b in zip(cohort.modalities, later.modalities, strict=True)
    ], axis=1)  # fmt: skip
    assert not changed[~returned].any()
    assert (changed & cohort.observed).any() == contents
    assert ((later.observed != cohort.observed).any()) == pattern


def test_a_later_note_mentions_its_event(built):
    cohort, whole = built["discharge"], built["stay"]
    quiet, loud = (cohorts.add_later_stays(cohort, whole, Dials(mention=size), True, False) for size in (0.0, 4.0))
    positive = cohort.outcomes == 1
    difference = loud.modalities[2].values - quiet.modalities[2].values
    moved = np.abs(np.nan_to_num(difference)).max(axis=1) > 1e-6
    assert moved.any()
    assert not moved[~positive.any(axis=1)].any()


def test_index_deaths_join_as_negatives_with_their_flag(built):
    cohort, whole = built["discharge"], built["stay"]
    joined = cohorts.add_index_deaths(cohort, whole)
    dead = int((whole.outcomes[:, 0] == 1).sum())
    assert len(joined) == len(cohort) + dead == len(whole)
    flag = joined.modalities[0].values[:, -1]
    assert joined.modalities[0].feature_names[-1] == cohorts.FLAG
    np.testing.assert_array_equal(flag, np.r_[np.zeros(len(cohort)), np.ones(dead)])
    assert (joined.outcomes[len(cohort) :] == 0).all()
    np.testing.assert_array_equal(joined.outcomes[: len(cohort)], cohort.outcomes)
    split = draw_split(cohort, 4)
    longer = extend_split(split, dead, 0)
    np.testing.assert_array_equal(longer.fold[: len(cohort)], split.fold)
    assert {len(np.unique(np.concatenate(longer.rows(k)))) for k in range(4)} == {len(joined)}


def test_the_flag_is_the_outcome_and_the_whole_stay_is_the_later_landmark(built):
    cohort, whole = built["icu_24h"], built["stay"]
    flagged = cohorts.add_death_flag(cohort, whole)
    np.testing.assert_array_equal(flagged.modalities[0].values[:, -1], cohort.outcomes[:, 0])
    at_end = cohorts.use_whole_stay(cohort.take(np.arange(len(cohort))[::-1]), whole)
    np.testing.assert_array_equal(at_end.observed, whole.observed[::-1])
    np.testing.assert_array_equal(at_end.outcomes, cohort.outcomes[::-1])


def test_scaling_on_all_rows_reads_every_row(built):
    cohort = built["discharge"]
    values = cohort.modalities[0].values.copy()
    values[-1, 0] = 1e6
    odd = dataclasses.replace(
        cohort,
        modalities=(dataclasses.replace(cohort.modalities[0], values=values), *cohort.modalities[1:]),
        fingerprint="",
    )
    a, b = (cohorts.scale_on_all_rows(c).modalities[0].values for c in (cohort, odd))
    gaps = np.isnan(cohort.modalities[0].values[:-1, 0])
    assert not np.isnan(a).any()
    assert (a[:-1, 0][gaps] != b[:-1, 0][gaps]).all()
    assert b[-1, 0] < 1e6


def test_the_sampler_reaches_test_rows_by_weights_of_others():
    n = 100
    train = np.sort(np.random.default_rng(0).permutation(n)[:68])
    reached = sampler.find_reached_rows(train)
    assert np.isin(np.setdiff1d(np.arange(n), train), reached).any()
    cohort = tiny(n)
    weight = sampler.compute_weights(cohort.take(train))
    assert weight.mean() == pytest.approx(1)
    y = cohort.outcomes[train, 0]
    assert weight[y == 1].mean() > 2 * weight[y == 0].mean()


def test_an_epochs_order_is_what_the_training_loop_goes_through():
    cohort = tiny(60)
    seen = []

    def order(n, generator):
        seen.append(n)
        return torch.zeros(n, dtype=torch.int64)

    config = Config(max_epochs=2, hidden=16, heads=2)
    method = CrlMmnar(config, 0)
    method.epoch_order = order
    method.fit(cohort.take(np.arange(40)), cohort.take(np.arange(40, 60)))
    usual = CrlMmnar(config, 0).fit(cohort.take(np.arange(40)), cohort.take(np.arange(40, 60)))
    assert seen == [40, 40]
    assert method.history[-1]["loss"] != usual.history[-1]["loss"]
    drawn = sampler.make_weighted_order(np.r_[np.zeros(30), np.ones(10)])(40, torch.Generator().manual_seed(0))
    assert drawn.min() >= 30
    assert len(drawn) == 40


def test_the_registry_is_whole():
    assert {step.id.rstrip("abs") for step in STEPS.values()} == {f"A{i}" for i in range(1, 14)}
    assert all(step.where and step.released and step.here for step in STEPS.values())
    added = [s for _, steps in CUMULATIVE for s in steps if s not in ("R", "Rs")]
    assert set(added) <= set(STEPS)
    names = [row.name for row in list_step_sets()]
    assert len(names) == len(set(names))
    assert not any(row.steps & FITTED - {"A1"} for row in list_step_sets(quick=True))


def tiny(n):
    """n stays with a modality of 3 features each, one task with a fifth positive."""
    from datasets.cohort import Modality

    rng = np.random.default_rng(2)
    modalities = tuple(
        Modality(name, rng.standard_normal((n, 3)).astype(np.float32), ("a", "b", "c")) for name in ("S", "T")
    )
    observed = np.c_[np.ones(n, bool), rng.random(n) < 0.7]
    outcomes = (np.arange(n) % 5 == 0).astype(np.float32)[:, None]
    made = Cohort("tiny", "test", np.arange(n), modalities, observed, outcomes, ("readmission_30d",))
    assert len(set(name_patterns(made.observed, made.modality_names))) == 2
    return made
