"""A training step of ours against that of a public implementation, in alternation: `make peers`, then `make bench`."""

from contextlib import nullcontext

import numpy as np
import pytest

from methods import registry
from tests.speed.alternation import alternate
from tests.speed.cohorts import PRESETS, random_cohort
from tests.speed.peer import Peer, needs_peers

pytestmark = [pytest.mark.slow, needs_peers, pytest.mark.measures(table="public", threads=1)]
STEP, PREPARATION = "training step", "preparation"
WIDTHS = [shape.width for shape in PRESETS["MIMIC-like"]]
STAYS = 512
VECTORS = f"{STAYS} stays, widths {', '.join(map(str, WIDTHS))}"


def training_step(name, cohort, **changes):
    """A function that does one training step of method ``name`` on all stays of ``cohort``."""
    import torch

    cls = registry.load(name)
    config = cls.Config(max_epochs=1, batch_size=len(cohort), **changes)
    method = cls(config).fit(cohort, cohort.take(np.arange(8)))
    batch = method._batch(cohort, outcomes=True)
    method.module.train()
    weights = torch.tensor(method.task_weights(cohort.tasks))
    optimiser = torch.optim.AdamW(method.module.parameters(), lr=config.lr, fused=True)
    return lambda: method._step(batch, weights, optimiser, nullcontext, None)


def compare(benchmark, peer, ours, name="step", rounds=15):
    """Rounds of ours, each after the peer's step ``name``."""
    try:
        ours()
        alternate(benchmark, ours, lambda: peer.step(name), rounds)
    finally:
        peer.close()


def vectors():
    """STAYS stays of WIDTHS."""
    return random_cohort("MIMIC-like", STAYS, len(WIDTHS))


@pytest.mark.benchmark(group=STEP)
@pytest.mark.measures(what=STEP, title="M3Care", against="iMML", sizes=VECTORS)
def test_m3care_against_imml(benchmark):
    compare(benchmark, Peer("m3care", STAYS, *WIDTHS), training_step("m3care", vectors()))


@pytest.mark.benchmark(group=STEP)
@pytest.mark.measures(what=STEP, title="MUSE", against="iMML", sizes=VECTORS)
def test_muse_against_imml(benchmark):
    compare(benchmark, Peer("muse", STAYS, *WIDTHS), training_step("muse", vectors()))


@pytest.mark.benchmark(group=PREPARATION)
@pytest.mark.measures(
    what="edge dropping", title="MUSE", against="iMML", sizes=f"{STAYS} stays, {len(WIDTHS)} modalities"
)
def test_edge_dropping_against_imml(benchmark):
    import torch

    from methods.muse_graph import drop_edges

    observed = torch.rand(STAYS, len(WIDTHS)) < 0.8
    compare(benchmark, Peer("muse", STAYS, *WIDTHS), lambda: drop_edges(observed, "code"), name="edge_drop")


GRU_D = 128, 48, 34, 64
"""Stays in a batch, steps, variables and units: the sizes of the design card, also in ``tests/peers/gru_d.py``."""
PREPARED = 200
"""Stays whose deltas are made, also there."""
RAINDROP = 64, 48, 34
"""Stays in a batch, steps and sensors, also in ``tests/peers/raindrop.py``."""


def random_series(b, s, f):
    import torch

    torch.manual_seed(0)
    mask = torch.rand(b, s, f) < 0.3
    return {"values": torch.randn(b, s, f), "mask": mask, "hours": torch.arange(s).float().expand(b, s)}


@pytest.mark.benchmark(group=STEP)
@pytest.mark.measures(
    what=STEP, title="GRU-D", against="PyPOTS", sizes="{} stays, {} steps, {} variables, {} units".format(*GRU_D)
)
def test_gru_d_against_pypots(benchmark):
    """The recurrence with a linear head, without dropout, which PyPOTS has none of."""
    import torch

    from methods.gru_d_cell import GruD, steps

    b, s, f, h = GRU_D
    mean, y = torch.zeros(f), torch.randint(2, (b,))
    given = steps(**random_series(b, s, f), mean=mean)
    net, head = GruD(f, h, "paper", 0.0, "uniform"), torch.nn.Linear(h, 2)
    optimiser = torch.optim.Adam([*net.parameters(), *head.parameters()], lr=1e-3)

    def step():
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(head(net(**given, mean=mean)), y).backward()
        optimiser.step()

    compare(benchmark, Peer("gru_d", "serve"), step)


@pytest.mark.benchmark(group=PREPARATION)
@pytest.mark.measures(
    what="deltas and last observations",
    title="GRU-D",
    against="PyPOTS",
    sizes=f"{PREPARED} stays, {GRU_D[1]} steps, {GRU_D[2]} variables",
)
def test_deltas_and_last_observations_against_pypots(benchmark):
    import torch

    from methods.gru_d_cell import steps

    _, s, f, _ = GRU_D
    given = random_series(PREPARED, s, f)
    compare(benchmark, Peer("gru_d", "serve"), lambda: steps(**given, mean=torch.zeros(f)), name="prepare")


@pytest.mark.benchmark(group=STEP)
@pytest.mark.measures(
    what=STEP, title="Raindrop", against="PyPOTS", sizes="{} stays, {} steps, {} sensors".format(*RAINDROP)
)
def test_raindrop_against_pypots(benchmark):
    """What the released code computes."""
    import torch

    from methods.raindrop import Config, RaindropModule
    from methods.training import Batch

    b, s, f = RAINDROP
    net = RaindropModule((1,), 2, f, s, Config(variant="released")).train()
    optimiser = torch.optim.AdamW(net.parameters(), lr=1e-4, fused=True)
    series = random_series(b, s, f) | {"mask": torch.ones(b, s, f, dtype=torch.bool)}
    given, y = Batch((torch.zeros(b, 1),), torch.ones(b, 1, dtype=torch.bool), series), torch.rand(b, 2).round()

    def step():
        optimiser.zero_grad()
        torch.nn.functional.binary_cross_entropy_with_logits(net(given).logits, y).backward()
        optimiser.step()

    compare(benchmark, Peer("raindrop", "serve"), step, rounds=7)
