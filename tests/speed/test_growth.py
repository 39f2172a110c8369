"""What an epoch of each method costs, and what comes before the first one, as stays and modalities grow (`make bench`).

Each round fits the plain network (``zero_fill``) and then the method, for one epoch and for two, on the same stays and one thread; times
are CPU times of this process, of each fit the least over the rounds, since what disturbs it only adds. The second epoch is the difference;
the rest of the first fit is preparation. A method that trains in stages has an epoch in each. At the smallest size, the test suite runs
each method once, untimed.
"""

import dataclasses

import numpy as np
import pytest

from methods import registry
from methods.common.training import TorchMethod
from tests.speed.alternation import cpu_seconds
from tests.speed.cohorts import random_cohort

PLAIN = "zero_fill"
TORCH = [
    pytest.param(name, marks=pytest.mark.measures(title=info.title))
    for name, info in registry.infos().items()
    if issubclass(registry.load(name), TorchMethod)
]
ROUNDS, STAYS = 9, 10_000
"""So many rounds at most, and fewer where they have more stays than this in all, but one."""
CASES = [
    ("eICU-like", 200, 10),
    *(("eICU-like", n, 10) for n in (2_000, 5_000, 20_000, 50_000)),
    *(("eICU-like", 2_000, m) for m in (2, 4, 8, 12)),
    *(("MIMIC-like", n, 4) for n in (2_000, 20_000)),
]


def fit(name, cohort, epochs):
    """The method after so many epochs, in each of its stages, in batches of 128."""
    cls = registry.load(name)
    stages = dict.fromkeys(cls.stage_lengths, epochs)
    config = dataclasses.replace(cls.Config(), **{"max_epochs": epochs, "batch_size": 128} | stages)
    return cls(config, seed=0).fit(cohort, cohort.take(np.arange(64)))


@pytest.mark.measures(table="growth", threads=1)
@pytest.mark.parametrize("method", TORCH)
@pytest.mark.parametrize(
    ("widths", "n", "m"),
    [pytest.param(*case, marks=[pytest.mark.slow] * (case[1] > 200), id="{}-N{}-M{}".format(*case)) for case in CASES],
)
def test_one_epoch(benchmark, method, widths, n, m):
    cohort = random_cohort(widths, n, m)
    plain_one, plain_two, one = [], [], []

    def before():
        for found, name, epochs in ((plain_one, PLAIN, 1), (plain_two, PLAIN, 2), (one, method, 1)):
            found.append(cpu_seconds(lambda name=name, epochs=epochs: fit(name, cohort, epochs)))

    benchmark.group = f"preparation and two epochs, {widths} widths, N = {n}, M = {m}"
    if not benchmark.disabled:
        for name in (PLAIN, method):  # what a process does once
            fit(name, cohort.take(np.arange(64)), 1)
    fitted = benchmark.pedantic(
        lambda: fit(method, cohort, 2), setup=None if benchmark.disabled else before, rounds=min(ROUNDS, -(-STAYS // n))
    )
    assert {entry["epoch"] for entry in fitted.history} == {1, 2}  # in each stage
    if not benchmark.disabled:
        two = benchmark.stats.stats.data
        benchmark.extra_info |= of_epochs(*map(min, (one, two, plain_one, plain_two)))
        benchmark.extra_info["features"] = sum(modality.width for modality in cohort.modalities)


def of_epochs(one, two, plain_one, plain_two):
    """From the seconds of fits of one and of two epochs, of the method and of the plain network: an epoch of each, what comes before the
    method's first, and both as ratios to the plain epoch."""
    epoch, plain_epoch = two - one, plain_two - plain_one
    return {
        "seconds": epoch,
        "beside_seconds": plain_epoch,
        "ratio": epoch / plain_epoch,
        "preparation_seconds": one - epoch,
        "preparation_ratio": (one - epoch) / plain_epoch,
    }


def test_the_second_epoch_is_the_difference_and_the_rest_of_the_first_fit_is_preparation():
    found = of_epochs(one=7.0, two=10.0, plain_one=2.0, plain_two=3.5)
    assert found == {
        "seconds": 3.0,
        "beside_seconds": 1.5,
        "ratio": 2.0,
        "preparation_seconds": 4.0,
        "preparation_ratio": pytest.approx(4 / 1.5),
    }
