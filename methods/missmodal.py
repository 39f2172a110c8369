"""MissModal: copies of a stay with modalities dropped, aligned with the stay as it is by three losses; the network stays what it was.

Citation: R. Lin, H. Hu, "MissModal: Increasing Robustness to Missing Modality in Multimodal Sentiment Analysis", Transactions of the
ACL 11 (2023), 1686-1702, doi 10.1162/tacl_a_00628.

Equations (stay i, O_i the observed modalities, S_iw a proper non-empty subset of O_i drawn again at every step for each view w = 1..K;
B stays of a batch are aligned; [p] = dropout):

    f_m      = [p] ReLU(LN(Lin_m x_m)) in R^d,  0 where a modality is not there;    F(S) = Lin(ReLU(Lin(concat_m f_m [m in S]): 2d): d)
    F_M = F(O_i),  F_w = F(S_iw)                                                      yhat(F) = Lin([p] ReLU(Lin F))
    L_task   = L_sup(yhat(F_M), y)                                                    over all stays
    L_sem    = mean_w L_sup(yhat(F_w), y)                                             over the aligned stays, as all that follows
    L_geo    = mean over w and over the 2B rows of Z = [u; v] of l_r,    u_i = F_M / |F_M|,  v_i = F_w / |F_w|
               l_r = -log(exp(z_r . z_r' / tau) / sum_{q != r} exp(z_r . z_q / tau)),    r' the other row of the same stay
    L_dis    = mean_w |mean_i F_M - mean_i F_w|^2                                      (``mean``)
               mean_w mean_i |F_M - F_w|^2                                             (``paired``)
               that of ``mean`` + mean_w |sd_i F_M - sd_i F_w|^2                       (``mean_std``)
               mean_w of the squared maximum mean discrepancy between F_M and F_w      (``mmd``)
    L        = L_task + a L_geo + b L_dis + c L_sem

Gradients flow into F_M and F_w alike. A prediction is one pass, yhat(F(O_i)). With a = b = c = 0 nothing is drawn, and training is that
of the network alone, step for step. ``network = concat`` puts the losses on the network of ``zero_fill`` and ``mean_impute`` (F: its
last hidden layer; with or without ``mask_input``): with zero weights and the same rates it then *is* that baseline, weight for weight.
The default network differs from ``zero_fill`` by an encoder with layer norm for each modality, by two layers more, and by not being
given the pattern; the default learning rate and weight decay differ too.

What was read: the paper's abstract (direct.mit.edu), and of RH-Lin/MissModal, which has no code, the README and Figure 2 (for the design
card). From the figure come: the same encoders and networks for both paths, the pairs that L_geo pulls and pushes, no push between views,
the arrow between two centres in L_dis, and L_sem's link to the outcome (codes by others have the agreement of the two predictions
instead). The paper's body was out of reach: the sum of the losses is recalled, its weights are in no source read. L_geo is GMC's (Poklukar
et al., ICML 2022), whose pairs the figure shows; in miguelsvasco/gmc, read for facts, vectors have unit length, the positive pair is in
the denominator, tau = .3, in batches of 24 and 60 dimensions. Three codes by others disagree with one another and were not followed.

Adaptations:

- The paper drops modalities from complete samples. Complete stays may be rare or absent here, so "complete" is all that a stay has;
  aligned are stays with two or more modalities, the others have L_task alone. ``complete_only`` aligns stays with all the modalities
  that training has; ``aligned_share`` says how many training stays are aligned.
- Ten modalities have 1022 patterns to drop, so S_iw is drawn: its size uniform from 1 to |O_i| - 1, then uniform among the subsets of that
  size. Each stay draws its own, where a path of the paper's figure has one pattern for all: L_dis compares a mixture of patterns. K = 1,
  where the figure shows two paths.
- L_dis is the least certain: ``mean`` is what the figure shows. ``mmd``: the mean of five Gaussian kernels, exp(-|.|^2 / (s v)), s = 1/4 to
  4, v the mean squared distance among the F_M and F_w, a constant for the gradient; ours. Variances have 1e-6 added before the root.
- ``pos_in_denominator`` = False sums over the rows of other stays only, as the paper's own formula may.
- One observed modality, or a batch with fewer than two aligned stays, may leave a sum empty: such a term is 0.
- f_m, the fusion and the predictor are ours; the paper takes any. A missing f_m is zero; the pattern is no input unless ``mask_input``,
  under which a view is given its own pattern. A stay with nothing observed has the constant of a zero input.
- Text, audio and video encoders are layers on given vectors, and the regression of a sentiment is masked multi-label cross-entropy, with
  weights 1/T. a = b = .1, c = 1, d = 128, p = .2, AdamW with clipped gradients, lr 1e-3, weight decay 1e-4; under ``schedule=own`` batches
  of 128, at most 100 epochs, patience 30: ours, those of the paper being unknown.
- A stay and its views have dropout masks of their own (ours; the figure shows no dropout). On development draws of the embedded MIMIC-IV
  cohort (900 stays, batches of 64, patience 15, one fit each) AUC and log loss were: at discharge, seed 1000, one mask for both .733 .375,
  masks of their own .725 .372, ``backbone`` .724 .380, plain network .696 .385; seed 1001, .736 .396, .735 .396, .729 .384, .705 .390; at
  icu_24h, seed 1002, where early stopping served all but the third badly, .614 .427, .651 .342, .714 .305, .582 .703. Most of the
  lead over the plain network is thus the network's, not the losses': ``backbone`` is printed next to it.
- The log odds of each task's training base rate are added to its logits, those of the views too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from datasets.cohort import Cohort
from methods.common.layers import Dropout, GroupedLayerNorm, keep_observed, mlp
from methods.common.training import Batch, Output, TorchMethod, TrainingConfig, supervised_loss

INFO = {
    "title": "MissModal (observed-subset)",
    "citation": "MissModal: Increasing Robustness to Missing Modality in Multimodal Sentiment Analysis (TACL 11, 2023)",
    "year": 2023,
    "family": "alignment of modality subsets",
    "based_on": "the abstract and the overview figure; no code exists, weights and layers are ours",
    "uses_series": False,
    "class": "MissModal",
}
SCALES = (0.25, 0.5, 1.0, 2.0, 4.0)
"""Widths of the kernels of ``mmd``, in units of the mean squared distance."""


@dataclass(frozen=True)
class Config(TrainingConfig):
    """Defaults are ours, but for ``tau``, which is GMC's."""

    lr: float = 1e-3
    weight_decay: float = 1e-4
    batch_size: int = 128
    hidden: int = 128
    """d."""
    dropout: float = 0.2
    a: float = 0.1
    b: float = 0.1
    c: float = 1.0
    tau: float = 0.3
    views: int = 1
    """K."""
    dist: str = "mean"
    """``mean``, ``paired``, ``mean_std`` or ``mmd``."""
    pos_in_denominator: bool = True
    complete_only: bool = False
    mask_input: bool = False
    """The pattern is an input."""
    network: str = "encoders"
    """``encoders``, or ``concat``: the plain perceptron of the baselines."""

    def __post_init__(self) -> None:
        self.one_of(dist=("mean", "paired", "mean_std", "mmd"), network=("encoders", "concat"))
        if self.views < 1:
            raise ValueError(f"missmodal: views is {self.views}; it must be at least 1")


class MissModalModule(nn.Module):
    """The network of the module's docstring; in training with views and their losses. ``seen``: how many modalities training has."""

    base_log_odds: Tensor
    """Log odds of the base rates [T], which the method adds to the logits; here for the logits of views."""

    def __init__(self, widths: tuple[int, ...], tasks: int, config: Config, seen: int) -> None:
        super().__init__()
        self.register_buffer("base_log_odds", torch.zeros(()), persistent=False)
        self.config, self.seen = config, seen
        c, d, m = config, config.hidden, len(widths)
        encoded = c.network == "encoders"
        if encoded:
            self.first = nn.ModuleList(nn.Linear(width, d) for width in widths)
            self.rest = nn.Sequential(GroupedLayerNorm(m, d), nn.ReLU())
        sizes = [d] * m if encoded else widths
        self.dropout = Dropout(c.dropout if encoded else 0.0)
        """Of the f_m; the perceptron of ``concat`` has none on its inputs."""
        self.register_buffer("owner", torch.arange(m).repeat_interleave(torch.tensor(sizes)), persistent=False)
        width = sum(sizes) + (m if c.mask_input else 0)
        if encoded:
            self.fuse = mlp((width, 2 * d, d), 0.0)
            self.predict = mlp((d, d, tasks), c.dropout)
        else:
            net = mlp((width, d, d, tasks), c.dropout)
            self.fuse, self.predict = net[:-2], net[-2:]

    def forward(self, batch: Batch) -> Output:
        """Return logits [B, T]; in training also the weighted losses ``geo``, ``dis``, ``sem``, those of weight 0 left out."""
        c, observed = self.config, batch.observed
        aligning = self.training and (c.a > 0 or c.b > 0 or c.c > 0)
        kept = observed.unsqueeze(0)
        if aligning:
            kept = torch.cat([kept, draw_views(observed, c.views)])
        fused = self.represent_views(batch.x, observed, kept)
        logits = self.predict(fused)
        losses = self.compute_losses(fused, logits, batch) if aligning else {}
        return Output(logits[: len(observed)], losses)

    def represent(self, batch: Batch) -> Tensor:
        """Return F_M [B, d], of all that is observed."""
        return self.represent_views(batch.x, batch.observed, batch.observed.unsqueeze(0))

    def represent_views(self, x: tuple[Tensor, ...], observed: Tensor, kept: Tensor) -> Tensor:
        """Return F [V B, d] of the modalities kept [V, B, M], no more than those observed [B, M]."""
        # expanded first, so that a stay and its views have dropout masks of their own
        features = self.dropout(self.encode(x, observed).expand(len(kept), -1, -1))
        inputs = torch.where(kept[..., self.owner], features, features.new_zeros(())).flatten(0, 1)
        if self.config.mask_input:
            inputs = torch.cat([inputs, kept.flatten(0, 1).to(inputs.dtype)], dim=1)
        return self.fuse(inputs)

    def encode(self, x: tuple[Tensor, ...], observed: Tensor) -> Tensor:
        """Return [B, sum of widths]: the f_m before dropout, or under ``concat`` the x_m, side by side; unobserved x_m are not read."""
        content = [keep_observed(v, seen) for v, seen in zip(x, observed.unbind(dim=1), strict=True)]
        if self.config.network == "concat":
            return torch.cat(content, dim=1)
        started = torch.stack([first(v) for first, v in zip(self.first, content, strict=True)], dim=1)
        return self.rest(started).flatten(1)

    def compute_losses(self, fused: Tensor, logits: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Return the weighted losses of F [(1 + K) B, d] and logits [(1 + K) B, T], of the batch and then of its views."""
        c, n = self.config, len(batch.observed)
        aligned = find_aligned_stays(batch.observed, self.seen, c.complete_only)
        out = {}
        with torch.autocast(fused.device.type, enabled=False):
            f = fused.float().unflatten(0, (-1, n))
            if c.a > 0:
                out["geo"] = c.a * geometric_loss(f, aligned, c.tau, c.pos_in_denominator)
            if c.b > 0:
                out["dis"] = c.b * distance_loss(f, aligned, c.dist)
            if c.c > 0:
                y = logits[n:].float() + self.base_log_odds
                mask = (batch.label_mask & aligned.unsqueeze(1)).repeat(c.views, 1)
                weights = y.new_full(y.shape[1:], 1 / y.shape[1])
                out["sem"] = c.c * supervised_loss(y, batch.labels.repeat(c.views, 1), mask, weights, c.gamma)
        return out


class MissModal(TorchMethod):
    """MissModal; see the module's docstring. After ``fit`` also ``aligned_share``: the share of the training stays that are aligned."""

    Config = Config
    grid: ClassVar = {
        "a": [0.01, 0.1, 1.0],
        "b": [0.0, 0.1, 1.0],
        "tau": [0.07, 0.1, 0.3],
        "lr": [3e-4, 1e-3],
    }
    variants: ClassVar = {
        "backbone": {"a": 0.0, "b": 0.0, "c": 0.0},
        "no_semantic": {"c": 0.0},
        "paired": {"dist": "paired"},
        "mean_std": {"dist": "mean_std"},
        "mmd": {"dist": "mmd"},
        "negatives_only": {"pos_in_denominator": False},
        "complete_only": {"complete_only": True},
        "mask_input": {"mask_input": True},
        "two_views": {"views": 2},
        "on_zero_fill": {"network": "concat", "mask_input": True},
    }
    beside: ClassVar[tuple[str, ...]] = ("backbone",)
    """Printed next to the default, whose lead over the plain network is mostly its backbone's."""

    def build(self, widths: tuple[int, ...], tasks: tuple[str, ...]) -> nn.Module:
        """Build the untrained network."""
        seen = sum(bool(s.seen) for s in self.preprocessor.statistics)
        return MissModalModule(widths, len(tasks), self.config, seen)

    def fit_report(self) -> dict[str, float]:
        """Return ``aligned_share``."""
        return {"share of training stays aligned": float(self.aligned_share)}

    def prepare(self, train: Cohort, valid: Cohort) -> None:
        """Compute ``aligned_share``, the share of the training stays that are aligned."""
        seen = int(train.observed.any(axis=0).sum())
        aligned = find_aligned_stays(train.observed, seen, self.config.complete_only)
        self.aligned_share = aligned.sum() / max(1, len(train))


def find_aligned_stays(observed: np.ndarray | Tensor, seen: int, complete_only: bool) -> np.ndarray | Tensor:
    """Return bool [B]: the stays, of patterns ``observed`` [B, M], whose views are aligned with them; ``seen`` modalities are complete."""
    n = observed.sum(axis=1)
    return (n >= 2) & (n >= (seen if complete_only else 2))


def draw_views(observed: Tensor, views: int) -> Tensor:
    """Draw S bool [K, B, M]: proper non-empty subsets of the observed [B, M], or what is observed where that is one modality or none."""
    n = observed.sum(dim=1, keepdim=True)
    key = torch.rand(views, *observed.shape, device=observed.device).masked_fill(~observed, -1.0)
    size = 1 + (torch.rand(views, *n.shape, device=observed.device) * (n - 1)).long()
    rank = key.argsort(dim=2, descending=True).argsort(dim=2)
    return observed & (rank < size)


def geometric_loss(f: Tensor, aligned: Tensor, tau: float, pos_in_denominator: bool = True) -> Tensor:
    """Return L_geo, a scalar, of f [1 + K, B, d], F_M and then each F_w, over the stays ``aligned`` [B]; 0 for an empty sum."""
    z = F.normalize(f, dim=2)
    z = torch.cat([z[:1].expand_as(z[1:]), z[1:]], dim=1)
    s = z @ z.mT / tau
    positive = s.diagonal(offset=f.shape[1], dim1=1, dim2=2).repeat(1, 2)
    stay, some = torch.arange(f.shape[1], device=f.device).repeat(2), aligned.repeat(2)
    row = torch.arange(len(stay), device=f.device) if pos_in_denominator else stay
    summed = (row.unsqueeze(1) != row) & some.unsqueeze(1) & some
    counted = summed.any(dim=1)
    total = s.masked_fill(~summed, -torch.inf).logsumexp(dim=2)
    return torch.where(counted, total - positive, 0.0).sum() / (len(s) * counted.sum()).clamp(min=1)


def distance_loss(f: Tensor, aligned: Tensor, dist: str) -> Tensor:
    """Return L_dis, a scalar, of f [1 + K, B, d], F_M and then each F_w, over the stays ``aligned`` [B]; 0 where there are none."""
    n = aligned.sum().clamp(min=1)
    if dist == "mmd":
        return discrepancy(f[:1].expand_as(f[1:]), f[1:], aligned.to(f.dtype) / n)
    if dist == "paired":
        return keep_observed(f[1:] - f[:1], aligned).square().sum() / (n * len(f[1:]))
    mean = keep_observed(f, aligned).sum(dim=1, keepdim=True) / n
    moments = [mean]
    if dist == "mean_std":
        moments.append(((keep_observed(f - mean, aligned)).square().sum(dim=1, keepdim=True) / n + 1e-6).sqrt())
    return sum((v[1:] - v[:1]).square().sum() for v in moments) / len(f[1:])


def discrepancy(one: Tensor, other: Tensor, share: Tensor) -> Tensor:
    """Return squared maximum mean discrepancy between the stays of one and other [K, B, d], weighted by ``share`` [B], averaged over K."""
    z = torch.cat([one, other], dim=1)
    square = z.square().sum(dim=2)
    distance = (square.unsqueeze(2) + square.unsqueeze(1) - 2 * z @ z.mT).clamp(min=0)
    both, signed = torch.cat([share, share]) / 2, torch.cat([share, -share])
    scale = (distance.detach() @ both @ both).clamp(min=1e-12)[:, None, None]
    kernel = sum(torch.exp(-distance / (s * scale)) for s in SCALES) / len(SCALES)
    return (kernel @ signed @ signed).mean()
