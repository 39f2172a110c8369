"""Zero filling with mask: all modalities side by side, zeros where unobserved, and the observation pattern as an input.

A multilayer perceptron (``plain_mlp.py``). Zeros are filled in after standardising, where zero is the training mean of every column:
this is the value that ``mean_impute`` fills in too, and the pattern as an input is the whole difference between the two. Filling
zeros before standardising would only shift each column of the unobserved stays by a constant, which a first layer that is given
the pattern can undo.
"""

from __future__ import annotations

from typing import ClassVar

from torch import nn

from methods.common.plain_mlp import Config, PlainMlp
from methods.common.training import TorchMethod

INFO = {
    "title": "Zero-filling with mask",
    "citation": "plain baseline (named in Table 3 of arXiv 2509.17228)",
    "year": 2025,
    "family": "plain baseline",
    "based_on": "multilayer perceptron on concatenated modalities",
}


class ZeroFill(TorchMethod):
    """Concatenation with zeros and the pattern."""

    Config = Config
    grid: ClassVar = {"lr": [1e-4, 2e-4, 5e-4, 1e-3], "dropout": [0.1, 0.2, 0.4], "hidden": [64, 128]}

    def build(self, widths: tuple[int, ...], tasks: tuple[str, ...]) -> nn.Module:
        """Build the untrained network."""
        return PlainMlp(widths, len(tasks), self.config, pattern=True)
