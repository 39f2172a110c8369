"""Logistic regression against scikit-learn called directly."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from benchmark.check.cohorts import draw_random_cohort
from methods.common.preprocessing import Preprocessor
from methods.logistic import Config, Logistic


@pytest.fixture(scope="module")
def parts():
    return draw_random_cohort(150, seed=0), draw_random_cohort(80, seed=1), draw_random_cohort(50, seed=2)


def direct(train, cohort, c):
    prep = Preprocessor().fit(train)
    x, later = (np.column_stack([*prep.transform(k).x, k.observed]) for k in (train, cohort))
    out = []
    for y in train.outcomes.T:
        known = ~np.isnan(y)
        out.append(LogisticRegression(C=c, max_iter=1000).fit(x[known], y[known]).predict_proba(later)[:, 1])
    return np.stack(out, axis=1)


def test_equals_scikit_learn_on_the_same_inputs(parts):
    train, valid, test = parts
    p = Logistic(Config(penalties=(0.03,))).fit(train, valid).predict_proba(test)
    np.testing.assert_allclose(p, direct(train, test, 0.03), atol=1e-3)


def test_the_penalty_is_the_best_on_the_validation_part(parts):
    train, valid, test = parts
    penalties = (1e-4, 1e-2, 1.0, 100.0)
    known = ~np.isnan(valid.outcomes)

    def score(c):
        p = direct(train, valid, c)
        return np.mean([roc_auc_score(valid.outcomes[k, t], p[k, t]) for t, k in enumerate(known.T)])

    best = max(penalties, key=score)
    p = Logistic(Config(penalties=penalties)).fit(train, valid).predict_proba(test)
    np.testing.assert_allclose(p, direct(train, test, best), atol=5e-3)
