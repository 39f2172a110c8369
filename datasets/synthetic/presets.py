"""The two presets of the synthetic cohort, MIMIC-like and eICU-like, as worlds whose intercepts are solved for.

Everything random about a world (loadings, Delta, sites) comes from ``world_seed``; intercepts, the order term and the prevalences are
solved on one fixed population of ``POPULATION`` stays, so that they belong to the world and not to the stays drawn from it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from scipy.optimize import brentq
from scipy.special import expit

from datasets.cohort import Array
from datasets.synthetic.departures import WORLDS
from datasets.synthetic.draw import draw_anchor, draw_observed
from datasets.synthetic.model import Content, SeriesModel, Task, World, encode_patterns
from datasets.synthetic.params import SyntheticParams

H = 8
PRIVATE = 4
POPULATION = 1 << 17
CHANNELS = {
    "heart_rate": 0.25,
    "mean_arterial_pressure": 0.25,
    "respiratory_rate": 0.25,
    "oxygen_saturation": 0.25,
    "temperature": 0.10,
    "glucose": 0.10,
    "lactate": 0.05,
    "creatinine": 0.05,
    "white_cells": 0.05,
    "haemoglobin": 0.05,
    "platelets": 0.05,
    "sodium": 0.05,
}
SEVERITY = (0.5, 0.4, 0.2, 0.5, 0.4, 0.2, 0.4, 0.8)
OUTCOMES = {  # name: (prevalence, direction w_t before scaling, the two directions of q_t as coordinates)
    "mortality_inhosp": (0.10, (0.8, 0.6, 0.3, 0.6, 0.6, 0.2, 0.4, 0.6), (0, 3)),
    "readmission_30d": (0.20, (0.6, 0.7, 0.3, 0.3, 0.6, 0.6, 0.4, 0.6), (1, 4)),
    "icu_90d": (0.10, (0.6, 0.5, 0.6, 0.7, 0.4, 0.5, 0.4, 0.6), (2, 5)),
}


@dataclass(frozen=True)
class Shape:
    """One modality of a preset: width, coordinates revealed, observed share, direction b_m, when known, NaN multiplier."""

    name: str
    width: int
    coordinates: tuple[int, ...]
    share: float
    b: tuple[float, ...]
    known: str = "always"
    nan: float = 0.0


MIMIC = (
    Shape("S", 36, (0, 1, 2, 3), 1.0, (0.0,) * H, nan=1.0),
    Shape("I", 1376, (2, 3), 0.261, (0.0, 0.2, 0.2, 0.3, 0.0, 0.0, 0.5, 0.9), "thinned"),
    Shape("T", 768, (3, 4, 5, 6), 0.755, (0.0, 0.0, 0.0, -0.2, -0.2, -0.2, -0.5, -0.9), "never"),
    Shape("R", 768, (0, 4, 5), 0.850, (0.2, 0.0, 0.0, 0.2, 0.2, 0.0, 0.5, 0.9), "thinned"),
)
MIMIC_T_OR_R = 0.895
EICU = (
    Shape("demographics", 6, (0, 1), 1.0, (0.0,) * H, nan=0.5),
    Shape("admission", 5, (0, 2), 0.95, (0.2, 0.0, 0.0, 0.0, 0.3, 0.0, 0.3, 0.6), nan=1.5),
    Shape("apache", 14, (0, 1, 3), 0.86, (0.3, 0.0, 0.0, 0.3, 0.0, 0.0, 0.5, 0.8), nan=1.0),
    Shape("diagnosis", 12, (2, 4), 0.88, (0.0, 0.2, 0.2, 0.0, 0.2, 0.0, 0.4, 0.8), "thinned", 1.5),
    Shape("medication", 16, (4, 5), 0.78, (0.2, 0.0, 0.0, 0.2, 0.0, 0.2, 0.5, 0.8), "thinned", 1.5),
    Shape("laboratory", 30, (1, 3, 5, 6), 0.90, (0.0, 0.3, 0.0, 0.3, 0.2, 0.0, 0.4, 0.8), nan=1.0),
    Shape("vitals", 20, (0, 3), 0.92, (0.2, 0.0, 0.2, 0.0, 0.0, 0.2, 0.4, 0.7), nan=1.0),
    Shape("respiratory", 8, (3, 6), 0.55, (0.0, 0.0, 0.2, 0.4, 0.0, 0.0, 0.5, 0.9), nan=2.0),
    Shape("fluid_balance", 4, (2, 6), 0.70, (0.2, 0.0, 0.0, 0.2, 0.0, 0.2, 0.5, 0.9), "thinned", 2.5),
    Shape("comorbidities", 10, (1, 4, 5), 0.76, (0.0, 0.0, 0.0, -0.2, -0.3, -0.2, -0.4, -0.8), "never", 2.0),
)
PRESETS = {"mimic": MIMIC, "eicu": EICU}
SITES = 30


def make_world(params: SyntheticParams) -> World:
    """Return the world that ``params`` describe, solved once a process: ``n``, ``seed``, ``draws`` and ``recorded`` do not enter."""
    return _make_world(replace(params, n=1, seed=0, draws=None, recorded=False))


@lru_cache(maxsize=16)
def _make_world(params: SyntheticParams) -> World:
    shapes = PRESETS[params.preset]
    rng = np.random.default_rng([params.world_seed, list(PRESETS).index(params.preset)])
    sites = SITES if params.preset == "eicu" else 1
    shift, sends = np.zeros((sites, len(shapes))), np.ones((sites, len(shapes)))
    share = np.ones(1)
    if sites > 1:
        share = rng.dirichlet(np.full(sites, 3.0))
        shift[:, 1:] = 0.5 * rng.standard_normal((sites, len(shapes) - 1))
        sometimes = np.flatnonzero([shape.share < 0.9 for shape in shapes])
        sends[:, sometimes] = rng.random((sites, len(sometimes))) > 0.02
        sends[np.arange(len(sometimes)), sometimes] = 0
    known = {"always": 1.0, "thinned": params.known_24h, "never": 0.0}
    world = World(
        name=f"embedded-{params.preset}",
        u=_normalise(SEVERITY),
        contents=tuple(_draw_content(shape, params, rng) for shape in shapes),
        bend=params.bend,
        a=np.zeros(len(shapes)),
        b=np.array([_normalise(shape.b) for shape in shapes]),
        c=rng.standard_normal((len(shapes), shapes[0].width)),
        kappa=params.effective_kappa,
        rho=params.effective_rho,
        always=np.array([shape.share == 1 for shape in shapes]),
        known_24h=np.array([known[shape.known] for shape in shapes]),
        order=None,
        site_share=share,
        site_shift=shift,
        site_sends=sends,
        tasks=_draw_tasks(params, len(shapes), rng),
        q=params.q,
        beta=params.beta,
        mortality=0,
        series=_draw_series_model(params, rng),
    )
    if params.mechanism == "complete":
        world = observe_everything(world)
    own = np.random.default_rng(
        [params.world_seed, list(PRESETS).index(params.preset), list(WORLDS).index(params.world)]
    )
    world = WORLDS[params.world](world, params.departure, own)
    return solve_world(
        world,
        np.array([shape.share for shape in shapes]),
        [o[0] for o in OUTCOMES.values()],
        either=_find_either(params),
    )


def observe_everything(world: World) -> World:
    """Return ``world`` with every modality of every stay observed, at 24 h as well, so that there is one pattern."""
    contents = tuple(replace(content, rule=False) for content in world.contents)
    count = len(contents)
    return replace(
        world,
        contents=contents,
        always=np.ones(count, dtype=bool),
        known_24h=np.ones(count),
        site_sends=np.ones_like(world.site_sends),
    )


def _find_either(params: SyntheticParams) -> tuple[int, int, float] | None:
    return (2, 3, MIMIC_T_OR_R) if params.preset == "mimic" and params.mechanism != "complete" else None


def _normalise(values: tuple[float, ...] | Array) -> Array:
    values = np.asarray(values, dtype=np.float64)
    return values / max(np.linalg.norm(values), 1e-300)


def _draw_content(shape: Shape, params: SyntheticParams, rng: np.random.Generator) -> Content:
    """Draw the loadings of one modality: a part ``blur`` of the private factor enters along A (it blurs h), the rest on its own.

    A feature before phi has variance 1, snr / (1 + snr) of it from h and g.
    """
    k = len(shape.coordinates)
    a = rng.standard_normal((shape.width, k))
    mixing = np.linalg.qr(rng.standard_normal((PRIVATE, PRIVATE)))[0][:k]
    p = params.blur * a @ mixing + rng.standard_normal((shape.width, PRIVATE)) / np.sqrt(2)
    scale = np.sqrt(params.snr / (1 + params.snr) / np.mean((a**2).sum(1) + (p**2).sum(1)))
    nan_share = min(params.nan_share * shape.nan, 0.95)
    rule = params.preset == "eicu" and shape.share < 1
    return Content(
        shape.name, shape.coordinates, a * scale, p * scale, float(np.sqrt(1 / (1 + params.snr))), nan_share, rule
    )


def _draw_tasks(params: SyntheticParams, modalities: int, rng: np.random.Generator) -> tuple[Task, ...]:
    """Draw Delta, half of its variance additive over modalities, half of the pattern alone; ``solve_world`` centres and scales it."""
    bits = (np.arange(2**modalities)[:, None] >> np.arange(modalities)) & 1
    tasks = []
    for name, (_, w, corners) in OUTCOMES.items():
        additive = (bits - 0.5) @ rng.standard_normal(modalities)
        delta = additive + additive.std() * rng.standard_normal(len(bits))
        early = name == "mortality_inhosp"
        tasks.append(
            Task(
                name,
                params.strength * _normalise(w),
                np.eye(H)[list(corners)],
                delta,
                0.0,
                "icu_24h" if early else "discharge",
                not early,
            )
        )
    return tuple(tasks)


def _draw_series_model(params: SyntheticParams, rng: np.random.Generator) -> SeriesModel:
    loadings = rng.standard_normal((len(CHANNELS), H))
    loadings *= params.series_signal / np.linalg.norm(loadings, axis=1, keepdims=True)
    rate = params.series_rate * np.array(list(CHANNELS.values()))
    return SeriesModel(
        tuple(CHANNELS), loadings, rate, params.series_rise, params.series_patient_sd, params.series_noise_sd,
        shortest=params.series_hours // 2, longest=params.series_hours,
    )  # fmt: skip


def solve_world(
    world: World,
    share: Array,
    prevalence: list[float],
    either: tuple[int, int, float] | None = None,
    size: int = POPULATION,
) -> World:
    """Return the world with c scaled, intercepts and order term solved, and Delta (and Gamma . h) centred with variance 1 over it.

    ``share`` [M] are the targets for each modality at discharge, ``prevalence`` [T] those of the outcomes (of the survivors, where the
    task is theirs), ``either`` = (later, earlier, share of stays with at least one of the two).

    Raises:
        ValueError: where a target cannot be reached, naming the modality.
    """
    rng = np.random.default_rng(20_000)
    h = rng.standard_normal((size // 2, world.dimension))
    h = world.latent(np.concatenate([h, -h]), rng)
    site = rng.choice(len(world.site_share), size=size, p=world.usual_share)
    anchor = np.nan_to_num(draw_anchor(world, h, rng), nan=0.0)
    world = replace(world, c=world.c / np.maximum((anchor @ world.c.T).std(0), 1e-12)[:, None])

    a, order, reach = np.zeros(len(share)), None, world.reach("discharge", site)
    fixed = world.fixed_logit(anchor, site)
    logit = [fixed[:, m] + world.latent_logit(h, m, site) for m in range(len(share))]
    for m in np.flatnonzero(~world.always):
        if either is None or m != either[0]:
            a[m] = _solve_intercept(logit[m], reach[:, m], share[m], world.modality_names[m])
    # Two shares, of the later modality without and with the earlier one, fix its intercept and the order term.
    if either is not None:
        later, earlier, target = either
        first = reach[:, earlier] * expit(a[earlier] + logit[earlier])
        alone = target - share[earlier]
        a[later] = _solve_intercept(logit[later], reach[:, later] * (1 - first), alone, world.modality_names[later])
        both = _solve_intercept(
            logit[later], reach[:, later] * first, share[later] - alone, world.modality_names[later]
        )
        order = (later, earlier, both - a[later])
    world = replace(world, a=a, order=order)

    seen = draw_observed(world, h, anchor, site, rng)
    early = seen & (rng.random(seen.shape) < world.known_24h)
    codes = {"icu_24h": encode_patterns(early), "discharge": encode_patterns(seen)}
    tasks, alive = list(world.tasks), np.ones(size)
    # Mortality first: the prevalences of the other tasks are among those who survive it.
    for t in sorted(range(len(tasks)), key=lambda t: t != world.mortality):
        code = codes[tasks[t].pattern_at]
        effect = tasks[t].delta[code]
        spread = effect.std() if effect.std() > 1e-12 else 1.0
        task = replace(tasks[t], delta=(tasks[t].delta - effect.mean()) / spread)
        if task.gamma is not None:
            gamma = task.gamma - task.gamma[code].mean(axis=0)
            acting = np.einsum("nh,nh->n", h, gamma[code]).std()
            task = replace(task, gamma=gamma / acting if acting > 1e-6 else 0 * gamma)  # one pattern: nothing to act on
        ((_, effect),) = world.pattern_effects(task, code, task.pattern_at, h)
        base = world.logit_without_pattern(task, h) - task.intercept + effect
        weight = alive / alive.mean() if task.survivors else np.ones(size)
        tasks[t] = replace(task, intercept=_solve_intercept(base, weight, prevalence[t], task.name))
        if t == world.mortality:
            alive = 1 - expit(tasks[t].intercept + base)
    return replace(world, tasks=tuple(tasks))


def _solve_intercept(logit: Array, weight: Array, target: float, name: str) -> float:
    """Solve for the intercept at which mean(weight * expit(intercept + logit)) is the target."""
    if not 0 < target < weight.mean():
        raise ValueError(
            f"synthetic cohort: {name} cannot reach a share of {target:.3f}; at most {weight.mean():.3f} is possible"
        )
    return float(brentq(lambda a: np.mean(weight * expit(a + logit)) - target, -60, 60, xtol=1e-9))
