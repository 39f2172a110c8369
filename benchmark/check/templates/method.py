"""New method: what it does about missing modalities, in one sentence.

Citation: authors, title, venue (arXiv number).
Adaptations: what differs from the paper, and why.
Equations (stay i, modality m, task t; delta_im: m is observed):

    z_im = delta_im phi_m(x_im),   phi_m: Linear, ReLU, dropout, Linear
    logit_it = w_t . h_i + b_t,    h_i: mean of z_im over the observed m
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from methods.common.layers import ModalityEncoders, mean_observed
from methods.common.training import Batch, Output, TorchMethod, TrainingConfig

INFO = {  # literal values only: read without running this file
    "title": "New method",
    "citation": "authors, title, venue (arXiv number)",
    "year": 2026,
    "family": "what it does about missing modalities",
    "based_on": "the paper's text, or whose code under which licence",
}


@dataclass(frozen=True)
class Config(TrainingConfig):  # lr, weight_decay, batch_size, max_epochs, patience, ... come from there
    """The paper's hyper-parameters; ``method.hidden=64`` on the command line sets one."""

    hidden: int = 128
    dropout: float = 0.2


class NewMethodModule(nn.Module):
    """The network for modalities of ``widths`` columns (imputed, standardised) and a number of tasks."""

    def __init__(self, widths: tuple[int, ...], tasks: int, config: Config) -> None:
        super().__init__()
        self.encoders = ModalityEncoders(widths, config.hidden, config.dropout)
        self.heads = nn.Linear(config.hidden, tasks)

    def forward(self, batch: Batch) -> Output:
        """Return logits [B, T], and the method's own losses by name: none here."""
        z = self.encoders(batch.x, batch.observed)  # [B, M, hidden], zeros where observed [B, M] is False
        return Output(self.heads(mean_observed(z, batch.observed)), {})


class NewMethod(TorchMethod):
    """The method that the loop of ``methods/common/training.py`` trains; there are more hooks than ``build``."""

    Config = Config
    grid: ClassVar = {"lr": [1e-4, 2e-4, 5e-4, 1e-3], "dropout": [0.1, 0.2, 0.4]}

    def build(self, widths: tuple[int, ...], tasks: tuple[str, ...]) -> nn.Module:
        """Return the untrained network."""
        return NewMethodModule(widths, len(tasks), self.config)
