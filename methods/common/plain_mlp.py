"""The network of the plain neural baselines: a multilayer perceptron on modalities laid side by side, trained by ``training.py``."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from methods.common.layers import keep_observed, mlp
from methods.common.training import Batch, Output, TrainingConfig


@dataclass(frozen=True)
class Config(TrainingConfig):
    """Size and dropout shared with the other methods."""

    hidden: int = 128
    dropout: float = 0.2


class PlainMlp(nn.Module):
    """Linear, ReLU, Dropout, twice, then logits [B, T], on the first ``modalities`` modalities (zeros where unobserved).

    ``pattern``: the observation pattern is an input too.
    """

    def __init__(self, widths: tuple[int, ...], tasks: int, config: Config, pattern: bool) -> None:
        super().__init__()
        self.modalities, self.pattern = len(widths), pattern
        width = sum(widths) + (len(widths) if pattern else 0)
        self.net = mlp((width, config.hidden, config.hidden, tasks), config.dropout)

    def forward(self, batch: Batch) -> Output:
        """Return logits [B, T]; no loss of its own."""
        return Output(self.net(self.inputs(batch)), {})

    def represent(self, batch: Batch) -> Tensor:
        """Return the second hidden layer [B, hidden]."""
        return self.net[:-1](self.inputs(batch))

    def inputs(self, batch: Batch) -> Tensor:
        """Return everything that is read of the stays, concatenated [B, width]."""
        k = self.modalities
        seen = batch.observed[:, :k]
        parts: list[Tensor] = [keep_observed(x, o) for x, o in zip(batch.x[:k], seen.unbind(1), strict=True)]
        if self.pattern:
            parts.append(seen.to(parts[0].dtype))
        return torch.cat(parts, dim=1)
