"""A fit of each method of the paper's Table 1 at a tenth of its size, alone and stacked (`make bench`), for what `report speed` projects.

On random contents of the widths of a preset, with the paper's schedule: an epoch, the preparation before it and the prediction of the test
part, on one thread. How many epochs a run takes depends on the data; the projection takes all that it may.
"""

import dataclasses

import numpy as np
import pytest

from methods import registry
from methods.common.stacked import fit_stacked
from tests.speed.alternation import cpu_seconds
from tests.speed.cohorts import PRESETS, random_cohort

PAPER = (
    "crl_mmnar", "cm_ae", "mt", "smil", "grape", "hgmf", "m3care", "com", "drfuse", "missmodal", "flexgen_ehr", "muse", "gru_d",
    "raindrop",
)  # fmt: skip
SIZES = {"MIMIC-like": 20_000, "eICU-like": 50_000}
PART = 10
REPLICAS = 5
METHODS = [pytest.param(name, marks=pytest.mark.measures(title=registry.info(name).title)) for name in PAPER]


def parts(cohort):
    """Training, validation and test part in the shares of a fold of five."""
    order = np.random.default_rng(0).permutation(len(cohort))
    return [cohort.take(rows) for rows in np.split(order, [int(0.68 * len(order)), int(0.8 * len(order))])]


@pytest.mark.slow
@pytest.mark.measures(table="table1", threads=1)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("widths", SIZES)
def test_a_run_of_table_1(benchmark, method, widths):
    cls, n = registry.load(method), SIZES[widths] // PART
    train, valid, test = parts(random_cohort(widths, n, len(PRESETS[widths])))
    config = dataclasses.replace(cls.Config(), batch_size=32, max_epochs=100, patience=100)
    one, two = (dataclasses.replace(config, max_epochs=epochs) for epochs in (1, 2))
    cls(one).fit(train.take(np.arange(64)), valid)  # what a process does once
    benchmark.group = "Table 1 at a tenth of its size"
    first = cpu_seconds(lambda: cls(one).fit(train, valid))
    fitted = cls(two)
    epoch = cpu_seconds(lambda: benchmark.pedantic(lambda: fitted.fit(train, valid), rounds=1)) - first
    found = {
        "seconds": epoch,
        "preparation_seconds": max(0.0, first - epoch),
        "predict_seconds": cpu_seconds(lambda: fitted.predict_proba(test.without_outcomes())),
        "stays": n,
        "part": PART,
        "epochs": config.max_epochs,
        "replicas": REPLICAS,
    }
    if cls.stackable(config):
        first = cpu_seconds(lambda: stack(cls, one, train, valid))
        found["stacked_seconds"] = (cpu_seconds(lambda: stack(cls, two, train, valid)) - first) / REPLICAS
    if not benchmark.disabled:
        benchmark.extra_info |= found
    assert epoch > 0


def stack(cls, config, train, valid):
    """REPLICAS seeds, fitted together."""
    assert (
        fit_stacked([cls(config, seed=seed) for seed in range(REPLICAS)], [(train, valid)] * REPLICAS)
        == [None] * REPLICAS
    )
