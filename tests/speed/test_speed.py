"""Statistics and loading, read as ratios within a group (`make bench`); in the test suite each runs once, untimed."""

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch_geometric.utils import scatter

from datasets.registry import DATASETS, prepare
from results.statistics.bootstrap import compute_weighted_metrics


@pytest.mark.parametrize("how", ["vectorised", "one by one with scikit-learn"])
def test_bootstrap_of_an_auc(benchmark, how):
    rng = np.random.default_rng(0)
    n, resamples = 400, 200
    label, probability = (rng.random(n) < 0.2).astype(float), rng.random(n)
    weights = rng.multinomial(n, np.full(n, 1 / n), size=resamples)
    benchmark.group = "bootstrap of one fold, 200 resamples"
    if how == "vectorised":
        values = benchmark(lambda: compute_weighted_metrics(label, probability, weights)["auc"])
    else:
        values = benchmark(lambda: [roc_auc_score(label, probability, sample_weight=w) for w in weights])
    assert np.mean(values) == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize("how", ["scatter of torch_geometric", "index_add of torch"])
def test_sums_of_raindrops_messages(benchmark, how):
    stays, steps, sensors = 128, 72, 36
    rng = torch.Generator().manual_seed(0)
    read = torch.rand(stays, steps, sensors, generator=rng) < 0.1
    step = read.flatten().nonzero().squeeze(1) // sensors
    weighted = torch.randn(len(step), sensors, generator=rng, requires_grad=True)

    def sums_with_gradients():
        if how.startswith("scatter"):
            sums = scatter(weighted, step, dim_size=stays * steps)
        else:
            sums = weighted.new_zeros(stays * steps, sensors).index_add(0, step, weighted)
        return sums, torch.autograd.grad(sums.square().sum(), weighted)[0]

    benchmark.group = "messages of 128 stays to the sensors of each step, and gradients"
    sums, gradient = benchmark(sums_with_gradients)
    torch.testing.assert_close(sums.sum(0), weighted.sum(0), atol=1e-2, rtol=0)
    torch.testing.assert_close(gradient, 2 * sums[step])


def test_loading_a_built_cohort(benchmark, tmp_path):
    assert "embedded-mimic" in DATASETS
    dataset = prepare("embedded-mimic", {"n": 400, "draws": 16}, tmp_path)
    benchmark.group = "a built cohort of 400 stays, memory-mapped"
    assert len(benchmark(lambda: dataset.cohort("stay"))) == 400
