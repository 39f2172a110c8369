"""FLEXGEN-EHR's generator: a denoising diffusion model of latents z in R^D, conditional on outcomes, with classifier-free guidance.

For t = 1 .. n_T, beta_t = (1e-4 + (0.02 - 1e-4) t / n_T) 1000 / n_T, abar_t = prod_{s <= t} (1 - beta_s):

    z_t    = sqrt(abar_t) z + sqrt(1 - abar_t) eps,       L = |eps - epshat(z_t, t, c)|^2 / D
    c      = ([y_1 = 1], [y_1 = 0], [y_2 = 1], ..),  0 for an undefined outcome; all 0 with probability ``drop``
    h      = gelu(A z_t),   epshat = B [e_c(c) * (U h) + e_t(t / n_T); h],     e_c, e_t: Linear, GELU, Linear, into R^{2D}
    sample : epshat = (1 + w) epshat(c) - w epshat(0),  zhat = (z_t - sqrt(1 - abar_t) epshat) / sqrt(abar_t) within the range of training,
             z_{t-1} ~ N(mean of q(z_{t-1} | z_t, zhat), beta_t),  without noise at t = 1
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from methods.common.training import Batch, Output


def noise_schedule(steps: int, rescaled: bool = True) -> tuple[Tensor, Tensor]:
    """Return beta_t and abar_t [steps + 1]; t = 0 has beta 0 and abar 1. Without the factor 1000 / n_T, 50 steps leave abar = 0.60."""
    share = torch.arange(1, steps + 1, dtype=torch.float64) / steps
    beta = (1e-4 + (0.02 - 1e-4) * share) * (1000.0 / steps if rescaled else 1.0)
    beta = torch.cat([beta.new_zeros(1), beta.clamp(max=0.999)])
    return beta, (1.0 - beta).cumprod(dim=0)


def encode_outcomes(labels: Tensor, mask: Tensor) -> Tensor:
    """Return c [B, 2 T] of labels and mask [B, T]: two bits an outcome, both 0 where it is undefined."""
    return torch.stack([mask & (labels == 1), mask & (labels == 0)], dim=2).flatten(1).float()


def make_embedding(d_in: int, d_out: int) -> nn.Sequential:
    """Build Linear, GELU, Linear."""
    return nn.Sequential(nn.Linear(d_in, d_out), nn.GELU(), nn.Linear(d_out, d_out))


class Denoiser(nn.Module):
    """epshat and its training; in training a batch gives no logits but the loss ``noise``, of extra["mu"] and extra["sd"] [B, D]."""

    def __init__(self, width: int, tasks: int, steps: int, drop: float) -> None:
        super().__init__()
        d = width
        self.tasks, self.steps, self.drop = tasks, steps, drop
        self.down, self.up, self.out = nn.Linear(d, 2 * d), nn.Linear(2 * d, 2 * d), nn.Linear(4 * d, d)
        self.time, self.context = make_embedding(1, 2 * d), make_embedding(2 * tasks, 2 * d)
        beta, abar = noise_schedule(steps)
        self.register_buffer("beta", beta, persistent=False)
        self.register_buffer("abar", abar, persistent=False)
        self.register_buffer("low", torch.zeros(d))
        self.register_buffer("high", torch.zeros(d))

    def predict(self, z: Tensor, time: Tensor, context: Tensor) -> Tensor:
        """Predict epshat [B, D] from z [B, D] and the embeddings e_t and e_c [B or 1, 2D]."""
        h = nn.functional.gelu(self.down(z))
        return self.out(torch.cat([torch.addcmul(time, context, self.up(h)), h], dim=1))

    def forward(self, batch: Batch) -> Output:
        """Return the loss of latents and times that are drawn at each call, some without their outcomes."""
        mu, sd = batch.extra["mu"], batch.extra["sd"]
        nothing = mu.new_zeros(len(mu), self.tasks)
        if not self.training:
            return Output(nothing, {})
        t = torch.randint(1, self.steps + 1, (len(mu),), device=mu.device)
        keep = torch.rand(len(mu), 1, device=mu.device) >= self.drop
        noise, abar = torch.randn_like(mu), self.abar[t, None].float()
        noisy = abar.sqrt() * (mu + sd * torch.randn_like(mu)) + (1 - abar).sqrt() * noise
        context = self.context(encode_outcomes(batch.labels, batch.label_mask & keep))
        guess = self.predict(noisy, self.times()[t - 1], context)
        return Output(nothing, {"noise": (guess.float() - noise).square().mean()})

    def times(self) -> Tensor:
        """Return e_t [n_T, 2D] of all times."""
        t = torch.arange(1, self.steps + 1, device=self.beta.device, dtype=torch.float32)
        return self.time(t[:, None] / self.steps)

    @torch.no_grad()
    def sample(self, context: Tensor, guidance: float) -> Tensor:
        """Sample latents z [B, D] for c [B, 2 T], each coordinate within ``low`` and ``high``."""
        times, (n, d) = self.times(), (len(context), len(self.low))
        both = self.context(torch.cat([context, torch.zeros_like(context)]))
        z = torch.randn(n, d, device=context.device)
        for t in range(self.steps, 0, -1):
            beta, abar, before = (float(v) for v in (self.beta[t], self.abar[t], self.abar[t - 1]))
            given, free = self.predict(z.repeat(2, 1), times[t - 1 : t], both).split(n)
            eps = (1 + guidance) * given - guidance * free
            clean = ((z - (1 - abar) ** 0.5 * eps) / abar**0.5).clamp(self.low, self.high)
            z = (before**0.5 * beta * clean + (1 - beta) ** 0.5 * (1 - before) * z) / (1 - abar)
            if t > 1:
                z = z + beta**0.5 * torch.randn_like(z)
        return z
