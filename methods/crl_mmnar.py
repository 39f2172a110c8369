"""CRL-MMNAR: representations that carry the observation pattern, for modalities missing not at random.

Citation: "Causal representation learning from multimodal clinical records under non-random modality missingness", EMNLP 2025 main
(1465), arXiv 2509.17228.

Equations (stay i, modality m in 1..M, task t; delta_i the observation pattern, O_i the observed modalities, D the hidden size;
Lin = affine map, LN = layer norm, [p] = dropout):

    e_im    = delta_im E_m(x_im),   E_m: Lin(->2D) LN ReLU [p]  Lin(->D) LN ReLU [p/2]  Lin(->D) LN
    z_i     = LN(Lin([p] ReLU(LN(Lin delta_i))))
    L_miss  = BCE(delta_i, decoder(z_i))
    G_im    = delta_im sigmoid(W_m z_i + b_m) * e_im                         (a gate for every component)
    A_i     = LN(MHA(G_i) + G_i),   one layer, unobserved modalities masked as keys
    h_i     = mean of A_im over m in O_i;                   y_it = head_t(h_i)
    L_pred  = sum_t alpha_t mean_i (1 - p_it)^gamma BCE_it                  (focal, labelled stays only)
    L_rec   = mean_i |Dec_m(h_i^(-m)) - e_im|^2 / D,   m = m(i) masked at random, h_i^(-m): the same fusion on O_i without m
    L_con   = mean_i -log exp(s_ii / tau) / sum_j exp(s_ij / tau),   s_ij = cos(e_im, Dec_m(h_j^(-m))), j with m(j) = m(i)
    L       = L_pred + lambda_miss L_miss + lambda_rec L_rec + lambda_con L_con

The rectifier, the paper's last step, comes after prediction and is applied outside this file (``methods/common/rectifier``).
Table 2's ladder is ``variants``: ``concat`` (e_i1 .. e_iM side by side, Lin(->D), heads), ``mmnar`` (z, gate, attention, L_miss),
``mmnar_mr`` (plus reconstruction and contrast: the defaults), then the defaults with the rectifier.

Adaptations (the paper is silent, or its symbol is lost in the text available; sizes are those of its released code where it has them):

- Encoders, missingness embedding, gate, attention, pooling and heads have the released code's sizes; its second fusion branch, its
  cross-attention to a pattern embedding, its graph block and its calibration layers are not in the paper and not here.
- L_miss is binary cross-entropy averaged over modalities, decoded by one affine map; lambda_miss = 0.5.
- One observed modality is masked per stay and step, uniformly among the observed, in stays with two or more. The masked pass sees
  delta_i with m removed, in the embedding z too: "the same fusion on the rest" must not know that m exists.
- The paper's sum over m has one term a stay then, that of its masked modality, and the losses are means over the stays with one. The
  variant ``per_modality`` is the other reading: a mean over stays for each modality, summed over modalities, which weighs both losses
  by M, and one stay masked at a rare modality as much as many at another.
- The squared error is divided by D (a mean over components), else its sum over D = 128 would drown every other term at weight 1.
- No stop-gradient on the target e_im, as the paper's equation has none; the variant ``detached`` adds one. The layer norm that ends
  E_m fixes the length of e_im, so that it cannot shrink to zero, but not its direction: without a stop-gradient the e_im of different
  stays do draw together in training, held apart by the contrastive and the prediction loss alone.
- Candidates of the contrastive sum are the reconstructions of the same modality in the batch, one's own and those of the other stays
  that had that modality masked. Similarities are computed in single precision.
- Dec_m: Lin(D->2D) ReLU [.1] Lin(2D->D). tau = .1, lambda_rec = 1, lambda_con = .15.
- Focal loss with gamma 2, no class weight. alpha_t: 1.2 readmission, 1.0 ICU, 1.5 mortality; ``icu_readmission`` (eICU) counts as the
  readmission column, whose place it takes; any other task 1.0. Tasks whose name begins with mortality have the larger head.
- The log odds of each task's training base rate are added to its logits, as in all torch methods (``methods/common/training.py``).
- A stay with no modality observed has a learned constant as h. Learning rate 2e-4, constant, as the paper names; batch 32, at most 100
  epochs, patience 30, selection by mean validation AUC.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from methods.common.layers import (
    Dropout,
    GroupedLayerNorm,
    GroupedLinear,
    keep_observed,
    make_normed_layers,
    mean_observed,
)
from methods.common.training import Batch, Output, TorchMethod, TrainingConfig

INFO = {
    "title": "CRL-MMNAR",
    "citation": "Causal representation learning from multimodal clinical records under non-random modality missingness "
    "(arXiv 2509.17228; EMNLP 2025 main 1465)",
    "year": 2025,
    "family": "representation of the observation pattern",
    "based_on": "the paper's text; sizes from its released code, none of which is used",
    "rectifier": True,
    "class": "CrlMmnar",
}


@dataclass(frozen=True)
class Config(TrainingConfig):
    """Defaults: the paper, or the choices listed in the module's docstring."""

    gamma: float = 2.0
    hidden: int = 128
    dropout: float = 0.2
    heads: int = 8
    attention_dropout: float = 0.1
    fusion: str = "mmnar"
    """``mmnar`` or ``concat``."""
    reconstruct: bool = True
    """Masked-modality reconstruction and its contrastive loss."""
    detach_target: bool = False
    average: str = "stay"
    """Of L_rec and L_con: ``stay`` or ``modality``."""
    temperature: float = 0.1
    lambda_miss: float = 0.5
    lambda_rec: float = 1.0
    lambda_con: float = 0.15
    weight_readmission: float = 1.2
    weight_icu: float = 1.0
    weight_mortality: float = 1.5

    def __post_init__(self) -> None:
        self.one_of(fusion=("mmnar", "concat"), average=("stay", "modality"))
        if self.hidden % self.heads or self.hidden % 2:
            raise ValueError(f"crl_mmnar: hidden={self.hidden} must be even and a multiple of heads={self.heads}")


class CrlMmnarModule(nn.Module):
    """The network of the module's docstring, for modalities of ``widths`` columns and the given tasks."""

    def __init__(self, widths: tuple[int, ...], tasks: tuple[str, ...], config: Config) -> None:
        super().__init__()
        c, d, m = config, config.hidden, len(widths)
        self.config, self.modalities = c, m
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
        self.heads = nn.ModuleList(task_head(t, d, c.dropout) for t in tasks)
        if c.reconstruct:
            self.decoders = nn.Sequential(
                GroupedLinear(m, d, 2 * d), nn.ReLU(), Dropout(0.1), GroupedLinear(m, 2 * d, d)
            )

    def forward(self, batch: Batch) -> Output:
        """Return logits [B, T]; in training also the weighted losses ``miss``, ``rec``, ``con``."""
        c, observed = self.config, batch.observed
        e = self.encoders(batch.x, observed)
        masking = self.training and c.reconstruct and (c.lambda_rec > 0 or c.lambda_con > 0)
        if not masking:
            h, z = self.fuse(e, observed)
        else:
            masked, eligible = draw_masked(observed)
            rest = observed & ~F.one_hot(masked, self.modalities).bool()
            both, z = self.fuse(torch.cat([e, e]), torch.cat([observed, rest]))
            (h, h_rest), z = both.chunk(2), z[: len(e)]
        losses = {}
        if self.training and c.fusion == "mmnar" and c.lambda_miss > 0:
            losses["miss"] = c.lambda_miss * F.binary_cross_entropy_with_logits(
                self.decode_pattern(z).float(), observed.float()
            )
        if masking:
            target = pick(e, masked).float()
            target = target.detach() if c.detach_target else target
            made = self.reconstruct(h_rest, masked).float()
            own = F.one_hot(masked, self.modalities).bool() & eligible.unsqueeze(1)
            average = mean_over_stays if c.average == "stay" else sum_of_modality_means
            losses["rec"] = c.lambda_rec * average(reconstruction_errors(target, made), own)
            losses["con"] = c.lambda_con * average(contrastive_errors(target, made, own, c.temperature), own)
        return Output(torch.cat([head(h) for head in self.heads], dim=1), losses)

    def represent(self, batch: Batch) -> Tensor:
        """Return h [B, D]."""
        return self.fuse(self.encoders(batch.x, batch.observed), batch.observed)[0]

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

    def reconstruct(self, h: Tensor, masked: Tensor) -> Tensor:
        """Reconstruct Dec_m(h) [B, D] from h [B, D], with each stay's own masked modality m [B]."""
        return pick(self.decoders(h.unsqueeze(1).expand(-1, self.modalities, -1)), masked)


class CrlMmnar(TorchMethod):
    """CRL-MMNAR without its rectifier; see the module's docstring."""

    Config = Config
    grid: ClassVar = {"lr": [1e-4, 2e-4, 5e-4], "dropout": [0.1, 0.2, 0.4], "lambda_con": [0.05, 0.15, 0.5]}
    variants: ClassVar = {
        "concat": {"fusion": "concat", "reconstruct": False},
        "mmnar": {"reconstruct": False},
        "mmnar_mr": {},
        "per_modality": {"average": "modality"},
        "detached": {"detach_target": True},
    }
    unrectified: ClassVar = ("concat", "mmnar", "mmnar_mr")

    def build(self, widths: tuple[int, ...], tasks: tuple[str, ...]) -> nn.Module:
        """Build the untrained network."""
        return CrlMmnarModule(widths, tasks, self.config)

    def task_weights(self, tasks: tuple[str, ...]) -> list[float]:
        """Return alpha_t by the task's name."""
        return [task_weight(t, self.config) for t in tasks]


class ContentEncoders(nn.Module):
    """Tokens e [B, M, D]: the encoders E_m, all after their first layer computed together."""

    def __init__(self, widths: tuple[int, ...], hidden: int, dropout: float) -> None:
        super().__init__()
        m, d = len(widths), hidden
        self.first = nn.ModuleList(nn.Linear(width, 2 * d) for width in widths)
        self.rest = nn.Sequential(
            *(GroupedLayerNorm(m, 2 * d), nn.ReLU(), Dropout(dropout)),
            *(GroupedLinear(m, 2 * d, d), GroupedLayerNorm(m, d), nn.ReLU(), Dropout(dropout / 2)),
            *(GroupedLinear(m, d, d), GroupedLayerNorm(m, d)),
        )

    def forward(self, x: tuple[Tensor, ...], observed: Tensor) -> Tensor:
        """Return e of x_m [B, d_m] and observed [B, M], zeros where unobserved."""
        inputs = zip(self.first, x, observed.unbind(dim=1), strict=True)
        started = torch.stack([first(keep_observed(v, seen)) for first, v, seen in inputs], dim=1)
        return keep_observed(self.rest(started), observed)


def task_head(task: str, hidden: int, dropout: float) -> nn.Sequential:
    """Build the head of one task, [., hidden] -> [., 1]; mortality has one layer more."""
    wide = make_normed_layers(hidden, 2 * hidden, 1.2 * dropout) if task.startswith("mortality") else []
    middle = make_normed_layers(2 * hidden if wide else hidden, hidden, dropout)
    return nn.Sequential(
        *wide, *middle, *make_normed_layers(hidden, hidden // 2, dropout / 2), nn.Linear(hidden // 2, 1)
    )


def task_weight(task: str, config: Config) -> float:
    """Return alpha_t; ``icu_readmission`` stands for the paper's readmission column."""
    if task.startswith("mortality"):
        return config.weight_mortality
    if task.startswith("readmission") or task == "icu_readmission":
        return config.weight_readmission
    return config.weight_icu if task.startswith("icu") else 1.0


def draw_masked(observed: Tensor) -> tuple[Tensor, Tensor]:
    """Draw a modality int64 [B] uniformly among the observed [B, M]; also return bool [B]: the stay has two or more, so can spare one."""
    draw = torch.rand(observed.shape, device=observed.device).masked_fill(~observed, -1.0)
    return draw.argmax(dim=1), observed.sum(dim=1) >= 2


def pick(tokens: Tensor, m: Tensor) -> Tensor:
    """Pick [B, D] of the tokens [B, M, D], each stay's own modality m [B]."""
    return tokens.take_along_dim(m[:, None, None], dim=1).squeeze(1)


def reconstruction_errors(target: Tensor, made: Tensor) -> Tensor:
    """Return |made - target|^2 / D of each stay [B]; target and made [B, D]."""
    return (made - target).square().mean(dim=1)


def contrastive_errors(target: Tensor, made: Tensor, own: Tensor, temperature: float) -> Tensor:
    """Return InfoNCE of each stay [B] among the reconstructions of the same modality; own bool [B, M] marks a stay's masked modality."""
    with torch.autocast(target.device.type, enabled=False):
        similarity = F.normalize(target, dim=1) @ F.normalize(made, dim=1).T / temperature
        same = (own.unsqueeze(1) & own.unsqueeze(0)).any(dim=2)
        itself = torch.eye(len(own), dtype=torch.bool, device=own.device)
        return similarity.masked_fill(~(same | itself), -torch.inf).logsumexp(dim=1) - similarity.diagonal()


def mean_over_stays(errors: Tensor, own: Tensor) -> Tensor:
    """Return mean of the errors [B] over the stays that have a masked modality, a scalar; 0 where none has."""
    masked = own.any(dim=1)
    return (errors * masked).sum() / masked.sum().clamp(min=1)


def sum_of_modality_means(errors: Tensor, own: Tensor) -> Tensor:
    """Return mean of the errors [B] over the stays masked at m, summed over m, a scalar."""
    return ((errors.unsqueeze(1) * own).sum(dim=0) / own.sum(dim=0).clamp(min=1)).sum()
