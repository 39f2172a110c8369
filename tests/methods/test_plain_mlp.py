"""The plain neural baselines: what each of them can and cannot see."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmark.check.cohorts import draw_random_cohort
from methods.common.plain_mlp import Config, PlainMlp
from methods.common.training import Batch
from methods.mean_impute import MeanImpute
from methods.s_only import SOnly
from methods.zero_fill import ZeroFill


@pytest.fixture(scope="module")
def parts():
    return draw_random_cohort(120, seed=0), draw_random_cohort(60, seed=1), draw_random_cohort(50, seed=2)


def fitted(cls, parts):
    return cls(Config(max_epochs=3, lr=1e-3)).fit(*parts[:2])


def with_observed(cohort, change):
    observed = cohort.observed.copy()
    change(observed)
    filled = tuple(replace(m, values=np.nan_to_num(m.values)) for m in cohort.modalities)
    return replace(cohort, modalities=filled, observed=observed, fingerprint="")


def test_s_only_sees_neither_the_other_modalities_nor_their_pattern(parts):
    method, test = fitted(SOnly, parts), parts[2]
    base = with_observed(test, lambda o: None)
    other = with_observed(test, lambda o: np.logical_not(o[:, 1:], out=o[:, 1:]))
    np.testing.assert_array_equal(method.predict_proba(base), method.predict_proba(other))
    first = with_observed(test, lambda o: np.logical_not(o[:, 0], out=o[:, 0]))
    assert (method.predict_proba(base) != method.predict_proba(first)).any()


@pytest.mark.parametrize(("cls", "sees_pattern"), [(MeanImpute, False), (ZeroFill, True)])
def test_a_slot_equals_the_training_mean_but_for_the_pattern(parts, cls, sees_pattern):
    train, valid = (draw_random_cohort(120, seed=s) for s in (0, 1))
    complete = [
        replace(c, modalities=tuple(replace(m, values=np.nan_to_num(m.values)) for m in c.modalities))
        for c in (train, valid)
    ]
    method = cls(Config(max_epochs=3, lr=1e-3)).fit(*(replace(c, fingerprint="") for c in complete))
    train = complete[0]
    mean = train.modalities[2].values[train.observed[:, 2]].astype(np.float64).mean(axis=0).astype(np.float32)
    imputed = replace(
        train.modalities[2], values=np.where(train.observed[:, 2, None], train.modalities[2].values, mean)
    )
    observed = train.observed.copy()
    observed[:, 2] = True
    by_hand = replace(train, modalities=(*train.modalities[:2], imputed), observed=observed, fingerprint="")
    gap = np.abs(method.predict_proba(by_hand) - method.predict_proba(train)).max()
    assert (gap > 1e-4) == sees_pattern
    assert gap < 1e-5 or sees_pattern


def test_network_is_the_three_affine_maps_of_its_docstring():
    torch.manual_seed(0)
    net = PlainMlp((3, 2), 2, Config(hidden=4), pattern=True).eval()
    x, observed = (torch.randn(5, 3), torch.randn(5, 2)), torch.rand(5, 2) < 0.5
    flat = torch.cat([x[0] * observed[:, :1], x[1] * observed[:, 1:], observed.float()], dim=1)
    a, b, c = (m for m in net.net if isinstance(m, torch.nn.Linear))
    expected = c(torch.relu(b(torch.relu(a(flat)))))
    torch.testing.assert_close(net(Batch(x, observed, {})).logits, expected)
