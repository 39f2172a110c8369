"""S only: the first modality alone, blind to which others were observed.

A multilayer perceptron (``plain_mlp.py``) on the first modality's standardised features. Neither the other modalities nor their
pattern are inputs; where the first modality is unobserved its features are zeros, the training mean. It is what the other
modalities, and the fact that they were recorded, must improve on.
"""

from __future__ import annotations

from typing import ClassVar

from torch import nn

from methods.common.plain_mlp import Config, PlainMlp
from methods.common.training import TorchMethod

INFO = {
    "title": "S only",
    "citation": "plain baseline",
    "year": 2025,
    "family": "plain baseline",
    "based_on": "multilayer perceptron on the first modality",
}


class SOnly(TorchMethod):
    """The first modality alone."""

    Config = Config
    grid: ClassVar = {"lr": [1e-4, 2e-4, 5e-4, 1e-3], "dropout": [0.1, 0.2, 0.4], "hidden": [64, 128]}

    def build(self, widths: tuple[int, ...], tasks: tuple[str, ...]) -> nn.Module:
        """Build the untrained network."""
        return PlainMlp(widths[:1], len(tasks), self.config, pattern=False)
