"""FLEXGEN-EHR's latent spaces: a variational autoencoder for each modality, without labels, all trained side by side.

For modality m of a stay that has it, with BN a batch norm over such stays alone:

    h    = relu(BN(W1 x + b1))   in R^H,      mu = BN(W2 h + b2),   logvar = W3 h + b3   in R^L
    z    = mu + eps exp(logvar / 2),          xhat = W5 relu(BN(W4 z + b4)) + b5
    L_m  = mean over stays of |xhat - x|^2 / d_m  +  beta mean over stays of -1/2 sum(1 + logvar - mu^2 - exp(logvar)) / L
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.func import functional_call

from methods.common.layers import GroupedLinear, keep_observed
from methods.common.training import Batch, Output


class ObservedBatchNorm(nn.Module):
    """M batch norms at once, [B, M, d] -> [B, M, d], whose statistics are those of the stays observed [B, M].

    The buffers hold the statistics of the last batch seen in training: a pass over all training stays makes them those of the cohort.
    """

    def __init__(self, groups: int, d: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.weight, self.bias = nn.Parameter(torch.ones(groups, d)), nn.Parameter(torch.zeros(groups, d))
        self.register_buffer("mean", torch.zeros(groups, d))
        self.register_buffer("variance", torch.ones(groups, d))

    def forward(self, x: Tensor, observed: Tensor) -> Tensor:
        """Normalise ``x``; the contents of unobserved slots are neither counted nor made finite."""
        mean, variance = self.mean, self.variance
        if self.training:
            x, n = x.float(), observed.sum(dim=0).clamp(min=1).unsqueeze(1)
            mean = keep_observed(x, observed).sum(dim=0) / n
            variance = keep_observed(x - mean, observed).square().sum(dim=0) / n
            self.mean.copy_(mean.detach())
            self.variance.copy_(variance.detach())
        return torch.addcmul(self.bias, x - mean, self.weight * (variance + self.eps).rsqrt())


class Encoder(nn.Module):
    """mu and logvar [B, M, L] of the observed modalities; of the others, those of x = 0."""

    def __init__(self, widths: tuple[int, ...], hidden: int, latent: int) -> None:
        super().__init__()
        m = len(widths)
        self.first = nn.ModuleList(nn.Linear(d, hidden) for d in widths)
        self.second = GroupedLinear(m, hidden, 2 * latent)
        self.norm_h, self.norm_mu = ObservedBatchNorm(m, hidden), ObservedBatchNorm(m, latent)

    def forward(self, x: tuple[Tensor, ...], observed: Tensor) -> tuple[Tensor, Tensor]:
        """Return mu and logvar, each [B, M, L], of x_m [B, d_m] and observed [B, M]."""
        inputs = zip(self.first, x, observed.unbind(dim=1), strict=True)
        h = torch.stack([w(keep_observed(v, seen)) for w, v, seen in inputs], dim=1)
        mu, logvar = self.second(torch.relu(self.norm_h(h, observed))).chunk(2, dim=2)
        return self.norm_mu(mu, observed), logvar


class Decoder(nn.Module):
    """xhat_m [B, d_m] of z [B, M, L]."""

    def __init__(self, widths: tuple[int, ...], hidden: int, latent: int) -> None:
        super().__init__()
        self.first = GroupedLinear(len(widths), latent, hidden)
        self.norm = ObservedBatchNorm(len(widths), hidden)
        self.second = nn.ModuleList(nn.Linear(hidden, d) for d in widths)

    def forward(self, z: Tensor, observed: Tensor) -> list[Tensor]:
        """Decode z [B, M, L]; ``observed`` [B, M]: the stays that count in the norm's statistics."""
        h = torch.relu(self.norm(self.first(z), observed))
        return [w(v) for w, v in zip(self.second, h.unbind(dim=1), strict=True)]


class Vaes(nn.Module):
    """The autoencoders; in training a batch gives no logits but the losses ``rec`` and ``kl``, sums over modalities."""

    def __init__(self, widths: tuple[int, ...], tasks: int, hidden: int, latent: int, beta: float) -> None:
        super().__init__()
        self.encoder, self.decoder = Encoder(widths, hidden, latent), Decoder(widths, hidden, latent)
        self.tasks, self.beta = tasks, beta

    def forward(self, batch: Batch) -> Output:
        """Return losses of the stays' observed modalities."""
        nothing = batch.x[0].new_zeros(len(batch.observed), self.tasks)
        if not self.training:
            return Output(nothing, {})
        x, observed = batch.x, batch.observed
        mu, logvar = (keep_observed(v.float(), observed) for v in self.encoder(x, observed))
        made = self.decoder(mu + torch.randn_like(mu) * (0.5 * logvar).exp(), observed)
        errors = [
            keep_observed(y.float() - v, o).square().mean(dim=1)
            for v, y, o in zip(x, made, observed.unbind(1), strict=True)
        ]
        kl = -0.5 * (1 + logvar - mu.square() - logvar.exp()).mean(dim=2)  # 0 where unobserved
        share = 1 / observed.sum(dim=0).clamp(min=1)
        return Output(
            nothing, {"rec": (torch.stack(errors, dim=1) * share).sum(), "kl": self.beta * (kl * share).sum()}
        )

    @torch.no_grad()
    def settle(self, batch: Batch) -> None:
        """Make the norms' statistics those of all the given stays, then leave training."""
        self.train()
        self(batch)
        self.eval()

    def latents(self, x: tuple[Tensor, ...], observed: Tensor) -> tuple[Tensor, Tensor]:
        """Return mu and exp(logvar / 2) [B, M, L] in double precision, so that a stay's do not depend on the other stays of its batch."""
        doubled = {k: v.double() for k, v in self.encoder.state_dict().items()}
        mu, logvar = functional_call(self.encoder, doubled, (tuple(v.double() for v in x), observed))
        return keep_observed(mu, observed), keep_observed((0.5 * logvar).exp(), observed)

    def decode(self, z: Tensor) -> list[Tensor]:
        """Decode z [B, M, L] to xhat_m [B, d_m]."""
        return self.decoder(z, torch.ones(z.shape[:2], dtype=torch.bool, device=z.device))
