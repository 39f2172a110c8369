"""FLEXGEN-EHR's generator: its schedule, its loss written out, its sampler against distributions that are known."""

import numpy as np
import pytest
import torch
from torch.nn.functional import gelu

from methods.common.training import Batch
from methods.flexgen_ehr.diffusion import Denoiser, encode_outcomes, noise_schedule


def denoiser(width=3, tasks=2, steps=50, drop=0.0):
    torch.manual_seed(0)
    net = Denoiser(width, tasks, steps, drop)
    net.low.fill_(-50)
    net.high.fill_(50)
    return net


def stays(n=8, width=3, sd=0.3):
    rng = torch.Generator().manual_seed(1)
    extra = {"mu": torch.randn(n, width, generator=rng), "sd": torch.full((n, width), sd)}
    labels = (torch.rand(n, 2, generator=rng) < 0.5).float()
    return Batch((), torch.ones(n, 1, dtype=torch.bool), extra, labels, torch.rand(n, 2, generator=rng) < 0.7)


@pytest.mark.parametrize(
    ("steps", "rescaled", "end"), [(1000, False, 4.0e-5), (1000, True, 4.0e-5), (50, False, 0.60), (50, True, 1e-5)]
)
def test_noise_ends_at_a_standard_normal_but_for_fifty_steps_of_the_released_betas(steps, rescaled, end):
    beta, abar = noise_schedule(steps, rescaled)
    assert (abar[1:] < abar[:-1]).all()
    assert (beta[1:] > beta[:-1]).all()
    assert abar[0] == 1
    np.testing.assert_allclose(abar, np.cumprod(1 - beta.numpy()))
    assert abar[-1].item() == pytest.approx(end, rel=0.2 if end > 1e-3 else 2)
    torch.manual_seed(0)
    z = abar[-1].sqrt() * 3 + (1 - abar[-1]).sqrt() * torch.randn(20_000, dtype=torch.float64)  # all data at 3
    normal = abs(z.mean()) < 0.05 and abs(z.std() - 1) < 0.02
    assert bool(normal) == (end < 1e-3)


def test_conditions_are_two_bits_an_outcome():
    labels = torch.tensor([[1.0, 0.0], [0.0, 0.0], [0.0, 1.0]])
    mask = torch.tensor([[True, True], [False, False], [False, True]])
    assert encode_outcomes(labels, mask).tolist() == [[1, 0, 0, 1], [0, 0, 0, 0], [0, 0, 1, 0]]
    nan = torch.tensor([[torch.nan, 1.0]])
    assert encode_outcomes(nan, ~nan.isnan()).tolist() == [[0, 0, 1, 0]]


def test_prediction_equals_the_equations_and_its_output_has_no_floor():
    net, z, c = denoiser(), torch.randn(5, 3), torch.rand(5, 4)
    t = 7
    h = gelu(net.down(z))
    e_t = net.time[2](gelu(net.time[0](torch.full((5, 1), t / 50))))
    e_c = net.context[2](gelu(net.context[0](c)))
    expected = net.out(torch.cat([e_c * net.up(h) + e_t, h], dim=1))
    torch.testing.assert_close(net.predict(z, net.times()[t - 1 : t], net.context(c)), expected)
    assert expected.min() < -0.17 or net.predict(5 * z, net.times()[:1], net.context(c)).min() < -0.17


@pytest.mark.parametrize("drop", [0.0, 1.0])
def test_loss_equals_the_equations(monkeypatch, drop):
    net, batch = denoiser(drop=drop), stays()
    t, draws = torch.tensor([1, 50, 3, 20, 49, 7, 30, 11]), torch.randn(2, 8, 3)
    order = iter(draws)
    monkeypatch.setattr(torch, "randint", lambda *a, **k: t)
    monkeypatch.setattr(torch, "randn_like", lambda v: next(order))
    loss = net.train()(batch).losses["noise"]
    noise, fresh = draws
    abar = net.abar[t][:, None].float()
    z = abar.sqrt() * (batch.extra["mu"] + 0.3 * fresh) + (1 - abar).sqrt() * noise
    c = encode_outcomes(batch.labels, batch.label_mask) * (1 - drop)
    guess = torch.cat(
        [net.predict(z[i : i + 1], net.times()[t[i] - 1 : t[i]], net.context(c[i : i + 1])) for i in range(8)]
    )
    torch.testing.assert_close(loss, (guess - noise).square().mean())


def test_outcomes_are_dropped_for_whole_stays():
    net, seen = denoiser(drop=0.3), []
    net.context.register_forward_pre_hook(lambda m, args: seen.append(args[0]))
    net.train()
    batch = stays(4000)
    net(batch._replace(label_mask=torch.ones_like(batch.label_mask)))
    assert set(seen[0].sum(1).tolist()) == {0.0, 2.0}
    assert (seen[0].sum(1) == 0).float().mean().item() == pytest.approx(0.3, abs=0.03)


def exact(net, mean, sd):
    """The best epshat where z ~ N(mean, sd^2); its time is told by the embedding's first entry."""

    def predict(z, time, context):
        abar = net.abar[int(time[0, 0])].float()
        return (1 - abar).sqrt() * (z - abar.sqrt() * mean) / (abar * sd**2 + 1 - abar)

    return predict


@pytest.mark.parametrize("steps", [50, 200])
def test_samples_have_the_distribution_whose_noise_is_predicted(monkeypatch, steps):
    net = denoiser(steps=steps)
    monkeypatch.setattr(net, "times", lambda: torch.arange(1, steps + 1)[:, None])
    monkeypatch.setattr(net, "predict", exact(net, 3.0, 0.5))
    z = net.sample(torch.zeros(4000, 4), 0.5)
    assert z.mean().item() == pytest.approx(3.0, abs=0.05)
    assert z.std().item() == pytest.approx(0.5, abs=0.08)


def test_guidance_leads_away_from_the_prediction_without_outcomes(monkeypatch):
    net = denoiser(steps=1)
    monkeypatch.setattr(net, "predict", lambda z, time, context: context[:, :3])
    torch.manual_seed(3)
    made, c = net.sample(torch.eye(4), 0.5), torch.eye(4)
    torch.manual_seed(3)
    z, abar = torch.randn(4, 3), float(net.abar[1])
    eps = 1.5 * net.context(c)[:, :3] - 0.5 * net.context(torch.zeros(4, 4))[:, :3]
    expected = (z - (1 - abar) ** 0.5 * eps) / abar**0.5
    torch.testing.assert_close(made, expected, atol=1e-3, rtol=1e-3)


def test_samples_stay_in_range_before_any_training():
    net = denoiser()
    net.low.copy_(torch.tensor([-1.0, 0.0, 2.0]))
    net.high.copy_(torch.tensor([1.0, 0.5, 2.0]))
    z = net.sample(torch.rand(100, 4), 0.5)
    assert ((z >= net.low - 1e-5) & (z <= net.high + 1e-5)).all()


def test_the_generator_learns_what_outcomes_say():
    torch.manual_seed(0)
    net = Denoiser(4, 1, 50, 0.1)
    y = (torch.arange(400)[:, None] % 2).float()
    mu = torch.randn(400, 4) * 0.3 + (2 * y - 1) * torch.tensor([1.0, -1.0, 1.0, 0.0])
    batch = Batch((), torch.ones(400, 1).bool(), {"mu": mu, "sd": torch.zeros(400, 4)}, y, torch.ones(400, 1).bool())
    net.low.copy_(mu.amin(0)), net.high.copy_(mu.amax(0))
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-2)
    for _ in range(200):
        optimiser.zero_grad()
        net(batch).losses["noise"].backward()
        optimiser.step()
    for label in (0.0, 1.0):
        z = net.sample(encode_outcomes(torch.full((200, 1), label), torch.ones(200, 1).bool()), 0.0).mean(0)
        away = (2 * label - 1) * torch.tensor([1.0, -1.0, 1.0])
        assert ((z[:3] * away) > 0.4).all()
        assert z[3].abs() < 0.3
