"""Whether the tokens of different stays can be told apart: a representation that has collapsed is easy to reconstruct and says nothing."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from methods.common.training import Batch
from methods.crl_mmnar.left_out import leave_each_out

STAYS, TOGETHER = 512, 64
"""How many training stays are looked at, and how many are told apart from each other: chance depends on their number."""
COSINE = "mean cosine between tokens of different training stays"
CONTRAST = "contrastive loss on training stays, less that of chance"


def measure_collapse(module: nn.Module, batch: Batch) -> dict[str, float]:
    """Return ``COSINE`` and, where ``module`` reconstructs, ``CONTRAST`` (nats, below 0: better than chance), means over modalities.

    Without dropout, each modality left out in turn, the first ``STAYS`` stays of ``batch``; empty where no two stays share a modality.
    """
    found: dict[str, list[float]] = {COSINE: [], CONTRAST: []}
    training = module.training
    module.eval()
    with torch.inference_mode():
        for part in _split(batch):
            e = module.encoders(part.x, part.observed)
            rest, own = leave_each_out(part.observed)
            found[COSINE] += [mean_cosine(e[seen, m]) for m, seen in enumerate(part.observed.T) if seen.sum() >= 2]
            if not module.config.reconstruct:
                continue
            h = module.fuse(e.repeat(len(rest), 1, 1), rest.flatten(0, 1))[0].unflatten(0, (len(rest), -1))
            errors = module.contrast(e, module.decoders(h.transpose(0, 1)), own)
            of_pairs = [errors[left_out, m] for m, left_out in enumerate(own.T) if left_out.sum() >= 2]
            found[CONTRAST] += [(v.mean() - torch.tensor(float(len(v))).log()).item() for v in of_pairs]
    module.train(training)
    return {name: sum(values) / len(values) for name, values in found.items() if values}


def mean_cosine(tokens: Tensor) -> float:
    """Return the mean cosine over all pairs of different rows of the tokens [N, D], N of 2 or more."""
    n, unit = len(tokens), F.normalize(tokens.float(), dim=1)
    return (unit.sum(dim=0).square().sum().item() - n) / (n * (n - 1))


def _split(batch: Batch) -> Iterator[Batch]:
    n = min(len(batch.observed), STAYS)
    return (batch.take(slice(i, min(i + TOGETHER, n))) for i in range(0, n, TOGETHER))
