"""SMIL: missing features rebuilt from K-means priors, noise that is learned, and a meta-learning loop of second order.

M. Ma, J. Ren, L. Zhao, S. Tulyakov, C. Wu, X. Peng, "SMIL: Multimodal learning with severely missing modality", AAAI 2021,
35(3):2302-2310, arXiv 2103.05677. Its code, mengmenm/SMIL 0d0e827, has no licence: read for facts, none used.

Equations (stay i, modality m in 1..M, delta_i the pattern, h_im = delta_im phi_m(x_im) in R^D, u_i = [h_i1; ..; h_iM; delta_i];
D^f the complete training stays (with all that training has), D^m the others; theta = {fc1, fc2}, psi = {phi_c, phi_r}; o is + or x;
eps ~ N(0, I)):

    Mem_m     = K centroids (K-means) of the h_im of D^f
    code:       w_im = softplus(phi_c,m(u_i)),   hhat_im = sum_k w_imk Mem_mk / sum_k w_imk
    paper:      sigma_im = softplus(phi_c,m(u_i)),   omega_im = 1 + sigma_im eps,   hhat_im = <omega_im, Mem_m> / K     (eq. 2)
    F_i       = [h_i1 or hhat_i1; ..; h_iM or hhat_iM],   F_i := F_i o softplus(r_1),   r_1 ~ N(mu_1(u_i), sigma_1)     (eq. 3)
    a_i       = relu(fc1 F_i),   a_i := a_i o softplus(r_2),   r_2 ~ N(mu_2(F_i), sigma_2),   y_i = fc2 [p] a_i     ([p] = dropout)
                sigma = 1 (code) or softplus of a second output (paper); r_1, r_2 only in stays with something missing
    L_mtr     = L_sup(y; theta) on a batch of D^m, eps drawn;     theta* = theta - eta grad_theta L_mtr(theta, psi)
    L_mte     = L_sup(y; theta*) on a batch of D^f with modalities taken away, eps = 0 (paper: drawn)
    align     = a (MSE(F_clean, F) + MSE(a_clean, a)) at theta*,   clean: the same stays with all they have, without r
    clean     = lambda L_sup(y_clean; theta*),   kl = beta mean_i KL(q(omega, r) || p),   p: N(1, 1) for omega, N(0, 1) for r
    code:       L = L_mtr + L_mte + align;      paper (eq. 6-7, Alg. 1): L = L_mte + kl;      clean is added to both, kl to either

Gradients of L reach theta and psi through theta* too (second order); psi itself is not adapted. Prediction: eps = 0, or the mean
probability of ``samples`` noisy passes; a complete stay goes through fc1 and fc2 alone. Paper and code differ in the weights, in
sigma, in the noise of L_mte and in the losses; ``form`` chooses all at once (default ``code``, whose equations the released runs use).
``stage_one`` leaves the meta stage out: encoders, fc1 and fc2 on zeros for what is missing.

Adaptations:

- Any of M modalities may be missing, in any pattern (paper: two, the first always there): one Mem_m and output of phi_c for each,
  u_i as input; on D^f modalities are taken away by patterns drawn from those of D^m (leave-one-out patterns where D^m is empty,
  whose place D^f then takes). A stay with nothing observed is answered from u_i = 0.
- Scarce complete stays: with fewer than max(200, 2 % of N) of them, or than half of all stays if that is less, D^f is as many of
  those with the most modalities observed (more, until each modality has K stays or all it has). What such a stay truly lacks is
  rebuilt in its clean pass too. A modality with fewer than K stays has fewer centroids, one never seen in training a feature of zero.
- Where missingness is informative, complete stays have another base rate than incomplete ones, and L_mte teaches it to incomplete
  patterns: predictions are then biased towards D^f, which Brier shows more than AUC. This is the method's, and left as it is.
- phi_m: the suite's shared encoder, D = 128. L_sup: masked multi-label cross-entropy, weights 1/T. The code takes encoders trained on
  one modality each (images on all stays), then trains the fusion on D^f; here encoders, fc1 and fc2 are trained together on all
  training stays, zeros for what is missing. ``pretrain = complete``: on D^f alone, unless complete stays are scarce.
- All encoders are frozen then, which keeps priors in step with features, and theta is fc1 and fc2. The code freezes none, but leaves
  the missing modality's encoder out of the inner step. Its second outputs of phi_r (sigma) are unused, and so not here.
- ``clean`` is ours: the code computes it and leaves it out, but it tests incomplete stays only. lambda = 0 is the code's.
- Dropout is .5 before fc2 in both stages; the code's first stage has .6. In its meta stage it is on too: run with MetaNN 0.2.5, the call
  that evaluates the network at given parameters, ``functional(params, True)``, puts it into training mode. Each pass draws its own; the
  ``align`` of a compares it before dropout (ours).
- Each stage has its length, which no schedule changes (``first_epochs``, ``meta_iterations``; ``max_epochs`` is not read): 60 epochs, as
  the code, and at most 2,000 steps. The meta stage's rate is ``meta_lr`` times that of the first; the code has 1e-3 in both and 8,000
  steps. Both were chosen on development draws of the embedded MIMIC-IV cohort (seeds 1000 and 1001 at discharge, 1002 at icu_24h; 1,000
  stays to train and stop, 3,000 others to test; batches of 64, patience 15, one fit each), mean AUC and log loss:

      plain network (zero_fill)              .701    .362        after the first stage (``stage_one``)   .722    .359
      meta stage, 1e-3, without dropout      .703    .451        meta stage, 1e-3                        .716    .413
      meta stage, 1e-4 (``meta_lr`` = .1)    .711    .379        meta stage, 3e-5                        .709    .379

  The best epoch of the meta stage, judged by log loss, was the 2nd, 1st and 2nd at 1e-3, the 2nd, 9th and 1st at 1e-4 (at most 81 steps);
  of 4,000 stays (seed 1003, 1e-4) the 7th, after 280 steps, and there AUC gains: .755 for .743 after the first stage and .742 of the
  plain network (log loss .377, .374, .372). Of 1,000 stays the stage costs: its log loss is above the plain network's in two of three
  draws, that of ``stage_one`` in none.
- K-means: n_init 10 (scikit-learn's default then), random state 0 (code). One version of the run script calls a PCA
  version that is not in the repository, a later one the K-means.
- In the paper's form the division by K (to a centroid's scale), softplus for sigma and one sample a step are ours. The noise of
  prediction is drawn once and shared by all stays, so that no row depends on another; 30 passes, after an option that the code
  reads and does not use. beta = 0 by default, under ``paper`` too. ``mul`` multiplies, as
  the code's MM-IMDb network does. Bernoulli noise, which others report, is in neither paper nor code.
- Optimiser, batches, early stopping and constant lr are the suite's in both stages; an epoch of the meta stage is a pass over D^m. The
  code: Adam, batches of 32 in the first stage (rate x 0.1 after 30 epochs) and of 64 in the meta stage (x 0.1 after 5000 steps), theta and
  psi under two optimisers on one loss, no early stopping, checkpoint chosen on TEST accuracy. Of this ``schedule=own`` runs the rate 1e-3,
  the decay 1e-4, batches of 64 and the 60 epochs; patience (30) is the suite's.
  eta falls by 10 every 1000 iterations, as in the code.

Looked up: all said of the code, in mengmenm/SMIL itself (train_missing_eval_missing.py, train_soundmnist.py, get_sound_mean_kmean.py,
run_experiment.sh; in models/: soundlenet5.py, newencoder.py, loss.py, reconstruct.py). Of the paper only the abstract and a third
party's excerpts could be read (omega ~ N(I, sigma), r ~ N(mu, sigma), the bound with its KL, inner step on D^m and outer on D^f agree
with the equations here); its equation numbers are the design card's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from sklearn.cluster import KMeans
from threadpoolctl import threadpool_limits
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from datasets.cohort import Cohort
from methods.common.layers import Dropout, ModalityEncoders, keep_observed
from methods.common.training import Batch, Output, TorchMethod, TrainingConfig, supervised_loss

INFO = {
    "title": "SMIL (adapted: any pattern, frozen encoders)",
    "citation": "SMIL: Multimodal learning with severely missing modality (AAAI 2021; arXiv 2103.05677)",
    "year": 2021,
    "family": "imputation of features",
    "based_on": "facts of the released code, which has no licence (none used), and the paper's equations",
    "uses_series": False,
    "class": "Smil",
}
ENOUGH, ENOUGH_SHARE = 200, 0.02
"""Complete training stays that make fallback needless: a number, and a share of all."""


@dataclass(frozen=True)
class Config(TrainingConfig):
    """Defaults: the released code's avMNIST script, or the choices listed in the module's docstring (lengths and rates: there)."""

    lr: float = 1e-3
    weight_decay: float = 1e-4
    batch_size: int = 64
    first_epochs: int = 60
    """Epochs of the first stage at most; ``max_epochs`` is not read, since each stage has a length of its own."""
    meta_iterations: int = 2000
    """Steps of the meta stage at most, in whole passes over D^m; 0 leaves it out."""
    meta_lr: float = 0.1
    """Learning rate of the meta stage, in units of ``lr``."""
    hidden: int = 128
    dropout: float = 0.2
    """Of the encoders."""
    width: int = 64
    fusion_dropout: float = 0.5
    """Of a before fc2, in both stages."""
    form: str = "code"
    """``code`` or ``paper``."""
    clusters: int = 10
    inner_lr: float = 1e-3
    inner_decay: int = 1000
    """Iterations after which the inner learning rate falls by a factor of 10."""
    inner_steps: int = 1
    first_order: bool = False
    align: float = 0.01
    """a, of the mean squared errors (alpha and beta in the code)."""
    lambda_clean: float = 1.0
    operation: str = "add"
    """``add`` or ``mul``."""
    reg_on_full: bool = False
    beta_kl: float = 0.0
    samples: int = 0
    """Noisy passes averaged at prediction; 0 is one pass with eps = 0."""
    pretrain: str = "all"
    """``all`` or ``complete``: training stays of the first stage."""

    def __post_init__(self) -> None:
        self.one_of(form=("code", "paper"), operation=("add", "mul"), pretrain=("all", "complete"))
        if self.clusters < 1 or self.inner_steps < 1:
            raise ValueError(f"smil: clusters={self.clusters} and inner_steps={self.inner_steps} must be at least 1")
        if self.first_epochs < 0 or self.meta_iterations < 0:
            raise ValueError(
                f"smil: first_epochs={self.first_epochs} and meta_iterations={self.meta_iterations} must be at least 0"
            )


class Noise(NamedTuple):
    """Standard normal draws: ``omega`` [., M, K], ``first`` [., M D], ``second`` [., W]."""

    omega: Tensor
    first: Tensor
    second: Tensor


class Pass(NamedTuple):
    """``logits`` [B, T], ``fused`` F [B, M D], ``hidden`` a [B, W], ``kl`` [B]."""

    logits: Tensor
    fused: Tensor
    hidden: Tensor
    kl: Tensor


class Core(nn.Module):
    """What follows the encoders: theta (fc1, fc2), psi (phi_c, phi_r), the priors."""

    def __init__(self, modalities: int, tasks: int, config: Config) -> None:
        super().__init__()
        c, m, d = config, modalities, config.hidden
        self.config = c
        self.fc1, self.fc2 = nn.Linear(m * d, c.width), nn.Linear(c.width, tasks)
        self.dropout = Dropout(c.fusion_dropout)
        outputs = 2 if c.form == "paper" else 1
        self.phi_c = nn.Linear(m * d + m, m * c.clusters)
        self.phi_r1 = nn.Linear(m * d + m, outputs * m * d)
        self.phi_r2 = nn.Linear(m * d, outputs * c.width)
        self.register_buffer("priors", torch.zeros(m, c.clusters, d))
        self.register_buffer("valid", torch.zeros(m, c.clusters, dtype=torch.bool))
        self.register_buffer("seen", torch.ones(m, dtype=torch.bool))
        for name, draws in self.draw(c.samples)._asdict().items():
            self.register_buffer(f"eps_{name}", draws)

    def draw(self, n: int) -> Noise:
        """Draw noise for n passes or stays."""
        sizes = (self.priors.shape[:2], (self.fc1.in_features,), (self.fc1.out_features,))
        return Noise(*(torch.randn(n, *size, dtype=self.priors.dtype, device=self.priors.device) for size in sizes))

    def theta(self) -> dict[str, Tensor]:
        """Return the parameters that the inner step adapts, by name."""
        return {k: p for k, p in self.named_parameters() if k.startswith(("fc1", "fc2"))}

    def encode_plain(self, h: Tensor) -> Tensor:
        """Return a [B, W] of h [B, M, D] as it is: the first stage."""
        return torch.relu(self.fc1(h.flatten(1)))

    def reconstruct(self, scores: Tensor, eps: Tensor | None) -> Tensor:
        """Reconstruct hhat [B, M, D] from softplus(phi_c(u)) [B, M, K]: weights (code) or standard deviations of weights (paper)."""
        paper = self.config.form == "paper"
        if paper:
            scores = torch.ones_like(scores) if eps is None else 1.0 + scores * eps
        w = torch.where(self.valid, scores, scores.new_zeros(()))
        total = self.valid.sum(dim=1, keepdim=True) if paper else w.sum(dim=2, keepdim=True)
        return torch.einsum("bmk,mkd->bmd", w / total.clamp(min=1e-12), self.priors)

    def forward(self, h: Tensor, observed: Tensor, noise: Noise | None = None, regularise: bool = True) -> Pass:
        """Evaluate the equations on features h [B, M, D] and observed [B, M]; eps = 0 without noise."""
        c, (omega, first, second) = self.config, noise or (None, None, None)
        h = keep_observed(h, observed)
        u = torch.cat([h.flatten(1), observed.to(h.dtype)], dim=1)
        scores = F.softplus(self.phi_c(u)).unflatten(1, self.valid.shape)
        fused = torch.where(observed.unsqueeze(-1), h, self.reconstruct(scores, omega)).flatten(1)
        on = (~(observed | ~self.seen).all(dim=1, keepdim=True) | c.reg_on_full) & regularise
        fused, kl_first = self._perturb(fused, self.phi_r1(u), first, on)
        hidden, kl_second = self._perturb(torch.relu(self.fc1(fused)), self.phi_r2(fused), second, on)
        kl = torch.where(on.squeeze(1), kl_first + kl_second, kl_first.new_zeros(()))
        if c.form == "paper":
            lacking = self.valid & ~observed.unsqueeze(-1)
            kl = kl + torch.where(lacking, gaussian_kl(0.0, scores), scores.new_zeros(())).sum(dim=(1, 2))
        return Pass(self.fc2(self.dropout(hidden)), fused, hidden, kl)

    def _perturb(self, x: Tensor, statistics: Tensor, eps: Tensor | None, on: Tensor) -> tuple[Tensor, Tensor]:
        """Return x o softplus(r) where ``on`` [B, 1], else x; and the divergence of r from N(0, I) [B]."""
        if self.config.form == "paper":
            mu, raw = statistics.chunk(2, dim=1)
            sigma = F.softplus(raw)
        else:
            mu, sigma = statistics, torch.ones_like(statistics)
        s = F.softplus(mu if eps is None else mu + sigma * eps)
        return torch.where(on, x + s if self.config.operation == "add" else x * s, x), gaussian_kl(mu, sigma).sum(dim=1)


class SmilModule(nn.Module):
    """Encoders and core. While ``pretraining`` (for good without a meta stage) missing features are zeros and nothing is rebuilt."""

    base_log_odds: Tensor
    """Log odds of the base rates [T], which the method adds to the logits; here for the mean of probabilities."""

    def __init__(self, widths: tuple[int, ...], tasks: tuple[str, ...], config: Config) -> None:
        super().__init__()
        self.register_buffer("base_log_odds", torch.zeros(()), persistent=False)
        self.pretraining = not config.meta_iterations
        self.encoders = ModalityEncoders(widths, config.hidden, config.dropout)
        self.core = Core(len(widths), len(tasks), config)

    def represent(self, batch: Batch) -> Tensor:
        """Return a [B, W] of the pass with eps = 0."""
        h = self.encoders(batch.x, batch.observed)
        return self.core.encode_plain(h) if self.pretraining else self.core(h, batch.observed).hidden

    def forward(self, batch: Batch) -> Output:
        """Return logits [B, T]; features come from ``extra["h"]`` where they are there already."""
        h = batch.extra["h"] if "h" in batch.extra else self.encoders(batch.x, batch.observed)
        core = self.core
        if self.pretraining:
            return Output(core.fc2(core.dropout(core.encode_plain(h))), {})
        if not len(core.eps_first):
            return Output(core(h, batch.observed).logits, {})
        draws = zip(*(e.split(1) for e in (core.eps_omega, core.eps_first, core.eps_second)), strict=True)
        logits = torch.stack([core(h, batch.observed, Noise(*eps)).logits + self.base_log_odds for eps in draws])
        odds = F.logsigmoid(logits).logsumexp(dim=0) - F.logsigmoid(-logits).logsumexp(dim=0)
        return Output(odds - self.base_log_odds, {})


class Smil(TorchMethod):
    """SMIL; see the module's docstring."""

    Config = Config
    grid: ClassVar = {
        "clusters": [5, 10, 20],
        "inner_lr": [1e-3, 1e-2],
        "align": [0.01, 0.1],
        "operation": ["add", "mul"],
    }
    variants: ClassVar = {
        "paper": {"form": "paper", "samples": 30},
        "first_order": {"first_order": True},
        "multiply": {"operation": "mul"},
        "code_losses": {"lambda_clean": 0.0},
        "pretrain_complete": {"pretrain": "complete"},
        "reg_on_full": {"reg_on_full": True},
        "stage_one": {"meta_iterations": 0},
    }
    _frozen, _first = False, None

    def build(self, widths: tuple[int, ...], tasks: tuple[str, ...]) -> nn.Module:
        """Build the untrained network."""
        return SmilModule(widths, tasks, self.config)

    def represent(self, cohort: Cohort) -> np.ndarray | None:
        """Return a; None where probabilities are means over noisy passes."""
        return None if self.config.samples else super().represent(cohort)

    def fit_report(self) -> dict[str, float]:
        """Return how many epochs (passes) each stage took, and which was its best; of no stage where nothing was trained."""
        scores = [e["valid"] for e in self.history]
        stages = {"first stage": scores[: self._first], "meta stage": scores[self._first :] if self._first else []}
        of = {f"epochs of the {k}": float(len(v)) for k, v in stages.items() if v}
        return of | {f"best epoch of the {k}": float(1 + np.argmax(v)) for k, v in stages.items() if v}

    def _batch(self, cohort: Cohort, outcomes: bool = False) -> Batch:
        """Return the stays as a batch; in the meta stage with features, computed once, instead of inputs: the encoders are frozen."""
        batch = super()._batch(cohort, outcomes)
        if not self._frozen:
            return batch
        h = self.evaluate(lambda b: self.module.encoders(b.x, b.observed), batch)
        return batch._replace(x=(), extra={"h": torch.from_numpy(h).to(self.device)})

    def stages(self, train: Cohort, valid: Cohort) -> Iterator[tuple[Cohort, Cohort]]:
        """Yield the parts of the first stage, then D^m for the meta stage."""
        c, net = self.config, self.module
        complete, scarce = choose_complete_stays(train.observed, c.clusters)
        rows, rest = np.flatnonzero(complete), np.flatnonzero(~complete)
        self._take_away = not len(rest)
        try:
            net.pretraining = True
            self.config, self._first = replace(c, max_epochs=c.first_epochs), None
            yield (train if scarce or c.pretrain == "all" else train.take(rows)), valid
            if not c.meta_iterations:
                return
            net.pretraining, self._first = False, len(self.history)
            incomplete = train.take(rows if self._take_away else rest)
            epochs = -(-c.meta_iterations // -(-len(incomplete) // c.batch_size))
            self.config = replace(c, lr=c.meta_lr * c.lr, max_epochs=epochs)
            self._begin_meta_stage(train, rows, rest)
            yield incomplete, valid
        finally:
            self.config = c

    def _begin_meta_stage(self, train: Cohort, rows: np.ndarray, rest: np.ndarray) -> None:
        """Freeze the encoders, fit the priors to D^f, ``rows`` of ``train``, and keep what its steps draw from."""
        c, net = self.config, self.module
        self._frozen, self._iteration = True, 0
        self._complete = self._batch(train.take(rows), outcomes=True)
        priors, there = fit_priors(self._complete.extra["h"].cpu().numpy(), train.observed[rows], c.clusters)
        net.core.priors.copy_(torch.from_numpy(priors))
        net.core.valid.copy_(torch.from_numpy(there))
        net.core.seen.copy_(torch.from_numpy(train.observed.any(axis=0)))
        patterns = ~np.eye(train.observed.shape[1], dtype=bool) if self._take_away else train.observed[rest]
        self._patterns = torch.from_numpy(np.ascontiguousarray(patterns)).to(self.device)

    def release(self) -> None:
        """Release D^f and its patterns, and read inputs again."""
        self._frozen, self._complete, self._patterns = False, None, None

    def _step(
        self,
        batch: Batch,
        weights: Tensor,
        optimiser: torch.optim.Optimizer,
        precision: Callable[[], torch.autocast],
        scaler: torch.amp.GradScaler | None,
    ) -> dict[str, Tensor]:
        """Take one step; in the meta stage always in single precision, since it differentiates twice."""
        if not self._frozen:
            return super()._step(batch, weights, optimiser, precision, scaler)
        c, core = self.config, self.module.core
        n = len(batch.observed)
        if self._take_away:
            batch = batch._replace(observed=batch.observed & self._draw_patterns(n))
        whole = self._complete.take(torch.randperm(len(self._complete.observed), device=self.device)[:n])
        reduced = whole.observed & self._draw_patterns(len(whole.observed))
        inner_lr = c.inner_lr * 0.1 ** (self._iteration // c.inner_decay)
        self._iteration += 1

        def loss(logits: Tensor, b: Batch) -> Tensor:
            z = self.add_base_log_odds(Output(logits, {}), b)
            return supervised_loss(z, b.labels, b.label_mask, weights, c.gamma)

        losses = meta_losses(core, batch, whole, reduced, loss, inner_lr)
        total = sum(v for k, v in losses.items() if c.form == "code" or k != "mtr")
        optimiser.zero_grad(set_to_none=True)
        total.backward()
        nn.utils.clip_grad_norm_(core.parameters(), c.grad_clip)
        optimiser.step()
        return {k: v.detach() for k, v in {"loss": total, "supervised": losses["mte"], **losses}.items()}

    def _draw_patterns(self, n: int) -> Tensor:
        return self._patterns[torch.randint(len(self._patterns), (n,), device=self.device)]


Loss = Callable[[Tensor, Batch], Tensor]
"""L_sup of logits and their batch."""


def meta_losses(
    core: Core, incomplete: Batch, complete: Batch, reduced: Tensor, loss: Loss, inner_lr: float
) -> dict[str, Tensor]:
    """Return the weighted losses mtr, mte, align, clean and kl of a batch of D^m and one of D^f, of which ``reduced`` [B, M] is left."""
    c = core.config
    h, noise = incomplete.extra["h"], core.draw(len(incomplete.observed))
    star, mtr = adapt(
        core,
        lambda theta: loss(functional_call(core, theta, (h, incomplete.observed, noise)).logits, incomplete),
        inner_lr,
    )
    h = complete.extra["h"]
    made = functional_call(core, star, (h, reduced, core.draw(len(h)) if c.form == "paper" else None))
    clean = functional_call(core, star, (h, complete.observed, None, c.reg_on_full))
    losses = {"mtr": mtr, "mte": loss(made.logits, complete)}
    if c.form == "code":
        losses["align"] = c.align * (F.mse_loss(made.fused, clean.fused) + F.mse_loss(made.hidden, clean.hidden))
    if c.lambda_clean > 0:
        losses["clean"] = c.lambda_clean * loss(clean.logits, complete)
    if c.beta_kl > 0:
        losses["kl"] = c.beta_kl * made.kl.mean()
    return losses


def adapt(core: Core, loss: Callable[[dict[str, Tensor]], Tensor], inner_lr: float) -> tuple[dict[str, Tensor], Tensor]:
    """Return theta* by name, differentiable in theta and psi unless ``first_order``, and the loss at the last theta before it."""
    c, theta = core.config, core.theta()
    for _ in range(c.inner_steps):
        value = loss(theta)
        grads = torch.autograd.grad(value, tuple(theta.values()), create_graph=not c.first_order, retain_graph=True)
        theta = {k: p - inner_lr * g for (k, p), g in zip(theta.items(), grads, strict=True)}
    return theta, value


def gaussian_kl(mu: Tensor | float, sigma: Tensor) -> Tensor:
    """Return KL(N(m + mu, sigma^2) || N(m, 1)), element by element."""
    return 0.5 * (sigma.square() + mu**2 - 1.0) - sigma.clamp(min=1e-12).log()


def choose_complete_stays(observed: np.ndarray, clusters: int) -> tuple[np.ndarray, bool]:
    """Choose D^f, bool [N], for observed [N, M]; also return whether it is the fallback for want of complete stays."""
    n, counts, seen = len(observed), observed.sum(axis=1), observed.any(axis=0)
    full = counts == seen.sum()
    wanted = min(max(ENOUGH, math.ceil(ENOUGH_SHARE * n)), max(1, n // 2))
    if full.sum() >= wanted:
        return full, False
    order = np.argsort(-counts, kind="stable")
    covered = (observed[order].cumsum(axis=0) >= np.minimum(clusters, observed.sum(axis=0))).all(axis=1)
    chosen = np.zeros(n, dtype=bool)
    chosen[order[: max(wanted, int(np.argmax(covered)) + 1)]] = True
    return chosen, True


def fit_priors(h: np.ndarray, observed: np.ndarray, clusters: int) -> tuple[np.ndarray, np.ndarray]:
    """Fit centroids float32 [M, K, D] to the features h [N, M, D] of those observed [N, M]; and bool [M, K]: which of them exist."""
    priors = np.zeros((h.shape[1], clusters, h.shape[2]), dtype=np.float32)
    there = np.zeros(priors.shape[:2], dtype=bool)
    with threadpool_limits(1):  # sums of several threads depend on who comes first
        for m in range(h.shape[1]):
            features = h[observed[:, m], m]
            k = min(clusters, len(np.unique(features, axis=0)))
            if k:
                priors[m, :k] = KMeans(k, n_init=10, random_state=0).fit(features).cluster_centers_
                there[m, :k] = True
    return priors, there
