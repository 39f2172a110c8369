"""Beyond the conformance suite: this repository's methods answer a task without two classes with its smoothed base rate."""

import numpy as np
import pytest

from benchmark.check.cohorts import draw_random_cohort, replace_fields
from methods import registry
from methods.common.outcomes import base_rate


def single_class(y):
    return np.where(np.isnan(y), np.nan, 0)


def never_labelled(y):
    return np.full_like(y, np.nan)


@pytest.mark.parametrize("name", list(registry.infos()))
@pytest.mark.parametrize("spoil", [single_class, never_labelled])
def test_a_task_with_one_class_gets_its_smoothed_base_rate(name, spoil):
    train, valid, test = (draw_random_cohort(n, seed=s) for s, n in enumerate((97, 40, 60)))
    outcomes = train.outcomes.copy()
    outcomes[:, 0] = spoil(outcomes[:, 0])
    cls = registry.load(name)
    brief = {"max_epochs": 1} if hasattr(cls.Config(), "max_epochs") else {}
    p = cls(cls.Config(**brief)).fit(replace_fields(train, outcomes=outcomes), valid).predict_proba(test)
    np.testing.assert_allclose(p[:, 0], base_rate(outcomes)[0], atol=1e-9)
    assert p[:, 1].std() > 0
