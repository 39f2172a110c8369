"""COM: attention over the observed modalities, with generated ones for contrastive learning only.

S. Qian, C. Wang, "COM: Contrastive Masked-attention model for incomplete multimodal learning", Neural Networks 162:443-455, 2023,
doi 10.1016/j.neunet.2023.03.003. Its code, VVillQian/COM, has no licence: read for facts, none used.

Equations (stay i, modality m in 1..M, delta_i the observation pattern, O_i the observed modalities; projectors P_m: d_m-W-W-W-h,
generators G_m: h-W-W-W-d_m, discriminators D_m: d_m-W-W-W/2-1, every linear map followed by batch norm, LeakyReLU(.2) between):

    p_im  = P_m(x_im),  m in O_i;      c_i = mean_{m in O_i} p_im;      r_im = G_m(c_i) for all m, observed too
    x~_im = x_im if delta_im else r_im;      t_im = P_m(x~_im), the same weights;      f_im = t_im / |t_im|
    tokens [CLS, t_i1 + e_1, .., t_iM + e_M], layer norm; 3 post-norm BERT layers (4 heads, ReLU, 4h) whose keys are CLS and O_i
    yhat_i = V tanh(U CLS_i + u) + v
    L = L_cls + lambda (w_1 L_adv + w_2 L_sup + w_3 L_con)
    L_adv = (1/M) sum_m BCE(D_m([GRL(r_m); real_m]), [0; 1]),      real_m: as many training rows with m observed, drawn with replacement
    L_sup = (1/M) sum_m SupCon(x~_m / |x~_m|; positives: other stays with the same outcome)
    L_con = SupCon(all f_im of the contrast set; positives: the other modalities of the stay, generated ones included)
    SupCon = mean over anchors a of -(1/|P(a)|) sum_{p in P(a)} [s_ap - log sum_{n != a} exp s_an],  s = cosine / tau;  0 without positives

GRL is the identity with a gradient of the opposite sign: in one step D_m descends L_adv while G_m and P_m ascend it. Generated tokens
are queries, but never keys or values, and only CLS is read: G never reaches the prediction, which evaluates P_m and the fusion alone.

Looked up in the code (model.py, train.py, losses.py, transformer.py, utils.py, configure.py; commits of 2023): all of the above; CLS
starts at 0; torch's own initial weights (BERT's are commented out); Adam without decay, lr 1e-5 to 1e-3; h 64 to 600; lambda 1e-4 to .1,
mostly equal for the three; tau .07. Of the paper only the abstract was read, which names the two-player game, the contrast and the mask.

Adaptations:

- Width W = 128 for all modalities, where the code has 1024 (variant ``paper_width``, W/2 = 512): with 72, 1376, 768 and 768 columns a
  step of 64 stays takes a seventh of the time. On 900 stays of the embedded cohort W = 256 takes 1.4 times as long as 128 for the same
  AUC (mean of two tasks over four splits .74 and .73, a split's spread .04); 1024 was not compared. h = 64, which the code has for small
  views, is worse there than 128 in seven of seven splits.
- The M networks of a kind are computed at once (``networks.py``). Linear maps before a batch norm have no bias: it would take it away.
- Several outcomes, any of them undefined: L_cls is masked cross-entropy, weights 1/T; L_sup is the mean over tasks of SupCon among the
  stays with that outcome. ``exact``: positives agree in all outcomes that both have (at least one), all labelled stays are contrasted.
- The code creates D in its training function and gives it to no optimiser: it stays random. The abstract has two players, so D is
  trained here; ``frozen_disc`` is as released.
- Batch norm. The code never leaves training mode: its predictions depend on the test batch and on dropout. Its first pass of P reads the
  contents of masked slots. Here: running statistics in evaluation; in training P's are of observed rows alone, in both passes, so that
  generated rows are normalised like observed ones and move none (``mixed_norm``: of all rows x~ in the second pass, as released).
  With fewer than two such rows a modality takes its running statistics in that step. They follow the second pass.
- Missingness is the data's own: no hidden truth, nothing is masked on purpose. With nothing observed c_i = 0, only CLS is attended, and
  the stay takes part in no contrast and no L_adv. A modality that no training stay has is left out of L_adv, L_sup and L_con.
- Inputs are standardised by training statistics (code: each split by its own mean and range over all features of a view); indicators of
  missing features count as features, for G and D too. Missing keys have weight 0 (code: -10000 before the softmax).
- Layer norm has epsilon 1e-5 (code: 1e-12, at which the gradient of a CLS that starts at 0 is a million times the others').
- The contrast set of L_sup and L_con is ``contrast`` = 256 stays whatever the batch size (a larger batch: the batch; fewer in the first
  steps or where there are fewer training stays). The released one is the batch, 64 to 128 on its small data, 4096 on its large. Here a
  memory (``methods/common/memory.py``) adds the latest other training stays, their x~_m and f_m as they were, without gradient: they are
  positives (L_sup) and negatives of the anchors, which are the stays of the batch. A batch of 256 is contrasted as in the code.
- L_con takes at most 8192 features. Early stopping by the validation part (code: best epoch by accuracy on TRAINING data),
  AdamW with clipped gradients, at most 100 epochs (code: 300 to 500). The log odds of the base rates are added to the logits, as in all
  torch methods. Series are not read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from datasets.cohort import Cohort
from methods.com.networks import Rows, make_inward, make_outward
from methods.common.layers import Dropout, keep_observed, mean_observed
from methods.common.memory import Memory
from methods.common.training import Batch, Output, TorchMethod, TrainingConfig

INFO = {
    "title": "COM (multi-label)",
    "citation": "COM: Contrastive Masked-attention model for incomplete multimodal learning (Neural Networks 2023)",
    "year": 2023,
    "family": "attention",
    "based_on": "facts of the released code, which has no licence (none used); narrower networks, several outcomes",
    "uses_series": False,
    "class": "Com",
}
MOST_FEATURES = 8192
"""Features that L_con compares at most: what it takes grows with their square."""


@dataclass(frozen=True)
class Config(TrainingConfig):
    """Defaults: the released code's, or the choices listed in the module's docstring."""

    lr: float = 1e-4
    weight_decay: float = 0.0
    batch_size: int = 256
    hidden: int = 128
    """h."""
    width: int = 128
    """W."""
    layers: int = 3
    heads: int = 4
    dropout: float = 0.1
    lam: float = 0.01
    """lambda, of the three losses together."""
    adv: float = 1.0
    """w_1."""
    sup: float = 1.0
    """w_2."""
    con: float = 1.0
    """w_3."""
    tau: float = 0.07
    contrast: int = 256
    """Stays that are contrasted in a step: those of the batch, and the latest before it. A larger batch is contrasted whole."""
    train_disc: bool = True
    positives: str = "task"
    """Of L_sup: ``task`` (the same outcome, task by task) or ``exact`` (all outcomes the same)."""
    norm_rows: str = "observed"
    """Whose statistics normalise the second pass of P: ``observed`` rows or ``all``."""

    def __post_init__(self) -> None:
        self.one_of(positives=("task", "exact"), norm_rows=("observed", "all"))
        if self.hidden % self.heads:
            raise ValueError(f"com: hidden={self.hidden} must be a multiple of heads={self.heads}")
        if self.contrast < 1:
            raise ValueError(f"com: contrast={self.contrast} must be at least 1")


def attention(q: Tensor, k: Tensor, keys: Tensor) -> Tensor:
    """Return weights [B, heads, Q, L] of queries [B, heads, Q, e] on keys [B, heads, L, e], 0 where ``keys`` bool [B, L] is False."""
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(2, 3)
    return scores.masked_fill(~keys[:, None, None], -torch.inf).softmax(dim=-1)


class Block(nn.Module):
    """A post-norm BERT layer [B, L, h], for the first ``queries`` tokens alone where asked for."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        h, self.heads = config.hidden, config.heads
        self.into, self.out = nn.Linear(h, 3 * h), nn.Linear(h, h)
        self.up, self.down = nn.Linear(h, 4 * h), nn.Linear(4 * h, h)
        self.norm_1, self.norm_2 = nn.LayerNorm(h), nn.LayerNorm(h)
        self.dropout = Dropout(config.dropout)

    def forward(self, x: Tensor, keys: Tensor, queries: int | None = None) -> Tensor:
        """Return the tokens after the layer; only those with ``keys`` [B, L] are attended."""
        q, k, v = self.into(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        x = x[:, :queries]
        context = attention(q[:, :, :queries], k, keys).to(v.dtype) @ v
        x = self.norm_1(x + self.dropout(self.out(context.transpose(1, 2).flatten(2))))
        return self.norm_2(x + self.dropout(self.down(F.relu(self.up(x)))))


class Fusion(nn.Module):
    """Logits [B, T] of tokens t [B, M, h]: masked attention, read at CLS."""

    def __init__(self, modalities: int, tasks: int, config: Config) -> None:
        super().__init__()
        h = config.hidden
        self.cls = nn.Parameter(torch.zeros(1, 1, h))
        self.types = nn.Parameter(torch.randn(modalities, h))
        self.norm, self.dropout = nn.LayerNorm(h), Dropout(config.dropout)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.pool, self.head = nn.Linear(h, h), nn.Linear(h, tasks)

    def forward(self, t: Tensor, observed: Tensor) -> Tensor:
        """Return logits [B, T] of t [B, M, h] and observed [B, M]."""
        return self.head(self.read(t, observed))

    def read(self, t: Tensor, observed: Tensor) -> Tensor:
        """Return what CLS has gathered, pooled [B, h]."""
        x = torch.cat([self.cls.expand(len(t), -1, -1), t + self.types], dim=1)
        x = self.dropout(self.norm(x))
        keys = F.pad(observed, (1, 0), value=True)
        for block in self.blocks[:-1]:
            x = block(x, keys)
        x = self.blocks[-1](x, keys, queries=1)
        return torch.tanh(self.pool(x[:, 0]))


class Bank:
    """The training stays with each modality, where they lie; ``seen`` bool [M]: there are any."""

    def __init__(self, x: tuple[Tensor, ...], observed: Tensor) -> None:
        self.x, self.count = x, observed.sum(dim=0)
        self.seen = self.count > 0
        self.rows = observed.int().argsort(dim=0, descending=True, stable=True)

    def draw(self, n: int) -> tuple[Tensor, ...]:
        """Draw n rows [n, d_m] of each modality with replacement (zeros of one that nobody has)."""
        u = torch.rand(n, len(self.x), dtype=torch.float64, device=self.count.device)
        rows = self.rows.gather(0, (u * self.count).long())
        return tuple(v.index_select(0, r) for v, r in zip(self.x, rows.unbind(dim=1), strict=True))


def supcon(s: Tensor, positive: Tensor, valid: Tensor) -> Tensor:
    """Return SupCon [...] of similarities s [..., A, K], already divided by tau: anchors are the first A of K things, where ``valid``
    [..., K]; 0 where there are none.

    ``positive`` bool [..., A, K] is read between different valid things only. What is not valid is not contrasted either.
    """
    anchors, things = s.shape[-2:]
    valid, anchor = valid.unsqueeze(-2), valid[..., :anchors].unsqueeze(-1)
    other = anchor & valid & ~torch.eye(anchors, things, dtype=torch.bool, device=s.device)
    positive = positive & other
    count = positive.sum(dim=-1)
    attract = torch.where(positive, s, s.new_zeros(())).sum(dim=-1) / count.clamp(min=1)
    repel = s.masked_fill(~other, -1e4).logsumexp(dim=-1)
    loss = torch.where(count > 0, repel - attract, s.new_zeros(()))
    return loss.sum(dim=-1) / anchor.sum(dim=(-2, -1)).clamp(min=1)


class Earlier(NamedTuple):
    """K stays of earlier batches, as they were then: x~_m / |x~_m| side by side ``unit`` [K, sum d_m], t_m / |t_m| ``f`` [K, M, h], which
    of them count ``valid`` bool [K, M], ``labels`` [K, T] and ``label_mask`` bool [K, T].
    """

    unit: Tensor
    f: Tensor
    valid: Tensor
    labels: Tensor
    label_mask: Tensor


class ComModule(nn.Module):
    """The network; in training it needs a ``bank`` of real rows."""

    bank: Bank | None = None

    def __init__(self, widths: tuple[int, ...], tasks: tuple[str, ...], config: Config) -> None:
        super().__init__()
        c, h, w = config, config.hidden, config.width
        self.config, self.widths = c, widths
        self.project = make_inward(widths, (w, w, w, h))
        self.generate = make_outward((h, w, w, w), widths)
        self.discriminate = make_inward(widths, (w, w, w // 2, 1)).requires_grad_(c.train_disc)
        self.fuse = Fusion(len(widths), len(tasks), c)
        shapes = {"unit": (sum(widths),), "f": (len(widths), h), "valid": (len(widths),)}
        self.memory = Memory(c.contrast, **shapes, labels=(len(tasks),), label_mask=(len(tasks),))
        owner = torch.arange(len(widths)).repeat_interleave(torch.tensor(widths))
        self.register_buffer("owner", owner, persistent=False)

    def forward(self, batch: Batch) -> Output:
        """Return logits [B, T]; in training also the weighted losses ``adv``, ``sup`` and ``con``."""
        if not self.training:
            return Output(self.fuse.head(self.represent(batch)), {})
        c, observed, x = self.config, batch.observed, self.read_content(batch)
        some, rows = observed.any(dim=1, keepdim=True), self.rows(observed)
        centre = mean_observed(self.project(x, rows=rows, track=False).transpose(0, 1), observed)
        made = self.generate_all(centre, some)
        full = torch.where(observed[:, self.owner], torch.cat(x, dim=1), made).split(self.widths, dim=1)
        rows = rows if c.norm_rows == "observed" else self.rows(torch.ones_like(some))
        t = self.project(full, rows=rows).transpose(0, 1)
        valid, losses = some & self.bank.seen, {}
        if c.adv > 0:
            losses["adv"] = c.lam * c.adv * self.adversarial_loss(made, valid)
        with torch.autocast(t.device.type, enabled=False):
            found = self.memory.recall(batch.rows)
            unit = torch.cat([F.normalize(v, dim=1) for v in full], dim=1)
            f = F.normalize(t, dim=2)
            earlier = self.recall(found)
            if c.sup > 0:
                losses["sup"] = c.lam * c.sup * self.label_contrast_loss(unit, valid, batch, earlier)
            if c.con > 0:
                losses["con"] = c.lam * c.con * self.modality_contrast_loss(f, valid, earlier)
            labels = {"labels": batch.labels, "label_mask": batch.label_mask}
            self.memory.keep(batch.rows, found, unit=unit, f=f, valid=valid, **labels)
        return Output(self.fuse(t, observed), losses)

    def recall(self, found: tuple[Tensor, dict[str, Tensor]]) -> Earlier:
        """Return the stays that the memory gave; what is in an empty place does not count."""
        there, old = found
        valid, mask = ((old[name] > 0) & there.unsqueeze(1) for name in ("valid", "label_mask"))
        return Earlier(old["unit"], old["f"], valid, old["labels"], mask)

    def represent(self, batch: Batch) -> Tensor:
        """Return what CLS has gathered [B, h], in evaluation mode."""
        return self.fuse.read(self.project(self.read_content(batch)).transpose(0, 1), batch.observed)

    def read_content(self, batch: Batch) -> tuple[Tensor, ...]:
        """Return x_m [B, d_m], zeros where unobserved."""
        return tuple(keep_observed(v, o) for v, o in zip(batch.x, batch.observed.unbind(dim=1), strict=True))

    def rows(self, which: Tensor) -> Rows:
        """Return ``which`` bool [B, M] as the rows whose statistics normalise."""
        return Rows.of(which, self.fuse.cls.dtype)

    def generate_all(self, centre: Tensor, some: Tensor) -> Tensor:
        """Generate r_1 .. r_M, concatenated [B, sum d_m], from c [B, h], by statistics of the stays with ``some`` [B, 1] modality."""
        return self.generate(centre.expand(len(self.widths), -1, -1), rows=self.rows(some)).squeeze(0)

    def adversarial_loss(self, made: Tensor, valid: Tensor) -> Tensor:
        """Return L_adv, a scalar, of the r_m, concatenated [B, sum d_m], where ``valid``. GRL: 2 r - r, the first without gradient."""
        fake = (2 * made.detach() - made).split(self.widths, dim=1)
        real = self.bank.draw(len(valid))
        counted = torch.cat([valid, self.bank.seen.expand_as(valid)])
        scores = self.discriminate(fake, real, rows=self.rows(counted)).squeeze(2).T
        target = torch.cat([torch.zeros_like(scores[: len(valid)]), torch.ones_like(scores[len(valid) :])])
        loss = F.binary_cross_entropy_with_logits(scores, target, reduction="none")
        loss = torch.where(counted, loss, loss.new_zeros(())).sum(dim=0) / counted.sum(dim=0).clamp(min=1)
        return loss.sum() / self.bank.seen.sum().clamp(min=1)

    def label_contrast_loss(self, unit: Tensor, valid: Tensor, batch: Batch, earlier: Earlier) -> Tensor:
        """Return L_sup of the stays of a batch, a scalar: x~_m / |x~_m| side by side [B, sum d_m], where ``valid`` [B, M]."""
        parts = torch.cat([unit, earlier.unit]).split(self.widths, dim=1)
        s = torch.stack([v[: len(unit)] @ v.T for v in parts]) / self.config.tau
        labels, counted = (
            torch.cat(v).T for v in ((batch.labels, earlier.labels), (batch.label_mask, earlier.label_mask))
        )
        positive = labels[:, : len(unit)].unsqueeze(2) == labels.unsqueeze(1)
        if self.config.positives == "exact":
            both = counted[:, : len(unit)].unsqueeze(2) & counted.unsqueeze(1)
            positive = ((both & positive).any(dim=0) & ~(both & ~positive).any(dim=0)).unsqueeze(0)
            counted = counted.any(dim=0, keepdim=True)
        valid = torch.cat([valid, earlier.valid]).T
        losses = supcon(s, positive.unsqueeze(1), counted.unsqueeze(1) & valid)
        return losses.sum() / (len(counted) * self.bank.seen.sum().clamp(min=1))

    def modality_contrast_loss(self, f: Tensor, valid: Tensor, earlier: Earlier) -> Tensor:
        """Return L_con of the stays of a batch, a scalar: f [B, M, h], where ``valid`` [B, M]."""
        m = f.shape[1]
        n = min(len(f), MOST_FEATURES // m)
        valid = torch.cat([valid[:n], earlier.valid])[: MOST_FEATURES // m].flatten()
        things = torch.cat([f[:n], earlier.f])[: MOST_FEATURES // m].flatten(0, 1)
        stay = torch.arange(len(things), device=f.device) // m
        return supcon(things[: n * m] @ things.T / self.config.tau, stay[: n * m].unsqueeze(1) == stay, valid)


class Com(TorchMethod):
    """COM; see the module's docstring."""

    Config = Config
    grid: ClassVar = {"lr": [1e-4, 5e-4, 1e-3], "lam": [1e-4, 1e-2, 1e-1], "hidden": [64, 128, 256]}
    variants: ClassVar = {
        "frozen_disc": {"train_disc": False},
        "without_con": {"con": 0.0},
        "exact": {"positives": "exact"},
        "mixed_norm": {"norm_rows": "all"},
        "paper_width": {"width": 1024},
    }

    @classmethod
    def stackable(cls, config: Config) -> bool:
        """Return False: statistics are those of the rows that count, and the bank is outside the module's buffers."""
        return False

    def build(self, widths: tuple[int, ...], tasks: tuple[str, ...]) -> nn.Module:
        """Build the untrained network."""
        return ComModule(widths, tasks, self.config)

    def _batch(self, cohort: Cohort, outcomes: bool = False) -> Batch:
        """Return the stays as a batch; the training stays, which come with their outcomes, become the bank too."""
        batch = super()._batch(cohort, outcomes)
        if outcomes:
            self.module.bank = Bank(batch.x, batch.observed)
        return batch

    def release(self) -> None:
        """Forget the bank."""
        self.module.bank = None
