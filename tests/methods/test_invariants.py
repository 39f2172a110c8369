"""What every registered method must hold, on small cohorts: the contract of ``methods/base.py`` and of the protocol."""

from dataclasses import fields, replace
from functools import cache

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from datasets.cohort import content_fingerprint
from methods import registry
from methods.outcomes import base_rate
from tests.cohorts import random_cohort

METHODS = list(registry.infos())


def make(name, seed=0, **wanted):
    """The method with those of the wanted settings that its Config has; few epochs unless asked otherwise."""
    cls = registry.load(name)
    known = {f.name for f in fields(cls.Config)}
    wanted = {"max_epochs": 2, "rounds": 10, **wanted}
    return cls(cls.Config(**{k: v for k, v in wanted.items() if k in known}), seed=seed)


@cache
def parts():
    return random_cohort(97, seed=0), random_cohort(40, seed=1), random_cohort(60, seed=2)


@cache
def fitted(name):
    """The method on the small cohort, and its prediction of the test part without outcomes."""
    train, valid, test = parts()
    method = make(name).fit(train, valid)
    return method, method.predict_proba(test.without_outcomes())


def spoil(cohort, seed):
    """The cohort with noise, NaN and infinities in the slots of unobserved modalities."""
    rng = np.random.default_rng(seed)
    out = []
    for m, modality in enumerate(cohort.modalities):
        noise = rng.choice([np.nan, np.inf, -np.inf, 1e9, 0.0, -3.0], modality.values.shape).astype(np.float32)
        out.append(replace(modality, values=np.where(cohort.observed[:, m, None], modality.values, noise)))
    return replace(cohort, modalities=tuple(out))


def aucs(cohort, p):
    known = ~np.isnan(cohort.outcomes)
    return [roc_auc_score(cohort.outcomes[k, t], p[k, t]) for t, k in enumerate(known.T)]


@pytest.mark.parametrize("name", METHODS)
def test_gives_probabilities_without_outcomes(name):
    _, p = fitted(name)
    assert p.shape == (60, 2)
    assert p.dtype == np.float64
    assert ((p >= 0) & (p <= 1)).all()
    assert p.std(axis=0).min() > 0


@pytest.mark.parametrize("name", METHODS)
def test_test_outcomes_change_nothing(name):
    method, p = fitted(name)
    test = parts()[2]
    np.testing.assert_array_equal(method.predict_proba(test), p)
    np.testing.assert_array_equal(method.predict_proba(replace(test, outcomes=1 - test.outcomes, fingerprint="")), p)


@pytest.mark.parametrize("name", METHODS)
def test_unobserved_slots_change_nothing_in_fit_or_prediction(name):
    train, valid, test = parts()
    method, p = fitted(name)
    np.testing.assert_array_equal(method.predict_proba(spoil(test, 1)), p)
    again = make(name).fit(spoil(train, 2), spoil(valid, 3))
    np.testing.assert_array_equal(again.predict_proba(spoil(test, 4)), p)


@pytest.mark.parametrize("name", METHODS)
def test_other_rows_do_not_matter(name):
    method, p = fitted(name)
    test = parts()[2].without_outcomes()
    for rows in (np.random.default_rng(0).permutation(60), np.arange(7, 31), np.array([5])):
        np.testing.assert_allclose(method.predict_proba(test.take(rows)), p[rows], atol=1e-6, rtol=0)
    assert method.predict_proba(test.take(np.arange(0))).shape == (0, 2)


@pytest.mark.parametrize("name", METHODS)
def test_seed_decides_whatever_else_was_drawn(name):
    train, valid, test = parts()
    _, p = fitted(name)
    torch.manual_seed(77)
    np.random.seed(77)  # noqa: NPY002
    np.testing.assert_array_equal(make(name).fit(train, valid).predict_proba(test), p)


@pytest.mark.parametrize("name", METHODS)
def test_arguments_are_left_as_they_were(name):
    cohorts = [random_cohort(60, seed=s) for s in (0, 1, 2)]
    before = [content_fingerprint(c) for c in cohorts]
    raw = [[m.values.copy() for m in c.modalities] for c in cohorts]
    make(name, max_epochs=1).fit(*cohorts[:2]).predict_proba(cohorts[2])
    assert [content_fingerprint(c) for c in cohorts] == before
    for cohort, old in zip(cohorts, raw, strict=True):
        for m, values in zip(cohort.modalities, old, strict=True):
            np.testing.assert_array_equal(m.values, values)


@pytest.mark.parametrize("name", METHODS)
def test_learns_an_easy_cohort_and_nothing_from_shuffled_outcomes(name):
    train, valid, test = (random_cohort(n, seed=s) for n, s in ((300, 0), (100, 1), (500, 2)))
    settings = {"max_epochs": 12, "lr": 1e-3, "rounds": 40}
    assert min(aucs(test, make(name, **settings).fit(train, valid).predict_proba(test))) > 0.7
    rng = np.random.default_rng(0)
    shuffled = [replace(c, outcomes=c.outcomes[rng.permutation(len(c))], fingerprint="") for c in (train, valid, test)]
    method = make(name, **{**settings, "max_epochs": 5}).fit(*shuffled[:2])
    for auc in aucs(shuffled[2], method.predict_proba(shuffled[2])):
        assert abs(auc - 0.5) < 0.11  # four standard errors at 450 labelled stays


def single_class(train):
    y = np.where(np.isnan(train.outcomes), np.nan, [0, np.nan]).astype(np.float32)
    y[:, 1] = train.outcomes[:, 1]
    return replace(train, outcomes=y, fingerprint="")


def never_labelled(train):
    y = train.outcomes.copy()
    y[:, 0] = np.nan
    return replace(train, outcomes=y, fingerprint="")


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("spoil_task", [single_class, never_labelled])
def test_a_task_with_one_class_gets_its_smoothed_base_rate(name, spoil_task):
    train, valid, test = parts()
    train = spoil_task(train)
    p = make(name, max_epochs=1).fit(train, valid).predict_proba(test)
    np.testing.assert_allclose(p[:, 0], base_rate(train.outcomes)[0], atol=1e-9)
    assert p[:, 1].std() > 0


def few(train, valid, test):
    return train.take(np.arange(20)), valid.take(np.arange(6)), test


def absent_in_training(train, valid, test):
    """Nobody in training has the last modality: later stays that do have a pattern never seen."""
    observed = train.observed.copy()
    observed[:, 2] = False
    return replace(train, observed=observed, fingerprint=""), valid, test


def nothing_observed(train, valid, test):
    out = []
    for c in (train, valid, test):
        observed = c.observed.copy()
        observed[:5] = False
        out.append(replace(c, observed=observed, fingerprint=""))
    return tuple(out)


def valid_without_outcomes(train, valid, test):
    return train, valid.without_outcomes(), test


def valid_with_one_class(train, valid, test):
    y = np.where(np.isnan(valid.outcomes), np.nan, 0).astype(np.float32)
    return train, replace(valid, outcomes=y, fingerprint=""), test


def one_row_left_over(train, valid, test):
    """A last batch of one stay, for batches of 32."""
    return train.take(np.arange(65)), valid, test


def one_modality(train, valid, test):
    return tuple(
        replace(c, modalities=c.modalities[:1], observed=c.observed[:, :1], fingerprint="")
        for c in (train, valid, test)
    )


ODD = [
    few,
    absent_in_training,
    nothing_observed,
    valid_without_outcomes,
    valid_with_one_class,
    one_row_left_over,
    one_modality,
]


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("odd", ODD)
def test_odd_cohorts_get_finite_probabilities(name, odd):
    train, valid, test = odd(*parts())
    p = make(name).fit(train, valid).predict_proba(test)
    assert p.shape == (60, 2)
    assert np.isfinite(p).all()
    assert ((p >= 0) & (p <= 1)).all()
