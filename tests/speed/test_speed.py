"""Seconds side by side, read as ratios within a group (`make bench`); in the test suite each runs once, untimed."""

import dataclasses

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from benchmark.conformance.cohorts import random_series
from datasets.cohort import Cohort, Modality
from datasets.registry import DATASETS, prepare
from methods import registry
from methods.training import TorchMethod
from results.bootstrap import weighted_metrics

MIMIC_WIDTHS = {"S": 36, "I": 1376, "T": 768, "R": 768}
TORCH = [name for name in registry.infos() if issubclass(registry.load(name), TorchMethod)]


def wide_cohort(n, seed=0):
    """Random contents of the sizes of MIMIC-IV."""
    rng = np.random.default_rng(seed)
    observed = rng.random((n, len(MIMIC_WIDTHS))) < (1.0, 0.26, 0.75, 0.85)
    modalities = tuple(
        Modality(name, rng.normal(size=(n, d)).astype(np.float32), tuple(f"{name}{j}" for j in range(d)))
        for name, d in MIMIC_WIDTHS.items()
    )
    outcomes = (rng.random((n, 2)) < 0.2).astype(np.float32)
    series = random_series(rng.normal(size=n), rng, bins=24, channels=10)
    return Cohort(
        "wide", "made", np.arange(n), modalities, observed, outcomes, ("readmission_30d", "icu_90d"), series=series
    )


@pytest.fixture(scope="module")
def cohorts():
    made = {}
    return lambda n: made.setdefault(n, wide_cohort(n))


@pytest.mark.parametrize(
    "n", [200, pytest.param(2_000, marks=pytest.mark.slow), pytest.param(20_000, marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("name", TORCH)
def test_one_epoch(benchmark, cohorts, name, n):
    """Against ``zero_fill``, the plain concatenation network, on the same stays in batches of 128."""
    import torch

    torch.set_num_threads(1)
    cohort, cls = cohorts(n), registry.load(name)
    config = dataclasses.replace(cls.Config(), max_epochs=1, batch_size=128)
    benchmark.group = f"preparation and one epoch, N = {n}"
    method = benchmark.pedantic(
        lambda: cls(config, seed=0).fit(cohort, cohort.take(np.arange(64))), rounds=3 if n < 20_000 else 1
    )
    assert {entry["epoch"] for entry in method.history} == {1}  # one in each stage


@pytest.mark.parametrize("how", ["vectorised", "one by one with scikit-learn"])
def test_bootstrap_of_an_auc(benchmark, how):
    rng = np.random.default_rng(0)
    n, resamples = 400, 200
    label, probability = (rng.random(n) < 0.2).astype(float), rng.random(n)
    weights = rng.multinomial(n, np.full(n, 1 / n), size=resamples)
    benchmark.group = "bootstrap of one fold, 200 resamples"
    if how == "vectorised":
        values = benchmark(lambda: weighted_metrics(label, probability, weights)["auc"])
    else:
        values = benchmark(lambda: [roc_auc_score(label, probability, sample_weight=w) for w in weights])
    assert np.mean(values) == pytest.approx(0.5, abs=0.1)


def test_loading_a_built_cohort(benchmark, tmp_path):
    assert "embedded-mimic" in DATASETS
    dataset = prepare("embedded-mimic", {"n": 400, "draws": 16}, tmp_path)
    benchmark.group = "a built cohort of 400 stays, memory-mapped"
    assert len(benchmark(lambda: dataset.cohort("stay"))) == 400
