"""DrFuse-M: its equations stay by stay and pair by pair, the released ones for two modalities, and what its card says must hold."""

from dataclasses import replace
from functools import cache
from itertools import combinations, permutations

import numpy as np
import pytest
import torch
from scipy.spatial.distance import jensenshannon
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from benchmark.check.cohorts import draw_random_cohort, spoil_unobserved
from methods.common.training import Batch
from methods.drfuse import (
    Config,
    DrFuse,
    DrFuseModule,
    divergence,
    jsd_loss,
    orthogonality_loss,
    pool_logits,
    rank_loss,
    select_modalities,
)

WIDTHS = (6, 5, 4)
LOSSES = ("auxiliary", "jsd", "orth", "rank")


def vectors(b=40, m=4, d=7, scale=3.0, seed=0, dtype=torch.float64):
    """h [b, m, d] and a pattern [b, m]; stay 0 has all, stay 1 one modality, stay 2 none."""
    rng = torch.Generator().manual_seed(seed)
    h = scale * torch.randn(b, m, d, generator=rng, dtype=torch.float64)
    observed = torch.rand(b, m, generator=rng) < 0.6
    observed[0], observed[1:3] = True, False
    observed[1, 1] = True
    return h.to(dtype), observed


@pytest.mark.parametrize(("dtype", "limit"), [(torch.float64, 1e-12), (torch.float32, 1e-6)])
@pytest.mark.parametrize("scale", [0.1, 3.0, 20.0])
def test_pooling_of_two_is_the_papers_closed_form(dtype, limit, scale):
    h = vectors(b=500, m=2, scale=scale, dtype=dtype)[0]
    h1, h2 = h.double().unbind(dim=1)
    above = torch.stack([h1 + h2, h1 + h2, h1, h2]).logsumexp(dim=0)
    below = torch.stack([torch.zeros_like(h1)] * 2 + [h1, h2]).logsumexp(dim=0)
    found = pool_logits(h, torch.ones(500, 2, dtype=torch.bool))
    assert found.dtype == dtype
    torch.testing.assert_close(found.double(), above - below, atol=limit, rtol=limit)


@pytest.mark.parametrize("scale", [1.0, 25.0])
def test_pooling_of_any_number(scale):
    h, observed = vectors(scale=scale)
    found = pool_logits(h, observed)
    for i, o in enumerate(observed):
        if o.any():
            p, q = (F.logsigmoid(side).logsumexp(dim=0) for side in (h[i, o], -h[i, o]))
            torch.testing.assert_close(found[i], p - q, atol=1e-10, rtol=0)
            assert (found[i] >= h[i, o].amin(dim=0) - 1e-9).all()
            assert (found[i] <= h[i, o].amax(dim=0) + 1e-9).all()
    torch.testing.assert_close(found[1], h[1, 1], atol=1e-10, rtol=0)
    assert (found[2] == 0).all()
    for order in permutations(range(4)):
        torch.testing.assert_close(pool_logits(h[:, order], observed[:, order]), found, atol=1e-12, rtol=0)
    garbage = torch.where(observed.unsqueeze(-1), h, torch.nan)
    assert torch.equal(pool_logits(garbage, observed), found)


def test_pooling_stays_finite_where_the_logistic_function_does_not_resolve():
    h = torch.tensor([[-1e4, -1e4], [1e4, 1e4], [-1e4, 1e4], [-60.0, -61.0]]).unsqueeze(-1).requires_grad_()
    found = pool_logits(h, torch.ones(4, 2, dtype=torch.bool))
    found.sum().backward()
    assert torch.isfinite(h.grad).all()
    torch.testing.assert_close(found.squeeze(-1).detach(), torch.tensor([-88.0297, 88.0297, 0.0, -60.3799]))


def code_jsd(h1, h2):
    """The released expression for paired stays [n, d]."""
    p, q = h1.sigmoid(), h2.sigmoid()
    mu = (0.5 * (p + q)).log()
    kl = torch.nn.KLDivLoss(reduction="none", log_target=True)
    return 0.5 * (kl(mu, p.log()) + kl(mu, q.log())).sum() / max(1, len(h1))


def jsd(h, observed, **changes):
    return jsd_loss(h, pool_logits(h, observed), observed, Config(**changes))


def test_alignment_of_two_is_the_codes_on_the_paired_stays():
    h, observed = vectors(m=2)
    both = observed.all(dim=1)
    assert 0 < both.sum() < len(both) - 1
    expected = code_jsd(*h[both].unbind(dim=1))
    for changes, factor in (({}, 1), ({"pairwise": True}, 1), ({"jsd_mean": True}, 1 / 7)):
        torch.testing.assert_close(jsd(h, observed, **changes), expected * factor)


def test_alignment_is_zero_for_equal_vectors_alone_and_reads_nothing_unobserved():
    h, observed = vectors()
    value = divergence(h, pool_logits(h, observed), observed)
    several = observed.sum(dim=1) > 1
    assert (value[several] > 0.01).all()
    assert value[~several].abs().max() < 1e-12
    same = h[:, :1].expand_as(h)
    for changes in ({}, {"bernoulli": True}, {"pairwise": True}):
        total = jsd(h, observed, **changes)
        assert total > 0
        assert abs(jsd(same, observed, **changes)) < 1e-12
        assert torch.equal(jsd(torch.where(observed.unsqueeze(-1), h, torch.nan), observed, **changes), total)
        assert jsd(h, torch.eye(40, 4, dtype=torch.bool), **changes) == 0  # no stay has two
        assert jsd(h[:, :1], observed[:, :1], **changes) == 0
    torch.testing.assert_close(jsd(h, observed), value[several].mean())


def test_both_sides_make_it_the_divergence_of_jensen_and_shannon():
    h, observed = vectors(m=2)
    expected = []
    for p in h[observed.all(dim=1)].sigmoid().numpy():
        expected.append(sum(jensenshannon([p[0, j], 1 - p[0, j]], [p[1, j], 1 - p[1, j]]) ** 2 for j in range(7)))
    np.testing.assert_allclose(jsd(h, observed, bernoulli=True), np.mean(expected), rtol=1e-9)
    h, observed = vectors()
    entropy = lambda p: -(p * np.log(p) + (1 - p) * np.log(1 - p)).sum()  # noqa: E731
    stays = [p[o].numpy() for p, o in zip(h.sigmoid(), observed, strict=True) if o.sum() > 1]
    expected = [entropy(p.mean(axis=0)) - np.mean([entropy(row) for row in p]) for p in stays]
    np.testing.assert_allclose(jsd(h, observed, bernoulli=True), np.mean(expected), rtol=1e-9)


def test_pairwise_alignment_is_the_mean_over_pairs_each_over_its_own_stays():
    h, observed = vectors()
    parts = []
    for a, b in combinations(range(4), 2):
        both = observed[:, a] & observed[:, b]
        parts.append(code_jsd(h[both, a], h[both, b]))
    torch.testing.assert_close(jsd(h, observed, pairwise=True), torch.stack(parts).mean())


def test_orthogonality_is_the_absolute_cosine_over_stays_with_the_modality():
    h, observed = torch.zeros(3, 2, 4), torch.tensor([[True, True], [True, False], [False, False]])
    w = torch.zeros(3, 2, 4)
    h[..., 0], w[..., 1] = 2.0, 5.0
    assert orthogonality_loss(h, w, observed) == 0
    assert orthogonality_loss(h, -3 * h, observed).item() == pytest.approx(2)  # one for each modality
    four = [v.repeat(1, 2, 1) for v in (h, -3 * h)]  # twice as many modalities weigh no more
    assert orthogonality_loss(*four, observed.repeat(1, 2)).item() == pytest.approx(2)
    w[1] = h[1]
    assert orthogonality_loss(h, w, observed).item() == pytest.approx(0.5)  # modality 1: the mean of 0 and 1; 2: 0
    w[1:, 1] = torch.nan
    assert orthogonality_loss(h, w, observed).item() == pytest.approx(0.5)


def attention_of(b=30, t=3, n=4, seed=0):
    rng = torch.Generator().manual_seed(seed)
    alpha = torch.randn(b, t, n, generator=rng, dtype=torch.float64).softmax(dim=-1)
    losses = torch.rand(b, t, n, generator=rng, dtype=torch.float64)
    return alpha, losses, torch.rand(b, t, n, generator=rng) < 0.7


@pytest.mark.parametrize("n", [2, 3, 5, 11])
def test_ranking_is_torchs_margin_ranking_over_all_pairs(n):
    alpha, losses, counted = attention_of(n=n)
    parts = []
    for b, a in combinations(range(n), 2):
        s = torch.where(losses[..., a] < losses[..., b], 1.0, -1.0)
        r = F.margin_ranking_loss(alpha[..., a], alpha[..., b], s, reduction="none")
        r = r[counted[..., a] & counted[..., b]]
        parts.append(r.sum() / max(1, (r > 0).sum()))
    torch.testing.assert_close(rank_loss(alpha, losses, counted), torch.stack(parts).mean())


def test_ranking_is_zero_where_attention_is_ordered_as_the_losses_are():
    alpha, losses, counted = attention_of()
    assert rank_loss(alpha, -alpha, counted) == 0
    assert rank_loss(alpha, alpha, counted) > 0.05
    assert rank_loss(alpha, losses, torch.zeros_like(counted)) == 0
    one = torch.zeros_like(counted)
    one[..., 2] = True
    assert rank_loss(alpha, losses, one) == 0
    two = torch.tensor([[[0.7, 0.3]]])
    assert rank_loss(two, torch.tensor([[[2.0, 1.0]]]), two > 0).item() == pytest.approx(0.4)  # worse by .4, margin 0


def module(tasks=2, seed=0, widths=WIDTHS, **changes):
    torch.manual_seed(seed)
    net = DrFuseModule(widths, tasks, Config(**{"hidden": 8, "dropout": 0.0, **changes}))
    torch.nn.init.normal_(net.null)
    return net


def some_stays(n=12, tasks=2, seed=1):
    rng = torch.Generator().manual_seed(seed)
    observed = torch.rand(n, 3, generator=rng) < 0.6
    observed[0], observed[1] = True, False
    x = tuple(torch.randn(n, d, generator=rng) for d in WIDTHS)
    labels = (torch.rand(n, tasks, generator=rng) < 0.5).float()
    return Batch(x, observed, {}, labels, torch.rand(n, tasks, generator=rng) < 0.8)


def by_hand(net, batch, offset):
    """Logits, and the losses before weighting: stay by stay in double precision, q, k and v of every token in full."""
    p = {k: v.detach().double().numpy() for k, v in net.state_dict().items()}
    tasks, d = net.predict.weight.shape
    m, seen = len(batch.x), batch.observed.numpy()
    lin = lambda name, x: p[f"{name}.weight"] @ x + p[f"{name}.bias"]  # noqa: E731
    grouped = lambda name, g, x: x @ p[f"{name}.weight"][g] + p[f"{name}.bias"][g]  # noqa: E731
    relu, sig = (lambda x: np.maximum(x, 0)), (lambda x: 1 / (1 + np.exp(-x)))
    y, known = batch.labels.double().numpy(), batch.label_mask.numpy()
    stays = []
    for i in range(len(seen)):
        tokens, hs, ws = {}, {}, {}
        for k in np.flatnonzero(seen[i]):
            e = relu(lin(f"embed.encoders.{k}", batch.x[k][i].double().numpy()))
            sh, di = np.split(relu(grouped("branch_hidden", k, e)), 2)
            a, ws[k] = grouped("branch_output", 2 * k, sh), grouped("branch_output", 2 * k + 1, di)
            hs[k] = lin("project.6", relu(lin("project.3", relu(lin("project.0", a)))))
            tokens[k] = ws[k]
        mu = np.mean([sig(h) for h in hs.values()], axis=0) if hs else None
        tokens[m] = np.log(mu / (1 - mu)) if hs else p["null"]
        qkv = {k: lin("attend", v).reshape(2 + tasks, d) for k, v in tokens.items()}
        q = np.mean([v[0] for v in qkv.values()], axis=0)
        logits, alpha = np.zeros(tasks), np.zeros((tasks, m + 1))
        for c in range(tasks):
            e = {k: np.exp(q @ v[2 + c] / np.sqrt(d)) for k, v in qkv.items()}
            for k in e:
                alpha[c, k] = e[k] / sum(e.values())
            fused = sum(alpha[c, k] * qkv[k][1] for k in qkv)
            logits[c] = p["predict.weight"][c] @ fused + p["predict.bias"][c]
        heads = {k: grouped("auxiliary", k, v) + offset for k, v in tokens.items() if hs}
        bce = {k: np.logaddexp(0, v) - y[i] * v for k, v in heads.items()}
        stays.append((logits, alpha, hs, ws, bce, mu))
    mean = lambda v: np.mean(v) if len(v) else 0.0  # noqa: E731
    sup = [
        np.mean([mean([s[4][k][c] for i, s in enumerate(stays) if k in s[4] and known[i, c]]) for c in range(tasks)])
        for k in range(m + 1)
    ]
    cos = lambda a, b: abs(a @ b) / np.linalg.norm(a) / np.linalg.norm(b)  # noqa: E731
    kl = lambda s: np.mean([(sig(h) * np.log(sig(h) / s[5])).sum() for h in s[2].values()])  # noqa: E731
    ranks = []
    for b, a in combinations(range(m + 1), 2):
        r = []
        for i, (_, alpha, hs, _, bce, _) in enumerate(stays):
            for c in range(tasks):
                if len(hs) > 1 and a in bce and b in bce and known[i, c]:
                    s = 1 if bce[a][c] < bce[b][c] else -1
                    r.append(max(0.0, -s * (alpha[c, a] - alpha[c, b])))
        ranks.append(sum(r) / max(1, sum(v > 0 for v in r)))
    orth = [mean([cos(s[2][k], s[3][k]) for s in stays if k in s[2]]) for k in range(m)]
    found = {
        "pred": 2 / m * sum(sup[:m]),
        "pred_shared": sup[m],
        "jsd": mean([kl(s) for s in stays if len(s[2]) > 1]),
        "orth": 2 / m * sum(orth),
        "rank": np.mean(ranks),
    }
    return np.stack([s[0] for s in stays]), np.stack([s[1] for s in stays]), found


@pytest.mark.parametrize("tasks", [1, 3])
def test_forward_and_losses_equal_the_equations(tasks):
    weights = {"lambda_pred": 0.3, "lambda_pred_shared": 1.7, "lambda_jsd": 0.6, "lambda_orth": 0.9, "lambda_attn": 2.0}
    net, batch = module(tasks, **weights), some_stays(tasks=tasks)
    with torch.no_grad():  # else scores are all alike
        net.attend.weight.mul_(8)
    offset = torch.linspace(-2, 1, tasks)
    net.base_log_odds = offset
    logits, alpha, losses = by_hand(net, batch, offset.numpy())
    out = net.train()(batch)
    np.testing.assert_allclose(out.logits.detach(), logits, atol=1e-5)
    assert tuple(out.losses) == LOSSES
    expected = {"auxiliary": 0.3 * losses["pred"] + 1.7 * losses["pred_shared"]}
    expected |= {k: weights[f"lambda_{w}"] * losses[k] for k, w in (("jsd", "jsd"), ("orth", "orth"), ("rank", "attn"))}
    for name, value in expected.items():
        assert value > 0
        assert out.losses[name].item() == pytest.approx(value, rel=1e-4), name
    assert np.ptp(alpha[0]) > 0.05
    assert not net.eval()(batch).losses


@pytest.mark.parametrize("m", [1, 2, 3, 10])
def test_auxiliary_predictions_weigh_three_to_one_for_any_number_of_modalities(m):
    """Where every head says what the final one says, as the released sum over two modalities and the shared token."""
    net, b = module(widths=(5,) * m), some_stays()
    b = b._replace(x=tuple(torch.randn(12, 5) for _ in range(m)), observed=torch.ones(12, m, dtype=torch.bool))
    with torch.no_grad():
        for part in (net.predict, net.auxiliary):
            part.weight.zero_()
            part.bias.fill_(0.3)
    out = net.train()(b)
    final = F.binary_cross_entropy_with_logits(out.logits, b.labels, reduction="none")
    final = (torch.where(b.label_mask, final, 0.0).sum(0) / b.label_mask.sum(0)).mean()
    assert out.losses["auxiliary"].item() == pytest.approx(3 * final.item(), rel=1e-5)


def test_attention_is_a_distribution_over_available_tokens():
    net = module(tasks=5)
    available = torch.rand(50, 4) < 0.5
    available[:, 3] = True
    tokens = torch.where(available.unsqueeze(-1), 3 * torch.randn(50, 4, 8), 0.0)
    logits, alpha = net.attention(tokens, available)
    torch.testing.assert_close(alpha.sum(dim=-1), torch.ones(50, 5))
    assert (alpha[~available.unsqueeze(1).expand_as(alpha)] == 0).all()
    assert (alpha[available.unsqueeze(1).expand_as(alpha)] > 0).all()
    q, v, *k = net.attend(tokens).chunk(7, dim=-1)  # the released form
    mean = torch.stack([row[a].mean(dim=0) for row, a in zip(q, available, strict=True)])
    scores = torch.einsum("bd,bnkd->bnk", mean, torch.stack(k, dim=1)) / 8**0.5
    direct = scores.masked_fill(~available.unsqueeze(1), -torch.inf).softmax(dim=-1)
    torch.testing.assert_close(alpha, direct)
    torch.testing.assert_close(logits, torch.diagonal(net.predict(direct @ v), dim1=1, dim2=2))


def test_no_tensor_has_the_tasks_twice():
    class Shapes(TorchDispatchMode):
        seen = ()

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            out = func(*args, **(kwargs or {}))
            self.seen += tuple(
                tuple(o.shape) for o in (out if isinstance(out, tuple | list) else [out]) if hasattr(o, "shape")
            )
            return out

    net, batch = module(tasks=17), some_stays(tasks=17)
    with Shapes() as shapes:
        net.train()(batch)
    assert any(17 in s for s in shapes.seen)
    assert not [s for s in shapes.seen if s.count(17) > 1]


def test_ranking_teaches_the_attention_and_not_the_heads_it_listens_to():
    net, batch = module(), some_stays()
    net.train()(batch).losses["rank"].backward()
    assert net.auxiliary.weight.grad is None
    assert net.attend.weight.grad.abs().sum() > 0
    assert net.predict.weight.grad is None
    net.zero_grad()
    net(batch).losses["auxiliary"].backward()
    assert (net.auxiliary.weight.grad.abs().sum(dim=(1, 2)) > 0).all()
    assert net.attend.weight.grad is None


def test_one_stay_is_predicted_like_many():
    net, batch = module().eval(), some_stays(64)
    with torch.no_grad():
        whole = net(batch).logits
        alone = torch.cat([net(batch.take(slice(i, i + 1))).logits for i in range(64)])
    torch.testing.assert_close(alone, whole, atol=1e-6, rtol=0)


def test_unobserved_contents_reach_neither_outputs_nor_gradients():
    results = []
    for fill in (0.0, torch.nan, torch.inf):
        net, batch = module(dropout=0.3), some_stays()
        x = tuple(torch.where(o[:, None], x, fill) for x, o in zip(batch.x, batch.observed.unbind(1), strict=True))
        assert (net.disentangle(x, batch.observed)[1][~batch.observed] == 0).all()
        torch.manual_seed(2)
        out = net.train()(batch._replace(x=x))
        (out.logits.square().sum() + sum(out.losses.values())).backward()
        results.append([out.logits, *out.losses.values(), *(p.grad for p in net.parameters())])
    assert all(torch.isfinite(v).all() for v in results[0])
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_missing_labels_and_empty_stays_count_in_no_loss():
    net, batch = module().train(), some_stays()
    losses = net(batch).losses
    turned = net(batch._replace(labels=torch.where(batch.label_mask, batch.labels, 1 - batch.labels))).losses
    assert all(torch.equal(losses[k], turned[k]) for k in LOSSES)
    turned = net(batch._replace(labels=1 - batch.labels)).losses
    assert turned["rank"] != losses["rank"]
    kept = torch.arange(12)[batch.observed.any(dim=1)]
    for k, value in net(batch.take(kept)).losses.items():
        torch.testing.assert_close(value, losses[k])
    out = net(batch._replace(observed=torch.zeros_like(batch.observed)))
    assert all(v == 0 for v in out.losses.values())
    assert torch.equal(out.logits, out.logits[:1].expand_as(out.logits))
    out.logits.sum().backward()
    assert net.null.grad.abs().sum() > 0


SHORT = {"hidden": 16, "max_epochs": 4, "batch_size": 32, "lr": 1e-3}


@cache
def fitted(**changes):
    return DrFuse(Config(**SHORT, **changes), seed=3).fit(draw_random_cohort(97), draw_random_cohort(40, seed=1))


def test_its_losses_are_given_the_base_rate_before_and_after_loading():
    method = fitted()
    again = DrFuse(method.config, seed=9).load_state(method.state())
    assert torch.equal(again.module.base_log_odds, method.offset)
    assert method.module.base_log_odds is method.offset


def test_a_pair_is_the_first_two_modalities_and_nothing_else():
    test = draw_random_cohort(60, seed=2)
    p = fitted(modalities="pair").predict_proba(test)
    np.testing.assert_array_equal(fitted(modalities="m1+m0").predict_proba(test), p)
    assert len(fitted(modalities="pair").module.auxiliary.weight) == 3
    other = replace(test, observed=test.observed & [True, True, False], fingerprint="")
    np.testing.assert_array_equal(fitted(modalities="pair").predict_proba(spoil_unobserved(other, 1)), p)
    two = [select_modalities(c, "pair") for c in (draw_random_cohort(97), draw_random_cohort(40, seed=1), test)]
    assert [m.name for m in two[0].modalities] == ["m0", "m1"]
    method = DrFuse(Config(**SHORT), seed=3).fit(*two[:2])
    np.testing.assert_array_equal(method.predict_proba(two[2]), p)


def test_modalities_are_chosen_by_name_in_the_cohorts_order():
    cohort = draw_random_cohort(20)
    assert select_modalities(cohort, "all") is cohort
    chosen = select_modalities(cohort, "m2+m0")
    assert [m.name for m in chosen.modalities] == ["m0", "m2"]
    assert np.array_equal(chosen.observed, cohort.observed[:, [0, 2]])
    assert select_modalities(cohort, "m1").observed.shape == (20, 1)
    with pytest.raises(ValueError, match="no modality is called 'cxr'; random has m0, m1, m2"):
        select_modalities(cohort, "m0+cxr")
