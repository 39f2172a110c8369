"""MUSE and MUSE+: a bipartite graph of stays and modalities, two views of it pulled together, with and without labels.

Z. Wu, A. Dadu, N. Tustison, B. Avants, M. Nalls, J. Sun, F. Faghri, "Multimodal Patient Representation Learning with Missing Modalities
and Labels", ICLR 2024, openreview Je5SHCKpPa. Code: zzachw/MUSE (MIT), read for facts, none used.

Equations (stay p, modality m, edges A where m is observed in p; [a; b] side by side, [p] = dropout):

    e_pm  = [p] Map_m(Lin_m2([p] ReLU(BN_m(Lin_m1([p] x_pm)))))                       in R^D, on both directions of the edge
    h_p^0 = all ones,   h_m^0 = v_m learned (code) or one-hot (paper)
    a_i   = MEAN over j in N(i) of ReLU(W_l [h_j^(l-1); e_ji^(l-1)] + b),             0 without neighbours
    h_i^l = ReLU(U_l [a_i; h_i^(l-1)] + c),    h_i^l := [p] h_i^l,    e_ji^l = ReLU(E_l [h_j^l; h_i^l; e_ji^(l-1)] + g),    for l < L
    z_p   = h_p^L,   u_p = tanh(Lin z_p) / its length,   y_p = Lin [p] ReLU(Lin z_p)
    z', u': the same e and weights in a graph with fewer edges;   s_pq = <u_p, u'_q> / tau,   r_pq = <u_p, u_q> / tau
    L_unsup = (CE(s, I) + CE(s^T, I)) / 2                                               over all stays, labelled or not
    L_sup   = (2 BCE(r, Y) + BCE(s, Y) + BCE(s^T, Y)) / 4,   Y_pq = [y_p = y_q]         mean over pairs of labelled stays
    L       = L_cls(y, outcomes) + w_unsup L_unsup + w_sup L_sup

Edges dropped (``view``): the code's rule, which takes a quarter on average, or each with probability .15 (paper); one at least stays.

MUSE+ (default) and MUSE are the same network and loss. MUSE is trained on labelled stays only (``unlabelled`` False), MUSE+ has the
unlabelled training stays in its batches too, for the graph and L_unsup. Where all stays are labelled they are equal. The variants
``masked_muse`` and ``masked_muse_plus`` are the declared experiment in which they differ: all outcomes of a share ``mask_labels`` of the
training stays, drawn with the seed, are hidden from the method, base rates included. Validation and test stays are never added.

Looked up: all said of the code, in its gnn.py, model.py, adni_model.py, ffn_encoder.py, run.py (two commits: batch 512 and lr 2e-4 are the
newer one's) and eicu_dataset.py, and in iMML 0.6.0's port for any number of modalities, whose logits and loss a test reproduces. The
paper's text could not be read: what is marked as the paper's (one-hot nodes, .15, tau .05, unweighted losses; variant ``paper``)
is what a third party's notes and reviews say of it.

Adaptations:

- ``inductive`` (default): h_m^1 .. h_m^(L-1) of the graph of all training stays, in evaluation mode, are stored with the weights before
  each validation (``states``); a later stay reads them, its edges change no modality's node, and predictions do not depend on each
  other. ``batch`` is the code's: modalities take their mean over each 512 stays that are predicted, in the order of the cohort, so a
  prediction depends on the other stays of its batch, and the variants ``batch_inference`` (this alone) and ``as_released`` break the
  contract of a method in this.
- ``joint`` (default): one network with an output for each outcome; L_cls is masked, weights 1/T, and so is L_sup, pairs of stays with
  that outcome. Unlabelled is who has no outcome at all. The paper trains one network for one outcome, ``per_task``: T such networks.
- ``as_released`` is the released program in all of these: batch inference, torch's initial weights, a network for each outcome, batch
  norm over all rows, and labelled stays alone (its default is MUSE, not MUSE+). Batches of 512, the rate and 100 epochs, of which the
  best on the validation part is kept without early stopping, are those of the code under schedule ``own``; the rule by which that epoch
  is chosen, the base-rate offset and clipped gradients are the suite's.
- Vector modalities through the code's FFN encoder, the one it has for ADNI. Series are not read.
- BN_m takes its statistics from stays that have m (the code: x_pm = 0 of the others too, ``norm_rows=all``), and from its running ones if
  they are fewer than 2. x_pm is masked before the encoder too.
- W_l, U_l and E_l start as He's, biases at zero. With torch's own, the code's (``init=torch``), z varies between stays by a tenth of its
  mean at first, L_unsup and L_sup are all that is learned for a while, and a validation part that contradicts training can stop it before
  the rest.
- A stay with nothing observed is an isolated node; it is left out of L_unsup, where all such stays would be each other's negatives.
- No labelled pair gives L_sup = 0, where the code has NaN. Gradient clipping, early stopping, base-rate offset: the suite's.
- Dense, without lists of edges: W [h; e] is W_h h + W_e e, and what the two views share is computed once. L_2 normalised nodes, off in
  the code, are not offered.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from datasets.cohort import Cohort
from methods.base import prefix, unprefix
from methods.common.layers import Dropout, GroupedLinear, ObservedBatchNorm, keep_observed, mlp
from methods.common.outcomes import labelled
from methods.common.training import Batch, Output, TorchMethod, TrainingConfig
from methods.muse.graph import Layer, drop_edges, propagate

INFO = {
    "title": "MUSE+",
    "citation": "Multimodal Patient Representation Learning with Missing Modalities and Labels (ICLR 2024)",
    "year": 2024,
    "family": "graph",
    "based_on": "facts of its released code (MIT), none of which is used; inductive, joint outcomes, dense",
    "uses_series": False,
    "class": "Muse",
}
RELEASED_BATCH = 512
"""Stays of one graph under ``inference="batch"``."""
CHOICES = {
    "inference": ("inductive", "batch"),
    "view": ("code", "bernoulli15"),
    "nodes": ("learned", "one_hot"),
    "head": ("joint", "per_task"),
    "init": ("he", "torch"),
    "norm_rows": ("observed", "all"),
}


@dataclass(frozen=True)
class Config(TrainingConfig):
    """Defaults: the released run, or the choices listed in the module's docstring."""

    lr: float = 2e-4
    weight_decay: float = 0.0
    batch_size: int = 512
    patience: int = 100
    hidden: int = 128
    """D."""
    layers: int = 2
    dropout: float = 0.25
    nodes: str = "learned"
    """``learned`` or ``one_hot``."""
    view: str = "code"
    """``code`` or ``bernoulli15``."""
    tau: float = 0.07
    w_unsup: float = 0.5
    w_sup: float = 0.5
    unlabelled: bool = True
    """MUSE+; False is MUSE."""
    mask_labels: float = 0.0
    """Share of the training stays whose outcomes are hidden."""
    head: str = "joint"
    """``joint`` or ``per_task``."""
    inference: str = "inductive"
    """``inductive`` or ``batch``."""
    init: str = "he"
    """Initial weights of W_l, U_l and E_l: ``he`` or ``torch``."""
    norm_rows: str = "observed"
    """Whose statistics normalise in BN_m: ``observed`` rows or ``all``, with zeros where m is not."""

    def __post_init__(self) -> None:
        self.one_of(**CHOICES)
        if not 0 <= self.mask_labels < 1:
            raise ValueError(f"muse: mask_labels={self.mask_labels} must be at least 0 and less than 1")
        if self.layers < 1 or self.tau <= 0:
            raise ValueError(f"muse: layers={self.layers} must be at least 1 and tau={self.tau} above 0")


class Encoders(nn.Module):
    """e [B, M, D]: Lin_m1, BN_m, ReLU, Lin_m2, Map_m, with dropout."""

    def __init__(self, widths: tuple[int, ...], d: int, dropout: float, norm_rows: str) -> None:
        super().__init__()
        self.dropout, self.norm_rows = Dropout(dropout), norm_rows
        self.first = nn.ModuleList(nn.Linear(width, d) for width in widths)
        self.norm = ObservedBatchNorm(len(widths), d)
        self.second = GroupedLinear(len(widths), d, d)
        self.map = GroupedLinear(len(widths), d, d)

    def forward(self, x: tuple[Tensor, ...], observed: Tensor) -> Tensor:
        """Return [B, M, D] of x_m [B, d_m] and observed [B, M]."""
        seen = zip(self.first, x, observed.unbind(dim=1), strict=True)
        h = torch.stack([first(self.dropout(keep_observed(v, o))) for first, v, o in seen], dim=1)
        counted = observed if self.norm_rows == "observed" else torch.ones_like(observed)
        h = self.dropout(F.relu(self.norm(h, counted)))
        return self.dropout(keep_observed(self.map(self.second(h)), observed))


def unsupervised_loss(s: Tensor, there: Tensor) -> Tensor:
    """Return L_unsup of s [B, B], between the stays that are ``there`` bool [B]; 0 if none is."""
    gone = ~(there & there.unsqueeze(1))
    masked = s.masked_fill(gone, torch.finfo(s.dtype).min)
    loss = (masked.logsumexp(dim=0) + masked.logsumexp(dim=1)) / 2 - s.diagonal()
    return loss.masked_fill(~there, 0.0).sum() / there.sum().clamp(min=1)


def supervised_pair_loss(r: Tensor, s: Tensor, labels: Tensor, mask: Tensor) -> Tensor:
    """Return L_sup of r and s [B, B], mean over the T tasks of labels and mask [B, T], a task without labels counting as 0.

    Y is symmetric, so that BCE(s^T, Y) = BCE(s, Y); BCE(s, 1) = softplus(s) - s and BCE(s, 0) = softplus(s).
    """
    share = mask / mask.sum(dim=0).clamp(min=1) / mask.shape[1] ** 0.5
    ones, zeros = share * labels, share * (1 - labels)
    pairs, same = share @ share.T, ones @ ones.T + zeros @ zeros.T
    return sum((pairs * F.softplus(v) - same * v).sum() for v in (r, s)) / 2


class MuseModule(nn.Module):
    """The network of the module's docstring, with what modalities are at prediction in the buffer ``states``."""

    def __init__(self, widths: tuple[int, ...], tasks: int, config: Config) -> None:
        super().__init__()
        c, d, m = config, config.hidden, len(widths)
        if c.nodes == "one_hot" and m > d:
            raise ValueError(f"muse: hidden={d} is too few for one-hot nodes of {m} modalities")
        self.config, self.dropout = c, Dropout(c.dropout)
        self.encoders = Encoders(widths, d, c.dropout, c.norm_rows)
        self.nodes = nn.Parameter(torch.randn(m, d)) if c.nodes == "learned" else nn.Buffer(torch.eye(m, d))
        self.layers = nn.ModuleList(Layer(d, last=l == c.layers - 1, init=c.init) for l in range(c.layers))
        self.project = nn.Linear(d, d)
        self.head = mlp((d, d, tasks), c.dropout)
        self.register_buffer("states", torch.zeros(c.layers - 1, m, d))

    def forward(self, batch: Batch) -> Output:
        """Return logits [B, T]; in training also the weighted losses ``unsup`` and ``sup``."""
        if not self.training:
            return Output(self.head(self.represent(batch)), {})
        e, edges = self.encoders(batch.x, batch.observed), batch.observed
        views = torch.stack([edges, drop_edges(edges, self.config.view)])
        (z,), _ = propagate(self.layers, self.nodes, [(e, views)], thin=self.dropout)
        u, other = F.normalize(torch.tanh(self.project(z)).float(), dim=-1)
        with torch.autocast(u.device.type, enabled=False):
            r, s = (u @ v.T / self.config.tau for v in (u, other))
            unsup = unsupervised_loss(s, edges.any(dim=1))
            sup = supervised_pair_loss(r, s, batch.labels, batch.label_mask)
        return Output(self.head(z[0]), {"unsup": self.config.w_unsup * unsup, "sup": self.config.w_sup * sup})

    def represent(self, batch: Batch) -> Tensor:
        """Return z [B, D] at prediction."""
        return self.embed(self.encoders(batch.x, batch.observed), batch.observed)

    def embed(self, e: Tensor, edges: Tensor) -> Tensor:
        """Return z [B, D] at prediction."""
        if self.config.inference == "inductive":
            return propagate(self.layers, self.nodes, [(e, edges[None])], self.states)[0][0][0]
        graphs = zip(e.split(RELEASED_BATCH), edges.split(RELEASED_BATCH), strict=True)
        return torch.cat([propagate(self.layers, self.nodes, [(a, b[None])])[0][0][0] for a, b in graphs])

    def remember(self, parts: list[Batch]) -> None:
        """Store the states of the modalities in the graph of these stays."""
        graph = [(self.encoders(b.x, b.observed), b.observed[None]) for b in parts]
        for l, state in enumerate(propagate(self.layers[:-1], self.nodes, graph)[1]):
            self.states[l] = state[0]


class Muse(TorchMethod):
    """MUSE and MUSE+; see the module's docstring. Under ``per_task`` after ``fit``: ``of_tasks``, a fitted method for each."""

    Config = Config
    grid: ClassVar = {
        "lr": [1e-4, 2e-4, 5e-4],
        "tau": [0.05, 0.07],
        "view": ["code", "bernoulli15"],
        "layers": [2, 3],
        "hidden": [64, 128],
    }
    variants: ClassVar = {
        "muse": {"unlabelled": False},
        "masked_muse": {"mask_labels": 0.5, "unlabelled": False},
        "masked_muse_plus": {"mask_labels": 0.5},
        "batch_inference": {"inference": "batch"},
        "as_released": {
            "inference": "batch",
            "init": "torch",
            "head": "per_task",
            "norm_rows": "all",
            "unlabelled": False,
        },
        "per_task": {"head": "per_task"},
        "paper": {"nodes": "one_hot", "view": "bernoulli15", "tau": 0.05, "w_unsup": 1.0, "w_sup": 1.0},
    }
    titles: ClassVar = {
        "muse": "MUSE",
        "batch_inference": "MUSE+ (batch inference: rows depend on their batch)",
        "as_released": "MUSE (as released: rows depend on their batch)",
        "masked_muse": "MUSE (half the training labels hidden)",
        "masked_muse_plus": "MUSE+ (half the training labels hidden)",
    }
    of_tasks: tuple[Muse, ...] = ()

    def build(self, widths: tuple[int, ...], tasks: tuple[str, ...]) -> nn.Module:
        """Build the untrained network."""
        return MuseModule(widths, len(tasks), self.config)

    @classmethod
    def stackable(cls, config: Config) -> bool:
        """Return whether there is one network for all tasks."""
        return config.head == "joint"

    def training_stays(self, train: Cohort) -> Cohort:
        """Hide outcomes of some stays with ``mask_labels``; keep for MUSE the stays that have an outcome."""
        c = self.config
        if c.mask_labels:
            train = hide_outcomes(train, c.mask_labels, self.seed)
        shown = labelled(train.outcomes).any(axis=1)
        return train if c.unlabelled or c.head == "per_task" or shown.all() or not shown.any() else train.take(shown)

    def fit(self, train: Cohort, valid: Cohort) -> Self:
        """Fit the method and return it."""
        if self.config.head == "joint":
            return super().fit(train, valid)
        train, alone = self.training_stays(train), replace(self.config, head="joint", mask_labels=0.0)
        self.tasks, self.history = train.tasks, []
        fits = [Muse(alone, self.seed, self.device) for _ in train.tasks]
        for t, method in enumerate(fits):
            method.on_epoch = self.on_epoch
            self.history += method.fit(select_task(train, t), select_task(valid, t)).history
        self.of_tasks = tuple(fits)
        return self

    def predict_proba(self, cohort: Cohort) -> np.ndarray:
        """Return probabilities float64 [N, T]."""
        if self.of_tasks:
            return np.concatenate([method.predict_proba(cohort) for method in self.of_tasks], axis=1)
        return super().predict_proba(cohort)

    def represent(self, cohort: Cohort) -> np.ndarray | None:
        """Return z; None where each task has a network of its own, or a stay's z depends on its batch."""
        return super().represent(cohort) if self.config.inference == "inductive" and not self.of_tasks else None

    def state(self) -> dict[str, np.ndarray]:
        """Return the fitted method as plain arrays, or those of every task's."""
        if not self.of_tasks:
            return super().state()
        states = (prefix(f"task{t}", method.state()) for t, method in enumerate(self.of_tasks))
        return {"tasks": np.array(self.tasks), **{k: v for state in states for k, v in state.items()}}

    def load_state(self, state: dict[str, np.ndarray]) -> Self:
        """Restore the method from its ``state`` and return it, ready to predict."""
        if self.config.head == "joint":
            return super().load_state(state)
        self.tasks = tuple(str(t) for t in state["tasks"])
        fits = (Muse(replace(self.config, head="joint"), self.seed, self.device) for _ in self.tasks)
        self.of_tasks = tuple(method.load_state(unprefix(f"task{t}", state)) for t, method in enumerate(fits))
        return self

    def remember(self, train: Batch) -> None:
        """Store the states of the modalities in the graph of all training stays."""
        if self.config.inference == "inductive":
            self.module.remember(train.chunks())


def hide_outcomes(cohort: Cohort, rate: float, seed: int) -> Cohort:
    """Hide all outcomes of a share ``rate`` of the stays of a cohort."""
    hide = np.random.default_rng(seed).permutation(len(cohort)) < round(rate * len(cohort))
    outcomes = np.where(hide[:, None], np.float32("nan"), cohort.outcomes)
    return replace(cohort, outcomes=outcomes, fingerprint=f"{cohort.fingerprint} without {rate} of {seed}")


def select_task(cohort: Cohort, t: int) -> Cohort:
    """Select task number ``t`` of a cohort."""
    outcomes, task = cohort.outcomes[:, t : t + 1], cohort.tasks[t]
    return replace(cohort, outcomes=outcomes, tasks=(task,), fingerprint=f"{cohort.fingerprint} {task}")
