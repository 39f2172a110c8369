"""MissModal: its equations computed again in loops, the baselines it must equal without its losses, and the invariants of its card."""

import math
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from benchmark.check.cohorts import draw_random_cohort, hide_modalities
from methods import missmodal
from methods.common.layers import Dropout, GroupedLayerNorm
from methods.common.training import Batch, Output, TorchMethod
from methods.mean_impute import MeanImpute
from methods.missmodal import (
    Config,
    MissModal,
    MissModalModule,
    distance_loss,
    draw_views,
    find_aligned_stays,
    geometric_loss,
)
from methods.zero_fill import ZeroFill

WIDTHS = (6, 5, 4)
M, T = len(WIDTHS), 2
DISTS = ["mean", "paired", "mean_std", "mmd"]


def module(seed=0, seen=M, **changes):
    torch.manual_seed(seed)
    net = MissModalModule(WIDTHS, T, Config(**{"hidden": 8, **changes}), seen).train()
    net.base_log_odds = torch.tensor([-1.0, 0.5])
    return net


def batch(n=12, seed=0):
    """Stay 0 has all, 1 nothing, 2 one modality."""
    rng = torch.Generator().manual_seed(seed)
    observed = torch.rand(n, M, generator=rng) < 0.65
    observed[0], observed[1] = True, False
    observed[2] = torch.tensor([False, True, False])
    x = tuple(torch.randn(n, d, generator=rng) for d in WIDTHS)
    labels, mask = (torch.rand(n, T, generator=rng) < 0.4).float(), torch.rand(n, T, generator=rng) < 0.8
    return Batch(x, observed, {}, labels * mask, mask)


# --- without its losses


class Plain(nn.Module):
    """The default network, written without views, masks or owners of columns."""

    def __init__(self, widths, tasks, d, p):
        super().__init__()
        m = len(widths)
        self.first = nn.ModuleList(nn.Linear(w, d) for w in widths)
        self.norm = GroupedLayerNorm(m, d)
        self.up, self.down = nn.Linear(m * d, 2 * d), nn.Linear(2 * d, d)
        self.before, self.last = nn.Linear(d, d), nn.Linear(d, tasks)
        self.drop = Dropout(p)

    def forward(self, b):
        f = self.norm(torch.stack([layer(v) for layer, v in zip(self.first, b.x, strict=True)], dim=1))
        f = self.drop(torch.relu(f)) * b.observed.unsqueeze(2)
        fused = self.down(torch.relu(self.up(f.flatten(1))))
        return Output(self.last(self.drop(torch.relu(self.before(fused)))), {})


class PlainMethod(TorchMethod):
    Config = Config

    def build(self, widths, tasks):
        return Plain(widths, len(tasks), self.config.hidden, self.config.dropout)


FITTED_ALIKE = {"lr": 3e-3, "weight_decay": 1e-4, "batch_size": 16, "max_epochs": 3, "hidden": 24, "dropout": 0.3}


@pytest.mark.parametrize(
    ("plain", "changes"),
    [
        (ZeroFill, {"network": "concat", "mask_input": True}),
        (MeanImpute, {"network": "concat"}),
        (PlainMethod, {}),
    ],
)
def test_without_its_losses_it_is_its_network_step_for_step(plain, changes, monkeypatch):
    def fit(cls, **more):
        steps = []
        method = cls(cls.Config(**{**FITTED_ALIKE, **more}), seed=3)
        method.on_epoch = lambda _: steps.append([p.detach().clone() for p in method.module.parameters()])
        method.fit(draw_random_cohort(90), draw_random_cohort(40, seed=1))
        return method, steps

    test = draw_random_cohort(30, seed=2)
    expected, expected_steps = fit(plain)
    with monkeypatch.context() as m:
        m.setattr(missmodal, "draw_views", None)  # nothing may be drawn
        got, steps = fit(MissModal, **MissModal.variants["backbone"], **changes)
    for one, other in zip(steps, expected_steps, strict=True):
        assert all(torch.equal(p, q) for p, q in zip(one, other, strict=True))
    np.testing.assert_array_equal(got.predict_proba(test), expected.predict_proba(test))
    assert [e["loss"] for e in got.history] == [e["loss"] for e in expected.history]
    trained, _ = fit(MissModal, **changes)
    assert not np.array_equal(trained.predict_proba(test), expected.predict_proba(test))
    assert trained.history[0].keys() - got.history[0].keys() == {"geo", "dis", "sem"}


# --- the equations


def fused_by_hand(net, x, kept):
    """F of one stay that keeps some modalities."""
    w = {k: v.detach().double().numpy() for k, v in net.state_dict().items()}
    parts = []
    for m, v in enumerate(x):
        a = w[f"first.{m}.weight"] @ v + w[f"first.{m}.bias"]
        a = (a - a.mean()) / np.sqrt(a.var() + 1e-5) * w["rest.0.weight"][m] + w["rest.0.bias"][m]
        parts.append(np.maximum(a, 0) * kept[m])
    up = np.maximum(w["fuse.0.weight"] @ np.concatenate(parts) + w["fuse.0.bias"], 0)
    return w["fuse.3.weight"] @ up + w["fuse.3.bias"]


def geo_by_hand(u, v, tau, with_positive):
    u, v = (a / np.linalg.norm(a, axis=1, keepdims=True) for a in (u, v))
    s, terms = lambda p, q: math.exp(p @ q / tau), []
    for i in range(len(u)):
        for p, q in ((u, v), (v, u)):
            total = s(p[i], q[i]) if with_positive else 0.0
            total += sum(s(p[i], p[j]) + s(p[i], q[j]) for j in range(len(u)) if j != i)
            terms.append(-math.log(s(p[i], q[i]) / total))
    return np.mean(terms)


def dist_by_hand(u, v, kind):
    if kind == "paired":
        return np.mean(((u - v) ** 2).sum(1))
    if kind == "mmd":
        z = np.concatenate([u, v])
        scale = np.mean([((p - q) ** 2).sum() for p in z for q in z])
        k = lambda p, q: np.mean([math.exp(-((p - q) ** 2).sum() / (s * scale)) for s in (0.25, 0.5, 1, 2, 4)])  # noqa: E731
        inside = [np.mean([k(p, q) for p in a for q in b]) for a, b in ((u, u), (v, v), (u, v))]
        return inside[0] + inside[1] - 2 * inside[2]
    out = ((u.mean(0) - v.mean(0)) ** 2).sum()
    return out + (((u.std(0) - v.std(0)) ** 2).sum() if kind == "mean_std" else 0)


@pytest.mark.parametrize(("dist", "positive", "views"), [(d, d != "mean", 1 + (d == "mean")) for d in DISTS])
def test_losses_equal_the_equations(dist, positive, views, monkeypatch):
    net = module(dropout=0.0, dist=dist, pos_in_denominator=positive, views=views, a=0.2, b=0.7, c=0.4, tau=0.5)
    nn.init.normal_(net.rest[0].weight)
    nn.init.normal_(net.rest[0].bias)
    b = batch()
    kept = draw_views(b.observed, views)
    monkeypatch.setattr(missmodal, "draw_views", lambda observed, k: kept)
    out = net(b)
    x = [v.double().numpy() for v in b.x]
    stays = range(len(b.observed))
    f = [np.stack([fused_by_hand(net, [v[i] for v in x], s[i].numpy()) for i in stays]) for s in (b.observed, *kept)]
    some = b.observed.sum(1).numpy() >= 2
    w = {k: v.detach().double().numpy() for k, v in net.state_dict().items()}
    predict = lambda a: (  # noqa: E731
        np.maximum(a @ w["predict.0.weight"].T + w["predict.0.bias"], 0) @ w["predict.3.weight"].T + w["predict.3.bias"]
    )
    np.testing.assert_allclose(out.logits.detach(), predict(f[0]), atol=1e-5)
    geo = np.mean([geo_by_hand(f[0][some], v[some], 0.5, positive) for v in f[1:]])
    assert out.losses["geo"].item() == pytest.approx(0.2 * geo, rel=1e-4)
    dis = np.mean([dist_by_hand(f[0][some], v[some], dist) for v in f[1:]])
    assert out.losses["dis"].item() == pytest.approx(0.7 * dis, rel=1e-3, abs=1e-6)
    sem = []
    for v in f[1:]:
        y, (labels, mask) = predict(v) + net.base_log_odds.numpy(), (a.numpy() for a in (b.labels, b.label_mask))
        loss = np.logaddexp(0, y) - labels * y
        sem.append(np.mean([loss[some & mask[:, t], t].mean() for t in range(T)]))
    assert out.losses["sem"].item() == pytest.approx(0.4 * np.mean(sem), rel=1e-4)
    config = net.config
    for name, weight in (("geo", "a"), ("dis", "b"), ("sem", "c")):
        net.config = replace(config, **{weight: 0.0})
        assert net(b).losses.keys() == {"geo", "dis", "sem"} - {name}
    assert module().eval()(b).losses == {}


def test_worked_example_of_two_stays():
    """u = v = two unit vectors at a right angle, tau = 1: the positive is e, the two others are 1."""
    f = torch.eye(2).repeat(2, 1, 1)
    every = torch.tensor([True, True])
    assert geometric_loss(f, every, 1.0).item() == pytest.approx(math.log(1 + 2 / math.e))
    assert geometric_loss(f, every, 1.0, pos_in_denominator=False).item() == pytest.approx(math.log(2) - 1)
    turned = torch.stack([torch.eye(2), torch.eye(2).flip(0)])  # the positive is 1, the others 1 and e
    assert geometric_loss(turned, every, 1.0).item() == pytest.approx(math.log(2 + math.e))
    assert distance_loss(turned, every, "mean").item() == 0
    assert distance_loss(turned, every, "paired").item() == pytest.approx(2)
    assert distance_loss(turned + torch.tensor([0.0, 3.0])[:, None, None], every, "mean").item() == pytest.approx(18)


@pytest.mark.parametrize("positive", [True, False])
def test_geometric_loss_knows_neither_order_nor_length(positive):
    torch.manual_seed(0)
    f, aligned = torch.randn(2, 9, 5, dtype=torch.float64), torch.rand(9) < 0.7
    loss = geometric_loss(f, aligned, 0.3, positive)
    torch.testing.assert_close(geometric_loss(f.flip(0), aligned, 0.3, positive), loss)
    torch.testing.assert_close(geometric_loss(f * torch.rand(2, 9, 1) * 7, aligned, 0.3, positive), loss)
    order = torch.randperm(9)
    torch.testing.assert_close(geometric_loss(f[:, order], aligned[order], 0.3, positive), loss)
    views = torch.cat([f, f[:1] + 1])  # two views are two losses: they do not meet
    other = geometric_loss(views[[0, 2]], aligned, 0.3, positive)
    torch.testing.assert_close(geometric_loss(views, aligned, 0.3, positive), (loss + other) / 2)


@pytest.mark.parametrize("loss", ["geo", "negatives", *DISTS])
def test_gradients_reach_both_representations_and_are_those_of_the_equation(loss):
    torch.manual_seed(0)
    f = torch.randn(3, 6, 4, dtype=torch.float64, requires_grad=True)
    aligned = torch.tensor([True, False, True, True, False, True])

    def value(f):
        return distance_loss(f, aligned, loss) if loss in DISTS else geometric_loss(f, aligned, 0.5, loss == "geo")

    (grad,) = torch.autograd.grad(value(f), f)
    assert (grad[:, aligned].abs().amax(dim=(1, 2)) > 1e-4).all()
    assert (grad[:, ~aligned] == 0).all()
    if loss == "mmd":  # a longer f with kernels as wide as before: were they wider too, nothing would change
        assert abs((grad * f).sum()) > 1e-3
    else:
        assert torch.autograd.gradcheck(value, f)


# --- views


def test_views_are_proper_subsets_with_the_stated_frequencies():
    torch.manual_seed(0)
    patterns = torch.tensor([[1, 1, 0, 1, 1], [0, 1, 0, 0, 1], [0, 0, 1, 0, 0], [0, 0, 0, 0, 0]], dtype=torch.bool)
    n = 12_000
    observed = patterns.repeat_interleave(n, 0)
    drawn = draw_views(observed, 2)
    assert not torch.equal(drawn[0], drawn[1])
    assert not (drawn & ~observed).any()
    four, two, one, none = drawn.split(n, dim=1)
    assert (one == patterns[2]).all()
    assert not none.any()
    for found, pattern in ((four, patterns[0]), (two, patterns[1])):
        there = pattern.nonzero().flatten().tolist()
        kinds, count = found.flatten(0, 1).unique(dim=0, return_counts=True)
        shares = {tuple(k.nonzero().flatten().tolist()): c.item() / (2 * n) for k, c in zip(kinds, count, strict=True)}
        sizes = range(1, len(there))
        expected = {s: 1 / len(sizes) / math.comb(len(there), k) for k in sizes for s in combinations(there, k)}
        assert shares == {s: pytest.approx(p, abs=0.01) for s, p in expected.items()}


@pytest.mark.parametrize("dist", DISTS)
def test_a_view_of_everything_is_the_stay_itself(dist, monkeypatch):
    monkeypatch.setattr(missmodal, "draw_views", lambda observed, k: observed.expand(k, -1, -1))
    net, b = module(dist=dist, b=1.0, a=1.0, views=2, dropout=0.0), batch()
    fused = []
    net.fuse.register_forward_hook(lambda *a: fused.append(a[-1]))
    losses = net(b).losses
    for view in fused[0].view(3, 12, -1)[1:]:
        assert torch.equal(view, fused[0][:12])
    assert losses["dis"].item() == pytest.approx(0, abs=1e-6 if dist == "mmd" else 0)
    u = F.normalize(fused[0][:12], dim=1)[b.observed.sum(1) >= 2].detach().double().numpy()
    similarity = u @ u.T  # 1 on the diagonal, for a stay and for its view
    np.testing.assert_allclose(similarity.diagonal(), 1, atol=1e-6)
    others = 2 * np.exp(similarity / 0.3).sum(1) - 2 * math.exp(1 / 0.3)
    assert losses["geo"].item() == pytest.approx(np.log(math.exp(1 / 0.3) + others).mean() - 1 / 0.3, rel=1e-4)


def test_a_stay_and_its_views_have_dropout_masks_of_their_own(monkeypatch):
    """Half of the features that a stay and its views share are zeroed, each half by itself."""
    monkeypatch.setattr(missmodal, "draw_views", lambda observed, k: observed.expand(k, -1, -1))
    net, b, given = module(views=2, dropout=0.5), batch(400), []
    net.fuse.register_forward_pre_hook(lambda _, a: given.append(a[0]))
    net(b)
    net.eval()(b)
    trained, whole = given[0].view(3, 400, -1), given[1]
    there = whole > 0
    kept = trained[:, there] > 0
    torch.testing.assert_close(trained[:, there][kept], whole[there].expand(3, -1)[kept] * 2)
    assert kept.float().mean(1).tolist() == pytest.approx([0.5] * 3, abs=0.05)
    for one, other in combinations(kept, 2):
        assert (one & other).float().mean().item() == pytest.approx(0.25, abs=0.05)


@pytest.mark.parametrize("network", ["encoders", "concat"])
@pytest.mark.parametrize("mask_input", [False, True])
def test_a_view_knows_nothing_of_what_it_drops(network, mask_input):
    net, b = module(network=network, mask_input=mask_input).eval(), batch()
    kept = draw_views(b.observed, 1)
    b.x[0][:] = torch.where(kept[0, :, :1], b.x[0], torch.inf)  # infinite where dropped
    view = net.represent_views(b.x, kept[0], kept)
    assert torch.isfinite(view).all()
    finite = tuple(torch.where(kept[0, :, m, None], v, 5.0) for m, v in enumerate(b.x))
    assert torch.equal(net.represent_views(finite, b.observed, kept), view)
    stay = net.represent_views(finite, b.observed, b.observed.unsqueeze(0))
    dropped = (kept[0] != b.observed).any(dim=1)
    assert dropped.sum() > 5
    assert (stay[dropped] != view[dropped]).any(dim=1).all()
    assert torch.equal(stay[~dropped], view[~dropped])


def test_the_pattern_is_an_input_only_under_its_flag(monkeypatch):
    """A stay whose modality is all zeros, and one without that modality; a view has its own pattern."""
    given, b = [], batch()
    kept = draw_views(b.observed, 2)
    monkeypatch.setattr(missmodal, "draw_views", lambda observed, k: kept)
    net = module(views=2, mask_input=True)
    net.fuse.register_forward_pre_hook(lambda _, a: given.append(a[0][:, -M:]))
    net(b)
    assert torch.equal(given[0], torch.cat([b.observed, *kept]).float())
    for flag in (False, True):
        net = module(network="concat", mask_input=flag).eval()
        zero = b._replace(x=(b.x[0], torch.zeros_like(b.x[1]), b.x[2]), observed=torch.ones(12, M, dtype=torch.bool))
        absent = zero.observed.clone()
        absent[:, 1] = False
        assert torch.equal(net(zero).logits, net(zero._replace(observed=absent)).logits) != flag


@pytest.mark.parametrize("changes", [{}, {"dist": "mmd"}, {"pos_in_denominator": False}, {"network": "concat"}])
def test_unobserved_content_reaches_neither_losses_nor_gradients(changes):
    results = []
    for garbage in (0.0, float("nan"), float("inf"), 1e9):
        net, b = module(**changes), batch()
        x = tuple(torch.where(seen[:, None], v, garbage) for v, seen in zip(b.x, b.observed.T, strict=True))
        torch.manual_seed(1)
        out = net(b._replace(x=x))
        (out.logits.square().sum() + sum(out.losses.values())).backward()
        results.append([out.logits, *out.losses.values(), *(p.grad for p in net.parameters())])
    for other in results:
        assert all(torch.isfinite(v).all() for v in other)
        assert all(torch.equal(v, w) for v, w in zip(results[0], other, strict=True))


# --- who is aligned


def test_a_stay_with_one_modality_has_no_part_in_the_losses():
    net, b = module(), batch()
    x = tuple(v.clone().requires_grad_() for v in b.x)
    losses = net(b._replace(x=x)).losses
    for value in losses.values():
        grads = torch.autograd.grad(value, x, retain_graph=True)
        reached = torch.stack([g.abs().sum(1) for g in grads], dim=1).sum(1) > 0
        assert not reached[b.observed.sum(1) < 2].any()
        assert reached[0]


@pytest.mark.parametrize("dist", DISTS)
@pytest.mark.parametrize("positive", [True, False])
def test_a_batch_without_such_stays_gives_zero(dist, positive):
    net, b = module(dist=dist, pos_in_denominator=positive), batch()
    for rows in (slice(1, 3), slice(1, 2), slice(2, 3)):  # nothing and one modality
        losses = net(b.take(rows)).losses
        assert [v.item() for v in losses.values()] == [0.0, 0.0, 0.0]
        sum(losses.values()).backward()
    assert all((p.grad == 0).all() for p in net.parameters() if p.grad is not None)
    for rows in (slice(0, 1), slice(0, 3)):  # one aligned stay: a pair, nobody to push from
        out = net(b.take(rows))
        assert out.losses["geo"].item() == pytest.approx(0, abs=1e-6)
        sum(out.losses.values()).backward()
    assert all(torch.isfinite(p.grad).all() for p in net.parameters())


def test_complete_only_aligns_stays_with_all_that_training_has():
    observed = torch.tensor([[1, 1, 1], [1, 1, 0], [0, 1, 0], [0, 0, 0]], dtype=torch.bool)
    for stays in (observed, observed.numpy()):
        assert find_aligned_stays(stays, 3, False).tolist() == [True, True, False, False]
        assert find_aligned_stays(stays, 3, True).tolist() == [True, False, False, False]
    assert not find_aligned_stays(observed[1:, :1], 1, True).any()
    train, valid = draw_random_cohort(90), draw_random_cohort(40, seed=1)
    n = train.observed.sum(1)
    assert fitted(train, valid).aligned_share == pytest.approx((n >= 2).mean())
    assert fitted(train, valid).fit_report() == {"share of training stays aligned": pytest.approx((n >= 2).mean())}
    assert fitted(train, valid, complete_only=True).aligned_share == pytest.approx((n == 3).mean())
    two = hide_modalities(train, np.array([False, False, True]) & np.ones_like(train.observed))
    method = fitted(two, valid, complete_only=True)
    assert method.aligned_share == pytest.approx((two.observed.sum(1) == 2).mean())
    assert method.history[-1]["geo"] > 0
    net, b = module(seen=3, complete_only=True), batch()
    x = tuple(v.clone().requires_grad_() for v in b.x)
    grads = torch.autograd.grad(sum(net(b._replace(x=x)).losses.values()), x)
    reached = torch.stack([g.abs().sum(1) for g in grads], dim=1).sum(1) > 0
    assert torch.equal(reached, b.observed.all(dim=1))


# --- the method


def fitted(train=None, valid=None, **changes):
    train, valid = train or draw_random_cohort(90), valid or draw_random_cohort(40, seed=1)
    return MissModal(Config(**{"hidden": 16, "max_epochs": 2, "batch_size": 32, **changes}), seed=3).fit(train, valid)


def test_views_are_given_the_base_rate_too():
    method = fitted()
    assert torch.equal(method.module.base_log_odds, method.offset)


def test_alignment_helps_stays_that_lost_a_modality_since_training():
    """Complete stays train it; the first modality is then taken away from all test stays."""
    made = [draw_random_cohort(n, seed=s, undefined=0.0, signal=3.0) for n, s in ((900, 0), (400, 1), (1500, 2))]
    train, valid, test = (c.take(np.flatnonzero(c.observed.all(1))) for c in made)
    losing = hide_modalities(test, np.array([True, True, False]) & np.ones_like(test.observed))
    losses = []
    for changes in ({}, MissModal.variants["backbone"]):
        p = MissModal(Config(max_epochs=20, **changes)).fit(train, valid).predict_proba(losing)
        p = np.where(losing.outcomes == 1, p, 1 - p).clip(1e-6)
        losses.append(-np.log(p).mean())
    assert losses[0] < losses[1] - 0.02
