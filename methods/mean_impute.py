"""Mean imputation: all modalities side by side, unobserved features at their training mean, the pattern not an input.

A multilayer perceptron (``plain_mlp.py``). The mean is that of the stays that have the modality; after standardising it is zero, so the
inputs are those of ``zero_fill`` without the observation pattern. A network can still recognise an imputed slot by its being constant:
imputation hides the pattern, it does not remove it.
"""

from __future__ import annotations

from typing import ClassVar

from torch import nn

from methods.common.plain_mlp import Config, PlainMlp
from methods.common.training import TorchMethod

INFO = {
    "title": "Mean imputation",
    "citation": "plain baseline (named in Table 3 of arXiv 2509.17228)",
    "year": 2025,
    "family": "plain baseline",
    "based_on": "multilayer perceptron on concatenated modalities",
}


class MeanImpute(TorchMethod):
    """Concatenation with training means, without the pattern."""

    Config = Config
    grid: ClassVar = {"lr": [1e-4, 2e-4, 5e-4, 1e-3], "dropout": [0.1, 0.2, 0.4], "hidden": [64, 128]}

    def build(self, widths: tuple[int, ...], tasks: tuple[str, ...]) -> nn.Module:
        """Build the untrained network."""
        return PlainMlp(widths, len(tasks), self.config, pattern=False)
