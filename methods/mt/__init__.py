"""MT: a multimodal transformer trained on full and reduced views, with a searched depth of fusion; re-implemented from description.

Citation: M. Ma, J. Ren, L. Zhao, D. Testuggine, X. Peng, "Are Multimodal Transformers Robust to Missing Modality?", CVPR 2022,
18177-18186, arXiv 2204.05454.

Equations (stay i, modality m in 1..M, layer l in 0..L-1, D the hidden size, H heads, O_i the observed modalities; pre-LN blocks):

    tokens_im  = E_m(x_im) + type_m;   c_m: a class token of each modality;   c_F: a fused class token
    attention  = softmax(Q K^T / sqrt(D / H) + B_key + B_fuse(l)) V
    B_key      = 0 where the key's modality is available in the view, else -inf
    B_fuse(l)  = 0 within a modality, log g_l from one to another or from c_F to any; c_F is a key of itself alone
    pi         = softmax(alpha), alpha in R^(L+1);   g_l = sum_(s <= l) pi_s       (pi_s: fusion starts at layer s)
    y_i        = U [g_(L-1) c_F ; mean of c_m over the available m] + u,   c after the last layer and a layer norm
    L_total    = (1 / V) sum_v L_sup(f(x, mask_v), y)
    search:      min over alpha of L_total on D_s at theta*(alpha) = argmin of L_total on D_tr; then s* = argmax alpha

``policy`` is ``search``, or a fixed s: ``early`` 0, ``mid`` L // 2, ``late`` L (no cross attention; y is the mean of one part a modality).
The search is inside ``fit``: D_tr and D_s are 80 and 20 % of the training stays of the fold, validation and test play no part in it.
It is a method of its own (``PolicySearch``) run by the same training loop; theta then starts again, on all training stays.

What was read: the abstract and first page; no public code was found. Full, image only and text only as three views whose losses are
summed, then a policy search: a Korean blog review of 27 May 2022 and the review at liner.com, which also names masking and a
differentiable bilevel search that reduces the search space. A third party's version (class ``MTTransformer``, without policy search)
has one class token for each SUBSET of modalities, hides absent ones from that token alone, and averages the loss over all subsets.

Adaptations (the policy, the readout and every constant below are ours or recalled; none of them was read in the paper):

- alpha chooses the layer at which fusion starts, L + 1 choices instead of 2^L; drawn from pi in theta-steps; in alpha-steps by
  Gumbel-softmax (tau 1 to .1, geometric), hard sample, straight-through gradient, log(g + 1e-6). Elsewhere the zeros are exact (-inf).
- Class tokens by modality and a fused one; absent modalities are hidden from all tokens; head and lambda_v = 1 shared by all views.
- No pre-trained ViLT (12 layers, D 768): D 64, L 3, H 4, feed-forward 4 D, GELU, dropout .1 on the branches, from scratch; these sizes
  are what two cores can train, ``wide`` has D 128 and L 4.
- Tokens: a modality of 256 or more columns gives 4, any other 1, affine maps of the whole vector. One token a feature in modalities of
  at most 32 columns is ``feature_tokens=32`` (variant ``by_feature``), several times slower. Positions are the maps' biases. No series.
- Multi-label with masks. "Full" is all that is observed. Views: full, each observed modality alone and, if M > 2, R = 1 random proper
  subset (its size uniform, then its members); V = 1 + M + R, with M = 2 the three of the paper. A view is averaged over the stays in
  which it differs from the full one (two or more modalities observed, and the one alone among them); it weighs nothing in the others.
- In a single-modality view, each modality has a copy of c_F to itself. How all views are one pass: ``network.py``.
- Bilevel steps are first-order (DARTS, xi = 0): one theta-step on D_tr, one alpha-step on D_s (Adam 3e-3, betas .5, .999), at policies
  drawn apart. 20 epochs, alpha frozen for the first 3 (``search_epochs``, ``search_frozen``: the search's own, under any schedule).
- theta, under ``schedule=own`` (the paper's training was not read): AdamW 1e-4, decay .01, batch 128, at most 60 epochs, patience 30; 5 %
  warm-up then cosine (constant in the search), selection on the natural pattern of the validation part. Clipping at 1 and the base
  rate's log odds as in all torch methods. Nothing observed: c_F alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from datasets.cohort import Cohort
from methods.common.training import Batch, TorchMethod, supervised_loss
from methods.mt.network import Config, MtModule

INFO = {
    "title": "MT (re-implementation from description)",
    "citation": "Are Multimodal Transformers Robust to Missing Modality? (CVPR 2022, arXiv 2204.05454)",
    "year": 2022,
    "family": "transformer with masked attention",
    "based_on": "the abstract and third parties' descriptions; no code exists, and policy, readout and constants are ours",
    "uses_series": False,
    "class": "Mt",
}


class Mt(TorchMethod):
    """MT; see the module's docstring. ``module.start`` is s, ``module.trajectory`` pi after each epoch of the search."""

    Config = Config
    grid: ClassVar = {"lr": [1e-4, 3e-4], "hidden": [64, 128], "layers": [3, 4, 6], "random_views": [0, 1]}
    stage_lengths: ClassVar = ("search_epochs", "search_frozen")
    variants: ClassVar = {
        "search": {},
        "early": {"policy": "early"},
        "mid": {"policy": "mid"},
        "late": {"policy": "late"},
        "by_feature": {"feature_tokens": 32},
        "wide": {"hidden": 128, "layers": 4},
    }

    def build(self, widths: tuple[int, ...], tasks: tuple[str, ...]) -> nn.Module:
        """Build the untrained network."""
        return MtModule(widths, len(tasks), self.config)

    def task_weights(self, tasks: tuple[str, ...]) -> list[float]:
        """Return 1 / (T V): the full view's share of L_total."""
        return [1 / (len(tasks) * self.module.views)] * len(tasks)

    def stages(self, train: Cohort, valid: Cohort) -> Iterator[tuple[Cohort, Cohort]]:
        """Yield the parts of the one stage, once the policy is settled."""
        if self.config.policy == "search":
            self._search(train)
        yield train, valid

    def lr_factor(self, step: int, steps: int) -> float:
        """Return the factor of warm-up and cosine."""
        return warm_up_cosine(step, steps, self.config.warm_up)

    def _search(self, train: Cohort) -> None:
        """Settle ``module.start`` on the training stays alone; what is drawn here changes nothing that is drawn later."""
        c = self.config
        order = np.random.default_rng(self.seed).permutation(len(train))
        held = max(1, round(c.search_share * len(train)))
        whole = replace(c, max_epochs=c.search_epochs, patience=c.search_epochs + 1)
        search = PolicySearch(whole, self.seed, self.device)
        search.fit(train.take(np.sort(order[held:])), train.take(np.sort(order[:held])))
        self.module.settle(int(search.alpha.argmax()))
        for epoch, pi in enumerate(search.policies):
            self.module.trajectory[epoch] = pi


class PolicySearch(Mt):
    """The bilevel search: theta is fitted on ``train`` (D_tr) and alpha on ``valid`` (D_s), both parts of a fold's training stays.

    After ``fit``: ``alpha`` [L + 1], ``policies`` (pi [L + 1] after each epoch).
    """

    stages, lr_factor = TorchMethod.stages, TorchMethod.lr_factor

    def prepare(self, train: Cohort, valid: Cohort) -> None:
        """Set alpha to zero and choose the stays of its steps."""
        c = self.config
        self.alpha = torch.zeros(c.layers + 1, requires_grad=True)
        self.alpha_optimiser = torch.optim.Adam([self.alpha], lr=c.alpha_lr, betas=(0.5, 0.999))
        self.held, self.policies = self._batch(valid, outcomes=True), []
        self.draw = torch.Generator().manual_seed(self.seed)

    def on_epoch(self, entry: dict[str, float]) -> None:
        """Keep the policy."""
        self.policies.append(self.alpha.detach().softmax(dim=0))

    def _step(self, batch: Batch, weights: Tensor, *how: Any) -> dict[str, Tensor]:
        c, done = self.config, len(self.history)
        tau = c.tau_first * (c.tau_last / c.tau_first) ** (done / max(1, c.max_epochs - 1))
        self.module.settle(int(torch.multinomial(self.alpha.detach().softmax(dim=0), 1, generator=self.draw)))
        losses = super()._step(batch, weights, *how)
        if done >= c.search_frozen:
            rows = torch.randint(len(self.held.observed), (c.batch_size,), generator=self.draw)
            self.alpha_step(self.held.take(rows.to(self.device)), weights, tau, how[1])
        self.module.settle(int(self.alpha.argmax()))
        return losses

    def alpha_step(self, batch: Batch, weights: Tensor, tau: float, precision: Any) -> None:
        """Take one step of alpha down L_total of ``batch``; theta is neither moved nor given a gradient."""
        self.module.gates = sample_gates(self.alpha, tau).to(self.device)
        with precision():
            output = self.module(batch)
        logits = self.add_base_log_odds(output, batch)
        loss = supervised_loss(logits, batch.labels, batch.label_mask, weights, self.config.gamma)
        (self.alpha.grad,) = torch.autograd.grad(loss + sum(output.losses.values()), self.alpha)
        self.alpha_optimiser.step()
        self.module.gates = None


def sample_gates(alpha: Tensor, tau: float, hard: bool = True) -> Tensor:
    """Sample g_l = sum_(s <= l) pi_s [L] of one policy pi drawn from softmax(alpha) [L + 1], with the gradient of its relaxation.

    ``hard``: every g_l is 0 or 1; else pi is the Gumbel-softmax sample itself.
    """
    return F.gumbel_softmax(alpha, tau=tau, hard=hard).cumsum(dim=0)[:-1]


def warm_up_cosine(step: int, steps: int, share: float) -> float:
    """Return the factor of the learning rate: up to 1 in a share of the steps, then down a half cosine to 0."""
    first = max(1, round(share * steps))
    if step < first:
        return (step + 1) / first
    return 0.5 * (1 + np.cos(np.pi * min(1.0, (step - first) / max(1, steps - first))))
