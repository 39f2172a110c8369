"""What Raindrop's released code computes: two layers within each sensor, then a transformer over steps.

Its ``use_beta = False`` and edge weights of 1 leave a message that is made of the RECEIVER's own features, and a softmax over its
incoming edges that sums to 1. So no sensor hears of another before the transformer, which mixes them in its d_model; and graph,
attention, pruning and the parameters for them have no effect and no gradient, hence are not here. Symbols: see ``methods/raindrop``.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from methods.common.layers import Dropout


class Layer(nn.Module):
    """A post-norm transformer layer with ReLU: LN(x + attention(x)), then LN(x + feed-forward(x))."""

    def __init__(self, d: int, heads: int, d_ffn: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, Dropout(dropout)
        self.qkv, self.out = nn.Linear(d, 3 * d), nn.Linear(d, d)
        self.linear1, self.linear2 = nn.Linear(d, d_ffn), nn.Linear(d_ffn, d)
        self.norm1, self.norm2 = nn.LayerNorm(d), nn.LayerNorm(d)
        nn.init.xavier_uniform_(self.qkv.weight)
        nn.init.zeros_(self.qkv.bias)
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Tensor, place: Tensor, bias: Tensor) -> Tensor:
        """Return outputs [P, d] at the steps x [P, d], at ``place`` [P] among B S; ``bias`` [B, 1, 1, S] for each stay's keys."""
        b, _, _, s = bias.shape
        qkv = self.qkv(x)
        qkv = qkv.new_zeros(b * s, qkv.shape[1]).index_copy(0, place, qkv)
        q, k, v = qkv.view(b, s, 3, self.heads, x.shape[1] // self.heads).permute(2, 0, 3, 1, 4)
        weights = torch.softmax(q @ k.mT * q.shape[-1] ** -0.5 + bias, dim=-1)
        mixed = (self.dropout(weights) @ v).transpose(1, 2).flatten(2).flatten(0, 1).index_select(0, place)
        x = self.norm1(x + self.dropout(self.out(mixed)))
        return self.norm2(x + self.dropout(self.linear2(self.dropout(torch.relu(self.linear1(x))))))


class ReleasedBody(nn.Module):
    """From observation embeddings [B, S, F, d_ob] to the pooled steps [B, F d_ob + d_t]."""

    def __init__(self, sensors: int, steps: int, layers: int, heads: int, d_ob: int, d_t: int, dropout: float) -> None:
        super().__init__()
        d = sensors * d_ob + d_t
        if d % heads:
            raise ValueError(f"raindrop: {sensors} sensors make a width of {d}, which heads={heads} does not divide")
        self.width = d
        self.within = nn.ModuleList(nn.Linear(steps * d_ob, steps * d_ob) for _ in range(2))
        self.layers = nn.ModuleList(Layer(d, heads, 2 * sensors * d_ob, dropout) for _ in range(layers))
        self.dropout = Dropout(dropout)

    def forward(self, h: Tensor, read: Tensor, p: Tensor) -> tuple[Tensor, None]:
        """Return the sum of the outputs at recorded steps / (their number + 1), of h, read [B, S, F] and p [B, S, d_t]; no edges."""
        recorded = read.any(dim=2)
        x = self.transform(torch.cat([self.propagate(self.dropout(h)).flatten(2), p], dim=2), recorded)
        return x.sum(dim=1) / (recorded.sum(dim=1, keepdim=True) + 1), None

    def propagate(self, h: Tensor) -> Tensor:
        """Return [B, S, F, d_ob]: "observation propagation", ReLU(W2 ReLU(W1 x)) of each sensor's own steps x in R^(S d_ob)."""
        x = h.transpose(1, 2).flatten(2)
        for linear in self.within:
            x = torch.relu(linear(x))
        return x.unflatten(2, (h.shape[1], h.shape[3])).transpose(1, 2)

    def transform(self, x: Tensor, recorded: Tensor) -> Tensor:
        """Return the transformer's outputs [B, S, d] of x [B, S, d], zeros at padding; only recorded [B, S] steps are computed."""
        bias = x.new_zeros(recorded.shape).masked_fill(~recorded, torch.finfo(x.dtype).min)[:, None, None, :]
        place = recorded.flatten().nonzero().squeeze(1)
        steps = x.flatten(0, 1).index_select(0, place)
        for layer in self.layers:
            steps = layer(steps, place, bias)
        return steps.new_zeros(recorded.numel(), x.shape[2]).index_copy(0, place, steps).view(x.shape)
