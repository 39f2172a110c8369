"""CM-AE: one code for all modalities, learned by reconstructing every modality from views in which some are zeroed.

Citation: J. Ngiam, A. Khosla, M. Kim, J. Nam, H. Lee, A. Y. Ng, "Multimodal deep learning", ICML 2011. "CM-AE" (cross-modal
autoencoder) is the name of the row in the table reproduced here; it denotes the paper's *bimodal deep autoencoder*, which takes
every modality in, and not its single-input ("video only") autoencoder.

Equations (stay i, modality m of M, task t; delta_i the observation pattern, O_i the observed modalities, r_i <= delta_i the modalities
that a view keeps, x~_im = r_im x_im, act = ReLU or sigmoid):

    a_im    = act(W1_m x~_im + b1_m)                       in R^{h_m},  h_m = min(512, max(32, d_m))
    s_i     = act(W2 [a_i1; ..; a_iM] + b2)                in R^{h_s},  the shared representation
    a'_im   = act(V2_m s_i + c2_m),   xhat_im = V1_m a'_im + c1_m
    yhat_i  = U s_i + u
    L_rec   = (1/N) sum_i (1/|O_i|) sum_{m in O_i} |xhat_im - x_im|^2 / d_m,     x_im as it was before a view zeroed it
    L_sp    = sum_j (rho - mean_i s_ij)^2,     s_i of the view
    L_sup   = sum_t 1/T mean_{i labelled} BCE(yhat_it, y_it),      s_i of r_i = delta_i
    views   : r_i = delta_i with probability 1 / (|O_i| + 1), only m with the same for each m in O_i (M = 2: 1/3, 1/3, 1/3)

Stages, each by the loop of ``training.py``: 0 (``pretrain_epochs``) a_im and xhat_im = V1_m a_im + c1_m of each modality by itself, from
inputs with a share of the features zeroed; A: L_rec + lambda_sp L_sp on views, stopped by L_rec on views that stay the same; B: L_sup
for U, u, all else frozen; B' (``finetune``): L_sup + lambda_rec L_rec for everything, at a tenth of the rate.

Variants: ``modern`` (the defaults: ReLU, B'), ``faithful`` (as near to the paper as is known: sigmoid units, stage 0, sparsity, linear
head on a frozen code), ``frozen`` (the defaults without B'), ``subset`` (views that keep any non-empty subset of O_i, all as likely).

Adaptations:

- The paper's body was not at hand, only its abstract. Readers' notes of it (README of a repository "bimodal-speech-recognition", a
  post "2023-08-01-multimodal", both found by full-text search) confirm: examples are added with zeros for one input modality, both are
  reconstructed, inspired by denoising autoencoders; sparse RBMs initialise the network; a linear classifier comes after. Recalled
  without a source to confirm it: a third of the examples each with both inputs, only one, only the other; sigmoid units; layers about
  1.5 times as wide as their inputs; decoder weights that begin tied and end untied; a linear SVM; no mask as input. No code was
  released.
- M modalities for two, hence the views' probabilities for M > 2; sizes h_m and h_s = 256 are ours, not 1.5 times the inputs.
- Stays are incomplete in training too: an unobserved modality is zero at the input and left out of L_rec, which has no target there.
  Neither delta nor r is an input. An unobserved modality enters s as act(b1_m), as a zeroed input does in the paper.
- RBM pre-training is replaced by stage 0 (masking noise on .2 of the features, 20 epochs; ours) or, by default, by nothing. Decoder
  weights are untied. The sparsity penalty of the RBMs is L_sp on s in stage A (rho = .05; lambda_sp = .1 in ``faithful``).
- Stages 0 and A are stopped by .15 of the training stays, held out of them: the validation part serves only to choose by outcomes. An L_rec
  above 16 counts as 16 there.
- The linear SVM is a logistic head for several outcomes with missing labels. B' is not in the paper, but what end-to-end
  training here means. It begins where B ends, so that a random head does not undo the code.
- Inputs are standardised by training statistics, so that zero is the mean; indicators of missing features count as features. Series
  are not read: a method for ragged series is not in the paper.
- AdamW with clipped gradients for Adam; weight decay 1e-5, no dropout. L_rec and L_sp average over the batch. What ``schedule=own`` runs
  (rate 1e-3, batches of 256, at most 100 epochs a stage, patience 10) is ours: no training of the paper's is known.
- A stay with nothing observed has the constant s of r = 0; it adds nothing to L_rec but one to its N, and is left out of L_sp.
- The log odds of each task's training base rate are added to its logits, as in all torch methods.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from datasets.cohort import Cohort
from methods.common.layers import Dropout, keep_observed
from methods.common.training import Batch, Output, TorchMethod, TrainingConfig

INFO = {
    "title": "CM-AE (adapted)",
    "citation": "Ngiam et al., Multimodal deep learning (ICML 2011): the bimodal deep autoencoder",
    "year": 2011,
    "family": "autoencoder",
    "based_on": "the abstract and readers' notes; RBM pre-training replaced, unobserved modalities left out of the loss",
    "uses_series": False,
    "class": "CmAe",
}

PRETRAIN, RECONSTRUCT, HEAD, FINETUNE = 0, 1, 2, 3
"""Stages 0, A, B, B'; the first two read no outcome."""
HELD_OUT = 0.15
"""Share of the training stays that stop stages 0 and A."""
ACTIVATIONS = {"relu": torch.relu, "sigmoid": torch.sigmoid}


@dataclass(frozen=True)
class Config(TrainingConfig):
    """Defaults: ``modern``. Batch size and patience hold for each stage, ``max_epochs`` for each but stage 0."""

    lr: float = 1e-3
    batch_size: int = 256
    patience: int = 10
    h_s: int = 256
    h_most: int = 512
    """Most units of a first layer."""
    act: str = "relu"
    """``relu`` or ``sigmoid``."""
    dropout: float = 0.0
    views: str = "one"
    """``one`` (all of a stay's modalities, or a single one) or ``subset`` (any non-empty subset of them)."""
    lambda_sp: float = 0.0
    rho: float = 0.05
    pretrain_epochs: int = 0
    """Epochs of stage 0 at most, whatever ``max_epochs`` is; 0 leaves it out."""
    corruption: float = 0.2
    """Share of the features zeroed in stage 0."""
    finetune: bool = True
    finetune_lr: float = 0.1
    """Learning rate of stage B', in units of ``lr``."""
    lambda_rec: float = 0.1

    def __post_init__(self) -> None:
        self.one_of(act=tuple(ACTIVATIONS), views=("one", "subset"))


class CmAeModule(nn.Module):
    """The network of the module's docstring, for modalities of ``widths`` columns; in training, what it does depends on ``stage``."""

    def __init__(self, widths: tuple[int, ...], tasks: tuple[str, ...], config: Config) -> None:
        super().__init__()
        c = config
        self.config, self.stage, self.act = c, FINETUNE, ACTIVATIONS[c.act]
        self.sizes = [min(c.h_most, max(32, d)) for d in widths]
        self.w1 = nn.ModuleList(nn.Linear(d, h) for d, h in zip(widths, self.sizes, strict=True))
        self.w2 = nn.Linear(sum(self.sizes), c.h_s)
        self.v2 = nn.Linear(c.h_s, sum(self.sizes))
        self.v1 = nn.ModuleList(nn.Linear(h, d) for d, h in zip(widths, self.sizes, strict=True))
        self.head = nn.Linear(c.h_s, len(tasks))
        self.dropout = Dropout(c.dropout)

    def enter(self, stage: int) -> None:
        """Train, from now on, the parameters of ``stage`` and no others."""
        self.stage = stage
        trained = {PRETRAIN: [self.w1, self.v1], RECONSTRUCT: [self.w1, self.w2, self.v2, self.v1], HEAD: [self.head]}
        self.requires_grad_(stage == FINETUNE)
        for part in trained.get(stage, []):
            part.requires_grad_(True)

    def forward(self, batch: Batch) -> Output:
        """Return logits [B, T], none where a stage has none; in training also the weighted losses ``rec`` and ``sparse`` of the stage."""
        c, observed = self.config, batch.observed
        losses = {}
        if self.training and self.stage != HEAD:
            errors, s = self.content_errors(batch)
            losses["rec"] = errors.mean() * (c.lambda_rec if self.stage == FINETUNE else 1.0)
            if self.stage == RECONSTRUCT and c.lambda_sp > 0:
                losses["sparse"] = c.lambda_sp * sparsity(s, observed.any(dim=1), c.rho)
            if self.stage != FINETUNE:
                return Output(errors.new_zeros(len(errors), self.head.out_features), losses)
        s = batch.extra["s"] if "s" in batch.extra else self.encode(batch.x, observed)
        return Output(self.head(self.dropout(s)), losses)

    def encode(self, x: tuple[Tensor, ...], kept: Tensor) -> Tensor:
        """Return s [B, h_s] of the modalities kept [B, M]; the others are not read."""
        return self.act(self.w2(self.dropout(torch.cat(self.encode_apart(x, kept), dim=1))))

    def encode_apart(self, x: tuple[Tensor, ...], kept: Tensor) -> list[Tensor]:
        """Return a_m [B, h_m] of each modality."""
        inputs = zip(self.w1, x, kept.unbind(dim=1), strict=True)
        return [self.act(w(keep_observed(v, seen))) for w, v, seen in inputs]

    def decode(self, s: Tensor) -> list[Tensor]:
        """Return xhat_m [B, d_m] of s [B, h_s]."""
        return self.decode_apart(self.act(self.v2(s)).split(self.sizes, dim=1))

    def decode_apart(self, a: list[Tensor] | tuple[Tensor, ...]) -> list[Tensor]:
        """Return V1_m a_m + c1_m [B, d_m] of a_m [B, h_m]."""
        return [v(part) for v, part in zip(self.v1, a, strict=True)]

    def content_errors(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return each stay's term of L_rec [B] and its s [B, h_s], of a view drawn again at each step of training, else of a fixed one.

        In stage 0: each modality by itself, its features corrupted in training; s is None.
        """
        x, observed = batch.x, batch.observed
        if self.stage == PRETRAIN:
            noisy = tuple(corrupt(v, self.config.corruption) for v in x) if self.training else x
            return reconstruction_errors(x, self.decode_apart(self.encode_apart(noisy, observed)), observed), None
        draw = None if self.training else torch.Generator(observed.device).manual_seed(0)
        s = self.encode(x, draw_views(observed, self.config.views, draw))
        return reconstruction_errors(x, self.decode(self.dropout(s)), observed), s

    def represent(self, batch: Batch) -> Tensor:
        """Return s [B, h_s] of all that is observed."""
        return self.encode(batch.x, batch.observed)


class CmAe(TorchMethod):
    """CM-AE; see the module's docstring. Entries of ``history`` have their ``stage`` (0 to 3); ``valid`` is -L_rec in the first two."""

    Config = Config
    grid: ClassVar = {
        "h_s": [64, 128, 256],
        "act": ["sigmoid", "relu"],
        "lambda_rec": [0.1, 1.0],
        "weight_decay": [0.0, 1e-5],
        "dropout": [0.0, 0.2],
    }
    variants: ClassVar = {
        "modern": {},
        "faithful": {"act": "sigmoid", "pretrain_epochs": 20, "lambda_sp": 0.1, "finetune": False},
        "frozen": {"finetune": False},
        "subset": {"views": "subset"},
    }

    def build(self, widths: tuple[int, ...], tasks: tuple[str, ...]) -> nn.Module:
        """Build the untrained network."""
        return CmAeModule(widths, tasks, self.config)

    def task_weights(self, tasks: tuple[str, ...]) -> list[float]:
        """Return 1 / T; 0 in the stages that read no outcome."""
        return [0.0] * len(tasks) if self._reads_no_outcome() else super().task_weights(tasks)

    def _stages(self) -> list[tuple[int, Config]]:
        c = self.config
        first = (PRETRAIN, replace(c, max_epochs=c.pretrain_epochs))
        last = (FINETUNE, replace(c, lr=c.finetune_lr * c.lr))
        return [first] * (c.pretrain_epochs > 0) + [(RECONSTRUCT, c), (HEAD, c)] + [last] * c.finetune

    def stages(self, train: Cohort, valid: Cohort) -> Iterator[tuple[Cohort, Cohort]]:
        """Yield the parts of each stage of ``_stages``.

        The loop selects by the mean log likelihood where an outcome has one class. A stage that reads no outcome is therefore given, in
        place of the validation part, training stays held out of it, each of whose outcomes has come with probability exp(-L_rec):
        its score is -L_rec.
        """
        config = self.config
        rest, held = split_held_out(len(train), self.seed)
        content, come = train.take(rest), train.take(held)
        come = replace(come, outcomes=np.ones_like(come.outcomes), fingerprint=come.fingerprint)
        try:
            for stage, of_stage in self._stages():
                self.config, done = of_stage, len(self.history)
                self.module.enter(stage)
                yield (content, come) if self._reads_no_outcome() else (train, valid)
                for entry in self.history[done:]:
                    entry["stage"] = stage
        finally:
            self.config = config
            self.module.enter(FINETUNE)

    def _batch(self, cohort: Cohort, outcomes: bool = False) -> Batch:
        """Return the stays as a batch; in stage B with their code, which is computed once, since it does not change."""
        batch = super()._batch(cohort, outcomes)
        if self.module.stage != HEAD:
            return batch
        s = torch.from_numpy(self.evaluate(self.module.represent, batch)).to(self.device)
        return batch._replace(extra={"s": s})

    def _predict(self, batch: Batch) -> np.ndarray:
        if not self._reads_no_outcome():
            return super()._predict(batch)
        errors = self.evaluate(lambda b: self.module.content_errors(b)[0], batch).astype(np.float64)
        return np.tile(np.exp(-errors)[:, None], (1, len(self.tasks)))

    def _reads_no_outcome(self) -> bool:
        return self.module.stage in (PRETRAIN, RECONSTRUCT)


def split_held_out(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Split n training stays by ``seed`` alone into the rows on which stages 0 and A train and those that stop them."""
    order = np.random.default_rng(seed).permutation(n)
    held, rest = np.split(order, [max(1, round(HELD_OUT * n))])
    return np.sort(rest), np.sort(held)


def draw_views(observed: Tensor, views: str, draw: torch.Generator | None = None) -> Tensor:
    """Draw a view r bool [B, M] of each stay, r <= observed [B, M]; nothing is kept only where nothing is observed."""
    n = observed.sum(dim=1, keepdim=True)
    which = torch.rand(len(n), 1, device=observed.device, dtype=torch.float64, generator=draw)
    rank = observed.cumsum(dim=1) - 1
    if views == "subset":  # the digits of a number from 1 to 2^n - 1 say which are kept
        number = 1 + (which * (2**n - 1)).long()
        return observed & ((number >> rank.clamp(min=0)) % 2 == 1)
    pick = (which * (n + 1)).long()  # 0 .. n - 1: that one alone; n: all
    return observed & ((rank == pick) | (pick >= n))


def corrupt(x: Tensor, share: float) -> Tensor:
    """Return ``x`` with about a share of its elements zero."""
    return torch.where(torch.rand_like(x) < share, x.new_zeros(()), x)


def reconstruction_errors(x: tuple[Tensor, ...], made: list[Tensor], observed: Tensor) -> Tensor:
    """Return (1 / |O_i|) sum_{m in O_i} |xhat_im - x_im|^2 / d_m of each stay [B]; x_m and made_m [B, d_m]; 0 where nothing is observed."""
    parts = zip(x, made, observed.unbind(dim=1), strict=True)
    errors = [keep_observed(y.float() - v, seen).square().mean(dim=1) for v, y, seen in parts]
    return torch.stack(errors, dim=1).sum(dim=1) / observed.sum(dim=1).clamp(min=1)


def sparsity(s: Tensor, some: Tensor, rho: float) -> Tensor:
    """Return sum_j (rho - mean_i s_ij)^2, a scalar, over the stays of s [B, h_s] that have something observed (some [B])."""
    mean = keep_observed(s.float(), some).sum(dim=0) / some.sum().clamp(min=1)
    return (rho - mean).square().sum()
