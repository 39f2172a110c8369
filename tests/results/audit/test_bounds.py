"""No offsets rank better than the bounds say: against every shift that can matter, on small cases."""

import itertools

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from results.audit.bounds import FoldScores, bound_auc, bound_precision
from results.audit.finding import DeclaredStep
from results.audit.offsets import convert_scale


def small(seed, groups, n=14, ties=False):
    rng = np.random.default_rng(seed)
    base = rng.uniform(0.1, 0.9, n)
    base = np.round(base, 1) if ties else base
    label = np.r_[1.0, 0.0, rng.integers(0, 2, n - 2)]
    group = np.r_[np.arange(groups), rng.integers(0, groups, n - groups)]
    return label, base, rng.permutation(group)


def scored(label, base, after, group, half=0.0):
    """As an audit sees it: both columns known to within ``half``."""
    n = len(label)
    return FoldScores(label, base, base - half, base + half, after, np.full(n, 4 * half), group)


def orders(base, group):
    """Offsets that realise every order of the rows that offsets by group can give: two groups exactly, three on their breakpoints."""
    groups = np.unique(group)
    gaps = {g: np.unique(np.subtract.outer(base[group == groups[0]], base[group == g]).ravel()) for g in groups[1:]}
    between = [np.r_[d[0] - 1, (d[1:] + d[:-1]) / 2, d, d[-1] + 1] for d in gaps.values()]
    for shifts in itertools.product(*between):
        yield np.r_[0.0, shifts][group]


@pytest.mark.parametrize(("metric", "bound"), [(roc_auc_score, bound_auc), (average_precision_score, bound_precision)])
@pytest.mark.parametrize("groups", [2, 3])
@pytest.mark.parametrize("ties", [False, True])
def test_no_offsets_do_better(metric, bound, groups, ties):
    for seed in range(4 if groups == 2 else 1):
        label, base, group = small(seed, groups, 12 if groups == 2 else 8, ties)
        for shift in orders(base, group):
            after = base + shift
            assert metric(label, np.round(after, 9)) <= bound(scored(label, base, after.round(9), group, 1e-9)) + 1e-9


def test_for_two_groups_the_bound_on_the_auc_is_the_maximum():
    for seed in range(5):
        label, base, group = small(seed, 2)
        best = max(roc_auc_score(label, base + shift) for shift in orders(base, group))
        assert bound_auc(scored(label, base, base, group)) == pytest.approx(best, abs=1e-12)


def test_the_bound_on_the_precision_is_near_the_maximum_of_two_groups():
    gaps = []
    for seed in range(5):
        label, base, group = small(seed, 2)
        best = max(average_precision_score(label, base + shift) for shift in orders(base, group))
        gaps.append(bound_precision(scored(label, base, base, group)) - best)
    assert min(gaps) >= -1e-12
    assert np.mean(gaps) < 0.1


@pytest.mark.parametrize(("metric", "bound"), [(roc_auc_score, bound_auc), (average_precision_score, bound_precision)])
def test_one_group_allows_nothing(metric, bound):
    label, base, _ = small(3, 2, 200)
    assert bound(scored(label, base, base, np.zeros(200, int))) == pytest.approx(metric(label, base), abs=1e-9)


@pytest.mark.parametrize(("metric", "bound"), [(roc_auc_score, bound_auc), (average_precision_score, bound_precision)])
@pytest.mark.parametrize("decimals", [2, 3])
def test_rounding_and_clipping_do_not_pass_for_a_gain(metric, bound, decimals):
    half = 0.5 * 10.0**-decimals
    for seed in range(30):
        rng = np.random.default_rng(seed)
        label, base, group = small(seed, 1 + seed % 4, 80)
        after = np.clip(base + rng.uniform(-0.6, 0.6, 4)[group], 0, 1)
        base, after = base.round(decimals), after.round(decimals)
        assert metric(label, after) <= bound(scored(label, base, after, group, half)) + 1e-9


def test_logits_of_the_ends_are_cut_where_implementations_differ():
    low, high = convert_scale(np.array([0.0, 0.3, 1.0]), np.array([1e-9, 0.3, 1.0]), DeclaredStep("logit_offset"))
    assert low[0] == -np.inf
    assert high[0] == pytest.approx(np.log(1e-6), abs=1e-5)
    assert low[1] == high[1] == pytest.approx(np.log(0.3 / 0.7))
    assert high[2] == np.inf


def test_a_row_of_unknown_group_is_given_the_best():
    label, base, group = small(1, 2)
    group[np.argmax(label == 1)] = -1
    assert bound_auc(scored(label, base, base, group)) >= bound_auc(scored(label, base, base, small(1, 2)[2]))
    assert bound_precision(scored(label, base, base, group)) == 1.0


def test_rows_of_two_groups_tied_at_a_clip_are_granted():
    for seed in range(160, 510):
        rng = np.random.default_rng(seed)
        label, base, group = small(seed, 2, 8)
        decimals = 1 + seed % 2
        after = np.clip(base + rng.uniform(-0.9, 0.9, 2)[group], 0, 1).round(decimals)
        s = scored(label, base.round(decimals), after, group, 0.5 * 10.0**-decimals)
        assert roc_auc_score(label, after) <= bound_auc(s) + 1e-9
