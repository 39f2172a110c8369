"""DrFuse-M: what all modalities share and what each has alone, weighed by an attention with one key set for each outcome.

Yao*, Yin*, Cheung, Liu, Qin, "DrFuse: Learning disentangled representation for clinical multi-modal fusion with missing modality and
modal inconsistency", AAAI 2024, 38(15):16416-16424, arXiv 2403.06197. Its code, dorothy-yao/drfuse, has no licence: read for facts, none
used.

Equations (stay i dropped; modality m, O the observed ones; outcome c of T; tokens n in {1..M, sh}; d hidden; sig the logistic function):

    e_m    = Dropout(ReLU(Linear_m(x_m)));   a_m = MLP_sh,m(e_m),   w_m = MLP_di,m(e_m)     (d-d-d; w_m: distinct)
    h_m    = P(a_m),   P = Linear(d, 2d) ReLU Linear(2d, d) ReLU Linear(d, d), one for all modalities
    h_sh   = logit( (1/|O|) sum_{m in O} sig(h_m) )                                        (logit pooling, elementwise)
           = log sum_{m in O} sig(h_m) - log sum_{m in O} sig(-h_m)
    X      = [w_1; ..; w_M; h_sh];   one Linear(d, (2 + T) d) on each token gives q_n, v_n, k_1n .. k_Tn
    qbar   = mean of q_n over the available tokens;   alpha_c = softmax_n( qbar . k_cn / sqrt d ) over them, 0 elsewhere
    yhat_c = sig(u_c . sum_n alpha_cn v_n + b_c);     pred_m = sig(Linear_m(w_m)),   pred_sh = sig(Linear(h_sh))
    L      = L_sup(yhat) + l_psh L_sup(pred_sh) + l_p (2/M) sum_m L_sup(pred_m) + l_jsd L_jsd + l_o (2/M) sum_m L_orth,m + l_att L_rank
    L_orth,m = mean over stays with m of |cos(h_m, w_m)|
    L_jsd  = mean over stays with |O| >= 2 of  (1/|O|) sum_{m in O} sum_dims sig(h_m) [ logsig(h_m) - log mubar ],
             mubar = (1/|O|) sum_{m in O} sig(h_m)
    L_rank = mean over pairs of tokens (a, b) of  sum_{i,c} r / #{r > 0},   r = max(0, -s (alpha_ca - alpha_cb)),
             s = 1 where the loss of pred_a on outcome c is below that of pred_b, else -1 (no gradient); both tokens there, |O| >= 2

For two modalities with the first always there these are the released code's equations; its pooled vector is written
log[(2 e^(h1+h2) + e^h1 + e^h2) / (2 + e^h1 + e^h2)] there. In the attention, q and v are linear, so that means and sums over tokens are
taken before the layer, k_cn meets qbar through one vector a stay and outcome, and the bias of k, which shifts all of a stay's scores,
drops out.

Adaptations:

- M modalities, any of which may be missing (paper: an EHR series that is always there and an X-ray): pooling, L_jsd and L_rank over
  O_i as above. That all of ten modalities share one vector is an assumption the paper never made. ``modalities = pair`` keeps to two:
  the first two of the cohort (structured data and X-ray on MIMIC-IV).
- Linear and MLP encoders for vectors instead of a Transformer and two ResNet50 trunks: all of e_m, MLP_sh,m, MLP_di,m. d = 128 (256).
  Dropout is on e_m alone; there it is inside the Transformer.
- The 2/M is ours: the code sums over its two modalities, so that all auxiliary predictions weigh 3 to 1 against yhat, and L_orth 2 to 1.
  Summed over M they would weigh M + 1 to 1, eleven to one of ten modalities. With M = 2 nothing differs. On development draws (800
  stays, schedule ``short``, one fit each) AUC and log loss were, summed, weighed, and of the plain network: embedded eICU (M = 10) at
  discharge, seed 1000, .706 .385, .706 .385, .663 .394; at icu_24h, seed 1001, .724 .311, .719 .306, .718 .308; embedded MIMIC-IV (M = 4)
  at discharge, seed 1000, .748 .368, .746 .368, .709 .382. It is the release's ratio that decided, not these.
- L_jsd of ``pairwise`` and L_rank count a pair that no stay of a batch has as 0.
- Trained on all stays with the modalities they have (its option ``partial``; its default trains on the paired stays alone).
- L_jsd leaves out stays with |O| = 1, and what they lack. The code adds the divergence of the EHR from whatever the X-ray branch
  made of no image, over all stays, and divides by the number of paired ones.
- L_jsd is the code's: a sum over d dimensions, and of each Bernoulli only the side of 1. Variants: ``bernoulli`` adds the side of 0, which
  makes it the divergence of Jensen and Shannon; ``jsd_mean`` divides by d; ``pairwise`` is the mean over pairs of modalities of their own,
  as an extension to three modalities by others has it. l_p and l_o are one number for all modalities.
- A stay with nothing observed has one learned token, zeros at first, in h_sh's place, and counts in no loss but the first. It stays at
  zeros where no training stay is like that.
- Masked cross-entropy for several outcomes with labels missing, weights 1/T; a missing label counts in no auxiliary loss either. The
  log odds of the training base rates are added to the auxiliary logits as to the final ones.
- Optimiser, gradient clipping, early stopping (log loss; there: AUPRC) and the return to the best weights are the suite's; the release
  tests the last weights, after ten epochs at least. Rate 1e-4 without weight decay, batches of 16, at most 100 epochs and patience 10 are
  the release's, and run under ``schedule=own`` alone. No random removal of modalities (its ``aug_missing_ratio`` is 0). Series are not
  read.

Looked up: models/drfuse.py, models/drfuse_trainer.py, models/ehr_transformer.py and main.py of github.com/dorothy-yao/drfuse give the
projector, pooling, tokens, queries, all losses and defaults (all weights 1, dropout .3, lr 1e-4, no weight decay, patience 10). The
paper was not read beyond its abstract; the extension to three modalities is known from the design card alone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from datasets.cohort import Cohort
from methods.common.layers import Dropout, GroupedLinear, ModalityEncoders, keep_observed, mean_observed, mlp
from methods.common.training import Batch, Output, TorchMethod, TrainingConfig, supervised_loss

INFO = {
    "title": "DrFuse-M",
    "citation": "DrFuse: Learning disentangled representation for clinical multi-modal fusion (AAAI 2024; arXiv 2403.06197)",
    "year": 2024,
    "family": "disentangled representation",
    "based_on": "the equations of its released code, which has no licence (none used), extended to M modalities",
    "uses_series": False,
    "class": "DrFuse",
}


PAIR = 2
"""Modalities of the released code: sums over M modalities weigh as much as those over its two."""


@dataclass(frozen=True)
class Config(TrainingConfig):
    """Defaults: the released code's, with half its width."""

    lr: float = 1e-4
    weight_decay: float = 0.0
    batch_size: int = 16
    patience: int = 10
    hidden: int = 128
    """d."""
    dropout: float = 0.3
    modalities: str = "all"
    """``all``, ``pair`` (the first two of the cohort) or names joined by ``+``."""
    lambda_pred: float = 1.0
    lambda_pred_shared: float = 1.0
    lambda_jsd: float = 1.0
    lambda_orth: float = 1.0
    lambda_attn: float = 1.0
    bernoulli: bool = False
    """L_jsd of both sides of each Bernoulli."""
    pairwise: bool = False
    """L_jsd of each pair of modalities instead of all observed ones."""
    jsd_mean: bool = False
    """L_jsd is a mean over the d dimensions, not their sum."""


def pool_logits(h: Tensor, observed: Tensor) -> Tensor:
    """Pool h [..., M, d] over the observed [..., M] to h_sh [..., d]; 0 where nothing is observed.

    Each sum keeps its precision in its own tail; what lies beyond +-87 in single precision (708 in double) is cut there.
    """
    p, q = (keep_observed(side.sigmoid(), observed).sum(dim=-2) for side in (h, -h))
    tiny = torch.finfo(h.dtype).tiny
    return p.clamp(min=tiny).log() - q.clamp(min=tiny).log()


def divergence(h: Tensor, pooled: Tensor, observed: Tensor) -> Tensor:
    """Return (1/|O|) sum_{m in O} sum_dims sig(h_m) [logsig(h_m) - log mubar]: [...] of h [..., M, d], pooled [..., d], observed [..., M].

    ``pooled`` is h_sh, so that mubar = sig(h_sh).
    """
    terms = h.sigmoid() * (F.logsigmoid(h) - F.logsigmoid(pooled).unsqueeze(-2))
    return keep_observed(terms, observed).sum(dim=(-2, -1)) / observed.sum(dim=-1).clamp(min=1)


def masked_mean(values: Tensor, counted: Tensor) -> Tensor:
    """Return mean over the first dimension of the values that count; 0 where none does."""
    return torch.where(counted, values, values.new_zeros(())).sum(dim=0) / counted.sum(dim=0).clamp(min=1)


def jsd_loss(h: Tensor, pooled: Tensor, observed: Tensor, config: Config) -> Tensor:
    """Return L_jsd, a scalar, of h [B, M, d], h_sh [B, d] and observed [B, M]."""
    if config.pairwise:
        pairs = torch.triu_indices(h.shape[1], h.shape[1], 1, device=h.device).T
        h, observed = h[:, pairs], observed[:, pairs]
        pooled = pool_logits(h, observed)
    value = divergence(h, pooled, observed)
    if config.bernoulli:
        value = value + divergence(-h, -pooled, observed)
    loss = masked_mean(value, observed.sum(dim=-1) >= 2)
    return loss.sum() / max(1, loss.numel()) / (h.shape[-1] if config.jsd_mean else 1)


def orthogonality_loss(h: Tensor, w: Tensor, observed: Tensor) -> Tensor:
    """Return (2/M) sum_m L_orth,m, a scalar, of h and w [B, M, d] and observed [B, M]."""
    return PAIR * masked_mean(F.cosine_similarity(h, w, dim=-1).abs(), observed).mean()


def rank_loss(alpha: Tensor, losses: Tensor, counted: Tensor) -> Tensor:
    """Return L_rank, a scalar, of attention, auxiliary losses and which of them count, each [B, T, N]."""
    n = alpha.shape[-1]
    b, a = torch.triu_indices(n, n, 1, device=alpha.device)

    def pair(x: Tensor) -> tuple[Tensor, Tensor]:
        return x.index_select(-1, a), x.index_select(-1, b)

    (alpha_a, alpha_b), (loss_a, loss_b), (counts_a, counts_b) = pair(alpha), pair(losses), pair(counted)
    # of two tokens the one with the smaller loss should have the larger weight: what it has less is wrong, the rest is cut at 0
    wrong = torch.where(loss_a < loss_b, alpha_b - alpha_a, alpha_a - alpha_b)
    r = torch.where(counts_a & counts_b, wrong, wrong.new_zeros(())).relu()
    # the mean of each pair is over the stays and tasks that order it wrongly, not over all
    return (r.sum(dim=(0, 1)) / (r > 0).sum(dim=(0, 1)).clamp(min=1)).mean()


class DrFuseModule(nn.Module):
    """The network of the module's docstring for modalities of ``widths`` columns and T = ``tasks`` outcomes."""

    base_log_odds: Tensor
    """Log odds of the base rates [T], which the method adds to the final logits; here for the auxiliary ones."""

    def __init__(self, widths: tuple[int, ...], tasks: int, config: Config) -> None:
        super().__init__()
        self.register_buffer("base_log_odds", torch.zeros(()), persistent=False)
        c, m, d = config, len(widths), config.hidden
        self.config = c
        self.embed = ModalityEncoders(widths, d, 0.0, lambda width, d, _: nn.Linear(width, d))
        self.dropout = Dropout(c.dropout)
        self.branch_hidden = GroupedLinear(m, d, 2 * d)
        self.branch_output = GroupedLinear(2 * m, d, d)
        self.project = mlp((d, 2 * d, d, d), 0.0)
        self.null = nn.Parameter(torch.zeros(d))
        self.attend = nn.Linear(d, (2 + tasks) * d)
        self.predict = nn.Linear(d, tasks)
        self.auxiliary = GroupedLinear(m + 1, d, tasks)
        weights = torch.tensor([PAIR / m * c.lambda_pred] * m + [c.lambda_pred_shared]) / tasks
        self.register_buffer("auxiliary_weights", weights.repeat_interleave(tasks), persistent=False)

    def forward(self, batch: Batch) -> Output:
        """Return logits [B, T]; in training also the weighted losses ``auxiliary``, ``jsd``, ``orth`` and ``rank``."""
        observed = batch.observed
        h, w = self.disentangle(batch.x, observed)
        some = observed.any(dim=1, keepdim=True)
        pooled = pool_logits(h, observed)
        shared = torch.where(some, pooled, self.null)
        tokens = torch.cat([w, shared.unsqueeze(1)], dim=1)
        logits, alpha = self.attention(tokens, torch.cat([observed, torch.ones_like(some)], dim=1))
        if not self.training or batch.labels is None:
            return Output(logits, {})
        c = self.config
        auxiliary, rank = self.token_losses(tokens, alpha, torch.cat([observed, some], dim=1), batch)
        losses = {
            "auxiliary": auxiliary,
            "jsd": c.lambda_jsd * jsd_loss(h, pooled, observed, c),
            "orth": c.lambda_orth * orthogonality_loss(h, w, observed),
            "rank": c.lambda_attn * rank,
        }
        return Output(logits, losses)

    def disentangle(self, x: tuple[Tensor, ...], observed: Tensor) -> tuple[Tensor, Tensor]:
        """Return h and w, each [B, M, d] and at least in single precision; w is 0 where unobserved."""
        e = self.dropout(torch.relu(self.embed(x, observed)))
        m, d = e.shape[1:]
        hidden = torch.relu(self.branch_hidden(e)).reshape(-1, 2 * m, d)
        a, w = self.branch_output(hidden).unflatten(1, (m, 2)).unbind(dim=2)
        h = self.project(a)
        exact = torch.promote_types(h.dtype, torch.float32)
        return h.to(exact), keep_observed(w.to(exact), observed)

    def attention(self, tokens: Tensor, available: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits [B, T] and alpha [B, T, N] of tokens [B, N, d], at least one of them available [B, N]; the others are zeros."""
        tasks, d = self.predict.weight.shape
        w_q, w_v, w_k = self.attend.weight.split([d, d, tasks * d])
        b_q, b_v, _ = self.attend.bias.split([d, d, tasks * d])
        q = F.linear(mean_observed(tokens, available), w_q, b_q)
        asked = torch.einsum("bd,tde->bte", q, w_k.unflatten(0, (tasks, d)))
        scores = asked @ tokens.transpose(1, 2) * d**-0.5
        alpha = scores.masked_fill(~available.unsqueeze(1), -torch.inf).softmax(dim=-1)
        fused = F.linear(alpha @ tokens, w_v, b_v)
        return torch.einsum("btd,td->bt", fused, self.predict.weight) + self.predict.bias, alpha

    def token_losses(self, tokens: Tensor, alpha: Tensor, present: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the weighted sum of the auxiliary heads' L_sup, and L_rank; ``present`` [B, N]: tokens made from something observed."""
        logits = self.auxiliary(tokens).float() + self.base_log_odds
        labels = batch.labels.unsqueeze(1).expand_as(logits)
        mask = present.unsqueeze(2) & batch.label_mask.unsqueeze(1)
        sup = supervised_loss(logits.flatten(1), labels.flatten(1), mask.flatten(1), self.auxiliary_weights)
        losses = F.binary_cross_entropy_with_logits(logits.detach(), labels, reduction="none")
        several = batch.observed.sum(dim=1) >= 2
        return sup, rank_loss(alpha, losses.transpose(1, 2), (mask & several[:, None, None]).transpose(1, 2))


class DrFuse(TorchMethod):
    """DrFuse-M; see the module's docstring."""

    Config = Config
    grid: ClassVar = {
        "lr": [1e-4, 3e-4, 1e-3],
        "hidden": [128, 256],
        "lambda_jsd": [0.01, 0.1, 1.0],
        "lambda_attn": [0.1, 1.0],
        "dropout": [0.1, 0.3],
    }
    variants: ClassVar = {
        "pair": {"modalities": "pair"},
        "bernoulli": {"bernoulli": True},
        "pairwise": {"pairwise": True},
        "jsd_mean": {"jsd_mean": True},
    }

    def build(self, widths: tuple[int, ...], tasks: tuple[str, ...]) -> nn.Module:
        """Build the untrained network."""
        return DrFuseModule(widths, len(tasks), self.config)

    def begin(self, train: Cohort, valid: Cohort) -> None:
        """Begin with the chosen modalities alone."""
        super().begin(self._select(train), self._select(valid))

    def _batch(self, cohort: Cohort, outcomes: bool = False) -> Batch:
        return super()._batch(self._select(cohort), outcomes)

    def _select(self, cohort: Cohort) -> Cohort:
        return select_modalities(cohort, self.config.modalities)


def select_modalities(cohort: Cohort, chosen: str) -> Cohort:
    """Select the modalities ``chosen`` of a cohort: ``all``, ``pair`` (the first two) or names joined by ``+``, in the cohort's order.

    Raises:
        ValueError: no modality has that name.
    """
    names = cohort.modality_names
    wanted = {"all": names, "pair": names[:2]}.get(chosen, chosen.split("+"))
    unknown = [name for name in wanted if name not in names]
    if unknown:
        raise ValueError(f"drfuse: no modality is called {unknown[0]!r}; {cohort.name} has {', '.join(names)}")
    keep = [m for m, name in enumerate(names) if name in wanted]
    if len(keep) == len(names):
        return cohort
    return replace(
        cohort,
        modalities=tuple(cohort.modalities[m] for m in keep),
        observed=cohort.observed[:, keep],
        fingerprint=f"{cohort.fingerprint} {chosen}",
    )
