"""FLEXGEN-EHR's alignment: partial entropic Gromov-Wasserstein plans between latent spaces, and the fill of a missing latent by them.

Every modality m has anchors z_k^m (K_m training stays that have it, K in all spaces after padding), their geodesic distances C^m along a
graph of k nearest neighbours (its components joined by the shortest edges, divided by the largest), and a plan T^m [K, K] from them to
those of the hub h; the hub's own plan is diagonal. For two spaces with C1, C2, p_i = 1 / K_1, q_j = 1 / K_2 and a share ``mass`` of stays
that have a counterpart, from T = p q^T:

    G_ij   = sum_kl T_kl (C1_ik - C2_jl)^2 D_ij,      D_ij = 1 - 0.5 (share of the tasks defined for both in which i and j agree)
    G^+    = [[G, 0], [0, 100 max G]],   p^+ = [p, 1 - mass] / (2 - mass),   q^+ likewise: one virtual anchor takes what is not shared
    T     <- (2 - mass) times the real block of  argmin_{T in U(p^+, q^+)} <T, G^+> - eps max(G) H(T)      (Sinkhorn, log domain)

Fill of modality b from an observed a, i being any stay, an anchor or not:

    C_ik   = min over the k anchors l nearest to z_i of |z_i - z_l| + C^a_lk        (divided by the same scale)
    T^ab   = T^a (T^b)^T with its hub anchors divided by their share of T^b         (T^a or (T^b)^T itself where b or a is the hub)
    c_ij   = sum_kl T^ab_kl (C_ik - C^b_jl)^2 / sum_kl T^ab_kl,   w_i = softmax(-c_i / eps_out),   zhat_i^ab = sum_j w_ij z_j^b
    zhat_i^b = mean over the observed a of zhat_i^ab;     the mean of the training latents where nothing is observed
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.sparse.csgraph import connected_components, dijkstra, minimum_spanning_tree
from scipy.spatial.distance import cdist
from sklearn.neighbors import kneighbors_graph
from torch import Tensor, nn

CORNER = 100.0
"""Cost of matching the virtual anchors with each other, in units of the largest cost."""
ENOUGH = 1e-9
"""Change of a plan below which it is no longer improved."""


class Transport(nn.Module):
    """Anchors, distances and plans of M modalities with latents of size L, at most K anchors each; double precision throughout."""

    def __init__(self, modalities: int, anchors: int, latent: int, neighbours: int, eps_out: float) -> None:
        super().__init__()
        m, k = modalities, anchors
        self.neighbours, self.eps_out = neighbours, eps_out
        for name, size in {
            "z": (m, k, latent),
            "c": (m, k, k),
            "plan": (m, k, k),
            "mean": (m, latent),
            "scale": (m,),
        }.items():
            self.register_buffer(name, torch.zeros(*size, dtype=torch.float64))
        self.register_buffer("real", torch.zeros(m, k, dtype=torch.bool))
        self.register_buffer("hub", torch.zeros((), dtype=torch.int64))

    def fit(
        self,
        z: Tensor,
        observed: np.ndarray,
        rows: list[np.ndarray],
        outcomes: np.ndarray,
        mass: float,
        eps: float,
        steps: int,
    ) -> None:
        """Fit all buffers to latents [N, M, L] and outcomes [N, T] of training stays, ``rows`` of which are each modality's anchors."""
        self.fit_means(z, observed)
        self.hub.fill_(int(observed.mean(axis=0).argmax()))
        for m, chosen in enumerate(rows):
            k, points = len(chosen), z[torch.as_tensor(chosen, device=z.device), m].double()
            self.real[m, :k] = True
            self.z[m, :k] = points
            if k:
                c, scale = compute_geodesics(points.cpu().numpy(), self.neighbours)
                self.c[m, :k, :k], self.scale[m] = torch.as_tensor(c), scale
        hub, p = int(self.hub), self.real / self.real.sum(dim=1, keepdim=True).clamp(min=1).double()
        # the hub is matched with itself, so that the fill needs no special case for it
        self.plan[hub] = torch.diag(p[hub])
        pairs = [m for m in self._find_seen() if m != hub]
        if pairs:
            discount = torch.ones(len(pairs), *self.c.shape[1:], dtype=torch.float64)
            for i, m in enumerate(pairs):
                discount[i, : len(rows[m]), : len(rows[hub])] = torch.as_tensor(
                    compute_disagreement(outcomes[rows[m]], outcomes[rows[hub]])
                )
            to_hub = (self.c[pairs], self.c[hub].expand(len(pairs), -1, -1), p[pairs], p[hub].expand(len(pairs), -1))
            self.plan[pairs] = partial_gw(*to_hub, mass, eps, steps, discount.to(z.device))

    def fit_means(self, z: Tensor, observed: np.ndarray) -> None:
        """Fit ``mean`` alone: over all training stays with the modality, not the anchors alone."""
        has = torch.as_tensor(observed, device=z.device).unsqueeze(2)
        self.mean.copy_(torch.where(has, z.double(), 0.0).sum(dim=0) / has.sum(dim=0).clamp(min=1))

    def fill_by_means(self, z: Tensor, observed: Tensor) -> Tensor:
        """Fill the latents of unobserved modalities in z [B, M, L] by the training means, in double precision."""
        return torch.where(observed.unsqueeze(2), z.double(), self.mean)

    def fill(self, z: Tensor, observed: Tensor) -> Tensor:
        """Fill the latents of unobserved modalities in z [B, M, L]; in double precision, since weights are steep."""
        z, seen = z.double(), self._find_seen()
        sent = {a: self.distances(z[:, a], a) @ self.plan[a] for a in seen}
        count, columns = observed.sum(dim=1, keepdim=True), []
        for b in range(z.shape[1]):
            made = torch.zeros_like(z[:, b])
            for a in (a for a in seen if b in seen and a != b):
                made = made + torch.where(observed[:, a, None], self.weights(sent[a], a, b) @ self.z[b], 0.0)
            made = torch.where(count > 0, made / count.clamp(min=1), self.mean[b])
            columns.append(torch.where(observed[:, b, None], z[:, b], made))
        return torch.stack(columns, dim=1)

    def distances(self, z: Tensor, m: int) -> Tensor:
        """Return geodesic distances [B, K] of latents [B, L] to the anchors of modality m, in units of the largest among these."""
        # by differences: by a product of matrices an anchor would not be at distance 0 of itself, and rows would depend on their batch
        direct = torch.cdist(z, self.z[m], compute_mode="donot_use_mm_for_euclid_dist") / self.scale[m]
        direct = torch.where(self.real[m], direct, torch.inf)
        near, which = direct.topk(min(self.neighbours, direct.shape[1]), dim=1, largest=False)
        return (near.unsqueeze(2) + self.c[m][which]).amin(dim=1)

    def weights(self, sent: Tensor, a: int, b: int) -> Tensor:
        """Return w [B, K] over the anchors of b of stays whose distances times T^a are ``sent`` [B, K]."""
        # T^ab = T^a back is never formed. c_ij of the docstring is a square expanded: the term in C_ik alone is the same for every j and
        # drops out of the softmax, the term in C^b alone needs the column sums of T^ab (``share``), the mixed one C T^ab C^b
        back = self.plan[b].T / self.plan[b].sum(dim=0).clamp(min=1e-300)[:, None]
        share = self.plan[a].sum(dim=0) @ back
        cost = (self.c[b].square() @ share - 2.0 * sent @ (back @ self.c[b])) / share.sum().clamp(min=1e-12)
        return torch.where(self.real[b], -cost / self.eps_out, -torch.inf).softmax(dim=1)

    def _find_seen(self) -> list[int]:
        return self.real.any(dim=1).nonzero()[:, 0].tolist()


def compute_geodesics(z: np.ndarray, neighbours: int) -> tuple[np.ndarray, float]:
    """Return distances [K, K] along the graph of nearest neighbours of points [K, L], divided by the largest; and the largest."""
    if len(z) == 1:
        return np.zeros((1, 1)), 1.0
    graph = kneighbors_graph(z, min(neighbours, len(z) - 1), mode="distance")
    graph.data = np.maximum(graph.data, 1e-12)  # an edge of length 0 is an edge
    parts, _ = connected_components(graph, directed=False)
    if parts > 1:  # a spanning tree that prefers the graph's own edges adds the shortest ones between its parts
        direct = cdist(z, z) + 1.0
        direct[graph.nonzero()] = 0.5
        tree = minimum_spanning_tree(direct).tocoo()
        new = tree.data >= 1.0
        graph = graph.maximum(graph.T).tolil()
        graph[tree.row[new], tree.col[new]] = np.maximum(tree.data[new] - 1.0, 1e-12)
    c = dijkstra(graph, directed=False)
    largest = float(c.max())
    return c / largest, largest


def compute_disagreement(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return D [K1, K2] of outcomes [K1, T] and [K2, T]: 1 - 0.5 (share of agreeing tasks); 1 where no task is defined for both."""
    known = (~np.isnan(first)).astype(float) @ (~np.isnan(second)).T.astype(float)
    agree = sum((first == v).astype(float) @ (second == v).T.astype(float) for v in (0, 1))
    return 1.0 - 0.5 * agree / np.maximum(known, 1.0)


def linear_cost(c1: Tensor, c2: Tensor, plan: Tensor) -> Tensor:
    """Return sum_kl T_kl (C1_ik - C2_jl)^2 [P, K1, K2] of P pairs of spaces: half the gradient of what the plans cost."""
    # (x - y)^2 = x^2 + y^2 - 2 x y: products of K x K matrices, where the sum over k and l would take K^4
    rows, columns = plan.sum(dim=2), plan.sum(dim=1)
    squares = (c1.square() @ rows.unsqueeze(2)) + (c2.square() @ columns.unsqueeze(2)).mT
    return squares - 2.0 * c1 @ plan @ c2


def partial_gw(
    c1: Tensor,
    c2: Tensor,
    p: Tensor,
    q: Tensor,
    mass: float,
    eps: float,
    steps: int,
    discount: Tensor | None = None,
    start: Tensor | None = None,
    rounds: int = 10,
) -> Tensor:
    """Return plans T [P, K1, K2] of mass ``mass``, row sums at most p and column sums at most q, of P pairs of spaces at once.

    c1 [P, K1, K1], c2 [P, K2, K2], p [P, K1] and q [P, K2] with sums 1, zero for padding; ``discount`` D [P, K1, K2]. ``steps`` at
    most, each with ``rounds`` Sinkhorn iterations that begin where the last step ended.
    """
    plan = p.unsqueeze(2) * q.unsqueeze(1) if start is None else start
    # A partial problem becomes a balanced one by a virtual anchor on either side, of weight 1 - mass: what is not transported goes
    # to it at no cost. Both margins then sum to 2 - mass, and are divided by it, since Sinkhorn balances probabilities
    a, b = (torch.cat([v, v.new_full((len(v), 1), 1.0 - mass)], dim=1) / (2.0 - mass) for v in (p, q))
    real = (p > 0).unsqueeze(2) & (q > 0).unsqueeze(1)
    f, g = torch.zeros_like(a), torch.zeros_like(b)
    for step in range(steps):
        # what the plan costs is quadratic in it: a step linearises the cost at the plan and solves the entropic problem of that cost
        cost = torch.where(real, linear_cost(c1, c2, plan) * (1.0 if discount is None else discount), 0.0).clamp(min=0)
        # eps is relative to the largest cost: costs of pairs of spaces differ in scale, and shrink as plans improve
        cost = cost / (eps * cost.amax(dim=(1, 2), keepdim=True).clamp(min=1e-300))
        cost = nn.functional.pad(cost, (0, 1, 0, 1))
        # else the virtual anchors would match each other, and the others would have to transport more than ``mass``
        cost[:, -1, -1] = CORNER / eps
        f, g = sinkhorn(cost, a, b, f, g, rounds)  # from the last potentials: costs change little from step to step
        block = (f.unsqueeze(2) + g.unsqueeze(1) - cost).exp()[:, :-1, :-1]
        # a few iterations miss the margins a little: the plan is rounded to them and to its mass
        new = round_to_margins((2.0 - mass) * block, p, q, mass)
        # the norm waits for the device: it is looked at every tenth step
        change, plan = (new - plan).norm(dim=(1, 2)).amax() if step % 10 == 0 else torch.inf, new
        if change < ENOUGH:
            break
    return plan


def sinkhorn(cost: Tensor, a: Tensor, b: Tensor, f: Tensor, g: Tensor, rounds: int) -> tuple[Tensor, Tensor]:
    """Iterate the potentials f [P, n], g [P, m] ``rounds`` times; the plan is exp(f_i + g_j - cost_ij), its column sums b.

    ``cost`` [P, n, m] is in units of the regularisation. Where a or b is 0 the potential is -inf.
    """
    # in logarithms, since exp(-cost) underflows at small eps; the columns come last, hence their sums are b
    for _ in range(rounds):
        f = a.log() - (g.unsqueeze(1) - cost).logsumexp(dim=2)
        g = b.log() - (f.unsqueeze(2) - cost).logsumexp(dim=1)
    return f, g


def round_to_margins(plan: Tensor, p: Tensor, q: Tensor, mass: float) -> Tensor:
    """Round the plan [P, K1, K2] to row sums of at most p, column sums of at most q and mass ``mass``, as Altschuler et al. 2017 do."""
    # scale down the rows and then the columns that hold too much, then the whole; what is missing of the mass is given out in
    # proportion to what rows and columns have left, which no margin can then exceed
    plan = plan * (p / plan.sum(dim=2).clamp(min=1e-300)).clamp(max=1).unsqueeze(2)
    plan = plan * (q / plan.sum(dim=1).clamp(min=1e-300)).clamp(max=1).unsqueeze(1)
    found = plan.sum(dim=(1, 2), keepdim=True)
    left_p, left_q = (p - plan.sum(dim=2)).clamp(min=0), (q - plan.sum(dim=1)).clamp(min=0)  # each of sum 1 - found
    lack = (mass - found).clamp(min=0) / (1 - found).square().clamp(min=1e-300)
    return plan * (mass / found).clamp(max=1) + lack * left_p.unsqueeze(2) * left_q.unsqueeze(1)
