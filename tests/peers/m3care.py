"""Training steps of iMML's M3Care: ``python tests/peers/m3care.py BATCH WIDTH...`` in `.venv-peers`."""

import sys

import torch
from imml_module import import_imml
from serving import serve

batch, *widths = map(int, sys.argv[1:])
torch.manual_seed(0)
model = (
    import_imml()
    .M3Care(input_dim=widths, modalities=["tabular"] * len(widths), vocab=[], hidden_dim=128, learning_rate=1e-3)
    .train()
)
optimiser = model.configure_optimizers()
x = [torch.randn(batch, d) for d in widths]
y = (x[0][:, 0] > 0.84).float()
observed = torch.rand(batch, len(widths)) < 0.8


def step() -> torch.Tensor:
    optimiser.zero_grad()
    loss = model.training_step((x, y, observed))
    loss.backward()
    optimiser.step()
    return loss


serve(step=step)
