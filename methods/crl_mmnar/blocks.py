"""The parts of CRL-MMNAR at both ends of its fusion: encoders of content, heads of tasks."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from methods.common.layers import Dropout, GroupedLayerNorm, GroupedLinear, keep_observed, make_normed_layers


class ContentEncoders(nn.Module):
    """Tokens e [B, M, D]: the encoders E_m, all after their first layer computed together."""

    def __init__(self, widths: tuple[int, ...], hidden: int, dropout: float) -> None:
        super().__init__()
        m, d = len(widths), hidden
        self.first = nn.ModuleList(nn.Linear(width, 2 * d) for width in widths)
        self.rest = nn.Sequential(
            *(GroupedLayerNorm(m, 2 * d), nn.ReLU(), Dropout(dropout)),
            *(GroupedLinear(m, 2 * d, d), GroupedLayerNorm(m, d), nn.ReLU(), Dropout(dropout / 2)),
            *(GroupedLinear(m, d, d), GroupedLayerNorm(m, d)),
        )

    def forward(self, x: tuple[Tensor, ...], observed: Tensor) -> Tensor:
        """Return e of x_m [B, d_m] and observed [B, M], zeros where unobserved."""
        inputs = zip(self.first, x, observed.unbind(dim=1), strict=True)
        started = torch.stack([first(keep_observed(v, seen)) for first, v, seen in inputs], dim=1)
        return keep_observed(self.rest(started), observed)


def make_task_head(task: str, hidden: int, dropout: float) -> nn.Sequential:
    """Build the head of one task, [., hidden] -> [., 1]; mortality has one layer more."""
    wide = make_normed_layers(hidden, 2 * hidden, 1.2 * dropout) if task.startswith("mortality") else []
    middle = make_normed_layers(2 * hidden if wide else hidden, hidden, dropout)
    return nn.Sequential(
        *wide, *middle, *make_normed_layers(hidden, hidden // 2, dropout / 2), nn.Linear(hidden // 2, 1)
    )
