"""PyPOTS' Raindrop backbone on given inputs and weights, run by the python of ``.venv-peers`` (pypots, torch_geometric).

    python tests/peers/raindrop.py IN.npz OUT.npz    outputs, mask and pooled outputs of the backbone in evaluation mode
    python tests/peers/raindrop.py serve             serves a training ``step`` at the sizes of the card

``IN.npz``: ``X`` [B, S, F] (zeros where missing), ``timestamps`` [B, S], ``lengths`` [B], ``d_ob``, ``heads``, ``layers``, and the
weights as ``weight.NAME`` by the backbone's own names; what is not given stays as it was drawn, and must not matter.
``OUT.npz``: ``out`` [S, B, d], ``mask`` [B, S], ``pooled`` [B, d], ``loose`` (names of trained parameters that were not given).
"""

import sys
import types

import numpy as np
import torch
from serving import serve
from torch import nn


def stand_in() -> None:
    """Put torch_geometric's own scatter in the place of torch_scatter, whose wheels need a compiler; nothing else of it is used."""
    from torch_geometric.utils import scatter

    def reduce(src: torch.Tensor, index: torch.Tensor, dim: int, dim_size: int, reduce: str) -> torch.Tensor:
        return scatter(src, index, dim=dim, dim_size=dim_size, reduce=reduce)

    for name, content in (
        ("torch_scatter", {"scatter": reduce}),
        ("torch_sparse", {"SparseTensor": type("None_", (), {})}),
    ):
        try:
            __import__(name)
        except ImportError:
            sys.modules[name] = types.ModuleType(name)
            vars(sys.modules[name]).update(content)


def backbone(features: int, steps: int, d_ob: int = 4, heads: int = 2, layers: int = 2) -> nn.Module:
    """PyPOTS' backbone with the sizes of the released code."""
    stand_in()
    from pypots.nn.modules.raindrop import BackboneRaindrop

    d = d_ob * features
    return BackboneRaindrop(features, layers, d, heads, 2 * d, 2, 0.2, steps, d_static=0, d_pe=16, static=False)


def pooled(out: torch.Tensor, mask: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """[B, d]: what follows the backbone in PyPOTS, sum over the steps of a stay / (their number + 1)."""
    return (out * (1 - mask.T.unsqueeze(2).long())).sum(dim=0) / (lengths.unsqueeze(1) + 1)


def run(source: str, target: str) -> None:
    """The backbone's outputs for the inputs in ``source``."""
    given = dict(np.load(source))
    x, times, lengths = (torch.from_numpy(given[k]) for k in ("X", "timestamps", "lengths"))
    _, steps, features = x.shape
    net = backbone(features, steps, *(int(given[k]) for k in ("d_ob", "heads", "layers"))).eval()
    weights = {k.removeprefix("weight."): torch.from_numpy(v) for k, v in given.items() if k.startswith("weight.")}
    net.load_state_dict(weights, strict=False)
    out, mask = net(x, times, lengths)
    pool = pooled(out, mask, lengths)
    pool.square().sum().backward()
    loose = [k for k, p in net.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0 and k not in weights]
    np.savez(target, out=out.detach(), mask=mask, pooled=pool.detach(), loose=np.array(loose, dtype=str))


def timed(batch: int, steps: int, features: int) -> None:
    """Serve the training step."""
    net = backbone(features, steps).train()
    d = 4 * features + 16
    head = nn.Sequential(nn.Linear(d, d), nn.ReLU(), nn.Linear(d, 2))
    optimiser = torch.optim.Adam([*net.parameters(), *head.parameters()], lr=1e-3)
    x, y = torch.randn(batch, steps, features), torch.arange(batch) % 2
    times, lengths = torch.arange(steps).float().expand(batch, -1), torch.full((batch,), steps)

    def step() -> torch.Tensor:
        optimiser.zero_grad()
        loss = nn.functional.cross_entropy(head(pooled(*net(x, times, lengths), lengths)), y)
        loss.backward()
        optimiser.step()
        return loss

    serve(step=step)


if __name__ == "__main__":
    timed(batch=64, steps=48, features=34) if sys.argv[1:] == ["serve"] else run(*sys.argv[1:])
