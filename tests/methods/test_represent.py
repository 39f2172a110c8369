"""The vector that a stay's prediction passes through, for every method that has one."""

import numpy as np
import pytest
import torch

from benchmark.check.cohorts import draw_random_cohort, spoil_unobserved
from methods import registry

HEADS = {
    "s_only": lambda net: net.net[-1],
    "mean_impute": lambda net: net.net[-1],
    "zero_fill": lambda net: net.net[-1],
    "cm_ae": lambda net: net.head,
    "com": lambda net: net.fuse.head,
    "crl_mmnar": lambda net: lambda h: torch.cat([head(h) for head in net.heads], dim=1),
    "crl_mmnar:concat": lambda net: lambda h: torch.cat([head(h) for head in net.heads], dim=1),
    "flexgen_ehr": lambda net: net.head.net,
    "grape": lambda net: lambda h: net.predict(net.impute_row(h, net.states[-1])),
    "gru_d": lambda net: net.head,
    "gru_d:modality_as_sensor": lambda net: net.head,
    "hgmf": lambda net: net.head,
    "m3care": lambda net: net.net.head,
    "missmodal": lambda net: net.predict,
    "mt": lambda net: net.head,
    "muse": lambda net: net.head,
    "raindrop": lambda net: net.head,
    "smil": lambda net: net.core.fc2,
}
NONE = ("logistic", "gbdt", "drfuse", "smil:paper", "muse:per_task", "muse:as_released", "m3care:transductive")
"""No network, a vector for each task, means over noise, a network a task, vectors that depend on the batch."""
CUTS = {"smil:paper": {"samples": 2}, "flexgen_ehr": {"synthetic": 0.0}}


def fitted(spec):
    name, _, variant = spec.partition(":")
    cls = registry.load(name)
    fields = cls.variants.get(variant, {}) | ({"max_epochs": 1} if hasattr(cls.Config(), "max_epochs") else {})
    return cls(cls.Config(**fields | CUTS.get(spec, {})), 0).fit(
        draw_random_cohort(90, seed=0), draw_random_cohort(50, seed=1)
    )


@pytest.mark.parametrize("spec", HEADS)
def test_probabilities_follow_from_the_representation_alone(spec):
    method, test = fitted(spec), draw_random_cohort(40, seed=2).without_outcomes()
    h = method.represent(test)
    assert (h.dtype, h.ndim, len(h)) == (np.float32, 2, 40)
    with torch.inference_mode():
        logits = HEADS[spec](method.module.eval())(torch.from_numpy(h)) + method.offset
    np.testing.assert_allclose(torch.sigmoid(logits.double()), method.predict_proba(test), atol=1e-6)
    np.testing.assert_array_equal(method.represent(test), h)
    np.testing.assert_array_equal(method.represent(spoil_unobserved(test, 3)), h)
    some = [7, 31, 2]
    np.testing.assert_allclose(method.represent(test.take(some)), h[some], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("spec", NONE)
def test_none_where_no_one_vector_decides(spec):
    assert fitted(spec).represent(draw_random_cohort(10, seed=2).without_outcomes()) is None
