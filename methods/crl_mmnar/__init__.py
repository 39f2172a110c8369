"""CRL-MMNAR: representations that carry the observation pattern, for modalities missing not at random.

Citation: "Causal representation learning from multimodal clinical records under non-random modality missingness", EMNLP 2025 main
(1465), arXiv 2509.17228.

Equations (stay i, modality m in 1..M, task t; delta_i the observation pattern, O_i the observed modalities, D the hidden size;
Lin = affine map, LN = layer norm, [p] = dropout, sg = no gradient flows):

    e_im    = delta_im E_m(x_im),   E_m: Lin(->2D) LN ReLU [p]  Lin(->D) LN ReLU [p/2]  Lin(->D) LN
    z_i     = LN(Lin([p] ReLU(LN(Lin delta_i))))
    L_miss  = BCE(delta_i, decoder(z_i))
    G_im    = delta_im sigmoid(W_m z_i + b_m) * e_im                         (a gate for every component)
    A_i     = LN(MHA(G_i) + G_i),   one layer, unobserved modalities masked as keys
    h_i     = mean of A_im over m in O_i;                   y_it = head_t(h_i)
    L_pred  = sum_t alpha_t mean_i (1 - p_it)^gamma BCE_it                  (labelled stays only; gamma 0: cross-entropy)
    h_i^(-m): the same fusion on O_i without m, z_i too, for every m in O_i in turn, in stays with |O_i| >= 2;   ehat_im = Dec_m(h_i^(-m))
    L_rec   = mean_m mean_i |ehat_im - sg(e_im)|^2 / D
    L_con   = mean_m (CE(Q_m) + CE(Q_m^T)) / 2,   Q_m,ij = cos(P_m sg(e_im), R_m ehat_jm) / tau,   CE of row i with target i
    L_aux   = lambda_miss L_miss + lambda_rec L_rec + lambda_con L_con
    phase 1:  L_aux alone, 20 epochs;     phase 2, epoch k:  L_pred + a_k L_aux,   a_k = max(0, 1 - (k - 1) / 10)

The rectifier, the paper's last step, comes after prediction and is applied outside this folder (``methods/common/rectifier``). Table 2's
ladder is among ``variants``: ``concat`` (e_i1 .. e_iM side by side, Lin(->D), heads; no L_aux, so one phase), ``mmnar`` (z, gate,
attention, L_miss in both phases), ``mmnar_mr`` (plus reconstruction and contrast: the defaults), then the defaults with the rectifier.

Other variants: ``focal`` (gamma 2); ``attached`` (no stop-gradient); ``end_to_end``, the objective of the paper's section 3.4 read alone
and this suite's default before (then with gamma 2): one phase, a_k = 1 throughout, one modality a stay and step masked, uniformly among
the observed, L_rec and L_con averaged over the stays, no projections, L_con of e_im against the ehat_jm alone, no stop-gradient. With it,
``per_modality`` sums means over the stays of each modality, which weighs both losses by M, and one stay masked at a rare modality as much
as many at another; ``detached`` adds the stop-gradient.

Sources: the paper's text; where it is silent or its symbol is lost in the text available, the later code of its authors (repository
CausalMLResearch/CRL-MMNAR, commits 440d76a and a63a623, read and not used); sizes of encoders and heads from their first release.

Adaptations:

- Appendix C.2 is titled "Phase 1 pretraining / Phase 2 fine-tuning" where section 3.4 has one objective end to end. Both releases train
  in two phases; the second anneals L_aux as above, which joins the two readings. Phase 1 has its own length whatever the schedule, a
  fresh AdamW at the same rate, reads no outcome and selects nothing. Early stopping is of phase 2 alone. A fit without L_aux has no phase
  1.
- Encoders, missingness embedding, gate, attention, pooling and heads have the first release's sizes. Not here: its feed-forward layer
  after attention (128-512-128 with a norm; also in the second), its second fusion branch, cross-attention to a pattern embedding, graph
  block and calibration layers, which are in the code alone, and the second release's modality tokens, adapters, GELU and relationship
  heads.
- L_miss is binary cross-entropy averaged over modalities, decoded by one affine map (the second release: cross-entropy of the pattern's
  class); lambda_miss = 0.5.
- "For each observed modality": every one is left out in turn, M passes of the fusion, as in the second release, computed as one batch
  with the whole stay's. A pass must not know that m exists, so z reads delta_i without m.
- The paper sums L_rec and L_con over m and compares the tokens themselves, one way; means, projections P_m, R_m: Lin(D -> max(32, D/2))
  and the symmetric form are the second release's. Candidates are the stays of the batch that have m, and another modality; similarities
  are computed in single precision. A modality with a single such stay is left out of the mean of L_con.
- The squared error is divided by D (a mean over components), else its sum over D = 128 would drown every other term at weight 1.
- The stop-gradient sg is in neither the paper's equation nor the second release (``attached``). It is here because without it the target
  moves to where it is easy to reconstruct; see what was measured.
- Dec_m: Lin(D->2D) ReLU [.1] Lin(2D->D). tau = .1, lambda_rec = 1, lambda_con = .15 (Table 4; the second release has .3).
- gamma = 0, tried at 1 and 2 in tuning: the paper tunes the focal loss by task, and gamma 2 moves the mean risk to .3 where .1 is true,
  which the Brier score and a rectifier have to undo. No class weight. alpha_t: 1.2 readmission, 1.0 ICU, 1.5 mortality;
  ``icu_readmission`` (eICU) counts as the readmission column, whose place it takes; any other task 1.0. Tasks whose name begins with
  mortality have the larger head.
- The log odds of each task's training base rate are added to its logits, as in all torch methods (``methods/common/training.py``).
- A stay with no modality observed has a learned constant as h. Learning rate 2e-4, constant, as the paper names; batch 32, at most 100
  epochs, patience 30; selection by the suite's rule.

Measured on three development draws (``embedded-mimic``, seeds 1000 to 1002, discharge; 697 stays to train, 153 to stop, about 3,300 more of
the same world to test; schedule ``short``, one seed, no rectifier). Readmission / ICU, means of the draws:

                     AUC           log loss      cosine of tokens     L_con in training less chance
    zero_fill        .724 / .725   .449 / .303
    concat           .743 / .737   .457 / .302   .46 to .49
    mmnar            .746 / .747   .452 / .295   .48 to .51
    default          .753 / .746   .436 / .294   .36 to .39           -2.8
    attached         .753 / .732   .446 / .306   .98 to .99           -0.14 to -0.21
    end_to_end       .747 / .741   .456 / .299   .79 to .85           -0.04 to -0.05
    focal            .735 / .736   .460 / .351   .32 to .34           -3.0

The stop-gradient was chosen on the first draw, by the last two columns: after phase 1 alone without it, cosines were .98 to 1.00 at
lambda_con .15, .96 to .99 at .3, and .58 to .78 only at 1, which is not Table 4's. With it tokens of training stays are told apart, which
is what ``fit_report`` says of each fit. It is memory: on later stays L_con is above chance, by .6 to .8 (default) or .1 to .2 (``attached``),
or at it (``end_to_end``). What the default adds to ``mmnar`` is no more than the differences between draws; its best epochs are the third
or fourth of phase 2, when L_aux still counts. CPU time of a fit: 20 s, 7 s of ``mmnar`` and ``end_to_end``, 2 s of the plain network; of
an epoch of 700 stays: 1.5 s with L_aux, .8 s after it, .14 s of the plain network.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from datasets.cohort import Cohort
from methods.common.layers import keep_observed, make_normed_layers, mean_observed
from methods.common.training import Batch, Output, TorchMethod, TrainingConfig
from methods.crl_mmnar.blocks import ContentEncoders, make_task_head
from methods.crl_mmnar.collapse import STAYS, measure_collapse
from methods.crl_mmnar.left_out import (
    AVERAGES,
    LEAVE_OUT,
    Projections,
    compute_contrastive_errors,
    compute_reconstruction_errors,
    make_decoders,
)

INFO = {
    "title": "CRL-MMNAR",
    "citation": "Causal representation learning from multimodal clinical records under non-random modality missingness "
    "(arXiv 2509.17228; EMNLP 2025 main 1465)",
    "year": 2025,
    "family": "representation of the observation pattern",
    "based_on": "the paper's text; where it is silent the authors' later code, sizes from their first; none of the code is used",
    "rectifier": True,
    "class": "CrlMmnar",
}

ONE_PHASE = {"left_out": "one", "project": False, "average": "stay", "pretrain_epochs": 0, "anneal_epochs": 0}
END_TO_END = ONE_PHASE | {"detach_target": False}
"""The paper's section 3.4 alone: one objective from the first epoch to the last, one modality of each stay masked in a step."""


@dataclass(frozen=True)
class Config(TrainingConfig):
    """Defaults: the paper, or the choices listed in the module's docstring. Epochs and patience of a schedule are those of phase 2."""

    hidden: int = 128
    dropout: float = 0.2
    heads: int = 8
    attention_dropout: float = 0.1
    decoder_dropout: float = 0.1
    fusion: str = "mmnar"
    """``mmnar`` or ``concat``."""
    reconstruct: bool = True
    """Reconstruction of modalities left out, and its contrastive loss."""
    left_out: str = "each"
    """``each`` (every observed modality in turn) or ``one`` (one of each stay, drawn in each step)."""
    project: bool = True
    """Projections P_m and R_m and the symmetric form of L_con; without them, the cosine of the tokens, one way."""
    detach_target: bool = True
    """No gradient reaches e_im as a target of L_rec and L_con."""
    average: str = "mean"
    """Of L_rec and L_con: ``mean`` or sum (``modality``) over modalities of means over stays, or the mean over all tokens (``stay``)."""
    temperature: float = 0.1
    lambda_miss: float = 0.5
    lambda_rec: float = 1.0
    lambda_con: float = 0.15
    pretrain_epochs: int = 20
    """Epochs of phase 1, whatever the schedule; 0 leaves it out."""
    anneal_epochs: int = 10
    """Epochs of phase 2 in which the weight of L_aux falls from 1 to 0; 0: it stays 1."""
    weight_readmission: float = 1.2
    weight_icu: float = 1.0
    weight_mortality: float = 1.5

    def __post_init__(self) -> None:
        self.one_of(fusion=("mmnar", "concat"), average=tuple(AVERAGES), left_out=tuple(LEAVE_OUT))
        if self.hidden % self.heads or self.hidden % 2:
            raise ValueError(f"crl_mmnar: hidden={self.hidden} must be even and a multiple of heads={self.heads}")

    @property
    def auxiliary(self) -> tuple[str, ...]:
        """Return names of the terms of L_aux."""
        weights = {"miss": self.lambda_miss * (self.fusion == "mmnar")}
        if self.reconstruct:
            weights |= {"rec": self.lambda_rec, "con": self.lambda_con}
        # both or neither: they come from the same passes
        rest = ("rec", "con") if weights.get("rec", 0) > 0 or weights.get("con", 0) > 0 else ()
        return (("miss",) if weights["miss"] > 0 else ()) + rest


class CrlMmnarModule(nn.Module):
    """The network of the module's docstring, for modalities of ``widths`` columns and the given tasks."""

    def __init__(self, widths: tuple[int, ...], tasks: tuple[str, ...], config: Config) -> None:
        super().__init__()
        c, d, m = config, config.hidden, len(widths)
        self.config, self.modalities = c, m
        self.phase, self.annealed = 2, False
        self.encoders = ContentEncoders(widths, d, c.dropout)
        if c.fusion == "concat":
            self.concat = nn.Linear(m * d, d)
        else:
            self.embed_pattern = nn.Sequential(*make_normed_layers(m, d, c.dropout), nn.Linear(d, d), nn.LayerNorm(d))
            self.decode_pattern = nn.Linear(d, m)
            self.gate = nn.Linear(d, m * d)
            self.attention = nn.MultiheadAttention(d, c.heads, dropout=c.attention_dropout, batch_first=True)
            self.attention_norm = nn.LayerNorm(d)
            self.nothing_observed = nn.Parameter(torch.zeros(d))
        self.heads = nn.ModuleList(make_task_head(t, d, c.dropout) for t in tasks)
        if c.reconstruct:
            self.decoders = make_decoders(m, d, c.decoder_dropout)
            if c.project:
                self.project_target, self.project_made = Projections(m, d), Projections(m, d)
        self.register_buffer("epoch", torch.zeros(()), persistent=False)

    def forward(self, batch: Batch) -> Output:
        """Return logits [B, T], zeros in phase 1; in training also the weighted losses ``miss``, ``rec``, ``con``."""
        c, observed = self.config, batch.observed
        e = self.encoders(batch.x, observed)
        if self.training and c.auxiliary and not self.annealed:
            h, losses = self.fuse_with_losses(e, observed)
            losses = {name: self.auxiliary_weight() * value for name, value in losses.items()}
        else:
            h = self.fuse(e, observed)[0]
            losses = dict.fromkeys(c.auxiliary if self.training else (), self.epoch.new_zeros(()))
        if self.training and self.phase == 1:  # no gradient reaches the heads, so that nothing moves them
            return Output(h.new_zeros(len(h), len(self.heads)), losses)
        return Output(torch.cat([head(h) for head in self.heads], dim=1), losses)

    def represent(self, batch: Batch) -> Tensor:
        """Return h [B, D]."""
        return self.fuse(self.encoders(batch.x, batch.observed), batch.observed)[0]

    def auxiliary_weight(self) -> Tensor:
        """Return a_k, a scalar: 1 in phase 1."""
        if self.phase == 1 or not self.config.anneal_epochs:
            return torch.ones_like(self.epoch)
        return (1 - (self.epoch - 1) / self.config.anneal_epochs).clamp(0, 1)

    def fuse_with_losses(self, e: Tensor, observed: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Return h [B, D] of the tokens e [B, M, D] and the terms of L_aux by name, each times its lambda; all passes are one batch."""
        c, losses, n = self.config, {}, len(e)
        passes = [observed]
        if "rec" in c.auxiliary:
            rest, own = LEAVE_OUT[c.left_out](observed)
            passes += rest.unbind(dim=0)
        h, z = self.fuse(e.repeat(len(passes), 1, 1), torch.cat(passes))
        h, h_rest, z = h[:n], h[n:].unflatten(0, (-1, n)) if len(passes) > 1 else None, z[:n]
        if "miss" in c.auxiliary:
            decoded = self.decode_pattern(z).float()
            losses["miss"] = c.lambda_miss * F.binary_cross_entropy_with_logits(decoded, observed.float())
        if h_rest is not None:
            target, average = e.detach() if c.detach_target else e, AVERAGES[c.average]
            made = self.decoders(h_rest.transpose(0, 1).expand(-1, self.modalities, -1))
            errors = compute_reconstruction_errors(target.float(), made.float())
            losses["rec"] = c.lambda_rec * average(errors, own)
            # a stay without another to be told from is right for nothing, and does not count in a mean of modalities
            pairs = own & (own.sum(dim=0) >= 2) if c.average == "mean" else own
            losses["con"] = c.lambda_con * average(self.contrast(target, made, own), pairs)
        return h, losses

    def contrast(self, target: Tensor, made: Tensor, own: Tensor) -> Tensor:
        """Return InfoNCE [B, M] of target tokens [B, M, D] and the tokens made for them."""
        c = self.config
        if c.project:
            target, made = self.project_target(target), self.project_made(made)
        return compute_contrastive_errors(target, made, own, c.temperature, symmetric=c.project)

    def fuse(self, e: Tensor, observed: Tensor) -> tuple[Tensor, Tensor]:
        """Fuse the tokens e [B, M, D] to h [B, D] and z [B, D] (h again under ``concat``); those not observed [B, M] are not read."""
        e = keep_observed(e, observed)
        if self.config.fusion == "concat":
            h = self.concat(e.flatten(1))
            return h, h
        z = self.embed_pattern(observed.to(e.dtype))
        g = keep_observed(self.gates(z) * e, observed)
        some = observed.any(dim=1, keepdim=True)
        attended, _ = self.attention(g, g, g, key_padding_mask=~observed & some, need_weights=False)
        a = self.attention_norm(attended + g)
        return torch.where(some, mean_observed(a, observed), self.nothing_observed.to(a.dtype)), z

    def gates(self, z: Tensor) -> Tensor:
        """Return sigmoid(W_m z + b_m) [B, M, D] of z [B, D]."""
        return torch.sigmoid(self.gate(z)).unflatten(1, (self.modalities, -1))


class CrlMmnar(TorchMethod):
    """CRL-MMNAR without its rectifier; see the module's docstring. Entries of ``history`` have their ``stage``, the phase (1 or 2)."""

    Config = Config
    grid: ClassVar = {
        "lr": [1e-4, 2e-4, 5e-4],
        "dropout": [0.1, 0.2, 0.4],
        "lambda_con": [0.05, 0.15, 0.5],
        "gamma": [0.0, 1.0, 2.0],
    }
    variants: ClassVar = {
        "concat": {"fusion": "concat", "reconstruct": False},
        "mmnar": {"reconstruct": False},
        "mmnar_mr": {},
        "focal": {"gamma": 2.0},
        "attached": {"detach_target": False},
        "end_to_end": END_TO_END,
        "per_modality": END_TO_END | {"average": "modality"},
        "detached": ONE_PHASE,
    }
    titles: ClassVar = {
        "focal": "CRL-MMNAR (focal loss, gamma 2)",
        "attached": "CRL-MMNAR (no stop-gradient)",
        "end_to_end": "CRL-MMNAR (one phase, one modality masked a stay)",
        "per_modality": "CRL-MMNAR (one phase, losses summed over modalities)",
        "detached": "CRL-MMNAR (one phase, with stop-gradient)",
    }
    unrectified: ClassVar = ("concat", "mmnar", "mmnar_mr")
    collapse: Mapping[str, float] = MappingProxyType({})

    def build(self, widths: tuple[int, ...], tasks: tuple[str, ...]) -> nn.Module:
        """Build the untrained network."""
        return CrlMmnarModule(widths, tasks, self.config)

    def task_weights(self, tasks: tuple[str, ...]) -> list[float]:
        """Return alpha_t by the task's name."""
        return [task_weight(t, self.config) for t in tasks]

    def stages(self, train: Cohort, valid: Cohort) -> Iterator[tuple[Cohort, Cohort]]:
        """Yield the parts of phase 1, without an outcome, and those of phase 2.

        Where no outcome is defined there is no score, and the loop keeps its last epoch: nothing is selected in phase 1, whose
        validation part is one stay at most, so that next to nothing is computed for it. Its epochs go through each stay once, whatever
        ``epoch_order`` says of those of phase 2.
        """
        c, order = self.config, self.epoch_order
        if c.pretrain_epochs and c.auxiliary:
            try:
                self.config, self.epoch_order = replace(c, max_epochs=c.pretrain_epochs), None
                self.module.phase = 1
                yield train.without_outcomes(), valid.take(np.arange(min(len(valid), 1))).without_outcomes()
            finally:
                self.config, self.epoch_order = c, order
                self.module.phase = 2
        first = len(self.history)
        yield train, valid
        self.collapse = measure_collapse(self.module, self.tensors(train.take(np.arange(min(len(train), STAYS)))))
        for i, entry in enumerate(self.history):
            entry["stage"] = 1 if i < first else 2

    def fit_report(self) -> dict[str, float]:
        """Return how far the representation has collapsed (``collapse.py``); nothing of a method that was not fitted but restored."""
        return dict(self.collapse)

    def _order(self, n: int, generator: torch.Generator) -> Tensor:
        """Return the order of an epoch; before that, spare the module the passes of an L_aux that no longer counts.

        It is asked here, once an epoch, because a step should not wait for the device to say it. In a stack, whose replicas share one
        module that is none of theirs, the passes go on with weight 0.
        """
        self.module.annealed = self.module.auxiliary_weight().item() == 0
        return super()._order(n, generator)


def task_weight(task: str, config: Config) -> float:
    """Return alpha_t; ``icu_readmission`` stands for the paper's readmission column."""
    if task.startswith("mortality"):
        return config.weight_mortality
    if task.startswith("readmission") or task == "icu_readmission":
        return config.weight_readmission
    return config.weight_icu if task.startswith("icu") else 1.0
