"""The structural causal model of the synthetic cohort: one frozen object that the generator and the truth both read.

Symbols as in the equations (H latent coordinates, M modalities, T tasks)::

    h ~ N(0, I_H)                                                     latent health; severity = u . h
    x_m = phi(A_m h_(m) + P_m g_m + sigma_m eps),  g_m ~ N(0, I_4)    content of modality m
    logit P(delta_m = 1) = a_m + site_m + kappa [rho (b_m . h) + (1 - rho)(c_m . x_0)] + order term
    logit P(y_t = 1) = b_t + w_t . h + q (r_t1 . h)(r_t2 . h) + beta Delta[t, pattern at the landmark of t]

Modality 0 is the anchor: always observed, its NaN entering ``c_m . x_0`` as 0. What is drawn may still be lost, for reasons that
do not depend on h: an interface of the site that never sends the table, and the rule that a modality with more than 80 % of its
features NaN is missing. At ``icu_24h`` each modality is known with a fixed probability, independently of all else. Hence the chance
to see m at a landmark is ``reach * expit(logit)`` with a known ``reach``, which is what keeps the likelihood of a pattern exact.

The worlds of `datasets.synthetic.departures` are the same object with h a mixture (``clusters``), a term Gamma[t, pattern] . h in the
outcome (``Task.gamma``), or sites where kappa is multiplied by ``lean`` (``site_shifted``); None where a world has no such thing.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.special import expit, softmax
from scipy.stats import binom

from datasets.cohort import Array

LANDMARKS = ("icu_24h", "discharge", "stay")
NAN_LIMIT = 0.8


@dataclass(frozen=True, eq=False)
class Content:
    """How modality m shows h: ``coordinates`` of h it reveals, A [d, k], P [d, p], sigma > 0, share of features NaN at random."""

    name: str
    coordinates: tuple[int, ...]
    A: Array
    P: Array
    sigma: float
    nan_share: float = 0.0
    rule: bool = False

    @property
    def width(self) -> int:
        """Number of features d."""
        return len(self.A)

    @property
    def survives_rule(self) -> float:
        """Probability that at most 80 % of the features are NaN (1 where the rule does not apply)."""
        return float(binom.cdf(count_nan_allowed(self.width), self.width, self.nan_share)) if self.rule else 1.0


@dataclass(frozen=True, eq=False)
class Task:
    """An outcome: logit ``intercept + w . h + q (r1 . h)(r2 . h) + beta delta[pattern]``, ``delta`` [2**M] by pattern code.

    ``pattern_at`` is the landmark whose pattern acts on it; ``survivors``: defined only for those who leave the hospital alive;
    ``gamma`` [2**M, H] or None: an effect of the pattern that depends on h, ``interaction gamma[pattern] . h`` on the logit.
    """

    name: str
    w: Array
    r: Array
    delta: Array
    intercept: float
    pattern_at: str
    survivors: bool
    gamma: Array | None = None


@dataclass(frozen=True, eq=False)
class SeriesModel:
    """Channels C measured by a Poisson process of ``rate`` [C] exp(rise * severity) an hour; values l_c . h + patient effect + noise.

    Binned by the hour, a bin keeping its last measurement, the mask of a bin is Bernoulli(1 - exp(-rate)), independent of the
    value, as is its time of record, a whole minute of the hour, uniform (kept under ``recorded``). A stay lasts a whole number of hours,
    uniform from ``shortest`` to ``longest``, independent of all else.
    """

    channels: tuple[str, ...]
    l: Array
    rate: Array
    rise: float
    patient_sd: float
    noise_sd: float
    shortest: int = 36
    longest: int = 72


@dataclass(frozen=True, eq=False)
class Clusters:
    """Latent health as a mixture: ``weight`` [K], ``mean`` [K, H] and the ``covariance`` [H, H] that all clusters share."""

    weight: Array
    mean: Array
    covariance: Array

    def draw(self, normal: Array, rng: np.random.Generator) -> Array:
        """Turn standard normal [N, H] into draws h [N, H] of the mixture."""
        cluster = rng.choice(len(self.weight), size=len(normal), p=self.weight)
        return self.mean[cluster] + normal @ np.linalg.cholesky(self.covariance).T

    def posterior(self, mean: Array, covariance: Array) -> tuple[Array, Array, Array]:
        """Return weights [N, K], means [N, K, H], shared covariance [N, H, H] given ``mean`` and ``covariance`` under the prior N(0, I).

        With W the shared covariance and J, eta the information of the contents (``covariance^-1 - I``, ``covariance^-1 mean``)::

            C = (J + W^-1)^-1,   s_k = eta + W^-1 m_k,   mean_k = C s_k,   weight_k ~ pi_k exp((s_k . C s_k - m_k . W^-1 m_k) / 2)
        """
        precision, prior = np.linalg.inv(covariance), np.linalg.inv(self.covariance)
        shared = np.linalg.inv(precision + prior - np.eye(len(prior)))
        pull = self.mean @ prior
        s = np.einsum("nij,nj->ni", precision, mean)[:, None, :] + pull
        centre = s @ shared
        log = np.log(self.weight) + (np.einsum("nki,nki->nk", s, centre) - np.einsum("ki,ki->k", pull, self.mean)) / 2
        return softmax(log, axis=1), centre, (shared + shared.transpose(0, 2, 1)) / 2

    def moments(self, mean: Array, covariance: Array) -> tuple[Array, Array]:
        """Return mean [N, H] and covariance [N, H, H] of that mixture."""
        weight, centre, shared = self.posterior(mean, covariance)
        overall = np.einsum("nk,nki->ni", weight, centre)
        off = centre - overall[:, None, :]
        return overall, shared + np.einsum("nk,nki,nkj->nij", weight, off, off)


@dataclass(frozen=True, eq=False)
class World:
    """All constants of one world (see the module for the equations).

    ``a`` [M] (ignored for always observed modalities), ``b`` [M, H], ``c`` [M, d_0]; ``always`` bool [M]; ``known_24h`` [M];
    ``order`` = (later, earlier, coefficient) or None; ``later`` must never be known at 24 h. ``site_share`` [K] sums to 1, ``site_shift``
    and ``site_sends`` [K, M]; one site = no sites; ``site_shifted`` bool [K]: where kappa is multiplied by ``lean``.
    ``mortality`` is the index of the task that decides who is alive at discharge.
    """

    name: str
    u: Array
    contents: tuple[Content, ...]
    bend: float
    a: Array
    b: Array
    c: Array
    kappa: float
    rho: float
    always: Array
    known_24h: Array
    order: tuple[int, int, float] | None
    site_share: Array
    site_shift: Array
    site_sends: Array
    tasks: tuple[Task, ...]
    q: float
    beta: float
    mortality: int
    series: SeriesModel | None = None
    clusters: Clusters | None = None
    interaction: float = 0.0
    site_shifted: Array | None = None
    lean: float = 1.0

    @property
    def dimension(self) -> int:
        """Number of latent coordinates H."""
        return len(self.u)

    @property
    def modality_names(self) -> tuple[str, ...]:
        """Names of the M modalities."""
        return tuple(content.name for content in self.contents)

    @property
    def usual_share(self) -> Array:
        """Shares of the sites [K] among the stays under the usual policy, for which the targets are solved."""
        if self.site_shifted is None:
            return self.site_share
        return np.where(self.site_shifted, 0.0, self.site_share) / self.site_share[~self.site_shifted].sum()

    def latent(self, normal: Array, rng: np.random.Generator) -> Array:
        """Turn standard normal [N, H] into draws h [N, H]."""
        return normal if self.clusters is None else self.clusters.draw(normal, rng)

    def summary(self) -> dict:
        """Return what was solved for, as JSON values: intercepts of the optional modalities and of the tasks, and the order term."""
        names = self.modality_names
        return {
            "modality_intercepts": {
                name: float(a) for name, a, always in zip(names, self.a, self.always, strict=True) if not always
            },
            "task_intercepts": {task.name: task.intercept for task in self.tasks},
            "order_term": None
            if self.order is None
            else {"later": names[self.order[0]], "earlier": names[self.order[1]], "logit": self.order[2]},
        }

    def tasks_at(self, landmark: str) -> tuple[Task, ...]:
        """Return the tasks predicted at a landmark; all of them at ``stay``."""
        return self.tasks if landmark == "stay" else tuple(t for t in self.tasks if t.pattern_at == landmark)

    def phi(self, z: Array) -> Array:
        """Apply the fixed, strictly increasing elementwise function of the contents, sinh(bend z) / bend (the identity for bend 0)."""
        return np.sinh(self.bend * z) / self.bend if self.bend else z

    def phi_inverse(self, x: Array) -> Array:
        """Apply the inverse of ``phi``."""
        return np.arcsinh(self.bend * x) / self.bend if self.bend else x

    def reach(self, landmark: str, site: Array) -> Array:
        """Return the probability [N, M], free of h, that a modality drawn as observed is seen at the landmark."""
        rule = np.array([content.survives_rule for content in self.contents])
        known = self.known_24h if landmark == "icu_24h" else 1.0
        return self.site_sends[site] * rule * known

    def fixed_logit(self, anchor: Array, site: Array) -> Array:
        """Return the part of the observation logits [N, M] that is known from what is observed: anchor content [N, d_0] and site [N]."""
        looked = self.kappa * (1 - self.rho) * (np.nan_to_num(anchor, nan=0.0) @ self.c.T)
        return self.a + self.site_shift[site] + self._leaning(looked, site)

    def latent_logit(self, h: Array, m: int, site: Array) -> Array:
        """Return the part of the observation logit of modality m that depends on h, [N, H] or [N, K, H], at site [N]."""
        return self._leaning(self.kappa * self.rho * project(h, self.b[m]), site)

    def _leaning(self, logit: Array, site: Array) -> Array:
        """Multiply a part [N, ...] of the observation logits by ``lean`` at the sites with the shifted policy."""
        if self.site_shifted is None:
            return logit
        lean = np.where(self.site_shifted[site], self.lean, 1.0)
        return lean.reshape(-1, *[1] * (logit.ndim - 1)) * logit

    def order_term(self, m: int, observed: Array) -> Array | float:
        """Return what modalities drawn before m add to its logit; ``observed`` bool [N, M]."""
        if self.order is None or self.order[0] != m:
            return 0.0
        return self.order[2] * observed[:, self.order[1]]

    @cached_property
    def early_masks(self) -> tuple[tuple[float, int], ...]:
        """(probability, bit mask of the modalities known at 24 h), over all outcomes of the loss before 24 h."""
        masks = [(1.0, 0)]
        for m, known in enumerate(self.known_24h):
            masks = [(p * k, mask | bit) for p, mask in masks for k, bit in ((known, 1 << m), (1 - known, 0)) if k > 0]
        return tuple(masks)

    def logit_without_pattern(self, task: Task, h: Array) -> Array:
        """Return b_t + w_t . h + q q_t(h) for h [..., H]."""
        return task.intercept + project(h, task.w) + self.q * project(h, task.r[0]) * project(h, task.r[1])

    def pattern_effects(self, task: Task, code: Array, landmark: str, h: Array) -> list[tuple[float, Array]]:
        """List (probability, effect of the pattern that acted) given the codes [N] seen at ``landmark`` and h [N, H] or [N, K, H].

        One certain entry where the landmark is the task's own (or ``stay`` for ``discharge``); a mixture over what may have been
        known at 24 h where an outcome of ``icu_24h`` is predicted from the later pattern. An effect is beta Delta, [N] or [N, 1], and
        with an interaction that depends on h [N] or [N, K].
        """
        if task.pattern_at != "icu_24h" or landmark == "icu_24h":
            return [(1.0, self._effect(task, code, h))]
        return [(p, self._effect(task, code & mask, h)) for p, mask in self.early_masks]

    def _effect(self, task: Task, code: Array, h: Array) -> Array:
        effect = (self.beta * task.delta[code]).reshape(-1, *[1] * (h.ndim - 2))
        if self.interaction == 0:
            return effect
        return effect + self.interaction * np.einsum("n...h,nh->n...", h, task.gamma[code])

    def outcome_probability(self, task: Task, h: Array, code: Array, landmark: str) -> Array:
        """Return P(y_t = 1 | h, pattern at ``landmark``) for h [N, H] or [N, K, H] and codes [N]."""
        return self.add_pattern(task, self.logit_without_pattern(task, h), code, landmark, h)

    def add_pattern(self, task: Task, logit: Array, code: Array, landmark: str, h: Array) -> Array:
        """Return P(y_t = 1) from the logit without pattern, [N] or [N, K], the pattern codes [N] seen at ``landmark``, and h."""
        if self.beta == 0 and self.interaction == 0:
            return expit(logit)
        return sum(p * expit(logit + effect) for p, effect in self.pattern_effects(task, code, landmark, h))


def project(h: Array, direction: Array) -> Array:
    """Project h [..., H] on a direction [H], as one flat product (several times faster than a stacked one)."""
    return (h.reshape(-1, h.shape[-1]) @ direction).reshape(h.shape[:-1])


def count_nan_allowed(width: int) -> int:
    """Return the largest number of NaN features that leaves a modality of this width observed (at most 80 %)."""
    return int(np.floor(NAN_LIMIT * width + 1e-9))


def encode_patterns(observed: Array) -> Array:
    """Encode the pattern of each stay as an integer [N]: bit m set where modality m is observed."""
    return observed.astype(np.int64) @ (1 << np.arange(observed.shape[1], dtype=np.int64))
