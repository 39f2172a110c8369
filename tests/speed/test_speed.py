"""Statistics and loading, read as ratios within a group (`make bench`); in the test suite each runs once, untimed."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

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


def test_loading_a_built_cohort(benchmark, tmp_path):
    assert "embedded-mimic" in DATASETS
    dataset = prepare("embedded-mimic", {"n": 400, "draws": 16}, tmp_path)
    benchmark.group = "a built cohort of 400 stays, memory-mapped"
    assert len(benchmark(lambda: dataset.cohort("stay"))) == 400
