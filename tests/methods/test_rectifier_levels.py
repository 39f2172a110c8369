"""The hierarchical rectifier against its worked example, its rule, and a shift common to all patterns."""

import numpy as np
import pytest
from scipy.special import expit, logit
from sklearn.metrics import average_precision_score, roc_auc_score

from methods.common import rectifier
from methods.common.rectifier import KINDS, Rectifier
from methods.common.rectifier.levels import fit_levels
from methods.common.rectifier.ranks import compute_ranking_metrics
from methods.common.rectifier.strength import FOLDS, KAPPAS, NOTHING, STRENGTHS, choose_strength, measure_changes

EXAMPLE = (("1111", 200, 40), ("1101", 150, 15), ("1011", 110, 22), ("1000", 120, 12), ("1001", 40, 12))
SHIFTS = (-4.0, 0.5, 4.0)


def fit_example(positives, example=EXAMPLE):
    """The hierarchy of rows (pattern, n, positives) with a probability of .15 everywhere."""
    names, n, found = zip(*example, strict=True)
    code = np.repeat(np.arange(len(n)), n)
    label = np.concatenate([np.arange(rows) < k for rows, k in zip(n, found, strict=True)]).astype(float)
    size = np.array([name.count("1") for name in names])
    return fit_levels(np.full(len(code), 0.15), label, code, size, positives)


def biased(n, patterns, seed=0, part=0, tasks=2, bias=0.8):
    """Predictions that lack an effect of the pattern on the logit: (probability, label [n, tasks], pattern, size [n])."""
    world, rng = np.random.default_rng(seed), np.random.default_rng((seed, part))
    observed = np.argsort(world.random(64))[:patterns]
    weight = world.dirichlet(np.full(patterns, 0.5)) * 0.9 + 0.1 / patterns
    effect = world.normal(0, bias, (patterns, tasks))
    code = rng.choice(patterns, n, p=weight)
    signal = rng.normal(-1.5, 1, (n, tasks))
    label = (rng.random((n, tasks)) < expit(signal + effect[code])).astype(float)
    size = np.array([bin(o).count("1") for o in observed])
    return expit(signal), label, np.array([f"{o:06b}" for o in observed])[code], size[code]


def auc(label, probability):
    return np.array([roc_auc_score(y, p) for y, p in zip(label.T, probability.T, strict=True)])


def test_worked_example():
    levels = fit_example(15)
    assert levels.every.shrunk[0] == pytest.approx(0.012903, abs=1e-6)
    assert levels.every.sse[0] == pytest.approx(0.014831, abs=1e-6)
    np.testing.assert_allclose(levels.count.shrunk[1:], [-0.030436, 0.045860, -0.003155, 0.037943], atol=1e-6)
    expected = [
        (0.043603, 0.013276),
        (-0.028507, 0.013256),
        (0.014243, 0.012483),
        (-0.039934, 0.013296),
        (0.058231, 0.008607),
    ]
    np.testing.assert_allclose(np.stack([levels.pattern.shrunk, levels.pattern.sse], axis=1), expected, atol=1e-6)
    tau, _ = levels.choose_offsets((0.01,))
    np.testing.assert_allclose(tau[0], [0.043603, -0.028507, 0, 0, 0], atol=1e-6)
    tau, _ = fit_example(10).choose_offsets((0.01,))
    np.testing.assert_allclose(tau[0], [0.043603, -0.028507, 0, -0.039934, 0], atol=1e-6)


def test_unseen_patterns_fall_to_their_count_and_then_to_all_rows():
    levels = fit_example(15)
    _, unseen = levels.choose_offsets((0.01, 0.05))
    # by number observed, 0 to 4, and any other: only four observed are enough rows whose mean exceeds kappa and its error
    np.testing.assert_allclose(unseen, [[0, 0, 0, 0, 0.037943, 0], [0] * 6], atol=1e-6)
    _, unseen = fit_example(15, (("1111", 200, 60),)).choose_offsets((0.0,))
    np.testing.assert_allclose(unseen, [[0.15] * 6], atol=1e-4)


def test_one_pattern_alone_has_its_mean_residual():
    levels = fit_example(15, (("1111", 200, 60),))
    assert levels.choose_offsets((0.0,))[0][0, 0] == pytest.approx(60 / 200 - 0.15, abs=1e-6)


def test_shrunk_means_lie_between_the_mean_residual_and_the_parents():
    p, y, pattern, size = biased(800, 30, seed=4)
    _, first, code = np.unique(pattern, return_index=True, return_inverse=True)
    levels = fit_levels(p[:, 0], y[:, 0], code, size[first], 10)
    residual = y[:, 0] - p[:, 0]
    raw = np.bincount(code, residual) / np.bincount(code)
    parent = levels.count.shrunk[size[first]]
    low, high = np.minimum(raw, parent), np.maximum(raw, parent)
    assert ((levels.pattern.shrunk >= low) & (levels.pattern.shrunk <= high)).all()
    share = (levels.pattern.shrunk - parent) / (raw - parent)
    assert ((share > 0) & (share < 1)).all()


def test_metrics_of_many_scores_are_those_of_scikit_learn():
    rng = np.random.default_rng(0)
    scores = rng.random((6, 150))
    scores[::2] = scores[::2].round(1)
    scores[5] = 0.5
    label = (rng.random(150) < 0.2).astype(float)
    found = compute_ranking_metrics(label, scores)
    for k, of in enumerate((roc_auc_score, average_precision_score)):
        np.testing.assert_allclose(found[k], [of(label, s) for s in scores], atol=1e-12)


def test_changes_are_those_of_each_pair():
    p, y, _, _ = biased(300, 4)
    rng = np.random.default_rng(1)
    tau = np.concatenate([rng.normal(0, 0.1, (len(KAPPAS) - 1, 300)), np.zeros((1, 300))])
    changes = measure_changes(p[:, 0], y[:, 0], tau)
    for k, strength in ((0, 0), (2, 9), (4, 4)):
        after = np.clip(p[:, 0] + STRENGTHS[strength] * tau[k], 0, 1)
        expected = [
            roc_auc_score(y[:, 0], after) - roc_auc_score(y[:, 0], p[:, 0]),
            average_precision_score(y[:, 0], after) - average_precision_score(y[:, 0], p[:, 0]),
            np.square(after - y[:, 0]).mean() - np.square(p[:, 0] - y[:, 0]).mean(),
        ]
        np.testing.assert_allclose(changes[:3, k, strength], expected, atol=1e-12)
    assert (changes[:, -1] == 0).all()


def choose(p, y, pattern, size, seed=0):
    _, first, code = np.unique(pattern, return_index=True, return_inverse=True)
    return choose_strength(p[:, 0], y[:, 0], code, size[first], 10, np.random.default_rng(seed))


def test_strength_is_chosen_where_patterns_are_biased_and_none_where_they_are_not():
    assert choose(*biased(1500, 4)).strength >= 0.8
    assert choose(*biased(1500, 4, bias=0.0)) == NOTHING
    p, y, pattern, size = biased(200, 4)
    y[np.flatnonzero(y[:, 0])[FOLDS - 1 :], 0] = 0
    assert choose(p, y, pattern, size) == NOTHING


def test_no_strength_and_no_common_shift_return_the_base_bit_for_bit():
    p, y, pattern, size = biased(1500, 4, bias=0.0)
    fitted = Rectifier().fit(p, y, pattern, size)
    assert [c.strength for c in fitted.choices] == [0.0, 0.0]
    residual = y - p
    still = np.abs(residual.mean(axis=0)) <= residual.std(axis=0) / np.sqrt(len(p))
    assert still.any()
    np.testing.assert_array_equal((fitted.apply(p, pattern, size) == p).all(axis=0), still)


def test_a_common_shift_is_taken_out_where_no_strength_is_chosen():
    p, y, pattern, size = biased(1500, 4, bias=0.0)
    high = expit(logit(p) + 1.5)
    fitted = Rectifier().fit(high, y, pattern, size)
    assert [c.strength for c in fitted.choices] == [0.0, 0.0]
    after = fitted.apply(high, pattern, size)
    np.testing.assert_allclose(after.mean(axis=0), y.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(fitted.apply(high, np.full(1500, "new"), np.full(1500, 9)), after)


@pytest.mark.parametrize("patterns", [4, 34, 60])
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "offset"])
def test_a_shift_common_to_all_patterns_changes_no_auc(kind, patterns):
    p, y, pattern, size = biased(900, patterns, part=1)
    fresh, label, new, sizes = biased(2000, patterns, part=2)

    def rectified(shift):
        fitted = Rectifier(kind).fit(expit(logit(p) + shift), y, pattern, size)
        return fitted.apply(expit(logit(fresh) + shift), new, sizes)

    first = rectified(0.0)
    assert (first != fresh).any()
    for shift in SHIFTS:
        np.testing.assert_allclose(auc(label, rectified(shift)), auc(label, first), atol=0.002)
        np.testing.assert_allclose(rectified(shift), first, atol=1e-6)


@pytest.mark.parametrize("patterns", [4, 34, 60])
def test_offsets_of_the_papers_text_keep_the_auc_under_a_constant_added_to_probabilities_only(patterns):
    # on the logit scale they cannot: near 0 and 1 the spread within a pattern shrinks, and the offsets between patterns do not
    p, y, pattern, _ = biased(1200, patterns, part=1)
    fresh, label, new, _ = biased(3000, patterns, part=2)
    p, fresh = 0.3 + 0.3 * p, 0.3 + 0.3 * fresh

    def rectified(shift, fresh_shift):
        return Rectifier("offset", tau=0.0).fit(shift(p), y, pattern).apply(fresh_shift(fresh), new)

    first = auc(label, rectified(lambda x: x, lambda x: x))
    for constant in (-0.2, 0.2):
        moved = rectified(lambda x, c=constant: x + c, lambda x, c=constant: x + c)
        np.testing.assert_allclose(auc(label, moved), first, atol=0.002)
    far = rectified(lambda x: expit(logit(x) - 4), lambda x: expit(logit(x) - 4))
    assert np.abs(auc(label, far) - first).max() > 0.002


@pytest.mark.parametrize("kind", ["hierarchical", "shrunk"])
def test_undefined_outcomes_of_another_task_change_nothing(kind):
    p, y, pattern, size = biased(1200, 4)
    before = Rectifier(kind).fit(p, y, pattern, size).apply(p, pattern, size)
    y[::2, 1] = np.nan
    after = Rectifier(kind).fit(p, y, pattern, size).apply(p, pattern, size)
    np.testing.assert_array_equal(before[:, 0], after[:, 0])
    assert (before[:, 1] != after[:, 1]).any()


def test_the_least_positives_of_a_pattern_are_those_of_the_task_by_name(monkeypatch):
    asked = []
    monkeypatch.setattr(
        rectifier, "choose_strength", lambda p, y, code, size, least, rng: asked.append(least) or NOTHING
    )
    p, y, pattern, size = biased(100, 4)
    tasks = ("readmission_30d", "icu_90d", "mortality_inhosp", "delirium")
    Rectifier(tasks=tasks).fit(np.tile(p, 2), np.tile(y, 2), pattern, size)
    assert asked == [15, 8, 10, 10]


def test_record_has_what_was_chosen():
    p, y, pattern, size = biased(1500, 4)
    fitted = Rectifier(seed=3).fit(p, y, pattern, size)
    record = fitted.record(("a", "b"), p, pattern, size)
    after = fitted.apply(p, pattern, size)
    row = next(r for r in record["rows"] if r["task"] == "b" and r["pattern"] == pattern[0])
    here = pattern == pattern[0]
    inside = here & (after[:, 1] > 0) & (after[:, 1] < 1)
    centred = expit(logit(p[:, 1]) + record["intercept"]["b"])
    np.testing.assert_allclose((after[:, 1] - centred)[inside], row["delta"], atol=1e-9)
    assert (row["applied"], row["n_calibration"], record["tau"]) == (row["delta"] != 0, here.sum(), None)
    assert record["strength"]["b"] == fitted.choices[1].strength > 0
    raw = (y[here, 1] - centred[here]).mean()
    assert row["delta"] / record["strength"]["b"] == pytest.approx(raw, abs=0.02)
    assert record["kappa"]["b"] in KAPPAS
