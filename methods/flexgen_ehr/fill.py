"""How well FLEXGEN-EHR fills a latent it has not seen: by transport, by the mean, and by nearest neighbours, on training stays."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from methods.flexgen_ehr.transport import Transport

FILLS = ("ot", "mean", "knn")
NEIGHBOURS = 5
"""Of the fill by nearest neighbours."""


def fill_errors(transport: Transport, z: Tensor, observed: np.ndarray, held: np.ndarray) -> Tensor:
    """Return errors float64 [M, 3] of ``FILLS`` on the stays ``held`` bool [N] with modality m and another; NaN for fewer than two.

    z [N, M, L] are the latents of training stays. Modality m is hidden from the held stays and filled from their others; mean and
    neighbours come from all stays not held, the plans from the anchors among these. Error: (sum |zhat - z|^2 / sum |z - zbar|^2)^0.5
    with zbar the mean of the z that were hidden, so 1 is no better than knowing their mean.
    """
    z, seen = z.double(), torch.as_tensor(observed, device=z.device)
    out = torch.full((observed.shape[1], len(FILLS)), torch.nan, dtype=torch.float64)
    for m in range(observed.shape[1]):
        query = np.flatnonzero(held & observed[:, m] & (observed.sum(axis=1) > 1))
        bank = np.flatnonzero(~held & observed[:, m])
        if len(query) < 2 or not len(bank):
            continue
        shown, truth = seen[query], z[query, m]
        shown[:, m] = False
        made = (
            transport.fill(z[query], shown)[:, m],
            z[bank, m].mean(dim=0),
            z[bank, m][find_nearest(z[query], shown, z[bank], seen[bank])].mean(dim=1),
        )
        spread = (truth - truth.mean(dim=0)).square().sum()
        out[m] = torch.stack([((guess - truth).square().sum() / spread).sqrt() for guess in made]).cpu()
    return out


def find_nearest(z: Tensor, seen: Tensor, bank: Tensor, bank_seen: Tensor) -> Tensor:
    """Find the rows [B, k] of the bank [N, M, L] nearest to z [B, M, L]: least mean squared distance over the modalities both have."""
    total = torch.zeros(len(z), len(bank), dtype=z.dtype, device=z.device)
    count = torch.zeros_like(total)
    for m in range(z.shape[1]):
        both = seen[:, m, None] & bank_seen[:, m]
        total += torch.where(both, torch.cdist(z[:, m], bank[:, m]).square(), 0.0)
        count += both
    distance = torch.where(count > 0, total / count.clamp(min=1), torch.inf)
    return distance.topk(min(NEIGHBOURS, len(bank)), dim=1, largest=False).indices


def fill_table(report: dict[str, dict[str, float]]) -> str:
    """Format a fitted method's ``fill_report`` as text, a line for each modality."""
    lines = ["relative error of the fill".ljust(28) + "".join(name.rjust(8) for name in FILLS)]
    return "\n".join(lines + [m.ljust(28) + "".join(f"{e[name]:8.2f}" for name in FILLS) for m, e in report.items()])
