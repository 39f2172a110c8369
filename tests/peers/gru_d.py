"""PyPOTS' GRU-D backbone on given inputs and weights, run by the python of ``.venv-peers`` (pypots).

    python tests/peers/gru_d.py IN.npz OUT.npz    what the backbone gives, and its own delta and last values
    python tests/peers/gru_d.py serve             serves ``step`` and ``prepare``

``IN.npz``: ``X``, ``mask``, ``delta``, ``last`` [B, S, F] (X is zero where mask is), ``mean`` [F], and the weights as ``weight.NAME``
by the backbone's own names, all of them. ``OUT.npz``: ``rep`` [B, S, H], decayed states before each step; ``h`` [B, H]; ``index_delta``
and ``index_last`` [B, S, F], what PyPOTS prepares itself, its time being the number of the step.
Times, on one thread: a training step at B 128, S 48, F 34, H 64, and preparing 200 stays of that size.
"""

import sys

import numpy as np
import torch
from pypots.data.utils import _parse_delta_torch
from pypots.imputation.locf import locf_torch
from pypots.nn.modules.grud import BackboneGRUD
from serving import serve
from torch import nn

B, S, F, H, STAYS = 128, 48, 34, 64, 200


def run(source: str, target: str) -> None:
    """The backbone's outputs for the inputs in ``source``."""
    given = {k: torch.from_numpy(v) for k, v in np.load(source).items()}
    weights = {k.removeprefix("weight."): v for k, v in given.items() if k.startswith("weight.")}
    x, mask = given["X"], given["mask"]
    net = BackboneGRUD(x.shape[1], x.shape[2], len(weights["temp_decay_h.b"]))
    net.load_state_dict(weights)
    with torch.no_grad():
        rep, h = net(x, mask, given["delta"], given["mean"], given["last"])
    found = {"rep": rep, "h": h, "index_delta": _parse_delta_torch(mask), "index_last": prepared_last(x, mask)}
    np.savez(target, **found)


def prepared_last(x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """PyPOTS' own last observations carried forward [B, S, F]."""
    return locf_torch(torch.where(mask > 0, x, torch.nan))


def timed() -> None:
    """Serve the step and the preparation."""
    torch.manual_seed(0)
    net, head = BackboneGRUD(S, F, H), nn.Linear(H, 2)
    optimiser = torch.optim.Adam([*net.parameters(), *head.parameters()], lr=1e-3)
    last, mask, y = torch.randn(STAYS, S, F), (torch.rand(STAYS, S, F) < 0.3).float(), torch.arange(B) % 2
    delta, mean = torch.rand(B, S, F), torch.zeros(F)

    def step() -> torch.Tensor:
        optimiser.zero_grad()
        _, h = net(last[:B] * mask[:B], mask[:B], delta, mean, last[:B])
        loss = nn.functional.cross_entropy(head(h), y)
        loss.backward()
        optimiser.step()
        return loss

    def prepare() -> None:
        _parse_delta_torch(mask)
        prepared_last(last, mask)

    serve(step=step, prepare=prepare)


if __name__ == "__main__":
    timed() if sys.argv[1:] == ["serve"] else run(*sys.argv[1:])
