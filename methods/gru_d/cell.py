"""The recurrence of GRU-D on packed steps: what does not need the state is computed for all steps at once, before the loop over time.

Shapes: B stays, S steps, F variables, H units; P is the number of steps that the stays of a batch really have, all stays together. Packed
rows go by time, and within a time from the stay with most steps to the one with fewest (the order of torch's PackedSequence): a step of
the loop reads one slice of them, a stay leaves the loop after its last step, and nothing is ever computed for padding.

The loop of the paper's cell has its gradient by hand. Autograd's has twice the operations, and sums the gradient of the weights step by
step instead of by one product at the end.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from methods.common.layers import Dropout

TINY = 1e-30
CELLS, DECAY_INITS = ("paper", "pypots"), ("zeros", "uniform")


def gather_steps(values: Tensor, mask: Tensor, hours: Tensor, mean: Tensor) -> dict[str, Tensor]:
    """Return the steps that the recurrence reads of ``values`` [B, L, F], ``mask`` bool [B, L, F], ``hours`` [B, L]; ``mean`` [F] is x~.

    A bin in which nothing was recorded is no step; the S steps of a stay stand first, and what stands after ``length`` int64 [B] of them
    means nothing. ``last`` [B, S, F]: the value at this step or, where there is none, the last one before it, x~ before the first;
    ``mask`` bool [B, S, F]; ``delta`` [B, S, F]: s_t less the last time before t at which the variable was recorded, or less s_1.
    """
    recorded = mask.any(dim=2)
    length = recorded.sum(dim=1)
    first = (~recorded).to(torch.uint8).argsort(dim=1, stable=True)[:, : int(length.max()) if len(length) else 0]
    wide = first.unsqueeze(2).expand(-1, -1, mask.shape[2])
    values, mask, hours = values.gather(1, wide), mask.gather(1, wide), hours.gather(1, first).unsqueeze(2)
    step = torch.arange(mask.shape[1], device=mask.device).view(1, -1, 1)
    newest = torch.where(mask, step, -1).cummax(dim=1).values
    last = torch.where(newest >= 0, values.gather(1, newest.clamp(min=0)), mean)
    before = F.pad(newest, (0, 0, 1, 0))[:, :-1].clamp(min=0)
    delta = hours - hours.expand_as(before).gather(1, before)
    return {"last": last, "mask": mask, "delta": delta, "length": length}


class GruD(nn.Module):
    """The last hidden state h_S of each stay; zeros where a stay has no step. Equations: see ``methods/gru_d/__init__.py``.

    Gates stand in the order r, z, candidate. ``w`` [3 H, 2 F] is [W, V], ``u`` [3 H, H]; the cell ``pypots`` also has ``redundant``
    [3 H, H], the columns of its input weights that read hd, and ``recurrent_bias`` [3 H].
    """

    def __init__(self, channels: int, hidden: int, cell: str, dropout: float, decay_init: str) -> None:
        super().__init__()
        self.hidden = hidden
        self.decay_x = nn.Parameter(torch.zeros(2, channels))  # w_x and b_x
        self.decay_h = nn.Linear(channels, hidden)
        self.w = nn.Parameter(nn.init.xavier_uniform_(torch.empty(3 * hidden, 2 * channels)))
        self.b = nn.Parameter(torch.zeros(3 * hidden))
        self.u = nn.Parameter(nn.init.orthogonal_(torch.empty(3 * hidden, hidden)))
        self.redundant = self.recurrent_bias = None
        if cell == "pypots":
            self.redundant = nn.Parameter(nn.init.xavier_uniform_(torch.empty(3 * hidden, hidden)))
            self.recurrent_bias = nn.Parameter(torch.zeros(3 * hidden))
        self.dropout = Dropout(dropout)
        for p, outputs in ((self.decay_x, channels), *((p, hidden) for p in self.decay_h.parameters())):
            bound = 0.0 if decay_init == "zeros" else outputs**-0.5
            nn.init.uniform_(p, -bound, bound)

    def forward(self, last: Tensor, mask: Tensor, delta: Tensor, length: Tensor, mean: Tensor) -> Tensor:
        """Return h_S [B, H] of what ``gather_steps`` returns and the same ``mean``; in the precision of the weights, whatever surrounds it.

        Knowing how many steps there are makes a GPU wait once a batch; the loop is then as short as the longest stay.
        """
        with torch.autocast(last.device.type, enabled=False):
            order = length.argsort(descending=True, stable=True)
            step = torch.arange(last.shape[1], device=length.device)
            there = step.unsqueeze(1) < length[order]
            sizes = [b for b in there.sum(dim=1).tolist() if b]
            t, b = there.nonzero(as_tuple=True)
            row = order[b] * last.shape[1] + t
            last, mask, delta = (v.flatten(0, 1).index_select(0, row) for v in (last, mask, delta))
            delta, seen = delta.to(self.w.dtype), mask.to(self.w.dtype)
            xh = self.fill(last.to(seen.dtype), seen, delta, mean.to(seen.dtype))
            keep = None
            if self.dropout.p and self.training:
                widths = xh.shape[1], xh.shape[1], self.hidden
                keep_x, keep_m, keep = (self.dropout(xh.new_ones(len(length), k)) for k in widths)
                xh, seen = xh * keep_x.index_select(0, b), seen * keep_m.index_select(0, b)
            loop = self.run_pypots if self.redundant is not None else self.run_paper
            return loop(xh, seen, self.decay_h(delta), keep, sizes, len(length)).index_select(0, order.argsort())

    def gamma_x(self, delta: Tensor) -> Tensor:
        """Return decay of the inputs [., F] for delta [., F], in (0, 1]."""
        return decay(torch.addcmul(self.decay_x[1], delta, self.decay_x[0]))

    def gamma_h(self, delta: Tensor) -> Tensor:
        """Return decay of the state [., H] for delta [., F], in (0, 1]."""
        return decay(self.decay_h(delta))

    def fill(self, last: Tensor, seen: Tensor, delta: Tensor, mean: Tensor) -> Tensor:
        """Fill xh [., F] by the mask as numbers: the recorded value or, where there is none, the last one decayed towards the mean.

        Both ends of lerp are exact; ``last`` holds no unrecorded value, and where's gradient takes longer.
        """
        gamma = self.gamma_x(delta)
        return torch.lerp(mean.expand_as(last), last, torch.lerp(gamma, torch.ones_like(gamma), seen))

    def run_paper(
        self, xh: Tensor, seen: Tensor, a: Tensor, keep: Tensor | None, sizes: list[int], stays: int
    ) -> Tensor:
        """Return h_S [B, H], most steps first, of packed rows; see ``Recurrence``."""
        return Recurrence.apply(xh, seen, a, self.w, self.b, self.u, keep, sizes, stays)

    def run_pypots(
        self, xh: Tensor, seen: Tensor, a: Tensor, keep: Tensor | None, sizes: list[int], stays: int
    ) -> Tensor:
        """Return h_S like ``run_paper``, but the reset gate acts after the product, z is the old state's share, and hd is an input too."""
        k = self.hidden
        u = torch.cat([self.u[: 2 * k] + self.redundant[: 2 * k], self.redundant[2 * k :], self.u[2 * k :]])
        from_rz, from_n = self.recurrent_bias.split([2 * k, k])
        bias = torch.cat([from_rz, torch.zeros_like(from_n), from_n])
        rz, n = F.linear(torch.cat([xh, seen], dim=1), self.w, self.b).split([2 * k, k], dim=1)
        h, done = a.new_zeros(stays, k), []
        for b, rz_t, n_t, gamma in zip(sizes, rz.split(sizes), n.split(sizes), decay(a).split(sizes), strict=True):
            if b < len(h):
                done.append(h[b:])
                h = h[:b]
            hd = gamma * h
            rz_h, n_x, n_h = F.linear(hd if keep is None else hd * keep[:b], u, bias).split([2 * k, k, k], dim=1)
            r, z = (rz_t + rz_h).sigmoid().chunk(2, dim=1)
            h = torch.lerp((n_t + n_x + r * n_h).tanh(), hd, z)
        return torch.cat([h, *reversed(done)])


class Recurrence(torch.autograd.Function):
    """h_S [B, H], the stays with most steps first, of packed rows: the paper's cell.

    Inputs: xh [P, F], the mask as numbers [P, F], a [P, H] with gh = exp(-max(0, a)), the weights w [3 H, 2 F], b [3 H], u [3 H, H],
    dropout ``keep`` [B, H] of the state that the gates read or None, ``sizes`` (how many stays have a first step, a second, ...), B. The
    mask and ``keep`` have no gradient.
    """

    @staticmethod
    def forward(
        ctx: Any,
        xh: Tensor,
        seen: Tensor,
        a: Tensor,
        w: Tensor,
        b: Tensor,
        u: Tensor,
        keep: Tensor | None,
        sizes: list[int],
        stays: int,
    ) -> Tensor:
        """Run the loop; ``gates`` [P, 3 H] become r, z and the candidate in place; ``hd``, ``reset`` = r o hd are kept for the gradient."""
        k = u.shape[1]
        x = torch.cat([xh, seen, seen.new_ones(len(seen), 1)], dim=1)
        gates = x @ torch.cat([w, b.unsqueeze(1)], dim=1).t()
        gamma = decay(a)
        u_rz, u_n = (v.t().contiguous() for v in u.split([2 * k, k]))
        hd, reset = torch.empty_like(gamma), torch.empty_like(gamma)
        read = hd if keep is None else torch.empty_like(gamma)
        h = gamma.new_zeros(stays, k)
        rows = (v.split(sizes) for v in (gates, gamma, hd, read, reset))
        for b_t, gates_t, gamma_t, hd_t, read_t, reset_t in zip(sizes, *rows, strict=True):
            now, rz, n = h[:b_t], gates_t[:, : 2 * k], gates_t[:, 2 * k :]
            torch.mul(now, gamma_t, out=hd_t)
            if keep is not None:
                torch.mul(hd_t, keep[:b_t], out=read_t)
            rz.addmm_(read_t, u_rz).sigmoid_()
            torch.mul(read_t, rz[:, :k], out=reset_t)
            torch.lerp(hd_t, n.addmm_(reset_t, u_n).tanh_(), rz[:, k:], out=now)
        ctx.save_for_backward(x, a, gamma, gates, hd, read, reset, w, u, keep)
        ctx.sizes = sizes
        return h

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dh: Tensor) -> tuple[Tensor | None, ...]:
        """Run the loop backwards; ``slope`` [P, 3 H] is the gradient of the gates before their nonlinearity, ``d_hd`` that of hd."""
        x, a, gamma, gates, hd, read, reset, w, u, keep = ctx.saved_tensors
        k = u.shape[1]
        u_rz, u_n = u.split([2 * k, k])
        slope, d_hd, dh = torch.empty_like(gates), torch.empty_like(hd), dh.clone()
        rows = (v.split(ctx.sizes) for v in (gates, gamma, hd, reset, slope, d_hd))
        for b_t, gates_t, gamma_t, hd_t, reset_t, slope_t, d_hd_t in reversed(list(zip(ctx.sizes, *rows, strict=True))):
            now, (r, z, n), (s_r, s_z, s_n) = dh[:b_t], gates_t.split(k, dim=1), slope_t.split(k, dim=1)
            d_n = now * z  # h = (1 - z) hd + z n
            torch.addcmul(d_n, d_n * n, n, value=-1, out=s_n)  # tanh' = 1 - n^2
            through = now - d_n
            torch.mul(through * z, n - hd_t, out=s_z)  # dh (n - hd) sigma', sigma' = z (1 - z)
            d_reset = s_n @ u_n
            torch.mul(d_reset * reset_t, 1 - r, out=s_r)  # reset = r read, so read sigma' = reset (1 - r)
            # what the gates read gets gradients through the candidate's r and through r and z themselves
            d_read = d_reset.mul_(r).addmm_(slope_t[:, : 2 * k], u_rz)
            if keep is not None:
                d_read.mul_(keep[:b_t])
            torch.add(through, d_read, out=d_hd_t)
            torch.mul(d_hd_t, gamma_t, out=now)  # hd = gamma h: the gradient of the state one step before
        # weights get their gradient from all steps in one product each
        d_w, d_b = (slope.t() @ x).split([x.shape[1] - 1, 1], dim=1)
        d_u = torch.cat([slope[:, : 2 * k].t() @ read, slope[:, 2 * k :].t() @ reset])
        # hd = exp(-a) h where a >= 0, so dhd/da = -hd; below 0 nothing decays
        d_a = d_hd.mul_(hd).neg_().mul_(a >= 0)
        return slope @ w[:, : w.shape[1] // 2], None, d_a, d_w, d_b.squeeze(1), d_u, None, None, None


def decay(a: Tensor) -> Tensor:
    """Return exp(-max(0, a)), whose slope at a = 0 is that of a > 0: with ReLU's, decays that start at zero would stay there."""
    return torch.exp(-F.threshold(a, -TINY, 0.0))
