"""FLEXGEN-EHR's autoencoders: their norms against torch's, their losses written out, nothing read where nothing is observed."""

import numpy as np
import torch
from torch import nn

from methods.common.training import Batch
from methods.flexgen_ehr.vae import ObservedBatchNorm, Vaes

WIDTHS = (5, 3, 4)


def stays(n=20, seed=0):
    rng = torch.Generator().manual_seed(seed)
    observed = torch.rand(n, 3, generator=rng) < 0.6
    observed[0], observed[1] = True, False
    return Batch(tuple(torch.randn(n, d, generator=rng) for d in WIDTHS), observed, {})


def vaes(beta=0.5):
    torch.manual_seed(0)
    return Vaes(WIDTHS, tasks=2, hidden=8, latent=4, beta=beta)


def test_norms_are_torchs_on_the_stays_observed():
    norm, seen = ObservedBatchNorm(3, 6), stays().observed
    with torch.no_grad():
        norm.weight.normal_(), norm.bias.normal_()
    x = torch.randn(20, 3, 6, requires_grad=True)
    y, pull = norm(x, seen), torch.randn(20, 3, 6)
    (grad,) = torch.autograd.grad(y[seen], x, pull[seen])
    for m in range(3):
        torchs = nn.BatchNorm1d(6, momentum=1.0)
        torchs.weight.data, torchs.bias.data = norm.weight[m].data, norm.bias[m].data
        part = x[seen[:, m], m].detach().requires_grad_()
        expected = torchs(part)
        torch.testing.assert_close(y[seen[:, m], m], expected)
        (expected_grad,) = torch.autograd.grad(expected, part, pull[seen[:, m], m])
        torch.testing.assert_close(grad[seen[:, m], m], expected_grad, atol=1e-5, rtol=1e-4)
    assert not grad[~seen].any()
    norm.eval()
    torch.testing.assert_close(norm(x, seen), y)  # the statistics of the last batch are kept
    torch.testing.assert_close(norm(x[:3], ~seen[:3]), y[:3])


def test_losses_equal_the_equations(monkeypatch):
    net, batch = vaes(), stays()
    eps = torch.randn(20, 3, 4)
    monkeypatch.setattr(torch, "randn_like", lambda v: eps)
    losses = net.train()(batch).losses
    net.eval()  # with the statistics of the batch just seen
    mu, logvar = net.encoder(batch.x, batch.observed)
    made = net.decode(mu + eps * torch.exp(logvar / 2))
    rec = kl = 0.0
    prior = torch.distributions.Normal(torch.zeros(4), torch.ones(4))
    for m, o in enumerate(batch.observed.T):
        rec += ((made[m] - batch.x[m])[o] ** 2).mean()
        posterior = torch.distributions.Normal(mu[o, m], torch.exp(logvar[o, m] / 2))
        kl += torch.distributions.kl_divergence(posterior, prior).mean()
    assert losses.keys() == {"rec", "kl"}
    torch.testing.assert_close(losses["rec"], rec)
    torch.testing.assert_close(losses["kl"], 0.5 * kl)


def test_unobserved_contents_reach_neither_losses_nor_gradients_nor_latents():
    results = []
    for fill in (0.0, torch.nan, torch.inf):
        net, batch = vaes(), stays()
        x = tuple(torch.where(o[:, None], v, fill) for v, o in zip(batch.x, batch.observed.T, strict=True))
        torch.manual_seed(1)
        sum(net.train()(batch._replace(x=x)).losses.values()).backward()
        net.eval()
        results.append([*net.latents(x, batch.observed), *(p.grad for p in net.parameters())])
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))
    assert not results[0][0][~stays().observed].any()
    assert not results[0][1][~stays().observed].any()


def test_few_stays_with_a_modality_give_finite_gradients():
    for count in (0, 1, 2):
        net, batch = vaes(), stays()
        batch.observed[:, 1] = torch.arange(20) < count
        batch = batch._replace(x=tuple(1e4 * v for v in batch.x))
        sum(net.train()(batch).losses.values()).backward()
        assert all(p.grad.isfinite().all() for p in net.parameters())


def test_settled_statistics_are_those_of_all_stays_and_nothing_draws():
    net, batch = vaes(), stays()
    net.train()(batch.take(torch.arange(7)))
    net.settle(batch)
    assert not net.training
    for m, (w, x) in enumerate(zip(net.encoder.first, batch.x, strict=True)):
        h = w(x[batch.observed[:, m]])
        torch.testing.assert_close(net.encoder.norm_h.mean[m], h.mean(0))
        torch.testing.assert_close(net.encoder.norm_h.variance[m], h.var(0, correction=0))
    mu, _ = net.latents(batch.x, batch.observed)
    for m in range(3):  # with weight 1 and bias 0 every coordinate is standardised
        z = mu[batch.observed[:, m], m].numpy()
        np.testing.assert_allclose(z.mean(0), 0, atol=1e-5)
        np.testing.assert_allclose(z.std(0), 1, atol=0.05)
    assert torch.equal(net.latents(batch.x, batch.observed)[0], mu)


def test_latents_are_the_encoders_in_double_precision_and_each_stays_own():
    net, batch = vaes(), stays()
    net.settle(batch)
    mu, sd = net.latents(batch.x, batch.observed)
    single = net.encoder(batch.x, batch.observed)
    assert mu.dtype == torch.float64
    torch.testing.assert_close(mu[batch.observed].float(), single[0][batch.observed], atol=1e-4, rtol=0)
    torch.testing.assert_close(sd[batch.observed].float(), (single[1][batch.observed] / 2).exp(), atol=1e-4, rtol=1e-4)
    for rows in ([4], [9, 2, 17]):
        one = batch.take(torch.tensor(rows))
        torch.testing.assert_close(net.latents(one.x, one.observed)[0], mu[rows], atol=1e-13, rtol=0)
