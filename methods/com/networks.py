"""M multilayer perceptrons at once, one a modality, with batch norm by chosen rows: the networks of COM (``methods/com``).

Maps between sizes that all modalities share are one batched product; only those from and to the modalities' own widths d_m are apart.
No map has a bias, since the batch norm that follows would take it away again. M modalities, B stays in a batch.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

MOMENTUM, EPSILON = 0.1, 1e-5
"""Of batch norm, as torch has them."""


class Rows(NamedTuple):
    """Whose statistics normalise the networks: n_m rows each, none where there are fewer than two.

    ``share`` [M, 1, B]: 1 / n_m in each such row; ``enough`` bool [M, 1, 1]: there are such rows; ``step`` and ``unbiased`` [M, 1, 1]:
    of the running statistics, how far they move, and n_m / (n_m - 1). A leading 1 stands for all M.
    """

    share: Tensor
    enough: Tensor
    step: Tensor
    unbiased: Tensor

    @staticmethod
    def of(which: Tensor, dtype: torch.dtype) -> Rows:
        """Return the rows that ``which`` bool [B, M] (or [B, 1]: for all networks) marks."""
        which = which.T.unsqueeze(1)
        count = which.sum(dim=2, keepdim=True, dtype=dtype)
        enough, n = count >= 2, count.clamp(min=2)
        return Rows(((which & enough) / n).contiguous(), enough, MOMENTUM * enough.to(dtype), n / (n - 1))


class _Normalise(torch.autograd.Function):
    """Batch norm of x [M, B, d] by the rows of ``share``: its gradient in a few products, where autograd would have twenty.

    With u = (x - mean) / sd, y = w u + b and share_i = 1 / n for the n rows of the statistics, else 0:

        dx_i = (w / sd) (dy_i - share_i (sum_j dy_j + u_i sum_j dy_j u_j)),    dw = sum_j dy_j u_j,    db = sum_j dy_j

    j goes over all rows, since all are normalised by the statistics; share is 0 throughout where the running ones are used.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, rows: Rows, mean: Tensor, var: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        mean = torch.where(rows.enough, rows.share @ x, mean)
        centred = x - mean
        var = torch.where(rows.enough, rows.share @ (centred * centred), var)
        rstd = torch.rsqrt(var + EPSILON)
        unit = centred * rstd
        ctx.save_for_backward(weight, rows.share, unit, rstd)
        ctx.mark_non_differentiable(mean, var)
        return torch.addcmul(bias, unit, weight), mean, var

    @staticmethod
    def backward(ctx: Any, dy: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        weight, share, unit, rstd = ctx.saved_tensors
        d_bias, d_weight = dy.sum(dim=1, keepdim=True), (dy * unit).sum(dim=1, keepdim=True)
        # the bracket of dx: what a row changes through mean and variance, in which the sums of d_bias and d_weight come again
        by_statistics = torch.addcmul(d_bias, unit, d_weight)
        dx = torch.addcmul(dy, share.transpose(1, 2), by_statistics, value=-1) * (rstd * weight)
        return dx, d_weight, d_bias, None, None, None


class GroupedBatchNorm(nn.Module):
    """M batch norms at once, [M, B, d] -> [M, B, d]: in training each by statistics of its rows, else by running ones."""

    def __init__(self, groups: int, d: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(groups, 1, d)), nn.Parameter(torch.zeros(groups, 1, d))
        self.register_buffer("mean", torch.zeros(groups, 1, d))
        self.register_buffer("var", torch.ones(groups, 1, d))

    def forward(self, x: Tensor, rows: Rows | None, track: bool) -> Tensor:
        """Normalise ``x``; in training by ``rows``, and the running statistics follow them if ``track``.

        Where there are no such rows, by the running statistics, which stay.
        """
        if not self.training:
            scale = self.weight * torch.rsqrt(self.var + EPSILON)
            return torch.addcmul(self.bias - self.mean * scale, x, scale)
        with torch.autocast(x.device.type, enabled=False):
            x = x.to(self.weight.dtype)
            out, mean, var = _Normalise.apply(x, self.weight, self.bias, rows, self.mean, self.var)
        if track:
            self.mean.lerp_(mean, rows.step)
            self.var.lerp_(var * rows.unbiased, rows.step)
        return out


class Maps(nn.Module):
    """M linear maps without bias at once, [M, B, d_in] -> [M, B, d_out]; each starts like ``nn.Linear``."""

    def __init__(self, groups: int, d_in: int, d_out: int) -> None:
        super().__init__()
        bound = d_in**-0.5
        self.weight = nn.Parameter(torch.empty(groups, d_in, d_out).uniform_(-bound, bound))

    def forward(self, x: Tensor) -> Tensor:
        """Return [M, B, d_out] of x [M, B, d_in]."""
        return x @ self.weight


class Apart(nn.Module):
    """M linear maps from widths of their own, x_m [B, d_m] -> [M, B, d]."""

    def __init__(self, widths: tuple[int, ...], d: int) -> None:
        super().__init__()
        self.maps = nn.ModuleList(nn.Linear(k, d, bias=False) for k in widths)

    def forward(self, *batches: tuple[Tensor, ...]) -> Tensor:
        """Return [M, B, d] of x_m [B, d_m]; several batches are concatenated along the stays."""
        parts = [[f(x[m]) for x in batches] for m, f in enumerate(self.maps)]
        return torch.stack([p[0] if len(p) == 1 else torch.cat(p) for p in parts])


class SideBySide(nn.Module):
    """M linear maps to widths of their own, [M, B, d] -> [1, B, sum d_m]."""

    def __init__(self, d: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.maps = nn.ModuleList(nn.Linear(d, k, bias=False) for k in widths)

    def forward(self, x: Tensor) -> Tensor:
        """Return [1, B, sum d_m] of x [M, B, d]."""
        return torch.cat([f(v) for f, v in zip(self.maps, x.unbind(), strict=True)], dim=1).unsqueeze(0)


class Networks(nn.Module):
    """Maps, each followed by its batch norm, with LeakyReLU(.2) between them."""

    def __init__(self, maps: list[nn.Module], norms: list[nn.Module]) -> None:
        super().__init__()
        self.maps, self.norms = nn.ModuleList(maps), nn.ModuleList(norms)

    def forward(self, *inputs: Tensor | tuple[Tensor, ...], rows: Rows | None = None, track: bool = True) -> Tensor:
        """Apply all maps and norms to the inputs of the first map; ``rows`` and ``track`` as in ``GroupedBatchNorm``."""
        x = self.norms[0](self.maps[0](*inputs), rows, track)
        for f, norm in zip(self.maps[1:], self.norms[1:], strict=True):
            x = norm(f(F.leaky_relu(x, 0.2)), rows, track)
        return x


def make_inward(widths: tuple[int, ...], sizes: tuple[int, ...]) -> Networks:
    """Build M networks d_m - sizes, x_m [B, d_m] -> [M, B, last size]."""
    m = len(widths)
    maps = [Apart(widths, sizes[0]), *(Maps(m, a, b) for a, b in pairwise(sizes))]
    return Networks(maps, [GroupedBatchNorm(m, size) for size in sizes])


def make_outward(sizes: tuple[int, ...], widths: tuple[int, ...]) -> Networks:
    """Build M networks sizes - d_m, [M, B, first size] -> [1, B, sum d_m]."""
    m = len(widths)
    maps = [*(Maps(m, a, b) for a, b in pairwise(sizes)), SideBySide(sizes[-1], widths)]
    return Networks(maps, [*(GroupedBatchNorm(m, size) for size in sizes[1:]), GroupedBatchNorm(1, sum(widths))])
