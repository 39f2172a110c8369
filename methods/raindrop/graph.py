"""Raindrop's graph of sensors, as in the paper: messages from the sensors that are read at a step, then attention over steps.

Symbols and equations: the docstring of ``methods/raindrop``. B stays, S steps, F sensors, d_ob and d_t the sizes of h and p.

Only a sensor that is read sends (one slot in ten, in hourly bins), so alpha is computed for O readings x F receivers and never for
[B, S, F, F]; a reading is a row of ``Readings``. Counting them is the one place where a GPU is waited for. Sums over readings are
torch_geometric's ``scatter``: with gradients on one thread as quick as ``index_add`` up to 10,000 readings of 17 sensors, and .83 to 1.02
of its time for 17,000 to 83,000 of 36 (``tests/speed/test_speed.py``).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch_geometric.utils import scatter

from methods.common.layers import Dropout


class Readings(NamedTuple):
    """Where each of O readings stands: ``slot`` among B S F, ``step`` among B S, ``sensor`` among F, ``graph`` among B F; int64 [O]."""

    slot: Tensor
    step: Tensor
    sensor: Tensor
    graph: Tensor

    @classmethod
    def of(cls, read: Tensor) -> Readings:
        """Return the readings of read [B, S, F], in that order."""
        _, steps, sensors = read.shape
        slot = read.flatten().nonzero().squeeze(1)
        step, sensor = slot // sensors, slot % sensors
        return cls(slot, step, sensor, step // steps * sensors + sensor)


class Propagation(nn.Module):
    """One layer of messages between the sensors of a stay."""

    def __init__(self, sensors: int, d_ob: int, d_r: int, d_t: int) -> None:
        super().__init__()
        self.r = nn.Parameter(nn.init.xavier_uniform_(torch.empty(sensors, d_r)))
        self.D = nn.Parameter(nn.init.xavier_uniform_(torch.empty(d_ob, d_r + d_t)))
        self.w = nn.Parameter(nn.init.xavier_uniform_(torch.empty(sensors, d_ob)))

    def attention(self, h: Tensor, p: Tensor, readings: Readings) -> Tensor:
        """Return alpha_uv^t [O, F] of the readings' embeddings h [O, d_ob] and time p [B, S, d_t]: relu(h D [r_v ; p^t]^T)."""
        by_sensor, by_time = self.D.split([self.r.shape[1], p.shape[-1]], dim=1)
        at_time = (h * (p @ by_time.T).flatten(0, 1).index_select(0, readings.step)).sum(dim=1, keepdim=True)
        return torch.relu(torch.addmm(at_time, h, by_sensor @ self.r.T))

    def messages(self, h: Tensor, alpha: Tensor, e: Tensor | None, readings: Readings, share: Tensor) -> Tensor:
        """Return what scales w_v in the message to v at t, [B, S, F]: the mean over senders u of (h_u . w_u) alpha_uv e_uv.

        e [B, F, F], None where all edges are 1; ``share`` [B, S] is 1 / the number of senders.
        """
        sent = (h * self.w.index_select(0, readings.sensor)).sum(dim=1) * share.flatten().index_select(0, readings.step)
        weighted = sent.unsqueeze(1) * alpha
        if e is not None:
            weighted = weighted * e.flatten(0, 1).index_select(0, readings.graph)
        return scatter(weighted, readings.step, dim_size=share.numel()).unflatten(0, share.shape)

    def receive(self, scale: Tensor, sensor: Tensor) -> Tensor:
        """Return the messages relu(scale w_v) [O, d_ob] of scale [O] to v = ``sensor`` [O]."""
        return torch.relu(scale.unsqueeze(1) * self.w.index_select(0, sensor))


class TemporalAttention(nn.Module):
    """z_v [B, F, d_ob] of the embeddings of a sensor at the recorded steps."""

    def __init__(self, steps: int, d_ob: int, d_t: int, d_k: int) -> None:
        super().__init__()
        self.d_ob, self.d_k = d_ob, d_k
        self.W_Q = nn.Parameter(nn.init.xavier_uniform_(torch.empty(d_ob + d_t, d_k)))
        self.W_K = nn.Parameter(nn.init.xavier_uniform_(torch.empty(d_ob + d_t, d_k)))
        self.s = nn.Parameter(torch.empty(steps).uniform_(-(steps**-0.5), steps**-0.5))
        self.W = nn.Parameter(nn.init.xavier_uniform_(torch.empty(d_ob, d_ob)))

    def weights(self, h: Tensor, p: Tensor, recorded: Tensor) -> Tensor:
        """Return beta [B, S, F], a distribution over the recorded steps [B, S]; of h [B, S, F, d_ob] and p [B, S, d_t].

        (Q K^T) s is Q (K^T s): no matrix of S x S is needed, nor H = [h ; p] itself.
        """
        s = torch.where(recorded, self.s, self.s.new_zeros(()))
        key_h, key_p = torch.einsum("bs,bsfd->bfd", s, h), torch.einsum("bs,bsd->bd", s, p)
        of_h, of_p = self.W_K.split([self.d_ob, p.shape[-1]])
        query = (key_h @ of_h + (key_p @ of_p).unsqueeze(1)) @ self.W_Q.T * self.d_k**-0.5
        by_h, by_p = query.split([self.d_ob, p.shape[-1]], dim=2)
        logits = (h * by_h.unsqueeze(1)).sum(dim=3) + p @ by_p.mT
        return logits.masked_fill(~recorded.unsqueeze(2), torch.finfo(logits.dtype).min).softmax(dim=1)

    def forward(self, h: Tensor, p: Tensor, recorded: Tensor) -> Tensor:
        """Return z [B, F, d_ob]."""
        beta = self.weights(h, p, recorded)
        return (beta.unsqueeze(3) * h).sum(dim=1) @ self.W


class SensorGraph(nn.Module):
    """From observation embeddings to sensor embeddings."""

    def __init__(
        self,
        sensors: int,
        steps: int,
        layers: int,
        d_ob: int,
        d_r: int,
        d_t: int,
        d_k: int,
        prune: float,
        dropout: float,
    ) -> None:
        super().__init__()
        self.prune, self.width = prune, sensors * d_ob
        self.layers = nn.ModuleList(Propagation(sensors, d_ob, d_r, d_t) for _ in range(layers))
        self.attention = TemporalAttention(steps, d_ob, d_t, d_k)
        self.dropout = Dropout(dropout)

    def forward(self, h: Tensor, read: Tensor, p: Tensor) -> tuple[Tensor, Tensor]:
        """Return z [B, F d_ob] and e^(L) [B, F, F] of h [B, S, F, d_ob], read bool [B, S, F] and p [B, S, d_t]."""
        h, edges = self.propagate(h, read, p)
        return self.attention(h, p, read.any(dim=2)).flatten(1), edges

    def propagate(self, h: Tensor, read: Tensor, p: Tensor) -> tuple[Tensor, Tensor]:
        """Return h [B, S, F, d_ob] after the last layer, of sensors read and unread, and e^(L) [B, F, F]."""
        readings = Readings.of(read)
        share = 1.0 / read.sum(dim=2).clamp(min=1)
        times = read.sum(dim=1).clamp(min=1).unsqueeze(2)
        own = self.dropout(h.flatten(0, 2).index_select(0, readings.slot))
        e = None
        for layer in self.layers:
            alpha = layer.attention(own, p, readings)
            scale = layer.messages(own, alpha, e, readings, share)
            e = self.next_edges(e, alpha, readings, times)
            before, own = own, own + layer.receive(scale.flatten()[readings.slot], readings.sensor)
        kept = own.new_zeros(scale.numel(), h.shape[3]).index_copy(0, readings.slot, before)
        return kept.view(h.shape) + torch.relu(scale.unsqueeze(3) * layer.w), e

    def next_edges(self, e: Tensor | None, alpha: Tensor, readings: Readings, times: Tensor) -> Tensor:
        """Return e^(l) of e^(l-1) and alpha^(l) [O, F]; ``times`` [B, F, 1] = |T_u|. The first are pruned."""
        b, f, _ = times.shape
        mean = scatter(alpha, readings.graph, dim_size=b * f).view(b, f, f) / times
        return prune_edges(mean, self.prune) if e is None else e * mean


def prune_edges(e: Tensor, share: float) -> Tensor:
    """Set the lowest ``share`` of each stay's edges e [B, F, F] to zero (rounded down)."""
    flat = e.flatten(1)
    drop = int(share * flat.shape[1])
    if not drop:
        return e
    lowest = flat.topk(drop, dim=1, largest=False, sorted=False).indices
    gone = torch.zeros_like(flat, dtype=torch.bool).scatter(1, lowest, True)
    return torch.where(gone, flat.new_zeros(()), flat).view_as(e)


def compute_disagreement(e: Tensor) -> Tensor:
    """Return L_r = (1 / F^2) sum_uv mean_{i, j} |e_i,uv - e_j,uv| over all pairs of the B stays of e [B, F, F], a scalar, by sorting."""
    # in ascending order the value of rank r is the larger one in r - 1 pairs and the smaller one in n - r: it counts 2 r - n - 1 times.
    # So sorting takes the place of n^2 pairs
    n = len(e)
    rank = torch.arange(1, n + 1, device=e.device, dtype=torch.float32)
    ordered = e.flatten(1).float().sort(dim=0).values
    return ((2 * rank - n - 1) @ ordered).mean() * (2 / n**2)
