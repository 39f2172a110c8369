"""HGMF: stays as hypernodes typed by their observation pattern, fused by attention within and across the types of their neighbours.

Citation: J. Chen, A. Zhang, "HGMF: Heterogeneous Graph-based Fusion for Multimodal Data with Incompleteness", KDD 2020, 1295-1305,
doi 10.1145/3394486.3403182.

Re-implementation from description. What could be read is the abstract (researchconnect.suny.edu, documents.pub): a heterogeneous
hypernode graph of the combinations of missing modalities, a transductive graph neural network that projects them into one space and
fuses modalities along the way, interactions among the modalities there are, relations between incompleteness patterns, no deletion, no
imputation. The body of the paper was out of reach (a PDF at shichuan.org is linked from public lists) and no code of the authors was
found. The equations below are recalled, none of the numbers is the paper's, and nothing here should be quoted as what it says.

Equations (stay i, modality m, O_i the observed modalities, p(i) the type, which is the pattern; [p] = dropout):

    N_i     = union over m in O_i of kNN_m(i), the k nearest stays that have m, by Euclidean distance of standardised x_m; plus i
    h_i^m   = f_m(x_im) in R^F,   f_m the shared encoder;   h~ = Lin_m(h^m) in R^r
    g_i^S   = relu(U_S h^m + b_S)                 S = {m}, ``lite``;   relu(U_S vec(h^m h^mT) + b_S) under ``gram``
    g_i^S   = relu(U_S vec(outer product of h~^m, m in S) + b_S)      |S| = 2 .. order
    h_i     = concat of g_i^S over S within O_i                        (zeros for the other S, so all types have one length)
    v_j^q>p = W_q>p h_j,    v_i = W_p>p h_i,      for i of type p and j in N_i of type q;   here W_q>p = C_p A
    alpha_ij = softmax over j in N_i of type q of LeakyReLU_.2(a_q>p^T [v_i ; v_j^q>p])
    s_i^q   = ELU(sum_j alpha_ij v_j^q>p)
    beta_iq = softmax over the types q in N_i of LeakyReLU_.2(b_p^T [v_i ; s_i^q])
    h_i'    = v_i + sum_q beta_iq s_i^q           for each head; heads side by side, averaged in the last layer;   y_i = Lin([p] h_i')

Adaptations (beyond the recalled equations, whose graph rule, Gram matrix, outer products and attention logits are to be checked):

- Inductive: the graph is that of the training stays; a later stay takes edges from its neighbours among them and gives none. Edges run
  from neighbour to centre; that two stays are in one hyperedge of a third does not join them. The paper is transductive.
- Batches instead of the full graph: what a training neighbour sends is its newest value kept in a table (historical embeddings, Fey et
  al. 2021), fresh and with gradient where the neighbour is in the batch, without gradient elsewhere. The table is computed again, without
  dropout, before validation, and is what predictions use. A batch of all stays is the full graph, exactly.
- Distances in double precision, rounded to 2^-20, ties to the lower row: else the rounding of a matrix product could move a neighbour.
- One map A serves all types, since h has zeros for what a type lacks; C_p, one for each type of target and head, starts as the identity;
  v_i is added to the output (``add_own``). As recalled, with W_q>p and without v_i, HGMF reached an AUC of .52 to .63 on the eICU demo (34
  types), where a plain network has .79 to .82: types of 20 stays had maps of 1,760 x 256, and a stay was one among its neighbours.
- The variant ``own_maps`` is that older form: W_q>p = C_p A_q, all of Glorot's initial values, no v_i, types of at least 20 stays;
  ``pairwise`` has a W_q>p for each pair of types where there are at most 8, else C_p A_q.
- A pattern of fewer than 100 training stays (``smallest_type``), not among the 32 most frequent, or unseen, is no type. Its stays are of
  the largest type within theirs (the more frequent of two), or else of ``empty``, the type of stays with nothing observed; all their
  modalities count. Where types have maps of their own, and at least ``smallest_type`` stays (or all) are of such patterns, they are one
  type ``other``; if fewer, the modalities that their type lacks count as unobserved. A stay with nothing observed has a learned h.
  ``relabelled``: how many training stays are of such patterns.
- Outer products of at most 3 modalities, through rank r; fewer where there would be more than 64 subsets S.
- Several outcomes with masked binary cross-entropy. AdamW, lr 3e-4, weight decay 5e-4, batches of 32, at most 200 epochs, patience 20;
  k 10, F 64, F' 32, r 8, F1 64, one layer, 4 heads, dropout .3 (.1 on alpha), Glorot initialisation as in graph attention networks.

Measured on development draws (embedded-mimic, and embedded-eicu with some 120 patterns; seeds 1000 and 1001; 850 training, 150 validation
and 3,000 test stays, batches of 64, one fit each). AUC less that of the plain network (``zero_fill``): -.030 to +.022 on six pairs of
draw and landmark, +.002 on average; ``own_maps`` -.098 to -.046 on six. Without v_i it was .617 and .663 where it is .681 and .680 with it
(icu_24h, seed 1000, lr 1e-3). The rate was chosen there: on four pairs 1e-3 has an AUC of .693 and 3e-4 .686 (the plain network .693), but
a Brier score of .094 for .092 and a log loss of 1.04 of the base rate's for .98 (plain .94). h is a ReLU's, so all of it is positive and a
step moves all logits together: with 1e-3 the mean risk went from .11 to .38 and to .08 in three epochs, at a prevalence of .19. With 3e-4
the log loss is still above the base rate's on two of the six pairs, both of mortality with fewer than 80 events in training.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from math import comb
from typing import ClassVar, Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch_geometric.utils import softmax

from datasets.cohort import Cohort
from methods.base import prefix, unprefix
from methods.common.layers import Dropout, GroupedLinear, ModalityEncoders, keep_observed
from methods.common.training import Batch, Output, TorchMethod, TrainingConfig
from methods.hgmf.by_type import map_by_type
from methods.hgmf.graph import HypernodeGraph

INFO = {
    "title": "HGMF (re-implementation from description)",
    "citation": "J. Chen, A. Zhang, HGMF: Heterogeneous Graph-based Fusion for Multimodal Data with Incompleteness, KDD 2020",
    "year": 2020,
    "family": "graph of patients",
    "based_on": "the abstract and recalled equations; inductive; no code of the authors exists, all sizes are ours",
    "uses_series": False,
    "class": "Hgmf",
}
SLOPE = 0.2
MOST_SUBSETS, MOST_PAIRED = 64, 8
OWN_MAPS = {"own_maps": True, "add_own": False, "smallest_type": 20, "lr": 1e-3}
"""The variant of the older form."""


@dataclass(frozen=True)
class Config(TrainingConfig):
    """Defaults are ours, training (``schedule=own``) included; those of the paper are not known."""

    lr: float = 3e-4
    weight_decay: float = 5e-4
    batch_size: int = 32
    max_epochs: int = 200
    patience: int = 20
    encoder: str = "lite"
    """Within a modality: ``lite`` or ``gram``."""
    k: int = 10
    order: int = 3
    hidden: int = 64
    """F."""
    subset_width: int = 32
    """F'."""
    rank: int = 8
    width: int = 64
    """F1."""
    layers: int = 1
    heads: int = 4
    dropout: float = 0.3
    attention_dropout: float = 0.1
    smallest_type: int = 100
    """Training stays that make a pattern a type."""
    own_maps: bool = False
    """W_q>p = C_p A_q: a map for each type of source, not one for all."""
    pairwise: bool = False
    """W_q>p: a map for each pair of types."""
    add_own: bool = True
    """v_i is added to the output of a layer."""

    @property
    def shared(self) -> bool:
        """Whether all types share one map A."""
        return not (self.own_maps or self.pairwise)

    def __post_init__(self) -> None:
        self.one_of(encoder=("lite", "gram"))
        for name in ("k", "order", "layers", "heads", "smallest_type"):
            if getattr(self, name) < 1:
                raise ValueError(f"hgmf: {name} is {getattr(self, name)}; it must be at least 1")


class IntraHypernode(nn.Module):
    """h_i [B, #S F'], the interactions of up to ``order`` modalities side by side, zeros for subsets that are not observed."""

    def __init__(self, widths: tuple[int, ...], config: Config) -> None:
        super().__init__()
        c, m = config, len(widths)
        sizes = [n for n in range(1, min(c.order, m) + 1) if sum(comb(m, i + 1) for i in range(n)) <= MOST_SUBSETS]
        self.gram = c.encoder == "gram"
        self.encoders = ModalityEncoders(widths, c.hidden, c.dropout)
        self.reduce = GroupedLinear(m, c.hidden, c.rank)
        self.maps, self.subsets = nn.ModuleList(), []
        for n in sizes or [1]:
            subsets = list(combinations(range(m), n))
            d = c.rank**n if n > 1 else c.hidden**2 if self.gram else c.hidden
            self.maps.append(GroupedLinear(len(subsets), d, c.subset_width))
            self.subsets.append(subsets)
        self.width = sum(map(len, self.subsets)) * c.subset_width

    def forward(self, x: tuple[Tensor, ...], observed: Tensor) -> Tensor:
        """Return [B, #S F'] of x_m [B, d_m] and observed [B, M]."""
        h = self.encoders(x, observed)
        low = self.reduce(h)
        parts = []
        for subsets, to_width in zip(self.subsets, self.maps, strict=True):
            first, *others = (list(members) for members in zip(*subsets, strict=True))
            product = low[:, first] if others else h
            for members in others or [first] * self.gram:
                with_ = low[:, members] if others else h
                product = (product.unsqueeze(-1) * with_.unsqueeze(-2)).flatten(2)
            there = observed[:, list(subsets)].all(dim=2)
            parts.append(keep_observed(torch.relu(to_width(product)), there).flatten(1))
        return torch.cat(parts, dim=1)


class BilevelAttention(nn.Module):
    """One layer: alpha over the neighbours of one type, beta over types. B centres, K neighbours each, P types, H heads."""

    def __init__(self, d: int, types: int, config: Config, last: bool) -> None:
        super().__init__()
        c, f = config, config.width
        self.types, self.heads, self.last, self.add_own = types, c.heads, last, c.add_own
        self.dropout = Dropout(c.attention_dropout)
        self.messages = types if c.pairwise and types - 1 <= MOST_PAIRED else 1
        self.source = nn.Parameter(draw_glorot(1 if c.shared else types, d, self.messages, c.heads, f, ends=(d, f)))
        if c.shared:
            self.target = nn.Parameter(torch.eye(f).repeat(types, c.heads, 1, 1))
        elif self.messages == 1:
            self.target = nn.Parameter(draw_glorot(types, c.heads, f, f, ends=(f, f)))
        self.a_centre = nn.Parameter(draw_glorot(types, types, c.heads, f, ends=(2 * f, 1)))
        self.a_neighbour = nn.Parameter(draw_glorot(types, types, c.heads, f, ends=(2 * f, 1)))
        self.b_centre = nn.Parameter(draw_glorot(types, c.heads, f, ends=(2 * f, 1)))
        self.b_type = nn.Parameter(draw_glorot(types, c.heads, f, ends=(2 * f, 1)))

    def send(self, h: Tensor, types: Tensor) -> Tensor:
        """Return what stays of these types [B] send: A h_j or A_q h_j [B, 1, H, F1], or W_q>p h_j for every p [B, P, H, F1]."""
        weight = self.source.flatten(2)
        sent = h @ weight[0] if len(weight) == 1 else map_by_type(h, weight, types)
        return sent.unflatten(1, self.source.shape[2:])

    def forward(
        self, own: Tensor, types: Tensor, received: Tensor, senders: Tensor, present: Tensor
    ) -> tuple[Tensor, ...]:
        """Return h' [B, width], alpha [B, K + 1, H] (the stay itself last; those from senders of one type sum to 1) and beta [B, P, H].

        ``own`` and ``received`` [B, (K,) H, F1]: what the stays sent to type p(i); ``types`` [B], ``senders`` and ``present`` [B, K].
        """
        u = torch.cat([received, own.unsqueeze(1)], dim=1)
        sender = torch.cat([senders, types.unsqueeze(1)], dim=1)
        there = torch.cat([present, torch.ones_like(present[:, :1])], dim=1)
        member = F.one_hot(sender, self.types).to(u.dtype) * there.unsqueeze(2)
        v, a = own, self.a_neighbour
        if self.messages == 1:  # a^T C_p u, instead of C_p applied to every neighbour
            c = self.target.index_select(0, types)
            v, a = torch.einsum("bhf,bhfg->bhg", own, c), torch.einsum("pqhg,phfg->pqhf", a, self.target)
        pair = types.unsqueeze(1) * self.types + sender
        a = F.embedding(pair, a.flatten(0, 1).flatten(1)).view_as(u)
        centre = torch.einsum("bhf,bqhf->bqh", v, self.a_centre.index_select(0, types))
        score = centre.take_along_dim(sender.unsqueeze(2), dim=1) + (a * u).sum(dim=3)
        alpha = softmax_by_type(F.leaky_relu(score, SLOPE), sender, there, self.types)
        pooled = (member.transpose(1, 2) @ (self.dropout(alpha).unsqueeze(3) * u).flatten(2)).unflatten(2, u.shape[2:])
        s = F.elu(torch.einsum("bqhf,bhfg->bqhg", pooled, c) if self.messages == 1 else pooled)
        score = torch.einsum("bqhf,bhf->bqh", s, self.b_type.index_select(0, types))
        score = score + (v * self.b_centre.index_select(0, types)).sum(dim=2).unsqueeze(1)
        beta = masked_softmax(F.leaky_relu(score, SLOPE), member.any(dim=1).unsqueeze(2))
        h = torch.einsum("bqh,bqhf->bhf", beta, s)
        if self.add_own:
            h = h + v
        return h.mean(dim=1) if self.last else h.flatten(1), alpha, beta


def softmax_by_type(score: Tensor, types: Tensor, there: Tensor, count: int) -> Tensor:
    """Return softmax of scores [B, K, H] over those k of one of ``count`` types [B, K] that are ``there`` [B, K]; exactly 0 elsewhere.

    By torch_geometric, alone and in a stack. Pooling (``member`` in the layer) is a product of matrices and not its ``scatter``: that takes
    .98 of the time alone and 1.2 in a stack of six.
    """
    stay = torch.arange(len(types), device=types.device).unsqueeze(1)
    group = stay * (count + 1) + torch.where(there, types, count)  # those that are not there are a group of their own
    alpha = softmax(score.flatten(0, 1), group.flatten(), num_nodes=len(types) * (count + 1)).view_as(score)
    return torch.where(there.unsqueeze(2), alpha, alpha.new_zeros(()))


def masked_softmax(score: Tensor, there: Tensor) -> Tensor:
    """Return softmax over dimension 1 of the scores that are there, exactly 0 elsewhere and where none is."""
    weight = score.masked_fill(~there, torch.finfo(score.dtype).min).softmax(dim=1)
    return torch.where(there, weight, weight.new_zeros(()))


def draw_glorot(*shape: int, ends: tuple[int, int]) -> Tensor:
    """Draw initial weights uniformly, as Glorot and Bengio 2010, for maps from ``ends[0]`` to ``ends[1]``."""
    return torch.empty(shape).uniform_(-1, 1) * (6 / sum(ends)) ** 0.5


class HgmfModule(nn.Module):
    """The network of the module's docstring, with what each training stay sends in layer l in the buffer ``table_l``."""

    def __init__(self, widths: tuple[int, ...], tasks: int, graph: HypernodeGraph, config: Config) -> None:
        super().__init__()
        c, types = config, graph.count
        self.intra = IntraHypernode(widths, c)
        self.empty = nn.Parameter(torch.rand(self.intra.width))
        sizes = [self.intra.width] + [c.heads * c.width] * (c.layers - 1)
        self.layers = nn.ModuleList(BilevelAttention(d, types, c, l + 1 == c.layers) for l, d in enumerate(sizes))
        self.head = nn.Sequential(Dropout(c.dropout), nn.Linear(c.width, tasks))
        self.register_buffer("train_types", torch.from_numpy(graph.types))
        for l, layer in enumerate(self.layers):
            self.register_buffer(f"table_{l}", torch.zeros(len(graph.types), layer.messages, c.heads, c.width))

    def forward(self, batch: Batch) -> Output:
        """Return logits [B, T]; no loss of its own."""
        return Output(self.head(self.represent(batch)), {})

    def represent(self, batch: Batch) -> Tensor:
        """Return h [B, F1] after the last layer."""
        h = self.start(batch)
        for l in range(len(self.layers)):
            h = self.layer(l, h, batch)
        return h

    def start(self, batch: Batch) -> Tensor:
        """Return h [B, #S F'] before the first layer."""
        seen = batch.extra["seen"]
        h = self.intra(batch.x, seen)
        return torch.where(seen.any(dim=1, keepdim=True), h, self.empty.to(h.dtype))

    def layer(self, l: int, h: Tensor, batch: Batch) -> Tensor:
        """Apply layer l to h [B, d]; in training, what the stays of the batch send is written to the table."""
        table, layer, types = self.get_buffer(f"table_{l}"), self.layers[l], batch.extra["types"]
        neighbours, present = batch.extra["neighbours"].clamp(min=0), batch.extra["neighbours"] >= 0
        sent = layer.send(h, types).to(table.dtype)
        to = types if layer.messages > 1 else torch.zeros_like(types)
        received = table[neighbours, to.unsqueeze(1)]
        if self.training:
            here = torch.arange(len(types), device=types.device)
            place = here.new_full((len(table),), -1).index_copy(0, batch.rows, here)[neighbours]
            newest = place.clamp(min=0) * layer.messages + to.unsqueeze(1)
            newest = F.embedding(newest, sent.flatten(0, 1).flatten(1)).view_as(received)
            received = torch.where((place >= 0)[:, :, None, None], newest, received)
            table[batch.rows] = sent.detach()
        own = sent.take_along_dim(to[:, None, None, None], dim=1).squeeze(1)
        return layer(own, types, received, self.train_types[neighbours], present)[0]

    @torch.no_grad()
    def refresh(self, batch: Batch) -> None:
        """Compute the tables again, layer by layer, from all training stays."""
        parts = batch.chunks()
        states = [self.start(part) for part in parts]
        for l, layer in enumerate(self.layers):
            sent = [layer.send(h, part.extra["types"]) for h, part in zip(states, parts, strict=True)]
            self.get_buffer(f"table_{l}").copy_(torch.cat(sent))
            if l + 1 < len(self.layers):
                states = [self.layer(l, h, part) for h, part in zip(states, parts, strict=True)]


class Hgmf(TorchMethod):
    """HGMF, inductive; see the module's docstring. After ``fit``: ``graph``, ``relabelled``."""

    Config = Config
    grid: ClassVar = {"lr": [1e-4, 3e-4, 1e-3], "k": [5, 10, 20], "order": [1, 2, 3]}
    variants: ClassVar = {
        "lite": {},
        "gram": {"encoder": "gram"},
        "own_maps": OWN_MAPS,
        "pairwise": {**OWN_MAPS, "pairwise": True},
    }
    titles: ClassVar = {
        "own_maps": "HGMF (re-implementation, a map for each type)",
        "pairwise": "HGMF (re-implementation, a map for each pair of types)",
    }
    _own: Cohort | None = None

    def build(self, widths: tuple[int, ...], tasks: tuple[str, ...]) -> nn.Module:
        """Build the untrained network, its tables empty."""
        return HgmfModule(widths, len(tasks), self.graph, self.config)

    def prepare(self, train: Cohort, valid: Cohort) -> None:
        """Find the types and neighbours of the training stays."""
        inputs = self.preprocessor.transform(train)
        self.graph = HypernodeGraph.of(inputs, self.config.smallest_type, self.config.shared)
        exact = (inputs.observed[:, None] == self.graph.patterns).all(axis=2).any(axis=1)
        self.relabelled = int((~exact).sum())
        self._own, self._edges = train, self.graph.attach(inputs, self.config.k, self.device, themselves=True)

    def extra_inputs(self, cohort: Cohort) -> dict[str, np.ndarray]:
        """Return ``types``, ``seen``, ``neighbours``; a training stay seen again after ``fit`` is a new stay."""
        if cohort is self._own:
            return self._edges
        return self.graph.attach(self.preprocessor.transform(cohort), self.config.k, self.device)

    def release(self) -> None:
        """Forget the training stays: seen again after ``fit``, they are new ones."""
        self._own = self._edges = None

    def state(self) -> dict[str, np.ndarray]:
        """Return the fitted method as plain arrays, the graph included."""
        own = {**prefix("graph", self.graph.state()), "relabelled": np.array(self.relabelled)}
        return {**super().state(), **own}

    def fit_report(self) -> dict[str, float]:
        """Return how many types there are, and the share of training stays whose pattern is none."""
        return {
            "types of stays": float(self.graph.count),
            "training stays of a pattern that is no type": self.relabelled / max(len(self.graph.types), 1),
        }

    def load_state(self, state: dict[str, np.ndarray]) -> Self:
        """Restore the method from its ``state`` and return it, ready to predict."""
        self.graph, self.relabelled = HypernodeGraph.from_state(unprefix("graph", state)), int(state["relabelled"])
        return super().load_state(state)

    def remember(self, train: Batch) -> None:
        """Compute the tables of the training stays again."""
        self.module.refresh(train)
