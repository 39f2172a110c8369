"""A memory of the latest training stays, which makes a set of stays that a loss or a graph needs independent of the batch size.

A batch of B stays is completed by the K - B stays that were last in a batch before it, with what the network made of them then, without
gradient: historical embeddings (M. Fey, J. E. Lenssen, F. Weichert, J. Leskovec, "GNNAutoScale: Scalable and Expressive Graph Neural
Networks via Historical Embeddings", ICML 2021) or a cross-batch memory (X. Wang, H. Zhang, W. Huang, M. R. Scott, "Cross-Batch Memory
for Embedding Learning", CVPR 2020). They are at most K / B steps old, or an epoch where K stays are all there are.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

NOBODY = -1


class Memory(nn.Module):
    """At most ``size`` = K different training stays with named tensors of each, newest first; buffers, so that stacks can hold it.

    It is no part of a module's state: only training reads it. A place that is still empty has ``rows`` -1.
    """

    def __init__(self, size: int, **shapes: tuple[int, ...]) -> None:
        """Make an empty memory; ``shapes`` are those of the tensors of one stay, by name."""
        super().__init__()
        self.size, self.names = size, tuple(shapes)
        self.register_buffer("rows", torch.full((size,), NOBODY), persistent=False)
        for name, shape in shapes.items():
            self.register_buffer(name, torch.zeros(size, *shape), persistent=False)

    def recall(self, rows: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the newest K - B stays other than ``rows`` int64 [B]: bool [K - B], False in an empty place, and their tensors by name.

        A stay of the batch is left out because its older self would be its nearest neighbour. None are left where B is at least K.
        """
        gone = (self.rows.unsqueeze(1) == rows).any(dim=1) | (self.rows == NOBODY)
        place = torch.arange(self.size, device=rows.device)
        order = (place + self.size * gone).argsort()[: max(0, self.size - len(rows))]
        return ~gone[order], {name: self.get_buffer(name)[order] for name in ("rows", *self.names)}

    @torch.no_grad()
    def keep(self, rows: Tensor, recalled: tuple[Tensor, dict[str, Tensor]], **values: Tensor) -> None:
        """Store the stays ``rows`` with their ``values`` [B, ...] before those that were ``recalled`` for them; the oldest go."""
        there, old = recalled
        found = {"rows": torch.cat([rows, torch.where(there, old["rows"], NOBODY)])}
        for name in self.names:
            found[name] = torch.cat([values[name].to(old[name].dtype), old[name]])
        for name, value in found.items():
            self.get_buffer(name).copy_(value[: self.size])
