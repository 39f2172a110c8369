"""A training step of ours against that of a public implementation, in alternation: `make peers`, then `make bench`."""

import time
from contextlib import nullcontext
from statistics import mean, median

import numpy as np
import pytest

from methods import registry
from tests.speed.alternation import alternate
from tests.speed.cohorts import PRESETS, random_cohort
from tests.speed.peer import Peer, needs_peers

pytestmark = [pytest.mark.slow, needs_peers, pytest.mark.measures(table="public", threads=1)]
STEP, EPOCH, PREPARATION = "training step", "epoch", "preparation"
WIDTHS = [shape.width for shape in PRESETS["MIMIC-like"]]
STAYS = 512
N, EPOCHS = 2_048, {32: 7, STAYS: 24}
LEARNED = 40
"""Steps after which a loss has fallen by a tenth."""
VECTORS = f"{STAYS} stays, widths {', '.join(map(str, WIDTHS))}"


def sizes_of(batch):
    """The data of an epoch, in words."""
    return f"{N} stays, widths {', '.join(map(str, WIDTHS))}, batches of {batch}"


def learns(losses):
    """Whether losses fall by a tenth, from the mean of the first three to that of the last three."""
    return mean(losses[-3:]) < 0.9 * mean(losses[:3])


def training_step(name, cohort, **changes):
    """A function that does one training step of method ``name`` on all stays of ``cohort`` and returns its loss."""
    import torch

    cls = registry.load(name)
    config = cls.Config(max_epochs=1, batch_size=len(cohort), lr=1e-3, **changes)
    method = cls(config).fit(cohort, cohort.take(np.arange(8)))
    batch = method._batch(cohort, outcomes=True)
    method.module.train()
    weights = torch.tensor(method.task_weights(cohort.tasks))
    optimiser = torch.optim.AdamW(method.module.parameters(), lr=config.lr, fused=True)
    return lambda: method._step(batch, weights, optimiser, nullcontext, None)["loss"].item()


def compare(benchmark, peer, ours, name="step", rounds=15):
    """Rounds of ours, each after the peer's step ``name``; training steps after it is seen that both learn the one batch that they have."""
    try:
        if name == "step":
            assert learns([ours() for _ in range(LEARNED)])
            for _ in range(LEARNED):
                peer.step()
            assert learns(peer.losses)
        else:
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


@pytest.mark.benchmark(group=EPOCH)
@pytest.mark.parametrize(
    ("method", "theirs", "batch"),
    [
        pytest.param(method, theirs, batch, marks=pytest.mark.measures(title=theirs, sizes=sizes_of(batch)))
        for method, theirs in (("m3care", "M3Care"), ("muse", "MUSE"))
        for batch in EPOCHS
    ],
)
@pytest.mark.measures(what=EPOCH, against="iMML")
def test_an_epoch_against_imml(benchmark, method, theirs, batch, tmp_path):
    """Each on the same stays with its own loop; ours ends an epoch with what it remembers of the training stays and a validation."""
    cohort = random_cohort("MIMIC-like", N, len(WIDTHS))
    x = {f"x{m}": np.where(cohort.observed[:, [m]], v.values, np.nan) for m, v in enumerate(cohort.modalities)}
    np.savez(tmp_path / "data.npz", y=cohort.outcomes[:, 0], **x)
    peer, cls, seconds, beside = Peer("epochs", theirs, tmp_path / "data.npz", batch), registry.load(method), [], []
    one = cls(cls.Config(max_epochs=1 + EPOCHS[batch], patience=100, batch_size=batch, lr=1e-3))

    def epoch_over(_):
        nonlocal started
        seconds.append(time.process_time() - started)
        beside.append(peer.step())
        started = time.process_time()

    one.on_epoch, started = epoch_over, time.process_time()
    try:
        benchmark.pedantic(lambda: one.fit(cohort, cohort.take(np.arange(64))), rounds=1)
    finally:
        peer.close()
    assert learns([entry["loss"] for entry in one.history])
    assert learns(peer.losses)
    found = {"seconds": median(seconds[1:]), "beside_seconds": median(beside[1:]), "rounds": EPOCHS[batch]}
    benchmark.extra_info |= found | {"ratio": found["seconds"] / found["beside_seconds"]}


@pytest.mark.benchmark(group=PREPARATION)
@pytest.mark.measures(
    what="edge dropping", title="MUSE", against="iMML", sizes=f"{STAYS} stays, {len(WIDTHS)} modalities"
)
def test_edge_dropping_against_imml(benchmark):
    import torch

    from methods.muse.graph import drop_edges

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

    from methods.gru_d.cell import GruD, gather_steps

    b, s, f, h = GRU_D
    zero, y = torch.zeros(f), torch.arange(b) % 2
    given = gather_steps(**random_series(b, s, f), mean=zero)
    net, head = GruD(f, h, "paper", 0.0, "uniform"), torch.nn.Linear(h, 2)
    optimiser = torch.optim.Adam([*net.parameters(), *head.parameters()], lr=1e-3)

    def step():
        optimiser.zero_grad()
        loss = torch.nn.functional.cross_entropy(head(net(**given, mean=zero)), y)
        loss.backward()
        optimiser.step()
        return loss.item()

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

    from methods.gru_d.cell import gather_steps

    _, s, f, _ = GRU_D
    given = random_series(PREPARED, s, f)
    compare(benchmark, Peer("gru_d", "serve"), lambda: gather_steps(**given, mean=torch.zeros(f)), name="prepare")


@pytest.mark.benchmark(group=STEP)
@pytest.mark.measures(
    what=STEP, title="Raindrop", against="PyPOTS", sizes="{} stays, {} steps, {} sensors".format(*RAINDROP)
)
def test_raindrop_against_pypots(benchmark):
    """What the released code computes."""
    import torch

    from methods.common.training import Batch
    from methods.raindrop import Config, RaindropModule

    b, s, f = RAINDROP
    net = RaindropModule((1,), 2, f, s, Config(variant="released")).train()
    optimiser = torch.optim.AdamW(net.parameters(), lr=1e-3, fused=True)
    series = random_series(b, s, f) | {"mask": torch.ones(b, s, f, dtype=torch.bool)}
    y = torch.randint(2, (b, 2), generator=torch.Generator().manual_seed(1)).float()
    given = Batch((torch.zeros(b, 1),), torch.ones(b, 1, dtype=torch.bool), series)

    def step():
        optimiser.zero_grad()
        loss = torch.nn.functional.binary_cross_entropy_with_logits(net(given).logits, y)
        loss.backward()
        optimiser.step()
        return loss.item()

    compare(benchmark, Peer("raindrop", "serve"), step, rounds=7)
