"""The rectifier against its definition, a worked example and simulated biases."""

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import expit, logit

from methods.common.rectifier import KINDS, Rectifier, rectify_paper
from methods.common.rectifier.groups import split_in_halves
from methods.common.rectifier.offsets import TAUS, add_offsets, choose_tau, crossfit, fit_pattern_offsets
from methods.common.rectifier.shrunk import fit_shrunk_offsets


def simulated(n=6000, patterns=4, tasks=2, shift=0.1, seed=0):
    """Base probabilities that are too low or too high by a known amount in each pattern."""
    rng = np.random.default_rng(seed)
    code = rng.integers(0, patterns, n)
    bias = shift * np.linspace(-1, 1, patterns)
    p = rng.uniform(0.3, 0.6, (n, tasks))
    y = (rng.random((n, tasks)) < p + bias[code][:, None]).astype(float)
    y[rng.random(y.shape) < 0.05] = np.nan
    return p, y, code, bias


def test_worked_example_of_the_papers_appendix_a():
    # Delta = 0.08 from 25 calibration rows: 0.30 becomes 0.38 when tau < 0.08 and stays 0.30 otherwise
    p, y = np.full((25, 1), 0.32), np.zeros((25, 1))
    y[:10] = 1  # 10/25 - 0.32 = 0.08
    pattern = np.full(25, "S+T")
    for tau, expected in ((0.0, 0.38), (0.05, 0.38), (0.08 + 1e-9, 0.30)):
        rectifier = Rectifier("offset", tau=tau).fit(p, y, pattern)
        assert rectifier.delta[0, 0] == pytest.approx(0.08)
        assert rectifier.apply(np.array([[0.30]]), np.array(["S+T"]))[0, 0] == pytest.approx(expected)


def test_offsets_are_the_mean_residuals_of_labelled_rows():
    p, y, code, _ = simulated(300)
    found = fit_pattern_offsets(p, y, code, 4, 20)
    for t in range(2):
        for d in range(4):
            rows = (code == d) & ~np.isnan(y[:, t])
            assert found.count[t, d] == rows.sum()
            assert found.delta[t, d] == pytest.approx((y[rows, t] - p[rows, t]).mean())


@pytest.mark.parametrize(("n", "moved"), [(19, False), (20, True)])
def test_a_pattern_needs_twenty_labelled_rows(n, moved):
    p, y = np.full((n + 5, 1), 0.5), np.ones((n + 5, 1))
    y[n:] = np.nan
    after = Rectifier("offset", tau=0.0).fit(p, y, np.zeros(n + 5)).apply(p, np.zeros(n + 5))
    assert (after != p).all() == moved
    assert (after == p).all() == (not moved)


@pytest.mark.parametrize("kind", KINDS)
def test_results_stay_probabilities(kind):
    p, y, code, _ = simulated(1000, shift=0.3)
    rectifier = Rectifier(kind).fit(p, y, code, code)
    edge = np.linspace(0, 1, 50)[:, None].repeat(2, axis=1)
    for d in (0, 3, 99):
        after = rectifier.apply(edge, np.full(50, d), np.full(50, d))
        assert ((after >= 0) & (after <= 1)).all()


def test_patterns_with_few_rows_or_none_take_the_pooled_offset():
    p, y, code, _ = simulated(600, shift=0.2)
    y[np.flatnonzero(code == 3)[19:]] = np.nan
    rectifier = Rectifier("offset", tau=0.0).fit(p, y, code)
    pooled = np.nanmean(y - p, axis=0)
    np.testing.assert_allclose(rectifier.delta[:, 3], pooled)
    assert np.abs(rectifier.delta[:, 0] - pooled).min() > 0.05
    base = np.full((2, 2), 0.5)
    np.testing.assert_allclose(rectifier.apply(base, np.array([3, 99])), [0.5 + pooled] * 2)


def test_shrunk_offsets_of_unseen_patterns_are_the_pooled_intercept():
    p, y, code, _ = simulated(600, shift=0.2)
    rectifier = Rectifier("shrunk").fit(p, y, code)
    for t in range(2):
        known = ~np.isnan(y[:, t])
        after = expit(logit(p[known, t]) + rectifier.unseen[t, 0])
        assert after.mean() == pytest.approx(y[known, t].mean(), abs=1e-9)
    np.testing.assert_allclose(
        rectifier.apply(np.full((1, 2), 0.5), np.array([99]))[0], expit(rectifier.unseen[:, 0]), atol=1e-12
    )


@pytest.mark.parametrize("kind", ["offset", "shrunk"])  # hierarchical takes a share of them, chosen by ranking
def test_recovers_known_biases(kind):
    p, y, code, bias = simulated(40_000)
    fresh, _, new_code, _ = simulated(5000, seed=1)
    after = Rectifier(kind).fit(p, y, code).apply(fresh, new_code)
    moved = np.array([(after - fresh)[new_code == d].mean(axis=0) for d in range(4)])
    np.testing.assert_allclose(moved, bias[:, None].repeat(2, axis=1), atol=0.015)


@pytest.mark.parametrize("kind", KINDS)
def test_rises_with_the_base_probability_within_a_pattern(kind):
    p, y, code, _ = simulated(2000)
    base = np.sort(np.random.default_rng(3).uniform(0.2, 0.8, (200, 2)), axis=0)
    after = Rectifier(kind).fit(p, y, code, code).apply(base, np.full(200, 3), np.full(200, 3))
    assert (np.diff(after, axis=0) > 0).all()
    assert (after != base).all()


def test_unbiased_predictions_get_a_large_tau_and_biased_ones_a_small_one():
    p, y, code, _ = simulated(20_000, shift=0.0)
    assert choose_tau(p, y, code, 4, 20, seed=0) >= 0.05
    p, y, code, _ = simulated(20_000, shift=0.08)
    assert choose_tau(p, y, code, 4, 20, seed=0) <= 0.05


def test_tau_is_the_argmin_of_an_explicit_crossfit():
    p, y, code, _ = simulated(400, shift=0.05, seed=5)
    code[:12] = 4  # 6 rows in a half, fewer than 10
    second = split_in_halves(code, 7)
    brier = []
    for tau in TAUS:
        corrected = p.copy()
        for i in range(len(p)):
            other = (second != second[i]) & (code == code[i])
            for t in range(2):
                rows = other & ~np.isnan(y[:, t])
                rows = rows if rows.sum() >= 10 else (second != second[i]) & ~np.isnan(y[:, t])
                delta = (y[rows, t] - p[rows, t]).mean()
                corrected[i, t] = np.clip(p[i, t] + (delta if abs(delta) > tau else 0.0), 0, 1)
        np.testing.assert_allclose(crossfit(p, y, code, 5, (tau,), 10, 7)[0], corrected, atol=1e-12)
        brier.append(np.mean([np.nanmean((y[:, t] - corrected[:, t]) ** 2) for t in range(2)]))
    assert choose_tau(p, y, code, 5, 20, seed=7) == TAUS[int(np.argmin(brier))]


def test_a_half_needs_half_of_the_rows_that_a_pattern_needs():
    """A pattern of 30 rows, 15 in a half, is biased by .07; all others are right. Were it pooled, no tau would be better than another."""
    code = np.repeat([0, 1], [2000, 30])
    p, y = np.full((2030, 1), 0.5), np.zeros((2030, 1))
    for d in (0, 1):
        for half in (True, False):
            rows = np.flatnonzero((code == d) & (split_in_halves(code, 0) == half))
            y[rows[: len(rows) // 2]] = 1
            p[rows] = y[rows].mean() - (0.07 if d else 0)
    after = crossfit(p, y, code, 2, TAUS, 10, 0)
    best = max(tau for tau in TAUS if tau < 0.06)
    assert choose_tau(p, y, code, 2, 20, seed=0) == best
    assert np.abs(after[TAUS.index(best)] - p)[code == 1].min() > 0.05


def test_halves_split_every_pattern_evenly_by_the_seed_alone():
    code = np.random.default_rng(0).integers(0, 5, 503)
    second = split_in_halves(code, 1)
    sizes = np.array([[(second & (code == d)).sum(), (~second & (code == d)).sum()] for d in range(5)])
    assert (np.abs(sizes[:, 0] - sizes[:, 1]) <= 1).all()
    np.testing.assert_array_equal(second, split_in_halves(code, 1))
    assert (second != split_in_halves(code, 2)).any()


@pytest.mark.parametrize("value", ["flipped", "undefined"])
def test_paper_protocol_never_uses_a_rows_own_outcome(value):
    p, y, code, _ = simulated(400, shift=0.15)
    base, record = rectify_paper(p, y, code, seed=3)
    assert max(record["share_changed"].values()) > 0.2
    others_moved = 0.0
    for row in range(0, 400, 9):
        changed = y.copy()
        changed[row] = np.nan if value == "undefined" else 1 - np.nan_to_num(y[row])
        after, _ = rectify_paper(p, changed, code, seed=3)
        np.testing.assert_array_equal(after[row], base[row])
        others_moved += np.abs(after - base).sum()
    assert others_moved > 0


def test_paper_protocol_corrects_each_half_with_the_other():
    p, y, code, _ = simulated(800, shift=0.2)
    after, _ = rectify_paper(p, y, code, seed=3)
    second = split_in_halves(code, 3)
    offsets = fit_pattern_offsets(p[second], y[second], code[second], 4, 20, pooled=False)
    tau = choose_tau(p[second], y[second], code[second], 4, 20, seed=4, pooled=False)
    np.testing.assert_array_equal(after[~second], add_offsets(p[~second], offsets, code[~second], tau))


def test_paper_protocol_leaves_patterns_with_few_rows_alone():
    p, y, code, _ = simulated(800, shift=0.2)
    code[:30] = 4  # 15 in a half
    after, _ = rectify_paper(p, y, code, seed=3)
    np.testing.assert_array_equal(after[:30], p[:30])
    assert (after[30:] != p[30:]).any()


def test_shrunk_offsets_solve_their_penalised_likelihood():
    p, y, code, _ = simulated(500, tasks=1, shift=0.2)
    y[::3] = np.where(np.isnan(y[::3]), np.nan, 1.0)  # a shift common to all patterns as well
    found = fit_shrunk_offsets(p, y, code, 4)
    known = ~np.isnan(y[:, 0])

    def pooled_loss(x):
        q = expit(logit(p[known, 0]) + x)
        return -(y[known, 0] * np.log(q) + (1 - y[known, 0]) * np.log(1 - q)).sum()

    mean = minimize_scalar(pooled_loss, bounds=(-5, 5), method="bounded", options={"xatol": 1e-9}).x
    assert found.unseen[0] == pytest.approx(mean, abs=1e-6)
    centred = expit(logit(p) + mean)
    u = np.array([(y - centred)[known & (code == d)].sum() for d in range(4)])
    i = np.array([(centred * (1 - centred))[known & (code == d)].sum() for d in range(4)])
    v = max(0.0, (u**2 / i - 1).sum() / i.sum())
    for d in range(4):
        rows = known & (code == d)
        base, out = logit(p[rows, 0]), y[rows, 0]

        def loss(x, base=base, out=out):
            q = expit(base + x)
            return -(out * np.log(q) + (1 - out) * np.log(1 - q)).sum() + (x - mean) ** 2 / (2 * v)

        assert found.delta[0, d] == pytest.approx(minimize_scalar(loss, bounds=(-5, 5), method="bounded").x, abs=1e-4)
        assert found.count[0, d] == rows.sum()


def test_shrunk_offsets_are_smaller_where_rows_are_few():
    # the same residual (all outcomes 1 at p = .5) in a pattern of 4 rows and one of 400
    code = np.repeat([0, 1], [4, 400])
    b = fit_shrunk_offsets(np.full((404, 1), 0.5), np.ones((404, 1)), code, 2).delta
    assert 0 < b[0, 0] < b[0, 1]


def test_record_counts_patterns_and_changed_rows():
    p, y, code, _ = simulated(300, shift=0.2)
    names = np.array(["S", "S+I", "S+T", "all"])[code]
    rectifier = Rectifier("offset", tau=0.1).fit(p, y, names)
    test_p, _, test_code, _ = simulated(100, seed=2)
    test_names = np.array(["S", "S+I", "S+T", "new"])[test_code]
    record = rectifier.record(("a", "b"), test_p, test_names)
    after = rectifier.apply(test_p, test_names)
    assert record["protocol"] == "strict"
    assert record["tau"] == 0.1
    assert record["share_changed"] == {"a": (after != test_p)[:, 0].mean(), "b": (after != test_p)[:, 1].mean()}
    row = next(r for r in record["rows"] if r["task"] == "b" and r["pattern"] == "S+I")
    known = (names == "S+I") & ~np.isnan(y[:, 1])
    assert row["n_calibration"] == known.sum()
    assert row["n_test"] == (test_names == "S+I").sum()
    assert row["delta"] == pytest.approx((y - p)[known, 1].mean())
    assert row["applied"] == (abs(row["delta"]) > 0.1)
    assert len(record["rows"]) == 8


def test_nothing_labelled_changes_nothing():
    p = np.full((30, 2), 0.4)
    y = np.full((30, 2), np.nan)
    for kind in KINDS:
        zeros = np.zeros(30, dtype=int)
        np.testing.assert_array_equal(Rectifier(kind).fit(p, y, zeros, zeros).apply(p, zeros, zeros), p)
    np.testing.assert_array_equal(rectify_paper(p, y, np.zeros(30), seed=0)[0], p)


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"\[N, T\]"):
        Rectifier().fit(np.zeros((3, 2)), np.zeros((3, 1)), np.zeros(3))
    with pytest.raises(ValueError, match="number of observed modalities"):
        Rectifier().fit(np.zeros((3, 2)), np.zeros((3, 2)), np.zeros(3))
    with pytest.raises(ValueError, match="offset or shrunk"):
        Rectifier("on")
