"""CM-AE: every equation of its docstring computed again by hand, and the invariants of its card."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmark.check.cohorts import draw_random_cohort
from methods.cm_ae import (
    FINETUNE,
    HEAD,
    PRETRAIN,
    RECONSTRUCT,
    CmAe,
    CmAeModule,
    Config,
    corrupt,
    draw_views,
    reconstruction_errors,
    sparsity,
    split_held_out,
)
from methods.common.training import Batch, TorchMethod

TASKS = ("readmission_30d", "mortality_inhosp")
WIDTHS = (6, 40, 4)
ACTS = {"relu": lambda v: np.maximum(v, 0), "sigmoid": lambda v: 1 / (1 + np.exp(-v))}


def module(stage=FINETUNE, seed=0, **changes):
    torch.manual_seed(seed)
    net = CmAeModule(WIDTHS, TASKS, Config(**{"h_s": 16, "h_most": 35, **changes}))
    net.enter(stage)
    return net


def batch(n=12, seed=0):
    rng = torch.Generator().manual_seed(seed)
    observed = torch.rand(n, len(WIDTHS), generator=rng) < 0.6
    observed[0], observed[1] = True, False
    return Batch(tuple(torch.randn(n, d, generator=rng) for d in WIDTHS), observed, {})


def by_hand(net, x, kept, act):
    """s and each xhat_m, from the equations."""
    w = {k: v.detach().double().numpy() for k, v in net.state_dict().items()}
    layer = lambda v, name: v @ w[f"{name}.weight"].T + w[f"{name}.bias"]  # noqa: E731
    a = [act(layer(np.where(kept[:, [m]], x[m], 0), f"w1.{m}")) for m in range(len(x))]
    s = act(layer(np.concatenate(a, axis=1), "w2"))
    back = np.split(act(layer(s, "v2")), np.cumsum([v.shape[1] for v in a])[:-1], axis=1)
    return s, [layer(back[m], f"v1.{m}") for m in range(len(x))]


def error_by_hand(x, made, observed):
    """L_rec of each stay, as loops."""
    out = np.zeros(len(observed))
    for i, row in enumerate(observed):
        there = np.flatnonzero(row)
        for m in there:
            out[i] += ((made[m][i] - x[m][i]) ** 2).sum() / x[m].shape[1] / len(there)
    return out


@pytest.mark.parametrize("act", ["relu", "sigmoid"])
def test_network_and_losses_equal_the_equations(act, monkeypatch):
    net, b = module(act=act, lambda_rec=0.3, lambda_sp=0.7).train(), batch()
    assert net.sizes == [32, 35, 32]  # min(h_most, max(32, d_m))
    kept = draw_views(b.observed, "one")
    monkeypatch.setattr("methods.cm_ae.draw_views", lambda *_: kept)
    x, observed = [v.double().numpy() for v in b.x], b.observed.numpy()
    s, _ = by_hand(net, x, observed, ACTS[act])
    s_view, made = by_hand(net, x, kept.numpy(), ACTS[act])
    rec = error_by_hand(x, made, observed).mean()
    out = net(b)
    np.testing.assert_allclose(net.represent(b).detach(), s, atol=1e-5)
    expected = s @ net.head.weight.detach().double().numpy().T + net.head.bias.detach().double().numpy()
    np.testing.assert_allclose(out.logits.detach(), expected, atol=1e-5)
    assert out.losses["rec"].item() == pytest.approx(0.3 * rec, rel=1e-5)
    net.enter(RECONSTRUCT)
    losses = net(b).losses
    assert losses["rec"].item() == pytest.approx(rec, rel=1e-5)
    mean = s_view[observed.any(axis=1)].mean(axis=0)
    assert losses["sparse"].item() == pytest.approx(0.7 * ((0.05 - mean) ** 2).sum(), rel=1e-5)
    assert net.eval()(b).losses == {}
    assert torch.equal(net(b).logits, out.logits)


def test_a_modality_by_itself_in_stage_0():
    net, b = module(PRETRAIN, corruption=0.0).train(), batch()
    x = [v.double().numpy() for v in b.x]
    w = {k: v.detach().double().numpy() for k, v in net.state_dict().items()}
    a = [np.maximum(v @ w[f"w1.{m}.weight"].T + w[f"w1.{m}.bias"], 0) for m, v in enumerate(x)]
    made = [v @ w[f"v1.{m}.weight"].T + w[f"v1.{m}.bias"] for m, v in enumerate(a)]
    out = net(b)
    assert out.losses["rec"].item() == pytest.approx(error_by_hand(x, made, b.observed.numpy()).mean(), rel=1e-5)
    out.losses["rec"].backward()
    assert {n.split(".")[0] for n, p in net.named_parameters() if p.grad is not None} == {"w1", "v1"}
    noisy = module(PRETRAIN, corruption=0.5).train()
    assert noisy(b).losses["rec"] != out.losses["rec"]
    assert noisy.eval().content_errors(b)[0].mean().item() == pytest.approx(out.losses["rec"].item(), rel=1e-6)
    assert (corrupt(torch.ones(200, 50), 0.2) == 0).float().mean().item() == pytest.approx(0.2, abs=0.02)


@pytest.mark.parametrize("stage", [PRETRAIN, RECONSTRUCT, FINETUNE])
def test_unobserved_content_reaches_neither_loss_nor_gradient_nor_output(stage):
    results = []
    for garbage in (0.0, float("nan"), float("inf"), 1e9):
        net, b = module(stage, lambda_sp=0.1).train(), batch()
        x = tuple(torch.where(seen[:, None], v, garbage) for v, seen in zip(b.x, b.observed.T, strict=True))
        torch.manual_seed(1)
        out = net(b._replace(x=x))
        (out.logits.square().sum() + sum(out.losses.values())).backward()
        grads = [p.grad for p in net.parameters() if p.grad is not None]
        results.append([out.logits, *out.losses.values(), *grads, net.eval()(b._replace(x=x)).logits])
    for other in results[1:]:
        assert all(torch.isfinite(v).all() for v in other)
        assert all(torch.equal(v, w) for v, w in zip(results[0], other, strict=True))


def test_a_zeroed_modality_is_still_the_target(monkeypatch):
    net, b = module(RECONSTRUCT).train(), batch()
    b = b._replace(observed=torch.ones(12, 3, dtype=torch.bool))
    kept = b.observed.clone()
    kept[:, 1] = False
    monkeypatch.setattr("methods.cm_ae.draw_views", lambda *_: kept)
    made = net.decode(net.encode(b.x, kept))
    expected = sum((y - v).square().mean() for y, v in zip(made, b.x, strict=True)) / 3
    loss = net(b).losses["rec"]
    torch.testing.assert_close(loss, expected)
    loss.backward()
    assert net.v1[1].weight.grad.abs().sum() > 0
    assert net.w1[1].weight.grad.abs().sum() == 0  # its input was zero
    other = b._replace(x=(b.x[0], b.x[1] + 1, b.x[2]))
    assert torch.equal(net.encode(other.x, kept), net.encode(b.x, kept))
    assert net(other).losses["rec"] != loss


def test_a_decoder_nobody_has_content_for_gets_no_gradient():
    net, b = module(RECONSTRUCT).train(), batch()
    b.observed[:, 2] = False
    net(b).losses["rec"].backward()
    assert net.v1[2].weight.grad.abs().sum() == 0
    assert net.v1[2].bias.grad.abs().sum() == 0
    assert net.v2.weight.grad.split(net.sizes)[2].abs().sum() == 0
    assert net.v1[0].weight.grad.abs().sum() > 0


def shares(patterns, views, n=30_000):
    """Observed pattern -> share of each view drawn for it."""
    torch.manual_seed(0)
    observed = torch.tensor(patterns, dtype=torch.bool)
    out = []
    for drawn in draw_views(observed.repeat_interleave(n, 0), views).chunk(len(patterns)):
        kept, count = drawn.int().unique(dim=0, return_counts=True)
        out.append({tuple(k.tolist()): c.item() / n for k, c in zip(kept, count, strict=True)})
    return out


def test_views_have_the_stated_frequencies():
    two, first, none = shares([[1, 1], [1, 0], [0, 0]], "one")
    assert two == {k: pytest.approx(1 / 3, abs=0.01) for k in ((1, 1), (1, 0), (0, 1))}
    assert first == {(1, 0): 1}
    assert none == {(0, 0): 1}
    three, gap = shares([[1, 1, 1, 1], [1, 0, 1, 1]], "one")
    singles = [tuple(int(j == m) for j in range(4)) for m in range(4)]
    assert three == {k: pytest.approx(1 / 5, abs=0.01) for k in [(1, 1, 1, 1), *singles]}
    assert gap == {k: pytest.approx(1 / 4, abs=0.01) for k in [(1, 0, 1, 1), singles[0], singles[2], singles[3]]}
    subset, none = shares([[1, 1, 0, 1], [0, 0, 0, 0]], "subset")
    assert len(subset) == 7
    assert all(k[2] == 0 and share == pytest.approx(1 / 7, abs=0.01) for k, share in subset.items())
    assert none == {(0, 0, 0, 0): 1}


def test_the_network_never_sees_the_pattern():
    """A modality whose content is all zeros and one that is not there give the same code."""
    net, b = module().eval(), batch()
    zero = b._replace(x=(b.x[0], torch.zeros_like(b.x[1]), b.x[2]))
    absent = b.observed.clone()
    absent[:, 1] = False
    assert torch.equal(net.represent(zero._replace(observed=absent)), net.represent(zero))


def test_batches_may_be_permuted():
    net, b, order = module().eval(), batch(), torch.randperm(12)
    torch.testing.assert_close(net(b.take(order)).logits, net(b).logits[order])
    errors = reconstruction_errors(b.x, [v + 1 for v in b.x], b.observed)
    torch.testing.assert_close(errors, b.observed.any(dim=1).float())
    assert sparsity(torch.full((4, 3), 0.25), torch.tensor([True] * 3 + [False]), 0.05).item() == pytest.approx(0.12)


def fitted(n=90, **changes):
    config = Config(**{"h_s": 16, "max_epochs": 3, "batch_size": 32, **changes})
    return CmAe(config, seed=3).fit(draw_random_cohort(n), draw_random_cohort(40, seed=1))


def test_stage_b_changes_no_parameter_but_the_heads(monkeypatch):
    before = {}

    def enter(self, stage, enter=CmAeModule.enter):
        before.setdefault(stage, {k: v.clone() for k, v in self.state_dict().items()})
        enter(self, stage)

    monkeypatch.setattr(CmAeModule, "enter", enter)
    method = fitted(finetune=False, pretrain_epochs=2)
    after = method.module.state_dict()
    changed = {k for k in after if not torch.equal(after[k], before[HEAD][k])}
    assert changed == {"head.weight", "head.bias"}
    assert {k.split(".")[0] for k in after if not torch.equal(before[RECONSTRUCT][k], before[PRETRAIN][k])} == {
        "w1",
        "v1",
    }
    assert [e["stage"] for e in method.history] == [0] * 2 + [1] * 3 + [2] * 3
    assert {k.split(".")[0] for k, p in module(HEAD).named_parameters() if p.requires_grad} == {"head"}
    before.clear()
    after = fitted().module.state_dict()
    assert all(not torch.equal(after[k], before[FINETUNE][k]) for k in after)


def test_each_stage_has_its_rate_and_its_epochs(monkeypatch):
    seen = {}

    def step(self, batch, weights, optimiser, *how, step=TorchMethod._step):
        seen[self.module.stage] = optimiser.param_groups[0]["lr"]
        return step(self, batch, weights, optimiser, *how)

    monkeypatch.setattr(TorchMethod, "_step", step)
    method = fitted(lr=0.02, finetune_lr=0.25, pretrain_epochs=9)
    assert seen == {PRETRAIN: 0.02, RECONSTRUCT: 0.02, HEAD: 0.02, FINETUNE: 0.005}
    longest = {stage: max(e["epoch"] for e in method.history if e["stage"] == stage) for stage in seen}
    assert longest == {PRETRAIN: 9, RECONSTRUCT: 3, HEAD: 3, FINETUNE: 3}  # stage 0 has a length of its own


def test_stages_that_read_no_outcome_do_not():
    train, valid = draw_random_cohort(90), draw_random_cohort(40, seed=1)
    flipped = [replace(c, outcomes=1 - c.outcomes, fingerprint="") for c in (train, valid)]
    config = Config(h_s=16, max_epochs=3, pretrain_epochs=2, finetune=False)
    one, other = (CmAe(config).fit(*parts) for parts in ((train, valid), flipped))
    test = draw_random_cohort(30, seed=2)
    np.testing.assert_array_equal(one.represent(test), other.represent(test))
    assert one.represent(test).shape == (30, 16)
    unsupervised = [e for e in one.history if e["stage"] < HEAD]
    assert all(e["supervised"] == 0 and e["loss"] == e["rec"] for e in unsupervised)
    assert config == one.config


def test_reconstruction_is_stopped_by_training_stays_held_out_of_it():
    method = fitted(max_epochs=150, patience=3, lr=5e-3, finetune=False)
    valid = [e["valid"] for e in method.history if e["stage"] == RECONSTRUCT]
    assert len(valid) < 150
    assert int(np.argmax(valid)) == len(valid) - 4
    method.module.enter(RECONSTRUCT)
    train = draw_random_cohort(90)
    rest, held = split_held_out(len(train), method.seed)
    assert sorted([*rest, *held]) == list(range(len(train)))
    errors = method.module.eval().content_errors(method.tensors(train.take(held)))[0]
    assert -errors.mean().item() == pytest.approx(max(valid), abs=1e-4)


@pytest.mark.parametrize("name", list(CmAe.variants))
def test_a_variant_goes_through_its_stages(name):
    method = fitted(max_epochs=1, **CmAe.variants[name])
    stages = {"faithful": [0, 1, 2], "frozen": [1, 2]}.get(name, [1, 2, 3])
    assert sorted({e["stage"] for e in method.history}) == stages
