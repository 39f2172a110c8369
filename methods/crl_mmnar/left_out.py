"""L_rec and L_con: which modalities a pass of the fusion leaves out, and how well their tokens are made again from the rest.

B stays, M modalities, K passes, D hidden size. ``own`` bool [B, M] marks the tokens that are left out of a pass and have a target; errors
are [B, M] and hold meaningless finite numbers elsewhere. No shape depends on a value, so that replicas can be trained in a stack.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from methods.common.layers import Dropout, GroupedLinear

NARROWEST = 32
"""Least size of a projection."""


class Projections(nn.Module):
    """P_m or R_m, one affine map a modality, [B, M, D] -> [B, M, max(32, D / 2)]."""

    def __init__(self, modalities: int, hidden: int) -> None:
        super().__init__()
        self.maps = GroupedLinear(modalities, hidden, max(NARROWEST, hidden // 2))

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the tokens projected."""
        return self.maps(tokens)


def make_decoders(modalities: int, hidden: int, dropout: float) -> nn.Sequential:
    """Build Dec_m of all modalities, [B, M, D] -> [B, M, D]."""
    first, last = GroupedLinear(modalities, hidden, 2 * hidden), GroupedLinear(modalities, 2 * hidden, hidden)
    return nn.Sequential(first, nn.ReLU(), Dropout(dropout), last)


def leave_each_out(observed: Tensor) -> tuple[Tensor, Tensor]:
    """Leave modality k out in pass k: return what is left, bool [M, B, M], and ``own``, the observed of stays that have two or more.

    In the pass of a modality that is not observed nothing changes, and nothing is asked.
    """
    m = observed.shape[1]
    each = torch.eye(m, dtype=torch.bool, device=observed.device).unsqueeze(1)
    return observed & ~each, observed & (observed.sum(dim=1, keepdim=True) >= 2)


def leave_one_out(observed: Tensor) -> tuple[Tensor, Tensor]:
    """Leave one modality of each stay out, drawn uniformly among the observed: what is left, bool [1, B, M], and ``own``."""
    draw = torch.rand(observed.shape, device=observed.device).masked_fill(~observed, -1.0)
    drawn = F.one_hot(draw.argmax(dim=1), observed.shape[1]).bool()
    return (observed & ~drawn).unsqueeze(0), drawn & (observed.sum(dim=1, keepdim=True) >= 2)


LEAVE_OUT: dict[str, Callable[[Tensor], tuple[Tensor, Tensor]]] = {"each": leave_each_out, "one": leave_one_out}


def compute_reconstruction_errors(target: Tensor, made: Tensor) -> Tensor:
    """Return |made - target|^2 / D [B, M]; target and made [B, M, D]."""
    return (made - target).square().mean(dim=2)


def compute_contrastive_errors(
    target: Tensor, made: Tensor, own: Tensor, temperature: float, symmetric: bool
) -> Tensor:
    """Return InfoNCE of each target [B, M, d] among the tokens made [B, M, d] of the same modality, in single precision: [B, M].

    Candidates are the tokens made of all stays whose token is ``own`` at that modality. ``symmetric``: mean with the same of each token
    made among the targets.
    """
    with torch.autocast(target.device.type, enabled=False):
        t, e = (F.normalize(v.float(), dim=2).transpose(0, 1) for v in (target, made))
        similarity = t @ e.transpose(1, 2) / temperature  # [M, B, B]
        itself = torch.eye(len(own), dtype=torch.bool, device=own.device)  # keeps rows without candidates finite
        left_out = own.T
        candidates = (left_out.unsqueeze(1) & left_out.unsqueeze(2)) | itself
        similarity = similarity.masked_fill(~candidates, -torch.inf)
        right = similarity.diagonal(dim1=1, dim2=2)
        errors = similarity.logsumexp(dim=2) - right
        if symmetric:
            errors = (errors + similarity.logsumexp(dim=1) - right) / 2
        return errors.T


def mean_over_modalities(errors: Tensor, own: Tensor) -> Tensor:
    """Return mean of the errors [B, M] over the stays that own m, averaged over the modalities that any stay owns, a scalar."""
    return sum_over_modalities(errors, own) / own.any(dim=0).sum().clamp(min=1)


def sum_over_modalities(errors: Tensor, own: Tensor) -> Tensor:
    """Return mean of the errors [B, M] over the stays that own m, summed over m, a scalar."""
    return (torch.where(own, errors, 0.0).sum(dim=0) / own.sum(dim=0).clamp(min=1)).sum()


def mean_over_stays(errors: Tensor, own: Tensor) -> Tensor:
    """Return mean of the errors [B, M] over all tokens owned, a scalar; 0 where there are none."""
    return torch.where(own, errors, 0.0).sum() / own.sum().clamp(min=1)


AVERAGES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "mean": mean_over_modalities,
    "modality": sum_over_modalities,
    "stay": mean_over_stays,
}
