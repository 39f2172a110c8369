"""GRAPE: stays and features as the two sides of a bipartite graph, values as its edges.

You*, Ma*, Ding*, Kochenderfer, Leskovec, "Handling Missing Data with Graph Representation Learning", NeurIPS 2020, arXiv 2010.16418.

Equations (observation node i, feature node j, an edge in both directions for each observed D_ij; [a; b] side by side, n_col features):

    h_i^0 = all ones (of length n_col),   h_j^0 = one-hot(j),   e_ij^0 = D_ij
    n_v^l  = MEAN over u in N(v; E_known) of ReLU(P_l [h_u^(l-1); e_uv^(l-1)] + b)
    h_v^l  = ReLU(Q_l [n_v^l; h_v^(l-1)] + b) / its Euclidean length
    e_uv^l = ReLU(W_l [h_u^l; h_v^l; e_uv^(l-1)] + b),   for u -> v and v -> u apart, with the same weights
    h_v    = MLP_post(h_v^L),   Lin ReLU [dropout] Lin
    D^_ij  = MLP_imp([h_i; h_j]);   y_i = MLP_pred((D^_i1, ..., D^_i,n_col)): the imputed row, observed entries too
    L      = L_sup + lambda_imp MSE(D^, D) over all training edges, the dropped ones too

E_known: every edge is kept with probability ``known``, drawn again at each step and shared by its two directions; a dropped edge is
gone, value and all. Evaluation uses all edges.

Two graphs. ``modality`` (default): feature nodes are the modalities, e_im^0 = phi_m(x_im) of the suite's encoder, D^_im in R^d_m.
``feature``: feature nodes are scalar columns scaled to [0, 1] by their training range: the recorded columns of a modality, an unrecorded
one having no edge; of a modality with more than ``raw_columns`` columns, its first ``components`` principal components. MLP_imp there has
one output. The paper has only this graph; that of modalities, with vectors on its edges, follows MUSE.

Inductive: after each epoch the graph of all training stays is run once in evaluation and h_j^1 .. h_j^L of every feature node are
stored with the weights (``states``). A later stay reads them; its edges change its own node and their own states, no feature node.

Two forms: ``propagate`` works on dense [stays, columns] arrays with masks, P [h; e] as P_h h + P_e e so that P_h h is computed once a
node; ``propagate_edges`` is the paper's own, a list of directed edges and sums by index. They agree, with each other and with layers of
torch_geometric's ``SAGEConv`` (tests). Training takes the dense one, which can be stacked: forwards and backwards for 256 stays it needs
about the time of ``SAGEConv`` with 4 modalities (6.5 and 6.8 ms), .84 of it with 10, .4 in the ``feature`` graph of 100 columns.

Looked up: every equation, the initial nodes, edge dropout (and that it removes edges) and the row that the label head reads, in
egsage.py, gnn_model.py, prediction_model.py, gnn_y.py, gnn_mdi.py, train_y.py, uci_data.py and utils.py of github.com/maxiaoba/GRAPE.
The paper's text was not read beyond its abstract and first page.

Adaptations:

- The ``modality`` graph: see above. MLP_imp's first layer is shared, its last is each modality's own (their widths differ), and its
  targets are the standardised inputs x_im, a mean over columns, not phi_m(x_im), which training could shrink.
- Several outcomes, masked cross-entropy, weights 1/T, instead of one regression target.
- MLP_imp has one hidden layer of 64 (the released imputation runs; the label runs have none): with a linear one D^_ij is a(h_i) + b(h_j)
  in the ``feature`` graph, one number a stay, so that all outcomes would rank the stays alike.
- The released programs train either the imputation or the label, never both: lambda_imp = 0 is theirs (default); ``joint`` adds the first.
- Sizes: L = 2 and ``known`` .7, as the label runs; D = 64 is the imputation runs', the label runs' 16 serves the ``feature`` variant.
- Inductive and in batches, where theirs has all rows, test rows too, in one graph: in a training step the feature nodes take their mean
  over the batch, a noisy estimate of that over the training stays. Ranges and components are fitted on training stays, later values
  clipped to [0, 1]; theirs are scaled over all rows.
- h_i^0 is all ones times n_col^-1/2, of the length of a one-hot vector, and the weights start as He's with the inputs that are not zero
  as their number, biases at zero. With torch's own, a stay's values move the logits by 1e-5 at first (mean of many edges, nine layers),
  and the ``feature`` graph has learned nothing of 132 columns when early stopping ends it; the released runs have 20,000 epochs.
- W_L, whose edges nothing reads, does not exist. Series are not read.
- Of the released training ``schedule=own`` runs Adam's rate of 1e-3 without weight decay; batches of 256 instead of all rows, at most 200
  epochs with early stopping (patience 30) instead of 20,000 without, constant rate as there.
- Joining later stays to the graph as they are predicted (transductive) is not offered: predictions would depend on each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from datasets.cohort import Cohort
from methods.base import prefix, unprefix
from methods.common.layers import Dropout, ModalityEncoders, apply_affine, keep_observed, mean_observed, mlp
from methods.common.training import Batch, Output, TorchMethod, TrainingConfig
from methods.grape.columns import Columns

INFO = {
    "title": "GRAPE (modality graph)",
    "citation": "Handling Missing Data with Graph Representation Learning (NeurIPS 2020; arXiv 2010.16418)",
    "year": 2020,
    "family": "graph",
    "based_on": "the equations of its released code, none of which is used; nodes are modalities, inductive",
    "class": "Grape",
}


@dataclass(frozen=True)
class Config(TrainingConfig):
    """Defaults: the released label runs, or the choices listed in the module's docstring."""

    lr: float = 1e-3
    weight_decay: float = 0.0
    batch_size: int = 256
    max_epochs: int = 200
    graph: str = "modality"
    """Feature nodes: ``modality`` or ``feature``."""
    hidden: int = 64
    """D, of nodes and of edges."""
    layers: int = 2
    known: float = 0.7
    """Share of the edges kept in a training step."""
    norm: bool = True
    dropout: float = 0.0
    impute_hiddens: int = 64
    lambda_imp: float = 0.0
    components: int = 32
    raw_columns: int = 64

    def __post_init__(self) -> None:
        self.one_of(graph=("modality", "feature"))
        if not 0 < self.known <= 1:
            raise ValueError(f"grape: known={self.known} must be above 0 and at most 1")
        if self.layers < 1:
            raise ValueError(f"grape: layers={self.layers} must be at least 1")


class Layer(nn.Module):
    """P_l, Q_l and W_l (none in the last layer)."""

    def __init__(self, node: int, edge: int, hidden: int, last: bool, norm: bool) -> None:
        super().__init__()
        self.norm = norm
        self.message = nn.Linear(node + edge, hidden)
        self.node = nn.Linear(hidden + node, hidden)
        self.edge = None if last else nn.Linear(2 * hidden + edge, hidden)

    def update(self, n: Tensor, h: Tensor) -> Tensor:
        """Update the nodes: h_v^l [V, D] of n_v^l [V, D] and h_v^(l-1) [V, .]."""
        h = F.relu(apply_affine(self.node, n, h))
        return F.normalize(h.float(), dim=-1) if self.norm else h


def propagate(
    layers: Sequence[Layer], parts: list[tuple[Tensor, Tensor]], fixed: Tensor | None = None
) -> tuple[list[Tensor], list[Tensor]]:
    """Return h_i^L [B, D] of each part's stays, and h_j^1 .. h_j^L [C, D] of the feature nodes; dense form.

    A part is e^0 [B, C, d] with ``seen`` bool [B, C], its edges; together the parts are one graph. With ``fixed`` [L, C, D] the feature
    nodes have these states instead of being computed.
    """
    e, seen = parts[0]
    features = torch.eye(seen.shape[1], dtype=e.dtype, device=e.device)
    stays = [e.new_full(s.shape, s.shape[1] ** -0.5) for _, s in parts]
    inward = outward = [e for e, _ in parts]
    masks = [s for _, s in parts]
    count = sum(s.sum(dim=0) for s in masks).clamp(min=1).unsqueeze(1)
    states = []
    for l, layer in enumerate(layers):
        read = [
            mean_observed(F.relu(apply_affine(layer.message, features, e)), s)
            for e, s in zip(inward, masks, strict=True)
        ]
        if fixed is None:
            sent = zip(stays, outward, masks, strict=True)
            total = sum(
                keep_observed(F.relu(apply_affine(layer.message, h[:, None], e)), s).sum(dim=0) for h, e, s in sent
            )
            features = layer.update(total / count, features)
        else:
            features = fixed[l]
        states.append(features)
        stays = [layer.update(n, h) for n, h in zip(read, stays, strict=True)]
        if layer.edge is not None:
            inward = [
                F.relu(apply_affine(layer.edge, features, h[:, None], e)) for h, e in zip(stays, inward, strict=True)
            ]
            if fixed is None:
                outward = [
                    F.relu(apply_affine(layer.edge, h[:, None], features, e))
                    for h, e in zip(stays, outward, strict=True)
                ]
    return stays, states


def propagate_edges(
    layers: Sequence[Layer], e: Tensor, seen: Tensor, fixed: Tensor | None = None
) -> tuple[Tensor, list[Tensor]]:
    """Return the result of ``propagate`` for one part, computed over a list of directed edges; edges exist where ``seen``."""
    b, c = seen.shape
    i, j = seen.nonzero(as_tuple=True)
    source, target = torch.cat([i, b + j]), torch.cat([b + j, i])
    attribute = torch.cat([e[i, j], e[i, j]])
    x = torch.cat([e.new_full((b, c), c**-0.5), torch.eye(c, dtype=e.dtype, device=e.device)])
    degree = e.new_zeros(b + c).index_add(0, target, e.new_ones(len(target))).clamp(min=1)
    states = []
    for l, layer in enumerate(layers):
        message = F.relu(layer.message(torch.cat([x[source], attribute], dim=1)))
        n = message.new_zeros(b + c, message.shape[1]).index_add(0, target, message) / degree.unsqueeze(1)
        x = F.relu(layer.node(torch.cat([n, x], dim=1)))
        x = F.normalize(x, dim=1) if layer.norm else x
        x = x if fixed is None else torch.cat([x[:b], fixed[l]])
        states.append(x[b:])
        if layer.edge is not None:
            attribute = F.relu(layer.edge(torch.cat([x[source], x[target], attribute], dim=1)))
    return x[:b], states


class GrapeModule(nn.Module):
    """The network; ``columns``: scalar columns of the ``feature`` graph, not used for that of modalities."""

    def __init__(self, widths: tuple[int, ...], tasks: int, config: Config, columns: int = 0) -> None:
        super().__init__()
        c, d, scalar = config, config.hidden, config.graph == "feature"
        nodes = columns if scalar else len(widths)
        sizes = [1] * nodes if scalar else list(widths)
        self.config, self.scalar = c, scalar
        self.encoders = None if scalar else ModalityEncoders(widths, d, c.dropout)
        ins = [(nodes, 1 if scalar else d)] + [(d, d)] * (c.layers - 1)
        self.layers = nn.ModuleList(
            Layer(node, edge, d, last=l == c.layers - 1, norm=c.norm) for l, (node, edge) in enumerate(ins)
        )
        self.post = mlp((d, d, d), c.dropout)
        self.pair = nn.Linear(2 * d, c.impute_hiddens)
        self.pair_dropout = Dropout(c.dropout)
        self.impute = nn.ModuleList(nn.Linear(c.impute_hiddens, k) for k in ([1] if scalar else sizes))
        self.predict = nn.Linear(sum(sizes), tasks)
        self.start(1 + ins[0][1], d + 1)
        self.register_buffer("states", torch.zeros(c.layers, nodes, d))
        self.register_buffer("owner", torch.repeat_interleave(torch.tensor(sizes)), persistent=False)
        self.register_buffer("share", (1 / torch.tensor(sizes))[self.owner], persistent=False)

    def forward(self, batch: Batch) -> Output:
        """Return logits [B, T]; in training, with lambda_imp > 0, also the weighted loss ``imp``."""
        c = self.config
        e, seen = self.edges(batch)
        known = seen & (torch.rand(seen.shape, device=seen.device) < c.known) if self.training else seen
        (h,), states = propagate(self.layers, [(e, known)], None if self.training else self.states)
        row = self.impute_row(h, states[-1])
        losses = {}
        if self.training and c.lambda_imp > 0:
            losses["imp"] = c.lambda_imp * self.imputation_loss(row, batch, seen)
        return Output(self.predict(row), losses)

    def represent(self, batch: Batch) -> Tensor:
        """Return h_i^L [B, D], in evaluation mode."""
        return propagate(self.layers, [self.edges(batch)], self.states)[0][0]

    def start(self, message_inputs: int, node_inputs: int) -> None:
        """Draw He's initial weights but for the encoders; a one-hot node counts as one input of the first layer."""
        for name, linear in self.named_modules():
            if isinstance(linear, nn.Linear) and not name.startswith("encoders"):
                inputs = {"layers.0.message": message_inputs, "layers.0.node": node_inputs}.get(
                    name, linear.in_features
                )
                nn.init.normal_(linear.weight, std=(2 / inputs) ** 0.5)
                nn.init.zeros_(linear.bias)

    def edges(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return e^0 [B, C, d] and which edges exist, bool [B, C]."""
        if not self.scalar:
            return self.encoders(batch.x, batch.observed), batch.observed
        seen = batch.extra["edges"]
        return keep_observed(batch.extra["values"].unsqueeze(-1), seen), seen

    def impute_row(self, h: Tensor, features: Tensor) -> Tensor:
        """Impute (D^_i1, ..., D^_iC) [B, sum of sizes] from h_i^L [B, D] and h_j^L [C, D]."""
        both = apply_affine(self.pair, self.post(h).unsqueeze(1), self.post(features))
        both = self.pair_dropout(F.relu(both))
        if self.scalar:
            return self.impute[0](both).squeeze(-1)
        return torch.cat([out(v) for out, v in zip(self.impute, both.unbind(dim=1), strict=True)], dim=1)

    def imputation_loss(self, row: Tensor, batch: Batch, seen: Tensor) -> Tensor:
        """Return mean over the edges that exist [B, C], dropped or not, of the squared error (mean over the edge's columns), a scalar."""
        target = batch.extra["values"] if self.scalar else torch.cat(batch.x, dim=1)
        wrong = torch.where(seen[:, self.owner], row.float() - target, target.new_zeros(()))
        return (wrong.square() * self.share).sum() / seen.sum().clamp(min=1)

    def remember(self, parts: list[tuple[Tensor, Tensor]]) -> None:
        """Store the states of the feature nodes in the graph of these parts."""
        self.states.copy_(torch.stack(propagate(self.layers, parts)[1]))


class Grape(TorchMethod):
    """GRAPE; see the module's docstring."""

    Config = Config
    grid: ClassVar = {
        "lr": [1e-3, 3e-4],
        "hidden": [32, 64, 128],
        "layers": [2, 3],
        "known": [0.5, 0.7, 1.0],
        "lambda_imp": [0.0, 0.1, 1.0],
    }
    variants: ClassVar = {
        "feature": {"graph": "feature", "hidden": 16},
        "joint": {"lambda_imp": 0.1},
        "all_edges": {"known": 1.0},
    }
    columns: Columns | None = None

    def prepare(self, train: Cohort, valid: Cohort) -> None:
        """Fit the columns of the ``feature`` graph."""
        if self.config.graph == "feature":
            self.columns = Columns().fit(train, self.preprocessor, self.config.raw_columns, self.config.components)

    def extra_inputs(self, cohort: Cohort) -> dict[str, np.ndarray]:
        """Return ``values`` and ``edges`` of the ``feature`` graph."""
        return {} if self.columns is None else self.columns.transform(cohort, self.preprocessor)

    def build(self, widths: tuple[int, ...], tasks: tuple[str, ...]) -> nn.Module:
        """Build the untrained network."""
        return GrapeModule(widths, len(tasks), self.config, 0 if self.columns is None else self.columns.count)

    def state(self) -> dict[str, np.ndarray]:
        """Return the fitted method as plain arrays, with the columns."""
        return {**super().state(), **prefix("columns", {} if self.columns is None else self.columns.state())}

    def load_state(self, state: dict[str, np.ndarray]) -> Self:
        """Restore the method, with its columns."""
        columns = unprefix("columns", state)
        self.columns = Columns().load_state(columns) if columns else None
        return super().load_state(state)

    def remember(self, train: Batch) -> None:
        """Store the states of the feature nodes in the graph of all training stays."""
        self.module.remember([self.module.edges(part) for part in train.chunks()])
