"""Draw stays from a world: contents, observation pattern, outcomes and series, as cohorts at the three landmarks."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np
from scipy.special import expit

from datasets.cohort import Array, Cohort, Group, Modality, Series, collect_records
from datasets.synthetic.model import Content, World, count_nan_allowed, encode_patterns

SEX = ("female", "male"), (0.45, 0.55)
AGE_BAND = ("18-44", "45-64", "65-79", "80+"), (0.15, 0.33, 0.34, 0.18)
POLICY = "usual", "shifted"
STREAMS = ("latent", "site", "groups", "content", "absent", "observed", "early", "outcome", "series", "minutes")
FIRST_HOURS = 24
ROWS = 2048


def draw_cohorts(
    world: World, n: int, seed: int, mark: str = "", times: bool = False
) -> tuple[dict[str, Cohort], Array]:
    """Draw n stays: the cohorts by landmark, and h float64 [n, H]. ``mark`` is hashed into the fingerprints (empty: hash of content);
    ``times``: whether series also keep their times of record (``Series.recorded``).

    Each part of the model has a random stream of its own, so that two mechanisms with one seed share h, contents, noise and uniforms.
    """
    stream = {name: np.random.default_rng([seed, i]) for i, name in enumerate(STREAMS)}
    h = world.latent(stream["latent"].standard_normal((n, world.dimension)), stream["latent"])
    site = stream["site"].choice(len(world.site_share), size=n, p=world.site_share)
    values, recorded = _draw_contents(world, h, stream["content"], stream["absent"])
    full = draw_observed(world, h, values[0], site, stream["observed"], recorded)
    early = full & (stream["early"].random(full.shape) < world.known_24h)
    codes = {"icu_24h": encode_patterns(early), "discharge": encode_patterns(full)}
    chance = [world.outcome_probability(t, h, codes[t.pattern_at], t.pattern_at) for t in world.tasks]
    outcomes = (stream["outcome"].random((n, len(world.tasks))) < np.stack(chance, axis=1)).astype(np.float32)
    alive = outcomes[:, world.mortality] == 0
    # Readmission and ICU return are undefined for those who died in hospital.
    outcomes[np.ix_(~alive, [t.survivors for t in world.tasks])] = np.nan

    for m, value in enumerate(values):
        value[~full[:, m]] = np.nan
    series = None if world.series is None else _draw_series(world, h, stream["series"])
    groups = _draw_groups(world, site, stream["groups"])
    by_landmark = {"icu_24h": _take_first_hours(series), "stay": series}
    if times and series is not None:
        minute = stream["minutes"].integers(0, 60, size=series.mask.shape, dtype=np.int8)
        by_landmark = {landmark: _add_times_of_record(s, minute) for landmark, s in by_landmark.items()}
    cohorts = {}
    for landmark in ("icu_24h", "stay"):
        tasks = world.tasks_at(landmark)
        seen = early if landmark == "icu_24h" else full
        cohorts[landmark] = Cohort(
            name=world.name,
            landmark=landmark,
            patient=np.arange(n, dtype=np.int64),
            site=site.astype(np.int64) if len(world.site_share) > 1 else None,
            groups=groups,
            modalities=tuple(
                _make_modality(c, v, seen[:, m], full[:, m])
                for m, (c, v) in enumerate(zip(world.contents, values, strict=True))
            ),
            observed=seen,
            series=by_landmark[landmark],
            outcomes=np.ascontiguousarray(outcomes[:, [world.tasks.index(t) for t in tasks]]),
            tasks=tuple(t.name for t in tasks),
            fingerprint=_hash_mark(mark, landmark),
        )
    cohorts["discharge"] = _select_survivors(world, cohorts["stay"], alive, _hash_mark(mark, "discharge"))
    return cohorts, h


def draw_anchor(world: World, h: Array, rng: np.random.Generator) -> Array:
    """Draw the content of modality 0 for h [N, H]: float32 [N, d_0], NaN where a feature is not recorded."""
    content = world.contents[0]
    x = _draw_content(world, content, h, rng)
    x[rng.random(x.shape, dtype=np.float32) < content.nan_share] = np.nan
    return x


def draw_observed(
    world: World, h: Array, anchor: Array, site: Array, rng: np.random.Generator, recorded: Array | None = None
) -> Array:
    """Draw the pattern at discharge, bool [N, M], modalities in clinical order (the later one of the order term last).

    ``recorded`` bool [N, M]: enough features are not NaN; None draws it from its probability.
    """
    uniform = rng.random((len(h), len(world.contents)))
    if recorded is None:
        recorded = rng.random(uniform.shape) < np.array([content.survives_rule for content in world.contents])
    fixed = world.fixed_logit(anchor, site)
    observed = np.zeros(uniform.shape, dtype=bool)
    last = -1 if world.order is None else world.order[0]
    # The later modality of the order term is drawn last, because its logit depends on the earlier one.
    for m in sorted(range(len(world.contents)), key=lambda m: m == last):
        chance = expit(fixed[:, m] + world.latent_logit(h, m, site) + world.order_term(m, observed))
        drawn = world.always[m] | (uniform[:, m] < chance)
        observed[:, m] = drawn & recorded[:, m] & (world.site_sends[site, m] > 0)
    return observed


def _draw_content(world: World, content: Content, h: Array, rng: np.random.Generator) -> Array:
    """Draw x_m = phi(A_m h_(m) + P_m g_m + sigma_m eps), float32 [N, d], all features recorded."""
    x = np.empty((len(h), content.width), dtype=np.float32)
    loadings = np.concatenate([content.A, content.P], axis=1).T.astype(np.float32)
    for start in range(0, len(h), ROWS):
        rows = slice(start, start + ROWS)
        seen = h[rows, content.coordinates].astype(np.float32)
        private = rng.standard_normal((len(seen), content.P.shape[1]), dtype=np.float32)
        z = np.concatenate([seen, private], axis=1) @ loadings
        z += np.float32(content.sigma) * rng.standard_normal(z.shape, dtype=np.float32)
        x[rows] = world.phi(z)
    return x


def _draw_contents(
    world: World, h: Array, rng: np.random.Generator, absent: np.random.Generator
) -> tuple[list[Array], Array]:
    """Draw contents with NaN at random, and whether enough is recorded (bool [N, M]) for the modality to count as observed."""
    values, recorded = [], np.ones((len(h), len(world.contents)), dtype=bool)
    for m, content in enumerate(world.contents):
        x = _draw_content(world, content, h, rng)
        if content.nan_share:
            gone = absent.random(x.shape, dtype=np.float32) < content.nan_share
            x[gone] = np.nan
            if content.rule:
                recorded[:, m] = gone.sum(axis=1) <= count_nan_allowed(content.width)
        values.append(x)
    return values, recorded


def _draw_series(world: World, h: Array, rng: np.random.Generator) -> Series:
    """Draw hourly bins [N, longest, C] from admission; a stay's bins end with its last full hour."""
    model, n, channels = world.series, len(h), len(world.series.channels)
    length = rng.integers(model.shortest, model.longest + 1, size=n)
    hours = np.tile(np.arange(model.longest, dtype=np.float32), (n, 1))
    within = hours < length[:, None]
    filled = -np.expm1(-model.rate * np.exp(model.rise * (h @ world.u))[:, None])
    mask = rng.random((n, model.longest, channels), dtype=np.float32) < filled[:, None, :].astype(np.float32)
    mask &= within[:, :, None]
    level = (h @ model.l.T + model.patient_sd * rng.standard_normal((n, channels))).astype(np.float32)
    noise = np.float32(model.noise_sd) * rng.standard_normal(mask.shape, dtype=np.float32)
    values = np.where(mask, level[:, None, :] + noise, np.float32("nan"))
    hours[~within] = np.nan
    return Series(values, mask, hours, model.channels)


def _take_first_hours(series: Series | None) -> Series | None:
    if series is None:
        return None
    return Series(
        *(np.ascontiguousarray(part[:, :FIRST_HOURS]) for part in (series.values, series.mask, series.hours)),
        series.channels,
    )


def _add_times_of_record(series: Series, minute: Array) -> Series:
    """Return the series with its records at ``minute`` int8 [N, longest, C] of their hours."""
    row, hour, channel = np.nonzero(series.mask)
    at = hour + minute[row, hour, channel] / 60
    records = collect_records(row, at, channel, series.values[series.mask], len(series.mask), series.channels)
    return replace(series, recorded=records)


def _draw_groups(world: World, site: Array, rng: np.random.Generator) -> dict[str, Group]:
    groups = {
        name: Group(rng.choice(len(labels), size=len(site), p=share).astype(np.int16), labels)
        for name, (labels, share) in (("sex", SEX), ("age_band", AGE_BAND))
    }
    if world.site_shifted is not None:
        groups["policy"] = Group(world.site_shifted[site].astype(np.int16), POLICY)
    return groups


def _make_modality(content: Content, values: Array, seen: Array, full: Array) -> Modality:
    """Return the modality with NaN in the slots not seen; memory is shared where nothing has to be hidden."""
    if not seen.any():
        values = np.broadcast_to(np.float32("nan"), values.shape)
    elif (seen != full).any():
        values = np.where(seen[:, None], values, np.float32("nan"))
    return Modality(content.name, values, tuple(f"{content.name}_{j}" for j in range(content.width)))


def _hash_mark(mark: str, landmark: str) -> str:
    return hashlib.sha256(f"{mark} {landmark}".encode()).hexdigest() if mark else ""


def _select_survivors(world: World, stay: Cohort, alive: Array, mark: str) -> Cohort:
    """Select those alive at discharge, with the tasks of that landmark."""
    rows = stay.take(alive)
    tasks = tuple(t.name for t in world.tasks_at("discharge"))
    columns = [stay.tasks.index(name) for name in tasks]
    return replace(
        rows,
        landmark="discharge",
        tasks=tasks,
        outcomes=np.ascontiguousarray(rows.outcomes[:, columns]),
        fingerprint=mark,
    )
