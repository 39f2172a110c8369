"""Replicas trained at once: the same as alone where nothing is drawn within a step, like another seed where something is."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from benchmark.check.cohorts import draw_random_cohort
from methods import registry
from methods.common.stacked import Replica, fit_stacked, group_into_stacks
from methods.common.training import Output, TorchMethod, TrainingConfig
from methods.hgmf import OWN_MAPS

STACKABLE = [name for name in registry.infos() if registry.load(name).stackable(registry.load(name).Config())]
NOTHING_DRAWN = {
    "zero_fill": {"dropout": 0.0},
    "crl_mmnar": {"dropout": 0.0, "attention_dropout": 0.0, "decoder_dropout": 0.0, "pretrain_epochs": 3, "lr": 1e-4},
    "hgmf": {"dropout": 0.0, "attention_dropout": 0.0},
    "hgmf:own_maps": {"dropout": 0.0, "attention_dropout": 0.0, **OWN_MAPS},
    "grape": {"known": 1.0},
    "mt": {"policy": "mid", "dropout": 0.0, "random_views": 0},
}


@pytest.fixture(scope="module")
def cohort():
    return draw_random_cohort(160, seed=3)


def parts(cohort, seed, n=96):
    """Another training and validation part for each seed."""
    order = np.random.default_rng(seed).permutation(len(cohort))
    return cohort.take(order[:n]), cohort.take(order[n:136])


def both(name, cohort, sizes=(96, 96, 96), **changes):
    """Three replicas, stacked and alone, each with a part and a seed of its own."""
    cls = registry.load(name.partition(":")[0])
    config = replace(cls.Config(), **({"max_epochs": 5, "batch_size": 32, "lr": 1e-3} | changes))
    pairs = [parts(cohort, seed, n) for seed, n in enumerate(sizes)]
    stacked = [cls(config, seed=seed) for seed in range(len(pairs))]
    faults = fit_stacked(stacked, pairs)
    alone = [cls(config, seed=seed).fit(*pair) for seed, pair in enumerate(pairs)]
    return stacked, alone, faults


@pytest.mark.parametrize("name", NOTHING_DRAWN)
def test_where_nothing_is_drawn_a_stack_gives_what_each_gives_alone(cohort, name):
    stacked, alone, faults = both(name, cohort, patience=2, **NOTHING_DRAWN[name])
    assert faults == [None] * 3
    for one, other in zip(stacked, alone, strict=True):
        assert [entry["epoch"] for entry in one.history] == [entry["epoch"] for entry in other.history]
        # to rounding, which grows: a unit at 0 is on or off by it, and Adam divides a gradient that is 0 by its size
        assert [e["loss"] for e in one.history] == pytest.approx([e["loss"] for e in other.history], abs=5e-3)
        np.testing.assert_allclose(one.predict_proba(cohort), other.predict_proba(cohort), atol=0.02)
    assert not np.allclose(stacked[0].predict_proba(cohort), stacked[1].predict_proba(cohort), atol=0.05)


def test_each_replica_stops_when_its_own_validation_part_says_so(cohort):
    stacked, alone, _ = both("zero_fill", cohort, max_epochs=30, patience=1, dropout=0.0, lr=1e-2)
    epochs = [len(method.history) for method in stacked]
    assert epochs == [len(method.history) for method in alone]
    assert len(set(epochs)) > 1


@pytest.mark.parametrize("name", STACKABLE)
def test_every_method_that_says_so_can_be_stacked(cohort, name):
    cls = registry.load(name)
    config = replace(cls.Config(), max_epochs=2, batch_size=32)
    methods = [cls(config, seed=seed) for seed in range(2)]
    alone = cls(config).fit(*parts(cohort, 0))
    assert fit_stacked(methods, [parts(cohort, seed) for seed in range(2)]) == [None, None]
    for method in methods:
        assert [(e["epoch"], e.get("stage")) for e in method.history] == [
            (e["epoch"], e.get("stage")) for e in alone.history
        ]
        assert [set(entry) for entry in method.history] == [set(entry) for entry in alone.history]
        assert method.config == config
        predicted = method.predict_proba(cohort)
        assert ((predicted > 0) & (predicted < 1)).all()
        again = cls(config, seed=method.seed).load_state(method.state())
        np.testing.assert_array_equal(again.predict_proba(cohort), predicted)


def test_the_documentation_names_the_methods_that_can_be_stacked():
    text = (Path(__file__).parents[2] / "docs" / "running.md").read_text()
    said = (
        " ".join(text.split())
        .partition("Stacked are ")[2]
        .partition(";")[0]
        .replace(" (with one head for all tasks)", "")
    )
    assert sorted(said.replace(" and ", ", ").split(", ")) == sorted(STACKABLE)


@pytest.mark.slow
@pytest.mark.parametrize("name", STACKABLE)
def test_stacked_metrics_are_those_of_other_seeds(name):
    """Mean difference of the last stage's validation score, stacked less alone, over 30 replicas: within three standard errors."""
    from datasets.registry import prepare

    cohort = prepare("embedded-mimic", {"n": 500, "draws": 16}).cohort("discharge")
    cls = registry.load(name)
    config = replace(cls.Config(), max_epochs=15, batch_size=64)
    rows = np.arange(len(cohort)) % 5
    pairs = [
        (cohort.take(np.flatnonzero(rows != k % 5)), cohort.take(np.flatnonzero(rows == k % 5))) for k in range(30)
    ]
    stacked = [cls(config, seed=seed) for seed in range(30)]
    assert fit_stacked(stacked, pairs) == [None] * 30
    alone = [cls(config, seed=100 + seed).fit(*pair) for seed, pair in enumerate(pairs)]
    last = stacked[0].history[-1].get("stage")
    best = [[max(e["valid"] for e in m.history if e.get("stage") == last) for m in of] for of in (stacked, alone)]
    difference = np.subtract(*best)
    assert abs(difference.mean()) < 3 * difference.std(ddof=1) / len(difference) ** 0.5


def test_parts_that_differ_by_a_stay_share_a_stack_and_parts_that_differ_by_more_do_not(cohort):
    cls = registry.load("zero_fill")
    sizes = (110, 111, 80)
    replicas = [Replica(i, cls(seed=i), parts(cohort, i, n)) for i, n in enumerate(sizes)]
    assert all(replica.next_stage() for replica in replicas)
    stacks = group_into_stacks(replicas)
    assert [[replica.number for replica in stack] for stack in stacks] == [[2], [0, 1]]
    _, _, faults = both("zero_fill", cohort, sizes=sizes)
    assert faults == [None] * 3


class Scaled(nn.Module):
    def __init__(self, width, tasks):
        super().__init__()
        self.net = nn.Linear(width, tasks)
        self.register_buffer("scale", torch.ones(()))

    def forward(self, batch):
        return Output(self.net(batch.x[0]) * self.scale, {})


class Breakable(TorchMethod):
    """Its loss is not a number for one seed."""

    def build(self, widths, tasks):
        module = Scaled(widths[0], len(tasks))
        if self.seed == 1:
            module.scale.fill_(torch.nan)
        return module


class Narrow(Breakable):
    """Its logits have one column, whatever the tasks."""

    def build(self, widths, tasks):
        return super().build(widths, tasks[:1])


class Loose(Breakable):
    """Its module holds a tensor that no state knows."""

    def build(self, widths, tasks):
        module = super().build(widths, tasks)
        module.hidden = torch.zeros(2)
        return module


def test_logits_of_another_shape_are_refused_by_name_in_a_stack_too(cohort):
    pairs = [parts(cohort, seed) for seed in (0, 2)]
    methods = [Narrow(TrainingConfig(max_epochs=1), seed=seed) for seed in (0, 2)]
    with pytest.raises(
        ValueError, match=r"Narrow: the module's Output.logits have shape \[32, 1\], expected \[B, T\] = \[32, 2\]"
    ):
        fit_stacked(methods, pairs)


def test_a_replica_that_diverges_takes_no_other_with_it(cohort):
    config = TrainingConfig(max_epochs=3, lr=1e-2)
    pairs = [parts(cohort, seed) for seed in range(3)]
    methods = [Breakable(config, seed=seed) for seed in range(3)]
    faults = fit_stacked(methods, pairs)
    assert [type(fault) for fault in faults] == [type(None), FloatingPointError, type(None)]
    assert "epoch 1; try a smaller lr" in str(faults[1])
    for seed in (0, 2):
        alone = Breakable(config, seed=seed).fit(*pairs[seed])
        np.testing.assert_allclose(methods[seed].predict_proba(cohort), alone.predict_proba(cohort), atol=1e-5)


def test_what_cannot_be_stacked_is_refused(cohort):
    pair = parts(cohort, 0)
    zero_fill, gru_d = registry.load("zero_fill"), registry.load("gru_d")
    with pytest.raises(ValueError, match="one method with one configuration"):
        fit_stacked([zero_fill(), zero_fill(zero_fill.Config(lr=1.0))], [pair, pair])
    with pytest.raises(ValueError, match="cannot be stacked"):
        fit_stacked([gru_d(), gru_d(seed=1)], [pair, pair])
    with pytest.raises(ValueError, match=r"hidden must be a buffer"):
        fit_stacked([Loose(), Loose(seed=2)], [pair, pair])


def test_tasks_with_one_class_are_answered_with_their_base_rate(cohort):
    outcomes = cohort.outcomes.copy()
    outcomes[:, 0] = 0
    constant = replace(cohort, outcomes=outcomes)
    cls = registry.load("zero_fill")
    methods = [cls(replace(cls.Config(), max_epochs=2), seed=seed) for seed in range(2)]
    assert fit_stacked(methods, [parts(constant, 0), parts(cohort, 1)]) == [None, None]
    assert len(np.unique(methods[0].predict_proba(cohort)[:, 0])) == 1
    assert len(np.unique(methods[1].predict_proba(cohort)[:, 0])) > 1
