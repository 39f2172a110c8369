"""M3Care: what a stay lacks is imputed in latent space from similar stays, by two graph convolutions and a Transformer over modalities.

C. Zhang, X. Chu, L. Ma, Y. Zhu, Y. Wang, J. Wang, J. Zhao, "M3Care: Learning with Missing Modalities in Multimodal Healthcare Data",
KDD 2022, 2418-2428, arXiv 2210.17292. Its code, choczhang/M3Care 3036c42 (notebooks ODIR and OV), has no licence: read for facts only.

Equations (stays i, j of one graph of n; modality m in 1..M; delta_im observed or not; sigma the logistic function; d = ``hidden``):

    h_im    = delta_im relu(W_m x_im + b_m);    u_m = BN(relu(phi_m(h_m))),  z_m = BN(h_m),   phi_m: Linear-ReLU-Linear-ReLU-Linear
    k(a)_ij = (1/3) sum over b in {s/2, s, 2s} of exp(-D_ij / b),   D_ij = |a_i - a_j|^2,  s = stopgrad of the mean of D (1 if < 1e-3)
    G_m     = ((1 - eps_m) k(u_m) + eps_m) k(z_m),   eps_m = sigma(e_m)            ``kernel = odir``, elementwise; e_m = 2 at first
    G_m     = (1 - eps_m) k(u_m) + eps_m k(z_m),     u_m = BN(phi_m(h_m))         ``kernel = ov``; e_m = -.3 at first
    S_ij    = sum_m G_mij delta_im delta_jm / sum_m delta_im delta_jm              0 where i and j have no modality in common
    S^_ij   = S_ij where S_ij > L, else 0,  L = sigma(l)                           as relu(S - L) + 1[S > L] stopgrad(L): l is learned
    g_im    = relu(sum_j A_mij g1_jm V_m + c_m),   g1_im = relu(sum_j A_mij h_jm U_m + b_m),   A_mij = S^_ij delta_jm / sum_k S^_ik delta_km
    a_im    = sigma(w_m . g_im) / (sigma(w_m . g_im) + sigma(w'_m . h_im))
    h*_im   = a_im g_im + (1 - a_im) h_im  where delta_im = 1,  else g_im
    t_i     = (h*_im + E_m for m);   twice: t = relu(Layer(Linear(t) + PE)),  Layer a Transformer's, 4 heads and then 1, d_ff = 4d
    y_i     = Linear(drop(relu(Linear([t_i1; ..; t_iM]))))
    L       = L_sup + lam sum_m | ||phi_m(H_m)||_F - ||H_m||_F |                   H_m the h_im observed in the batch

Adaptations:

- The graph of a step has ``graph`` = 512 stays, ODIR's batch, whatever the batch size (all training stays where they are fewer, and only
  those that have been in a batch in the first steps). The released graph is the batch. Here a memory (``methods/common/memory.py``)
  completes the batch with the latest other training stays: their h, phi and g1 as they were when they were last in a batch, without
  gradient; BN and s are of the whole graph. A batch of all 512 is the released graph; a larger one is cut into graphs of 512.
- Inference through a bank. The released test loop builds its graph among the test stays of a batch: a prediction depends on the other
  stays there, and one stay alone is NaN. Here ``graph`` training stays (all where they are fewer), drawn once by the seed without their
  outcomes, are kept with their h, u, z, g1 and bandwidths s (evaluation mode, weights of the epoch chosen); each later stay joins alone,
  with edges from the bank and to itself, and gives none. Validation scores take the same way. A training stay asked for again is a later
  stay. At the threshold rounding would make or break an edge, so the graph is in double precision there. ``transductive`` is the released
  inference, in the order given, ``graph`` at a time: A ROW'S PREDICTION THEN DEPENDS ON ITS BATCH, and the check ``other_rows`` must fail.
- ``row_mask = False``: anybody takes from neighbours that have m. The code takes S^_ij delta_im delta_jm: a stay without m then takes
  from nobody, and g_im = relu(c_m) is one constant for all of them, so nothing is imputed from neighbours; ``row_mask`` does that.
- Sums over neighbours are divided by the sum of their weights (``row_norm``, the default), so that g does not grow with their number.
  In the code they are not (``row_norm=False``, variant ``row_sum``); with ODIR's l = 2 nearly nobody has a neighbour.
- Any modality may be missing, each is one token and each is refined; in the code those always there (static, images) are not. Encoders are
  linear in place of ResNet-18 and text Transformers; each modality has its own phi_m (the code's two eyes share one).
- BN, s, and the norms of the loss are over observed rows, and s over pairs of them. BN is one for each modality and branch, with running
  statistics from graphs with two or more; the code has a single BN object for all of them, whose statistics are then meaningless.
  In a graph with fewer than two stays that have m, s = 1, as it is in the bank. A stay with nothing observed has no edge, not even to
  itself, so all such stays have one answer.
- Transformer layers normalise before each part. The code computes that LayerNorm and does not use it; ``ln = False`` does the same.
  All M tokens attend to each other; in the code text tokens too, which have a PE within their text.
- l = 0 at first (OV; 2 in ODIR). ReLU everywhere (``act=selu``: OV). OV's second copy of the static encoding before the head is left out.
  d_ff and heads as in the code; linear layers and convolutions U(+-1/sqrt fan-in), E N(0, .02).
- Masked multi-label cross-entropy, weights 1/T; AdamW, where the code has Adam with L2; the epoch is chosen by the suite's rule (ODIR:
  micro AUC on the validation part). Batch, rate, weight decay, clipping, 100 epochs without early stopping are ODIR's, as schedule
  ``own`` has them.

``as_released_odir`` and ``as_released_ov`` have what the two notebooks have in all that is offered here: undivided sums, both masks, no
LayerNorm and, for ODIR, l = 2; for OV its kernel, SELU, d = 256, lam, weight decay, batches and graphs of 32. They differ from the
notebooks in the other adaptations above, inference through the bank first of all.

Measured on development draws (embedded-mimic, seeds 1000 and 1001, icu_24h; 765 training stays, 3,000 others; batches of 64, five times
the published rates, 20 epochs at most, patience 8, one seed of the network; mean AUC of the tasks there): .662 and .665 as by default,
.659 and .664 when graph and bank were the batch and sums undivided, .551 and .559 with undivided sums in a graph of 512 (``row_sum``),
where g has dozens of times the length of h and by default .3 to .4 of it; ``as_released_odir`` .670 and .669 with not one neighbour for
any validation stay; the plain network .667 and .664. On embedded-eicu, seed 1000: .627 by default, .532 before, .678
``as_released_odir``, .687 the plain network. So the graph costs more than it gives on these draws: ``row_norm`` was not chosen for its
AUC but so that the neighbours that the paper is about are read, at the size of h. 13 to 16 % (eICU: 7 %) of the validation stays had no
neighbour in the bank. ``fit_report`` has these numbers for each fit.

Looked up in the code itself (both notebooks): kernels and bandwidths, what BN and phi are applied to, masks of the graph convolutions,
threshold, adaptive weights, norm gap, the unused LayerNorm, initial values, Transformer layers, test loop of ODIR. lam, lr, weight decay
and clipping are the design card's reading of it. Of the paper only the abstract could be read, so "anybody takes from neighbours that have
m" rests on its words (what is missing is imputed from "each patient's similar neighbors"), and the forms of G_m are those of the code.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from datasets.cohort import Cohort
from methods.common.layers import Dropout, GroupedLinear, ModalityEncoders, keep_observed
from methods.common.memory import Memory
from methods.common.training import Batch, Output, TorchMethod, TrainingConfig
from methods.m3care.similarity import ACTIVATIONS, FIRST_E, Similarity, mean_distance

INFO = {
    "title": "M3Care (bank inference)",
    "citation": "M3Care: Learning with Missing Modalities in Multimodal Healthcare Data (KDD 2022; arXiv 2210.17292)",
    "year": 2022,
    "family": "graph of patients",
    "based_on": "facts of the released notebooks, which have no licence (none used); graph masked as the paper's abstract has it",
    "uses_series": False,
    "class": "M3Care",
}
INNER_DROPOUT = 0.1
"""Of attention weights and inside the feed-forward part."""


@dataclass(frozen=True)
class Config(TrainingConfig):
    """Defaults: the ODIR notebook, and the choices listed in the module's docstring."""

    lr: float = 1e-4
    weight_decay: float = 1e-4
    batch_size: int = 512
    patience: int = 100
    grad_clip: float = 20.0
    hidden: int = 128
    """d."""
    dropout: float = 0.5
    lam: float = 1e-7
    l_init: float = 0.0
    """l before training: edges need a similarity above sigma(l)."""
    kernel: str = "odir"
    """``odir`` or ``ov``."""
    act: str = "relu"
    """``relu`` (ODIR) or ``selu`` (OV)."""
    graph: int = 512
    """Stays of a graph in training, and of the bank; fewer where there are fewer training stays."""
    row_mask: bool = False
    row_norm: bool = True
    ln: bool = True
    transductive: bool = False

    def __post_init__(self) -> None:
        self.one_of(kernel=tuple(FIRST_E), act=tuple(ACTIVATIONS))
        if self.graph < 1:
            raise ValueError(f"m3care: graph is {self.graph}; it must be at least 1")
        if self.hidden < 4 or self.hidden % 4:
            raise ValueError(f"m3care: hidden is {self.hidden}; it must be a multiple of 4, the number of heads")


class Stays(NamedTuple):
    """What a graph knows of B stays: ``h`` and ``g1`` [B, M, d], zeros where unobserved, ``points`` [2M, B, d] (u_1 .. u_M, z_1 .. z_M),
    ``scale`` [2M] (s of each), ``observed`` bool [B, M].
    """

    h: Tensor
    g1: Tensor
    points: Tensor
    scale: Tensor
    observed: Tensor


class Recalled(NamedTuple):
    """Further stays of a training graph, K of them, as they were in an earlier step: ``h``, ``u`` before BN and ``g1`` [K, M, d], zeros in
    ``g1`` where unobserved; ``observed`` bool [K, M].
    """

    h: Tensor
    u: Tensor
    g1: Tensor
    observed: Tensor


class Pass(NamedTuple):
    """``output``; ``stays``, the stays of the pass, and their ``u`` before BN [B, M, d]; ``g`` [B, M, d] and ``edges`` S^ [B, n], from the
    graph of the batch or from the bank; ``z`` [B, M d], what the head reads.
    """

    output: Output
    stays: Stays
    u: Tensor
    g: Tensor
    edges: Tensor
    z: Tensor


class InteractionLayer(nn.Module):
    """act(Layer(Linear(t) + PE)) of tokens t [B, M, d]."""

    def __init__(self, modalities: int, heads: int, config: Config) -> None:
        super().__init__()
        d, self.heads, self.act = config.hidden, heads, ACTIVATIONS[config.act]()
        self.embed, self.qkv, self.out = nn.Linear(d, d), nn.Linear(d, 3 * d), nn.Linear(d, d)
        self.norms = nn.ModuleList(nn.LayerNorm(d) if config.ln else nn.Identity() for _ in range(2))
        self.ffn = nn.Sequential(nn.Linear(d, 4 * d), nn.ReLU(), Dropout(INNER_DROPOUT), nn.Linear(4 * d, d))
        self.dropout, self.attention_dropout = Dropout(config.dropout), Dropout(INNER_DROPOUT)
        angle = torch.arange(modalities)[:, None] / 10000 ** (torch.arange(0, d, 2) / d)
        self.register_buffer("pe", torch.stack([angle.sin(), angle.cos()], dim=2).flatten(1), persistent=False)

    def forward(self, t: Tensor) -> Tensor:
        """Return the tokens [B, M, d] after the layer."""
        t = self.embed(t) + self.pe
        t = t + self.dropout(self.attend(self.norms[0](t)))
        return self.act(t + self.dropout(self.ffn(self.norms[1](t))))

    def attend(self, t: Tensor) -> Tensor:
        """Apply self-attention to the tokens [B, M, d]."""
        q, k, v = self.qkv(t).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        weight = self.attention_dropout((q @ k.transpose(2, 3) * q.shape[3] ** -0.5).softmax(dim=3))
        return self.out((weight.to(v.dtype) @ v).transpose(1, 2).flatten(2))


class Network(nn.Module):
    """The equations of the module's docstring, in the graph of a batch or with edges from a bank."""

    def __init__(self, widths: tuple[int, ...], tasks: int, config: Config) -> None:
        super().__init__()
        c, m, d = config, len(widths), config.hidden
        self.config, self.act = c, ACTIVATIONS[c.act]()
        self.encoders = ModalityEncoders(
            widths, d, 0.0, lambda width, d, _: nn.Sequential(nn.Linear(width, d), ACTIVATIONS[c.act]())
        )
        self.similarity = Similarity(m, d, c.kernel, c.l_init, c.act)
        self.gcn = nn.ModuleList(GroupedLinear(m, d, d) for _ in range(2))
        self.w_g, self.w_h = GroupedLinear(m, d, 1), GroupedLinear(m, d, 1)
        self.types = nn.Parameter(0.02 * torch.randn(m, d))
        self.layers = nn.Sequential(*(InteractionLayer(m, heads, c) for heads in (4, 1)))
        head = [nn.Linear(m * d, 2 * d), ACTIVATIONS[c.act](), Dropout(c.dropout), nn.Linear(2 * d, tasks)]
        self.head = nn.Sequential(nn.Flatten(), *head)

    def forward(
        self, x: tuple[Tensor, ...], observed: Tensor, bank: Stays | None = None, recalled: Recalled | None = None
    ) -> Pass:
        """Run the equations on x_m [B, d_m] and observed [B, M], with edges among these stays and ``recalled`` ones or from a ``bank``."""
        h = self.encoders(x, observed)
        u, phi = self.similarity.deepen(h)
        all_h, seen, further = h, observed, None
        if recalled is not None:
            all_h, seen = torch.cat([h, recalled.h]), torch.cat([observed, recalled.observed])
            further = recalled.u, recalled.h, recalled.observed
        own, points = self.similarity.points(u, h, observed, further)
        scale = mean_distance(points, seen.repeat(1, 2)) if bank is None else bank.scale
        if bank is None:
            s = self.similarity(own, points, scale, observed, seen, begins=True)
            edges = self.similarity.edges(s)
            if s.shape[1] > self.config.graph:
                edges = edges.masked_fill(self.lies_apart(s), 0.0)
            g1 = self.convolve(0, edges, all_h, seen, observed)
            sent = keep_observed(g1, observed)
            g = self.convolve(1, edges, sent if recalled is None else torch.cat([sent, recalled.g1]), seen, observed)
        else:
            edges = self.similarity.edges(self.similarity(own, bank.points, scale, observed, bank.observed))
            g1 = self.convolve(0, edges, bank.h, bank.observed, observed, itself=h)
            sent = keep_observed(g1, observed)
            g = self.convolve(1, edges, bank.g1, bank.observed, observed, itself=sent)
        tokens = self.fuse(h.to(self.types.dtype), g.to(self.types.dtype), observed) + self.types
        z = self.layers(tokens).flatten(1)
        logits = self.head(z)
        losses = {"stabiliser": self.config.lam * norm_gap(phi, h, observed)} if self.training else {}
        return Pass(Output(logits, losses), Stays(h, sent, own, scale, observed), u, g, edges, z)

    def lies_apart(self, s: Tensor) -> Tensor:
        """Return where i and j [A, B] are of two graphs: those of a larger batch are of ``graph`` consecutive stays each."""
        part = torch.arange(s.shape[1], device=s.device) // self.config.graph
        return part[: s.shape[0], None] != part

    def convolve(
        self, layer: int, edges: Tensor, sent: Tensor, seen: Tensor, observed: Tensor, itself: Tensor | None = None
    ) -> Tensor:
        """Return act(sum_j A_mij x_jm W_m + b_m) [B, M, d]: ``edges`` S^ [B, n], ``sent`` x_j [n, M, d], zeros where not ``seen`` [n, M].

        ``itself`` [B, M, d]: what the stay sends itself besides, with S_ii = 1; else it is among those that send.
        """
        edges = edges.to(sent.dtype)
        total = (edges @ sent.flatten(1)).unflatten(1, sent.shape[1:])
        if itself is not None:
            total = total + itself
        if self.config.row_norm:
            weight = edges @ seen.to(edges.dtype)
            weight = weight if itself is None else weight + observed
            total = total / torch.where(weight > 0, weight, 1.0).unsqueeze(2)
        return self.act(self.gcn[layer](keep_observed(total, observed) if self.config.row_mask else total))

    def fuse(self, h: Tensor, g: Tensor, observed: Tensor) -> Tensor:
        """Fuse h [B, M, d] and g [B, M, d] to h* [B, M, d]."""
        a, c = torch.sigmoid(self.w_g(g)), torch.sigmoid(self.w_h(h))
        return torch.where(observed.unsqueeze(2), h + a / (a + c) * (g - h), g)


def norm_gap(phi: Tensor, h: Tensor, observed: Tensor) -> Tensor:
    """Return sum_m | ||phi_m||_F - ||h_m||_F | over observed rows, of [B, M, d] both."""
    norms = [torch.linalg.vector_norm(keep_observed(v.float(), observed), dim=(0, 2)) for v in (phi, h)]
    return (norms[0] - norms[1]).abs().sum()


class M3CareModule(nn.Module):
    """The network, the memory that completes a training graph, and the bank that later stays take their edges from, in double precision."""

    def __init__(self, widths: tuple[int, ...], tasks: int, config: Config) -> None:
        super().__init__()
        m, d, n, self.config = len(widths), config.hidden, config.graph, config
        self.net = Network(widths, tasks, config)
        self.memory = Memory(n, h=(m, d), u=(m, d), g1=(m, d), seen=(m,))
        shapes = {"h": (n, m, d), "g1": (n, m, d), "points": (2 * m, n, d), "scale": (2 * m,), "degree": ()}
        for name, shape in shapes.items():
            self.register_buffer(f"bank_{name}", torch.zeros(shape, dtype=torch.float64))
        self.register_buffer("bank_observed", torch.zeros(n, m, dtype=torch.bool))

    def forward(self, batch: Batch) -> Output:
        """Return logits; in training of the graph of the batch, with losses, else of each stay with the bank (or ``transductive``)."""
        if self.training:
            return self.train_on(batch)
        if not self.config.transductive:
            return self.run_exactly(batch, self.bank()).output
        n, size = len(batch.observed), self.config.graph
        parts = [self.run_exactly(batch.take(slice(i, i + size))).output.logits for i in range(0, max(n, 1), size)]
        return Output(torch.cat(parts), {})

    def train_on(self, batch: Batch) -> Output:
        """Return logits and losses in a graph of the batch and of the stays of the memory, and put the batch into it."""
        found = self.memory.recall(batch.rows)
        there, old = found
        seen = (old["seen"] > 0) & there.unsqueeze(1)
        made = self.net(batch.x, batch.observed, recalled=Recalled(old["h"], old["u"], old["g1"], seen))
        self.memory.keep(batch.rows, found, h=made.stays.h, u=made.u, g1=made.stays.g1, seen=batch.observed)
        return made.output

    def represent(self, batch: Batch) -> Tensor:
        """Return z [B, M d], with edges from the bank."""
        return self.run_exactly(batch, self.bank()).z

    def bank(self) -> Stays:
        """Return the stays that later ones take their edges from."""
        return Stays(*(self.get_buffer(f"bank_{name}") for name in Stays._fields))

    def run_exactly(self, batch: Batch, bank: Stays | None = None) -> Pass:
        """Run the network with its graph, encoders and convolutions included, in double precision."""
        graph = ("encoders", "similarity", "gcn")
        weights = {k: v.double() for k, v in self.net.state_dict().items() if k.startswith(graph)}
        return functional_call(self.net, weights, (tuple(v.double() for v in batch.x), batch.observed, bank))

    @torch.no_grad()
    def refresh(self, batch: Batch) -> None:
        """Compute the bank again from its stays, ``graph`` at most; ``bank_degree`` is the mean number of neighbours of one of them.

        Places that are left over are stays without any modality, which have no edges.
        """
        n, found = len(batch.observed), self.run_exactly(batch)
        for name, value in found.stays._asdict().items():
            buffer = self.get_buffer(f"bank_{name}")
            if name == "scale":
                buffer.copy_(value)
            else:
                buffer.zero_()
                (buffer[:, :n] if name == "points" else buffer[:n]).copy_(value)
        self.bank_degree.copy_(((found.edges > 0).sum() - batch.observed.any(dim=1).sum()) / n)

    def describe(self, batch: Batch) -> Tensor:
        """Return how each stay lies to the bank [B, 6]: whether anything is observed, its neighbours, how many modalities it lacks, for how
        many of them a neighbour has them, and, summed over those observed, the lengths of g and of h.
        """
        bank = self.bank()
        made = self.run_exactly(batch, bank)
        near, missing = (made.edges > 0).double(), ~batch.observed
        filled = missing & (near @ bank.observed.double() > 0)
        sizes = [keep_observed(v, batch.observed).norm(dim=2).sum(dim=1) for v in (made.g, made.stays.h)]
        counts = [batch.observed.any(dim=1), near.sum(dim=1), missing.sum(dim=1), filled.sum(dim=1)]
        return torch.stack([*(v.double() for v in counts), *sizes], dim=1)


class M3Care(TorchMethod):
    """M3Care; see the module's docstring."""

    Config = Config
    grid: ClassVar = {"lr": [1e-4, 3e-4, 1e-3], "hidden": [64, 128, 256], "dropout": [0.2, 0.5], "l_init": [0.0, 2.0]}
    variants: ClassVar = {
        "row_mask": {"row_mask": True},
        "row_norm": {},
        "row_sum": {"row_norm": False},
        "transductive": {"transductive": True},
        "ov_kernel": {"kernel": "ov"},
        "no_ln": {"ln": False},
        "as_released_odir": {"l_init": 2.0, "row_norm": False, "row_mask": True, "ln": False},
        "as_released_ov": {
            "kernel": "ov",
            "act": "selu",
            "hidden": 256,
            "graph": 32,
            "batch_size": 32,
            "lam": 1e-8,
            "weight_decay": 1e-5,
            "row_norm": False,
            "row_mask": True,
            "ln": False,
        },
    }
    titles: ClassVar = {
        "transductive": "M3Care (transductive: rows depend on their batch)",
        "as_released_odir": "M3Care (ODIR notebook; bank inference)",
        "as_released_ov": "M3Care (OV notebook; bank inference)",
    }
    held_out: Cohort | None = None
    found: ClassVar[dict[str, float]] = {}

    def build(self, widths: tuple[int, ...], tasks: tuple[str, ...]) -> nn.Module:
        """Build the untrained network, its bank empty."""
        return M3CareModule(widths, len(tasks), self.config)

    def prepare(self, train: Cohort, valid: Cohort) -> None:
        """Keep the validation part, whose neighbours in the bank are counted after training."""
        self.held_out = valid

    def represent(self, cohort: Cohort) -> np.ndarray | None:
        """Return z; None under ``transductive``, where it depends on the batch."""
        return None if self.config.transductive else super().represent(cohort)

    def remember(self, train: Batch) -> None:
        """Compute the bank again; with the best weights the loop keeps the bank made from them."""
        rows = np.random.default_rng(self.seed).permutation(len(train.observed))[: self.config.graph]
        self.module.refresh(train.take(torch.from_numpy(rows).to(train.observed.device)))

    def release(self) -> None:
        """Count the neighbours that stays of the validation part have in the bank, and let go of it."""
        held_out, self.held_out = self.held_out, None
        if self.history and held_out is not None and len(held_out):
            self.found = summarise_neighbours(self.evaluate(self.module.describe, self.tensors(held_out)))

    def fit_report(self) -> dict[str, float]:
        """Return what the validation stays, each joined to the bank alone, receive from it: see ``summarise_neighbours``."""
        return dict(self.found)


def summarise_neighbours(rows: np.ndarray) -> dict[str, float]:
    """Summarise ``M3CareModule.describe`` [N, 6] of later stays: their neighbours in the bank, and how large g is beside h.

    A stay counts if it has any modality. Without a missing modality the shares of those are left out.
    """
    some, near, missing, filled, g, h = rows[rows[:, 0] > 0].astype(np.float64).T
    found = {}
    if len(some):
        found["share of stays without a neighbour"] = float((near == 0).mean())
        found["neighbours of a stay"] = float(near.mean())
    if missing.sum():
        found["share of missing modalities that no neighbour has"] = float(1 - filled.sum() / missing.sum())
    if h.sum():
        found["size of the refinement over that of h"] = float(g.sum() / h.sum())
    return found
