"""MT: its network computed again by hand, its views, and the search kept apart from everything else."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.stats import norm
from sklearn.metrics import roc_auc_score
from torch.nn import functional as F

from benchmark.check.cohorts import draw_random_cohort
from methods.common.training import Batch, supervised_loss
from methods.mt import Mt, PolicySearch, sample_gates, warm_up_cosine
from methods.mt.network import POLICIES, Config, MtModule, draw_subset, make_single_views

WIDTHS = (6, 5, 4)
SMALL = {"hidden": 16, "layers": 3, "heads": 2, "dropout": 0.0, "search_epochs": 2, "search_frozen": 1}


def module(policy="early", widths=WIDTHS, seed=0, **changes):
    torch.manual_seed(seed)
    net = MtModule(widths, 2, Config(policy=policy, **{**SMALL, **changes}))
    for name, p in net.named_parameters():  # away from ones and zeros, so that no scale, shift or token goes unnoticed
        if "norm" in name or "bias" in name or "token" in name or "type" in name:
            torch.nn.init.normal_(p, mean=0.4, std=0.5)
    return net.eval()


def batch(n=12, seed=0, widths=WIDTHS):
    rng = torch.Generator().manual_seed(seed)
    x = tuple(torch.randn(n, d, generator=rng) for d in widths)
    observed = torch.rand(n, len(widths), generator=rng) < 0.6
    observed[0], observed[1] = True, False
    labels = (torch.rand(n, 2, generator=rng) < 0.5).float()
    mask = torch.rand(n, 2, generator=rng) < 0.8
    return Batch(x, observed, {}, labels * mask, mask, torch.arange(n))


def only(observed, m):
    return observed & F.one_hot(torch.tensor(m), observed.shape[1]).bool()


def layer_norm(x, w, b):
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5) * w + b


def by_hand(net, x, there, start):
    """Logits [T] of one stay; only the tokens of the modalities that are there exist."""
    a = {k: v.detach().double().numpy() for k, v in net.state_dict().items()}
    d, heads = net.config.hidden, net.config.heads
    tokens, where = [], []
    for m in np.flatnonzero(there):
        e = f"tokenisers.{m}."
        content = (
            x[m][:, None] * a[e + "weight"] + a[e + "bias"]
            if e + "weight" in a
            else (a[e + "linear.weight"] @ x[m] + a[e + "linear.bias"]).reshape(-1, d)
        )
        tokens += [*(content + a["modality_type"][m]), a["class_tokens"][m] + a["modality_type"][m]]
        where += [m] * (len(content) + 1)
    h, where = np.stack([*tokens, a["fused_token"]]), np.array([*where, -1])
    for l in range(net.config.layers):
        p = f"blocks.{l}."
        seen = where[:, None] == where
        if l >= start:
            seen = seen | (where != -1)[None, :]
        n = layer_norm(h, a[p + "norm_attention.weight"], a[p + "norm_attention.bias"])
        q, k, v = np.split(n @ a[p + "qkv.weight"].T + a[p + "qkv.bias"], 3, axis=1)
        mixed = []
        for s in range(0, d, d // heads):
            part = slice(s, s + d // heads)
            weights = np.where(seen, np.exp(q[:, part] @ k[:, part].T / np.sqrt(d // heads)), 0)
            mixed.append(weights / weights.sum(1, keepdims=True) @ v[:, part])
        h = h + np.concatenate(mixed, axis=1) @ a[p + "out.weight"].T + a[p + "out.bias"]
        n = layer_norm(h, a[p + "norm_feed.weight"], a[p + "norm_feed.bias"])
        n = n @ a[p + "feed_forward.0.weight"].T + a[p + "feed_forward.0.bias"]
        n = n * norm.cdf(n)
        h = h + n @ a[p + "feed_forward.2.weight"].T + a[p + "feed_forward.2.bias"]
    h = layer_norm(h, a["norm.weight"], a["norm.bias"])
    classes = [h[np.flatnonzero(where == m)[-1]] for m in np.flatnonzero(there)]
    mean = np.mean(classes, axis=0) if classes else np.zeros(d)
    fused = h[-1] if start < net.config.layers else np.zeros(d)
    return a["head.weight"] @ np.concatenate([fused, mean]) + a["head.bias"]


@pytest.mark.parametrize("policy", ["early", "mid", "late"])
@pytest.mark.parametrize("changes", [{}, {"feature_tokens": 5}, {"widths": (6, 300, 4)}])
def test_the_network_equals_its_equations(policy, changes):
    widths = changes.get("widths", WIDTHS)
    net, b = module(policy, **changes), batch(8, widths=widths)
    with torch.inference_mode():
        logits = net(b).logits
    for i in range(8):
        expected = by_hand(net, [v[i].double().numpy() for v in b.x], b.observed[i].numpy(), net.start)
        np.testing.assert_allclose(logits[i], expected, atol=1e-4)


def attention(net, b, level):
    """Probabilities [B, H, S, S] of the first block at g = exp(level)."""
    tokens = net.tokenise(b.x, b.observed)
    h = torch.cat([tokens, net.fused_token.expand(len(tokens), 1, -1)], dim=1)
    block = net.blocks[0]
    q, k, _ = block.qkv(block.norm_attention(h)).unflatten(-1, (3, block.heads, -1)).permute(2, 0, 3, 1, 4)
    return (
        q @ k.transpose(2, 3) / q.shape[-1] ** 0.5
        + net.one_view.bias(net.one_view.find_keys(b.observed[:, None]), level)
    ).softmax(dim=-1)


def test_attention_between_modalities_is_zero_without_fusion_and_positive_with_it():
    net, b = module(), batch()
    where = torch.cat([net.modality, torch.tensor([-1])])
    other = (where[:, None] != where) & (where != -1)
    there = torch.cat([b.observed[:, net.modality], torch.zeros(12, 1, dtype=torch.bool)], dim=1)
    off, on = (attention(net, b, torch.tensor(v)) for v in (-torch.inf, 0.0))
    assert (off[:, :, other] == 0).all()
    crossing = on.movedim(1, -1)[other & there[:, None, :]]
    assert (crossing > 0).all()
    assert (on[:, :, :-1, -1] == 0).all()  # nothing reads c_F
    for p in (off, on):
        torch.testing.assert_close(p.sum(-1), torch.ones_like(p[..., 0]))
        unseen = ~there[:, None, :] & ~torch.eye(len(where), dtype=torch.bool)
        assert (p.movedim(1, -1)[unseen] == 0).all()


@pytest.mark.parametrize("policy", ["early", "mid", "late"])
def test_one_modality_reaches_the_class_token_of_another_only_by_fusion(policy):
    net, b = module(policy), batch()
    other = b._replace(x=(b.x[0] + 1, *b.x[1:]))
    masks = b.observed[:, None]
    with torch.inference_mode():
        c, d = (net.encode(net.tokenise(v.x, b.observed), masks, net.one_view) for v in (b, other))
    assert torch.equal(c[:, 1:3], d[:, 1:3]) == (policy == "late")


def test_late_fusion_is_the_mean_of_a_part_by_modality():
    net, b = module("late"), batch()
    with torch.inference_mode():
        parts = torch.stack([net(b._replace(observed=only(b.observed, m))).logits for m in range(3)], dim=1)
        logits = net(b).logits
    seen = b.observed.any(dim=1)
    mean = torch.where(b.observed[..., None], parts, 0.0).sum(1) / b.observed.sum(1, keepdim=True)
    torch.testing.assert_close(logits[seen], mean[seen], atol=1e-5, rtol=0)
    torch.testing.assert_close(logits[~seen], net.head.bias.expand(int((~seen).sum()), -1))


@pytest.mark.parametrize("policy", ["early", "mid", "late"])
def test_unobserved_content_cannot_matter(policy):
    net, b = module(policy), batch()
    results = []
    for junk in (0.0, torch.nan, torch.inf, 1e9):
        x = tuple(torch.where(o[:, None], v, junk) for v, o in zip(b.x, b.observed.unbind(1), strict=True))
        torch.manual_seed(1)
        out = net.train()(b._replace(x=x))
        net.zero_grad()
        (out.logits.square().sum() + out.losses["views"]).backward()
        grads = torch.cat([p.grad.flatten() for p in net.parameters() if p.grad is not None])
        results.append((out.logits.detach(), out.losses["views"].detach(), grads))
    assert torch.isfinite(results[0][2]).all()
    assert all(torch.equal(a, c) for other in results[1:] for a, c in zip(results[0], other, strict=True))


@pytest.mark.parametrize("policy", ["early", "mid", "late"])
def test_simulated_absence_equals_real_absence(policy):
    net, b = module(policy), batch()
    with torch.inference_mode():
        tokens = net.tokenise(b.x, b.observed)
        for m in range(3):
            rest = b.observed & ~F.one_hot(torch.tensor(m), 3).bool()
            masks = torch.cat([torch.stack([b.observed, rest], 1), make_single_views(b.observed)], dim=1)
            packed = net.view_logits(tokens, masks)
            for view, mask in enumerate(masks.unbind(1)):
                real = net(b._replace(observed=mask)).logits
                counted = mask.any(1) if view >= 2 else slice(None)
                torch.testing.assert_close(packed[counted, view], real[counted], atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("widths", "drawn_views", "views"), [(WIDTHS, 1, 5), (WIDTHS, 0, 4), ((6, 5), 1, 3), ((6,), 1, 1)]
)
def test_the_loss_is_the_mean_over_the_views(monkeypatch, widths, drawn_views, views):
    net, b = module("mid", widths, random_views=drawn_views), batch(widths=widths)
    net.base_log_odds = torch.tensor([-1.0, 0.5])
    drawn = draw_subset(b.observed)
    monkeypatch.setattr("methods.mt.network.draw_subset", lambda observed: drawn)
    with torch.no_grad():
        out = net.train()(b)
        net.eval()
        masks = [(b.observed, torch.ones(12, dtype=torch.bool))]
        if views > 1:
            spare = b.observed.sum(1) >= 2
            masks += [(only(b.observed, m), spare & b.observed[:, m]) for m in range(len(widths))]
            masks += [(drawn, spare)] * (drawn_views * (len(widths) > 2))
        total = sum(
            F.binary_cross_entropy_with_logits(z[k, t], b.labels[k, t])
            for view, counted in masks
            for z in [net(b._replace(observed=view)).logits + net.base_log_odds]
            for t in range(2)
            for k in [counted & b.label_mask[:, t]]
            if k.any()
        ) / (2 * views)
    method = Mt()
    method.module = net
    weights = torch.tensor(method.task_weights(("a", "b")))
    full = supervised_loss(out.logits + net.base_log_odds, b.labels, b.label_mask, weights)
    assert net.views == len(masks) == views
    assert (full + sum(out.losses.values())).item() == pytest.approx(total.item(), rel=1e-5)


def test_random_subsets_are_proper_non_empty_and_of_every_kind():
    torch.manual_seed(0)
    observed = torch.tensor([[True, False, True], [True, True, True]]).repeat_interleave(6000, 0)
    drawn = draw_subset(observed)
    assert (observed | ~drawn).all()
    assert (drawn.any(1) & (drawn != observed).any(1)).all()
    codes = (drawn[6000:] * torch.tensor([1, 2, 4])).sum(1)
    torch.testing.assert_close(
        torch.bincount(codes, minlength=7) / 6000, torch.tensor([0] + [1 / 6] * 6), atol=0.02, rtol=0
    )


def test_the_order_of_modalities_does_not_matter():
    net, b, order = module("mid"), batch(), [2, 0, 1]
    turned = module("mid", tuple(WIDTHS[m] for m in order))
    state = {k: v[order] if k in ("modality_type", "class_tokens") else v for k, v in net.state_dict().items()}
    for new, old in enumerate(order):
        for part in ("weight", "bias"):
            state[f"tokenisers.{new}.linear.{part}"] = net.state_dict()[f"tokenisers.{old}.linear.{part}"]
    turned.load_state_dict(state)
    other = b._replace(x=tuple(b.x[m] for m in order), observed=b.observed[:, order])
    with torch.inference_mode():
        torch.testing.assert_close(net(b).logits, turned(other).logits, atol=1e-5, rtol=0)


@pytest.mark.parametrize("hard", [True, False])
def test_gates_rise_from_0_to_1_and_pass_a_gradient(hard):
    torch.manual_seed(0)
    alpha = torch.randn(6, requires_grad=True)
    for tau in (1.0, 0.1):
        g = torch.stack([sample_gates(alpha, tau, hard) for _ in range(200)])
        assert (g.diff(dim=1) >= 0).all()
        assert (g > -1e-6).all()
        assert (g < 1 + 1e-6).all()
        assert not hard or torch.isclose(g, g.round()).all()
        (grad,) = torch.autograd.grad((g * torch.arange(5)).sum(), alpha)
        assert torch.isfinite(grad).all()
        assert grad.abs().min() > 0
    assert [module(p, layers=4).levels().tolist() for p in ("early", "mid", "late")] == [[1] * 4, [0, 0, 1, 1], [0] * 4]


def test_alpha_steps_and_theta_steps_do_not_touch_each_other(monkeypatch):
    seen = []
    kept = PolicySearch.alpha_step

    def watched(self, *args):
        before = [p.detach().clone() for p in self.module.parameters()], self.alpha.detach().clone()
        grads = [None if p.grad is None else p.grad.clone() for p in self.module.parameters()]
        kept(self, *args)
        after = list(self.module.parameters())
        assert all(torch.equal(a, b) for a, b in zip(before[0], after, strict=True))
        assert all(g is None or torch.equal(g, p.grad) for g, p in zip(grads, after, strict=True))
        assert torch.isfinite(self.alpha.grad).all()
        assert self.alpha.grad.abs().max() > 0
        seen.append((before, self.alpha.detach().clone()))

    monkeypatch.setattr(PolicySearch, "alpha_step", watched)
    config = Config(**SMALL, batch_size=32, max_epochs=4, lr=1e-3)
    search = PolicySearch(config, seed=1).fit(draw_random_cohort(90), draw_random_cohort(40, seed=1))
    assert len(seen) == 3 * 3  # none in the frozen epoch
    for (_, alpha), (before, _) in pairwise(seen):
        assert torch.equal(alpha, before[1])
        assert not torch.equal(alpha, torch.zeros(4))
    assert any(not torch.equal(a, b) for a, b in zip(seen[0][0][0], seen[1][0][0], strict=True))
    assert len(search.policies) == 4
    torch.testing.assert_close(search.policies[-1], search.alpha.detach().softmax(0))


def fitted(train=None, valid=None, **changes):
    config = Config(**{**SMALL, "max_epochs": 4, "batch_size": 32, "lr": 1e-3, **changes})
    return Mt(config, seed=3).fit(train or draw_random_cohort(90), valid or draw_random_cohort(40, seed=1))


def test_the_search_reads_training_stays_only_and_leaves_no_other_trace():
    found, other = fitted(layers=2), fitted(layers=2, max_epochs=3, valid=draw_random_cohort(50, seed=7))
    torch.testing.assert_close(found.module.trajectory, other.module.trajectory, atol=0, rtol=0, equal_nan=True)
    assert found.module.start == other.module.start
    pi = found.module.trajectory
    assert pi.shape == (2, 3)  # search_epochs, whatever max_epochs is
    assert torch.isfinite(pi).all()
    assert torch.equal(pi[0], torch.full((3,), 1 / 3))  # alpha is frozen in the first
    assert pi[1].argmax() == found.module.start
    test, fixed = draw_random_cohort(30, seed=2), POLICIES[1 + found.module.start]
    np.testing.assert_array_equal(found.predict_proba(test), fitted(layers=2, policy=fixed).predict_proba(test))


def test_the_found_policy_survives_saving(tmp_path):
    method, test = fitted(), draw_random_cohort(30, seed=2)
    method.module.settle(2)
    np.savez(tmp_path / "state.npz", **method.state())
    with np.load(tmp_path / "state.npz") as state:
        again = Mt(method.config, seed=9).load_state(dict(state))
    assert again.module.start == 2
    np.testing.assert_array_equal(again.predict_proba(test), method.predict_proba(test))


def together(n, seed):
    """The outcome is whether two signs agree: no mean of one part a modality can tell."""
    made = draw_random_cohort(n, (2, 2), seed=seed, undefined=0.0, series=False)
    signs = np.random.default_rng(seed).choice([-1.0, 1.0], (n, 2)).astype(np.float32)
    parts = tuple(replace(m, values=np.stack([s, s], 1)) for m, s in zip(made.modalities, signs.T, strict=True))
    y = np.repeat((signs.prod(1, keepdims=True) > 0).astype(np.float32), 2, axis=1)
    return replace(made, modalities=parts, observed=np.ones((n, 2), dtype=bool), outcomes=y, fingerprint="")


def auc(method, cohort):
    p, known = method.predict_proba(cohort), ~np.isnan(cohort.outcomes)
    return np.mean([roc_auc_score(cohort.outcomes[k, t], p[k, t]) for t, k in enumerate(known.T)])


def test_the_search_finds_fusion_where_only_fusion_can_tell():
    train, valid, test = (together(n, s) for n, s in ((300, 0), (80, 1), (300, 2)))
    how = {
        "max_epochs": 36,
        "lr": 3e-3,
        "layers": 2,
        "alpha_lr": 3e-2,
        "patience": 12,
        "search_epochs": 12,
        "search_frozen": 3,
    }
    assert auc(fitted(train, valid, policy="late", **how), test) < 0.6
    method = fitted(train, valid, **how)
    assert method.module.trajectory[11, 2] < 0.25
    assert method.module.start < 2
    assert auc(method, test) > 0.95


def test_half_precision_changes_the_result_little():
    net, b = module("mid").train(), batch()
    net.gates = torch.tensor([0.0, 1.0, 1.0], requires_grad=True)
    results = []
    for how in (torch.float32, torch.bfloat16):
        torch.manual_seed(4)
        with torch.autocast("cpu", torch.bfloat16, enabled=how is torch.bfloat16):
            results.append(net(b))
    torch.testing.assert_close(results[1].logits.float(), results[0].logits, atol=0.1, rtol=0)
    assert results[1].losses["views"].item() == pytest.approx(results[0].losses["views"].item(), rel=0.1)
    (grad,) = torch.autograd.grad(results[1].losses["views"], net.gates)
    assert torch.isfinite(grad).all()


def test_learning_rate_rises_then_falls():
    rates = [warm_up_cosine(s, 100, 0.05) for s in range(100)]
    assert rates[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert all(a >= b for a, b in pairwise(rates[4:]))
    assert rates[-1] < 0.001
    assert warm_up_cosine(0, 1, 0.05) == 1
