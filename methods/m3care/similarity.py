"""The task-guided similarity of stays that M3Care is named for: deep kernels by modality, averaged, and a threshold that is learned.

Equations, citation and departures: ``methods/m3care/__init__.py``. M modalities, G = 2M branches (u_1 .. u_M, z_1 .. z_M).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from methods.common.layers import GroupedLinear, ObservedBatchNorm, keep_observed

FIRST_E = {"odir": 2.0, "ov": -0.3}
"""e_m before training, by the form of the kernel."""


ACTIVATIONS = {"relu": nn.ReLU, "selu": nn.SELU}


def squared_distances(a: Tensor, b: Tensor, begins: bool = False) -> Tensor:
    """Return D [G, A, B] between rows of a [G, A, d] and b [G, B, d], in full precision.

    ``begins``: b begins with the rows of a, and D is exactly 0 from such a row to itself.
    """
    # |a|^2 + |b|^2 - 2 a b cancels between near rows: in half precision nothing would be left, and rounding can go below 0
    with torch.autocast(a.device.type, enabled=False):
        lengths = a.square().sum(dim=2, keepdim=True) + b.square().sum(dim=2).unsqueeze(1)
        d = torch.baddbmm(lengths, a, b.transpose(1, 2), alpha=-2).clamp(min=0)
    return d.masked_fill(torch.eye(a.shape[1], b.shape[1], dtype=torch.bool, device=a.device), 0) if begins else d


def mean_distance(a: Tensor, observed: Tensor) -> Tensor:
    """Return s [G], the mean of |a_i - a_j|^2 over pairs of different rows of a [G, n, d] that are ``observed`` [n, G], without gradient;
    1 where there is no pair or it is below 1e-3.

    The mean over pairs is twice the unbiased variance, summed over dimensions.
    """
    seen, a = observed.T, a.detach()
    n = seen.sum(dim=1)
    mean = keep_observed(a, seen).sum(dim=1, keepdim=True) / n.clamp(min=1)[:, None, None]
    s = 2 * keep_observed((a - mean).square(), seen).sum(dim=(1, 2)) / (n - 1).clamp(min=1)
    return torch.where(s < 1e-3, 1.0, s)


def gaussian_kernel(d: Tensor, scale: Tensor) -> Tensor:
    """Return mean of exp(-d / b) over b in {s/2, s, 2s}, for d [G, A, B] and s [G]."""
    # exp(-d / s) = exp(-d / 2s)^2 and exp(-2d / s) = exp(-d / 2s)^4: one exponential for three bandwidths
    widest = torch.exp(d / (-2 * scale[:, None, None]))
    middle = widest.square()
    return (widest + middle + middle.square()) / 3


class Similarity(nn.Module):
    """phi, the deep kernels of the modalities, their average and the threshold; ``kernel`` is the form of G_m."""

    def __init__(self, modalities: int, d: int, kernel: str, l_init: float, act: str = "relu") -> None:
        super().__init__()
        m, self.kernel, self.act = modalities, kernel, ACTIVATIONS[act]()
        first, second, third = (GroupedLinear(m, d, d) for _ in range(3))
        self.phi = nn.Sequential(first, self.act, second, self.act, third)
        self.norm = ObservedBatchNorm(2 * m, d)
        self.e = nn.Parameter(torch.full((m,), FIRST_E[kernel]))
        self.l = nn.Parameter(torch.tensor(l_init))

    def deepen(self, h: Tensor) -> tuple[Tensor, Tensor]:
        """Return u before BN and phi(h), [B, M, d] both, of h [B, M, d]."""
        phi = self.phi(h)
        return self.act(phi) if self.kernel == "odir" else phi, phi

    def points(
        self, u: Tensor, h: Tensor, observed: Tensor, recalled: tuple[Tensor, Tensor, Tensor] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return (u_1 .. u_M, z_1 .. z_M) of the stays [2M, B, d], and of them and the ``recalled`` ones [2M, B + K, d].

        ``u`` before BN and ``h`` [B, M, d], ``observed`` bool [B, M]; of K recalled stays, constants, the same.
        """

        def join(u: Tensor, h: Tensor, observed: Tensor) -> tuple[Tensor, Tensor]:
            return torch.cat([u, h.to(u.dtype)], dim=1).to(self.norm.weight.dtype), observed.repeat(1, 2)

        x, seen = join(u, h, observed)
        further = None if recalled is None else join(*recalled)
        statistics = self.norm.find_statistics(x, seen, further)
        own = self.norm.scale(x, *statistics).transpose(0, 1)
        if further is None:
            return own, own
        with torch.no_grad():
            theirs = self.norm.scale(further[0], *statistics).transpose(0, 1)
        return own, torch.cat([own, theirs], dim=1)

    def forward(self, a: Tensor, b: Tensor, scale: Tensor, to: Tensor, of: Tensor, begins: bool = False) -> Tensor:
        """Return S [A, B] between points a [2M, A, d] of stays ``to`` bool [A, M] and points b [2M, B, d] of stays ``of`` bool [B, M]."""
        k_u, k_z = gaussian_kernel(squared_distances(a, b, begins), scale).chunk(2)
        eps = torch.sigmoid(self.e)[:, None, None]
        g = ((1 - eps) * k_u + eps) * k_z if self.kernel == "odir" else (1 - eps) * k_u + eps * k_z
        both = (to.T.unsqueeze(2) & of.T.unsqueeze(1)).to(g.dtype)
        return (g * both).sum(dim=0) / both.sum(dim=0).clamp(min=1)

    def edges(self, s: Tensor) -> Tensor:
        """Return S^ of similarities S, of any shape."""
        limit = torch.sigmoid(self.l)
        # a step function has no gradient in l. Here the value is S above the limit and 0 below it, and the slope in l is -sigma'(l) for
        # each edge, because the limit that is added again carries no gradient: a lower limit lets more through
        above = torch.relu(s - limit)
        return above + (above > 0) * limit.detach()
