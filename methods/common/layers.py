"""Building blocks of the torch methods. B stays in a batch, M modalities, D hidden size.

Unobserved slots are replaced with ``torch.where`` before AND after an encoder: before, so that NaN cannot reach a product or a
gradient; after, because biases turn a zero input into a constant.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def keep_observed(values: Tensor, observed: Tensor) -> Tensor:
    """Return ``values`` [..., d] with zeros where ``observed`` [...] is False."""
    return torch.where(observed.unsqueeze(-1), values, values.new_zeros(()))


def mean_observed(tokens: Tensor, observed: Tensor) -> Tensor:
    """Return [B, D]: mean of the tokens [B, M, D] over the observed modalities [B, M]; zeros where nothing is observed."""
    return keep_observed(tokens, observed).sum(dim=-2) / observed.sum(dim=-1, keepdim=True).clamp(min=1)


def apply_affine(linear: nn.Linear, *parts: Tensor) -> Tensor:
    """Apply ``linear`` to the concatenated parts [..., d_k] without concatenating them; they may broadcast against each other."""
    weights = linear.weight.split([p.shape[-1] for p in parts], dim=1)
    out = F.linear(parts[0], weights[0], linear.bias)
    for value, weight in zip(parts[1:], weights[1:], strict=True):
        out = out + F.linear(value, weight)
    return out


class Dropout(nn.Module):
    """Each element is zero with probability p in training, the others divided by 1 - p; on a CPU about twice as quick as torch's own."""

    def __init__(self, p: float) -> None:
        super().__init__()
        if not 0 <= p < 1:
            raise ValueError(f"dropout is {p}; it must be at least 0 and less than 1")
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x``, of any shape, in training with elements set to zero."""
        if not self.training or self.p == 0:
            return x
        return x * ((torch.rand_like(x, dtype=torch.float32) >= self.p).to(x.dtype) / (1 - self.p))


def encoder(d: int, hidden: int, dropout: float) -> nn.Sequential:
    """Build phi_m, the encoder of a modality that methods share, [., d] -> [., hidden]: Linear, ReLU, Dropout, Linear."""
    return nn.Sequential(nn.Linear(d, hidden), nn.ReLU(), Dropout(dropout), nn.Linear(hidden, hidden))


class ModalityEncoders(nn.Module):
    """Tokens [B, M, D] of M vector modalities, z_m = delta_m phi_m(x_m): one encoder a modality, masked before and after it."""

    def __init__(
        self,
        widths: Sequence[int],
        hidden: int,
        dropout: float,
        make: Callable[[int, int, float], nn.Module] = encoder,
    ) -> None:
        super().__init__()
        self.encoders = nn.ModuleList(make(d, hidden, dropout) for d in widths)

    def forward(self, x: tuple[Tensor, ...], observed: Tensor) -> Tensor:
        """Return tokens [B, M, D] from x_m [B, d_m] and observed [B, M]."""
        seen = observed.unbind(dim=1)
        tokens = [phi(keep_observed(v, o)) for phi, v, o in zip(self.encoders, x, seen, strict=True)]
        return keep_observed(torch.stack(tokens, dim=1), observed)


def make_normed_layers(d_in: int, d_out: int, dropout: float) -> list[nn.Module]:
    """Build Linear, LayerNorm, ReLU, Dropout: layers to be put into a Sequential."""
    return [nn.Linear(d_in, d_out), nn.LayerNorm(d_out), nn.ReLU(), Dropout(dropout)]


def mlp(sizes: Sequence[int], dropout: float) -> nn.Sequential:
    """Build linear layers through ``sizes`` with ReLU and Dropout between them, none after the last."""
    layers: list[nn.Module] = []
    for d_in, d_out in pairwise(sizes[:-1]):
        layers += [nn.Linear(d_in, d_out), nn.ReLU(), Dropout(dropout)]
    return nn.Sequential(*layers, nn.Linear(sizes[-2], sizes[-1]))


class GroupedLinear(nn.Module):
    """M affine maps at once, [., M, d_in] -> [., M, d_out]; each is initialised like ``nn.Linear``."""

    def __init__(self, groups: int, d_in: int, d_out: int) -> None:
        super().__init__()
        bound = d_in**-0.5
        self.weight = nn.Parameter(torch.empty(groups, d_in, d_out).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(groups, d_out).uniform_(-bound, bound))

    def forward(self, x: Tensor) -> Tensor:
        """Return [B, M, d_out] of x [B, M, d_in]."""
        return torch.baddbmm(self.bias.unsqueeze(1), x.transpose(0, 1), self.weight).transpose(0, 1)


class GroupedLayerNorm(nn.Module):
    """M layer norms at once, [., M, d] -> [., M, d], each with its own scale and shift."""

    def __init__(self, groups: int, d: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(groups, d))
        self.bias = nn.Parameter(torch.zeros(groups, d))

    def forward(self, x: Tensor) -> Tensor:
        """Return [B, M, d] of x [B, M, d]."""
        return torch.addcmul(self.bias, F.layer_norm(x, x.shape[-1:]), self.weight)


class ObservedBatchNorm(nn.Module):
    """G batch norms at once, [B, G, d] -> [B, G, d], by statistics of the rows ``observed`` [B, G]; ``nn.BatchNorm1d`` where all are.

    With fewer than two such rows a batch is normalised by the running statistics, and leaves them as they are.
    """

    def __init__(self, groups: int, d: int, momentum: float = 0.1, eps: float = 1e-5) -> None:
        super().__init__()
        self.momentum, self.eps = momentum, eps
        self.weight = nn.Parameter(torch.ones(groups, d))
        self.bias = nn.Parameter(torch.zeros(groups, d))
        self.register_buffer("mean", torch.zeros(groups, d))
        self.register_buffer("var", torch.ones(groups, d))

    def forward(self, x: Tensor, observed: Tensor) -> Tensor:
        """Normalise the rows of x, finite in every slot, in the precision of the weights; those not observed hold meaningless numbers."""
        x = x.to(self.weight.dtype)
        return self.scale(x, *self.find_statistics(x, observed))

    def scale(self, x: Tensor, mean: Tensor, var: Tensor) -> Tensor:
        """Return x [n, G, d] normalised by a mean and a variance [G, d], with the learned scale and shift."""
        return torch.addcmul(self.bias, x - mean, (var + self.eps).rsqrt() * self.weight)

    def find_statistics(
        self, x: Tensor, observed: Tensor, further: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return the mean and the variance [G, d] that normalise x, in training those of its observed rows, which the running ones follow.

        ``further`` rows [K, G, d], those ``observed`` [K, G], count as well and have no gradient.
        """
        if not self.training:
            return self.mean, self.var
        n = observed.sum(dim=0).unsqueeze(1)
        total = keep_observed(x, observed).sum(dim=0)
        if further is not None:
            n = n + further[1].sum(dim=0).unsqueeze(1)
            total = total + keep_observed(*further).sum(dim=0)
        mean = total / n.clamp(min=1)
        centre = mean.detach()  # by way of the mean the sum of squares over all rows has no gradient
        squares = keep_observed((x - centre).square(), observed).sum(dim=0)
        if further is not None:
            squares = squares + keep_observed((further[0] - centre).square(), further[1]).sum(dim=0)
        var = squares / n.clamp(min=1)
        enough = n >= 2
        with torch.no_grad():
            rate = (self.momentum * enough).expand_as(mean).to(mean.dtype)
            self.mean.copy_(self.mean.lerp(mean, rate))
            self.var.copy_(self.var.lerp(var * n / (n - 1).clamp(min=1), rate))
        return torch.where(enough, mean, self.mean), torch.where(enough, var, self.var)


class ModalitySensors(nn.Module):
    """Modalities as a series of M pseudo-steps, ``modality_as_sensor``: modality m is a block of k sensors, seen at step m only.

    What a block reads is a learned affine map of x_m. It is not the setting of any method for irregular series: pseudo-time is the order
    in which the cohort lists its modalities.
    """

    def __init__(self, widths: Sequence[int], k: int = 8) -> None:
        super().__init__()
        self.k = k
        self.maps = nn.ModuleList(nn.Linear(d, k) for d in widths)

    def forward(self, x: tuple[Tensor, ...], observed: Tensor) -> dict[str, Tensor]:
        """Return ``values`` [B, M, M k], ``mask`` bool [B, M, M k], ``hours`` [B, M] (0 .. M - 1), of x_m [B, d_m] and observed [B, M]."""
        seen = zip(self.maps, x, observed.unbind(dim=1), strict=True)
        blocks = torch.stack([keep_observed(f(keep_observed(v, o)), o) for f, v, o in seen], dim=1)
        m = observed.shape[1]
        step = torch.eye(m, dtype=torch.bool, device=observed.device)
        mask = (step & observed.unsqueeze(2)).repeat_interleave(self.k, dim=2)
        values = torch.where(mask, blocks.repeat(1, 1, m), blocks.new_zeros(()))
        hours = torch.arange(m, dtype=blocks.dtype, device=blocks.device).expand(len(observed), -1)
        return {"values": values, "mask": mask, "hours": hours}
