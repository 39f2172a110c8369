"""The other worlds of the synthetic cohort (``world=``): each breaks one assumption of `datasets.synthetic.model`, all else as there.

``departure`` d in [0, 1] says how far from ``factors`` a world is (0: there). All constants of ``factors`` are kept; what a world
adds comes from a random stream of its own. Every world keeps its ceilings, because what it changes stays within closed form or within the
importance weights of `datasets.synthetic.truth`.

- ``clusters``: h is a mixture of four Gaussians with one covariance, ``.8 d`` of the variance of three directions between them, mean 0
  and total covariance I. Given the contents h is again such a mixture, in closed form. Hurts methods whose latent is one Gaussian, and
  linear ones; suits those that group stays (prototypes, neighbours, graphs) and trees.
- ``interaction``: the outcome's logit gains ``d Gamma[t, pattern] . h``, centred over the patterns and of standard deviation d over the
  stays. Hurts an offset by pattern (a rectifier, an additive Delta), which cannot express it; suits a model by pattern, or one that crosses
  its pattern with its content. Pattern and outcome depend on each other here even with kappa 0 and beta 0.
- ``text``: one coordinate of T's own factor (the laboratory in ``eicu``) acts on every outcome, with weight ``1.5 d``. It is a
  coordinate of h here (the last) that no other modality, no channel and no policy sees. Hurts methods that keep only what modalities
  share or fill T in from the others; suits late fusion and methods that keep private parts.
- ``policy_shift``: .30 of the stays are treated at sites with another policy: what draws attention there is reversed (kappa times
  ``1 - 2d``) and each such site has marginals of its own. Sites (20 in ``mimic``) and the group ``policy`` (usual, shifted) say which.
  Hurts methods that read the pattern as evidence about h; suits those that ignore it. Metrics by ``policy`` show what a method fitted to
  mostly usual stays is worth under another policy, and ``split=sites`` tests marginals never seen in training; neither shows a reversal
  of which training has no stay, for both kinds of sites are dealt into every part. The ceiling is given the policy of a site, which
  no method reads: the best prediction without it has .01 to .02 AUC less. Targets of marginals and prevalences hold for the usual part.

What a departure is worth at d = 1 (n = 4,000, readmission at discharge): AUC of the ceiling, and of the same prediction of a model that
leaves the departure out.

============= ======= ====== ======= ======
..            mimic          eicu
------------- -------------- --------------
world         ceiling blind  ceiling blind
============= ======= ====== ======= ======
clusters      0.835   0.829  0.805   0.802
interaction   0.842   0.813  0.812   0.789
text          0.838   0.775  0.804   0.767
policy_shift  0.819   0.801  0.789   0.759
============= ======= ====== ======= ======
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from datasets.cohort import Array
from datasets.synthetic.model import Clusters, World

CLUSTERS = (0.3, 0.3, 0.2, 0.2)
BETWEEN = 0.8
PRIVATE_WEIGHT = 1.5
WITH_OWN_FACTOR = ("T", "laboratory")
SITES = 20
SHIFTED = 0.3
MARGINALS = 1.0


def add_clusters(world: World, departure: float, rng: np.random.Generator) -> World:
    """Return ``world`` with h from a mixture; its means are a simplex, whitened, in three directions drawn at random."""
    weight = np.array(CLUSTERS)
    simplex = np.linalg.qr(np.column_stack([np.sqrt(weight), rng.standard_normal((len(weight), len(weight) - 1))]))[0]
    simplex = simplex[:, 1:] / np.sqrt(weight)[:, None]
    directions = np.linalg.qr(rng.standard_normal((world.dimension, len(weight) - 1)))[0]
    between = BETWEEN * departure
    within = np.eye(world.dimension) - between * directions @ directions.T
    return replace(world, clusters=Clusters(weight, np.sqrt(between) * simplex @ directions.T, within))


def add_interaction(world: World, departure: float, rng: np.random.Generator) -> World:
    """Return ``world`` with a Gamma by task, half of it additive over modalities as Delta is; ``solve_world`` centres and scales it."""
    modalities = len(world.contents)
    bits = (np.arange(2**modalities)[:, None] >> np.arange(modalities)) & 1
    tasks = []
    for task in world.tasks:
        additive = (bits - 0.5) @ rng.standard_normal((modalities, world.dimension))
        own = additive.std() * rng.standard_normal(additive.shape)
        tasks.append(replace(task, gamma=additive + own))
    return replace(world, tasks=tuple(tasks), interaction=departure)


def add_text_factor(world: World, departure: float, rng: np.random.Generator) -> World:
    """Return ``world`` with the first private coordinate of T as one more coordinate of h, which acts on every outcome."""
    new = world.dimension
    contents = tuple(
        replace(c, coordinates=(*c.coordinates, new), A=np.column_stack([c.A, c.P[:, 0]]), P=c.P[:, 1:])
        if c.name in WITH_OWN_FACTOR
        else c
        for c in world.contents
    )
    tasks = [replace(t, w=np.append(t.w, PRIVATE_WEIGHT * departure), r=_append_zero_column(t.r)) for t in world.tasks]
    series = world.series and replace(world.series, l=_append_zero_column(world.series.l))
    return replace(
        world,
        u=np.append(world.u, 0.0),
        b=_append_zero_column(world.b),
        contents=contents,
        tasks=tuple(tasks),
        series=series,
    )


def shift_policy(world: World, departure: float, rng: np.random.Generator) -> World:
    """Give the last sites of ``world``, with .30 of the stays, another policy; one site becomes twenty of equal size first."""
    if len(world.site_share) == 1:
        shares = np.full(SITES, 1 / SITES)
        shift, sends = np.repeat(world.site_shift, SITES, axis=0), np.repeat(world.site_sends, SITES, axis=0)
    else:
        shares, shift, sends = world.site_share, world.site_shift.copy(), world.site_sends
    shifted = np.arange(len(shares)) >= round((1 - SHIFTED) * len(shares))
    share = np.where(shifted, SHIFTED * shares / shares[shifted].sum(), (1 - SHIFTED) * shares / shares[~shifted].sum())
    shift[shifted] += MARGINALS * departure * rng.standard_normal((shifted.sum(), shift.shape[1])) * ~world.always
    return replace(
        world, site_share=share, site_shift=shift, site_sends=sends, site_shifted=shifted, lean=1 - 2 * departure
    )


def _append_zero_column(rows: Array) -> Array:
    return np.pad(rows, ((0, 0), (0, 1)))


WORLDS: dict[str, Callable[[World, float, np.random.Generator], World]] = {
    "factors": lambda world, departure, rng: world,
    "clusters": add_clusters,
    "interaction": add_interaction,
    "text": add_text_factor,
    "policy_shift": shift_policy,
}
