"""The ground truth of a synthetic cohort: the best possible predictions and the true probabilities, never passed to a method.

The Bayes-optimal prediction is E[ P(y_t = 1 | h, pattern) | contents, pattern (, series) ]. Given the contents, (h, g_m) is Gaussian: phi
is inverted, each modality is reduced to its sufficient statistics, g_m is integrated out, and what remains is an information form in h
alone, to which a channel of the series adds the mean of its values. The pattern, the counts of the series and, for outcomes of survivors,
survival are importance weights on antithetic quasi-Monte Carlo points of that Gaussian; sites are given. Only the cohort is read, so that
a ceiling cannot see more than a method does.

The worth of the pattern is a 2 x 2, ``evidence{0,1}_cause{0,1}``: as evidence its likelihood enters the weights (or not); as a cause
Delta enters outcomes and survival (or is set to its population mean, 0). ``ceiling`` is evidence1_cause1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from scipy.special import expit, ndtr, ndtri
from scipy.stats import qmc

from datasets.cohort import Array, Cohort, Series, name_patterns
from datasets.storage import GroundTruth
from datasets.synthetic.model import Content, SeriesModel, World, encode_patterns, project

ROWS = 128
WORTH = {f"evidence{e}_cause{c}": (e, c) for e in (0, 1) for c in (0, 1)}
PER_TASK = ("truth_probability", "pattern_effect", "effective_sample_size", "effective_sample_size_series")
BEST = {"evidence1_cause1": (1, 1)}


def compute_ground_truths(
    world: World, cohorts: dict[str, Cohort], h: Array, draws: int = 1024, seed: int = 0
) -> dict[str, GroundTruth]:
    """Compute the ground truth at each landmark of ``cohorts`` (as ``draw_cohorts`` returns them), h [n, H] of all stays.

    ``discharge`` has the inputs of ``stay``, so that its values are rows of those.
    """
    early, stay = (compute_ground_truth(world, cohorts[name], h, draws, seed) for name in ("icu_24h", "stay"))
    rows, tasks = cohorts["discharge"].patient, cohorts["stay"].tasks
    columns = [tasks.index(name) for name in cohorts["discharge"].tasks]
    discharge = GroundTruth(
        {name: values[np.ix_(rows, columns)] for name, values in stay.predictions.items()},
        {
            name: values[np.ix_(rows, columns)] if name in PER_TASK else values[rows]
            for name, values in stay.arrays.items()
        },
        dict(stay.notes),
    )
    discharge.notes["effective_sample_size"] = _summarise_sizes(discharge.arrays, cohorts["discharge"].tasks, draws)
    return {"icu_24h": early, "discharge": discharge, "stay": stay}


def compute_ground_truth(world: World, cohort: Cohort, h: Array, draws: int = 1024, seed: int = 0) -> GroundTruth:
    """Compute predictions, arrays and notes of one cohort; ``patient`` indexes the rows of h.

    Predictions [N, T]: ``ceiling``, ``ceiling_series`` (where there is a series) and the 2 x 2. Arrays: ``truth_probability``
    P(y = 1 | h, pattern) [N, T]; ``pattern_effect`` [N, T], the true beta Delta, with Gamma . h where there is one (its mean, where an
    outcome of ``icu_24h`` is predicted from the later pattern); ``h``; ``oracle_features`` (mean and variance of h given the contents,
    and the pattern);
    ``propensity`` [N, M] of each modality given h and what is observed of S; ``pattern_propensity`` of the stay's own pattern [N], and
    ``pattern_propensities`` of all patterns named in the notes (up to four modalities);
    ``effective_sample_size`` [N, T] of the ceiling (``_series``: with the series), out of ``draws``.
    """
    h = h[cohort.patient]
    mean, covariance = compute_posterior(world, cohort)
    predictions, size = predict(world, cohort, mean, covariance, draws, seed)
    predictions, sizes = {"ceiling": predictions["evidence1_cause1"], **predictions}, {"effective_sample_size": size}
    if cohort.series is not None:
        moments = compute_posterior(world, cohort, series=True)
        best, sizes["effective_sample_size_series"] = predict(
            world, cohort, *moments, draws, seed, counts=True, cells=BEST
        )
        predictions["ceiling_series"] = best["evidence1_cause1"]
    if world.clusters is not None:
        mean, covariance = world.clusters.moments(mean, covariance)
    code, tasks, landmark = encode_patterns(cohort.observed), world.tasks_at(cohort.landmark), cohort.landmark
    effects = [sum(p * effect for p, effect in world.pattern_effects(task, code, landmark, h)) for task in tasks]
    arrays = {
        "truth_probability": np.stack([world.outcome_probability(task, h, code, landmark) for task in tasks], axis=1),
        "pattern_effect": np.stack(effects, axis=1),
        "h": h.astype(np.float32),
        "oracle_features": np.concatenate([mean, np.einsum("nii->ni", covariance), cohort.observed], axis=1).astype(
            np.float32
        ),
        **sizes,
    }
    propensities, patterns = _compute_propensities(world, cohort, h)
    arrays |= propensities
    notes = {"effective_sample_size": _summarise_sizes(arrays, cohort.tasks, draws)}
    if patterns:
        notes["patterns"] = patterns
    return GroundTruth(predictions, arrays, notes)


def compute_expected_residual(prediction: Array, truth_probability: Array, observed: Array) -> dict[int, Array]:
    """Return the true E[y - p | pattern] of a prediction [N, T] by pattern code, [T] each: what a rectifier should recover."""
    code = encode_patterns(observed)
    return {int(c): (truth_probability - prediction)[code == c].mean(axis=0) for c in np.unique(code)}


def compute_posterior(world: World, cohort: Cohort, series: bool = False) -> tuple[Array, Array]:
    """Return mean [N, H] and covariance [N, H, H] of h given the contents (and the values of the series), pattern and counts left out.

    Under the prior N(0, I): where h is a mixture, its ``posterior`` follows from these.
    """
    n, dimension = len(cohort), world.dimension
    precision = np.tile(np.eye(dimension), (n, 1, 1))
    shift = np.zeros((n, dimension))
    for m, (content, modality) in enumerate(zip(world.contents, cohort.modalities, strict=True)):
        where = np.asarray(content.coordinates)
        rows = np.flatnonzero(cohort.observed[:, m])
        for start in range(0, len(rows), ROWS):
            chunk = rows[start : start + ROWS]
            j, eta = _compute_information(world, content, modality.values[chunk])
            precision[chunk[:, None, None], where[:, None], where] += j
            shift[chunk[:, None], where] += eta
    if series:
        j, eta = _compute_series_information(world.series, cohort.series)
        precision += j
        shift += eta
    covariance = np.linalg.inv(precision)
    return np.einsum("nij,nj->ni", covariance, shift), (covariance + covariance.transpose(0, 2, 1)) / 2


def _compute_information(world: World, content: Content, values: Array) -> tuple[Array, Array]:
    """Return the information about h_(m) in contents [N, d], g_m integrated out: precision [N or 1, k, k] and shift [N, k]."""
    basis = np.concatenate([content.A, content.P], axis=1) / content.sigma
    k, width = content.A.shape[1], basis.shape[1]
    z = world.phi_inverse(values.astype(np.float64)) / content.sigma
    if content.nan_share:
        recorded = ~np.isnan(z)
        z[~recorded] = 0.0
        outer = (basis[:, :, None] * basis[:, None, :]).reshape(len(basis), -1)
        gram = (recorded.astype(np.float64) @ outer).reshape(-1, width, width)
    else:
        gram = (basis.T @ basis)[None]
    eta = z @ basis
    private = gram[:, k:, k:] + np.eye(width - k)
    gain = np.linalg.solve(private, gram[:, k:, :k]).transpose(0, 2, 1)
    return gram[:, :k, :k] - gain @ gram[:, k:, :k], eta[:, :k] - np.einsum(
        "nij,nj->ni", np.broadcast_to(gain, (len(eta), *gain.shape[1:])), eta[:, k:]
    )


def _compute_series_information(model: SeriesModel, series: Series) -> tuple[Array, Array]:
    """Return the information about h in each channel's mean value: a patient effect and n measurements, variance effect + noise / n."""
    count = series.mask.sum(axis=1)
    total = np.where(series.mask, series.values, np.float32(0)).sum(axis=1, dtype=np.float64)
    weight = count / (count * model.patient_sd**2 + model.noise_sd**2)
    outer = np.einsum("ci,cj->cij", model.l, model.l)
    return np.tensordot(weight, outer, axes=1), (weight * total / np.maximum(count, 1)) @ model.l


def predict_from_anchor(world: World, cohort: Cohort, draws: int = 1024, seed: int = 0) -> Array:
    """Predict [N, T] as well as the always observed modality alone allows, pattern unused: the worth of the others is told from it."""
    observed = cohort.observed & world.always
    bare = replace(cohort, observed=observed, fingerprint="anchor only")
    return predict(world, bare, *compute_posterior(world, bare), draws, seed, cells={"anchor": (0, 0)})[0]["anchor"]


def predict(
    world: World,
    cohort: Cohort,
    mean: Array,
    covariance: Array,
    draws: int = 1024,
    seed: int = 0,
    counts: bool = False,
    cells: dict[str, tuple[int, int]] = WORTH,
) -> tuple[dict[str, Array], Array]:
    """Return the Bayes predictions [N, T] of each cell of the 2 x 2, and the effective sample size [N, T] of evidence1_cause1 (else NaN).

    ``counts``: the numbers of measurements weigh too. Points are shared by the stays up to a random reflection and order of the axes.
    """
    tasks, landmark, deadly = world.tasks_at(cohort.landmark), cohort.landmark, world.tasks[world.mortality]
    sample, site = _make_sampler(world, mean, covariance, draws, seed), _find_sites(cohort)
    code, fixed = encode_patterns(cohort.observed), _compute_fixed_logit(world, cohort)
    reach = world.reach(landmark, site)
    result = {name: np.empty((len(cohort), len(tasks))) for name in cells}
    size = np.full((len(cohort), len(tasks)), np.nan)
    for start in range(0, len(cohort), ROWS):
        rows = slice(start, start + ROWS)
        h = sample(rows)
        count_weight = _compute_count_weight(world, cohort.series, rows, h) if counts else np.ones(h.shape[:2])
        likelihood = compute_pattern_likelihood(world, cohort.observed[rows], fixed[rows], reach[rows], site[rows], h)
        logits = {task: world.logit_without_pattern(task, h) for task in {deadly, *tasks}}
        for cause in sorted({cause for _, cause in cells.values()}):
            chance = {
                t: world.add_pattern(t, z, code[rows], landmark, h) if cause else expit(z) for t, z in logits.items()
            }
            for name in (name for name, cell in cells.items() if cell[1] == cause):
                weight = count_weight * likelihood if cells[name][0] else count_weight
                for j, task in enumerate(tasks):
                    w = weight * (1 - chance[deadly]) if task.survivors else weight
                    w = w / w.sum(axis=1, keepdims=True)
                    result[name][rows, j] = (w * chance[task]).sum(axis=1)
                    if cells[name] == (1, 1):
                        size[rows, j] = 1 / (w**2).sum(axis=1)
    return result, size


def _make_sampler(world: World, mean: Array, covariance: Array, draws: int, seed: int) -> Callable[[slice], Array]:
    """Return the function from rows to points [N, K, H] of the posterior; where h is a mixture, one more coordinate chooses the cluster."""
    if world.clusters is None:
        points, root = (
            draw_normal_points(draws, world.dimension, seed),
            _shuffle_axes(np.linalg.cholesky(covariance), seed),
        )
        return lambda rows: mean[rows, None, :] + points @ root[rows].transpose(0, 2, 1)
    weight, centre, covariance = world.clusters.posterior(mean, covariance)
    points, root = (
        draw_normal_points(draws, world.dimension + 1, seed),
        _shuffle_axes(np.linalg.cholesky(covariance), seed),
    )
    points, level, steps = points[:, :-1], ndtr(points[:, -1]), np.cumsum(weight, axis=1)[:, None, :-1]

    def sample(rows: slice) -> Array:
        cluster = (level[:, None] > steps[rows]).sum(axis=2)
        chosen = np.take_along_axis(centre[rows], cluster[:, :, None], axis=1)
        return chosen + points @ root[rows].transpose(0, 2, 1)

    return sample


def _summarise_sizes(arrays: dict[str, Array], tasks: tuple[str, ...], draws: int) -> dict:
    """Return mean and least effective sample size by task, of the ceiling and of the ceiling with the series."""
    notes = {"draws": draws}
    for name, of in (("effective_sample_size", "ceiling"), ("effective_sample_size_series", "ceiling_series")):
        if name in arrays:
            columns = zip(tasks, arrays[name].T, strict=True)
            notes[of] = {
                task: {"mean": float(np.sum(size) / max(len(size), 1)), "least": float(np.min(size, initial=draws))}
                for task, size in columns
            }
    return notes


def draw_normal_points(draws: int, dimension: int, seed: int = 0) -> Array:
    """Draw antithetic scrambled Sobol points of N(0, I), [draws, dimension]."""
    half = qmc.Sobol(dimension, scramble=True, rng=np.random.default_rng([seed, 1])).random(draws // 2)
    half = ndtri(np.clip(half, 1e-12, 1 - 1e-12))
    return np.concatenate([half, -half])


def _shuffle_axes(root: Array, seed: int) -> Array:
    """Reflect and permute the columns of Cholesky factors [N, H, H] at random, so that the stays' errors are not one error."""
    rng = np.random.default_rng([seed, 2])
    n, dimension, _ = root.shape
    order = rng.random((n, dimension)).argsort(axis=1)
    sign = rng.choice([-1.0, 1.0], size=(n, 1, dimension))
    return np.take_along_axis(root, order[:, None, :], axis=2) * sign


def compute_pattern_likelihood(
    world: World, observed: Array, fixed: Array, reach: Array, site: Array, h: Array
) -> Array:
    """Return P(pattern | h, what is known) for h [N, H] or [N, K, H]; ``observed`` bool, ``fixed``, ``reach`` [N, M], ``site`` [N]."""
    lift = (slice(None),) + (None,) * (h.ndim - 2)
    result = np.ones(h.shape[:-1])
    for m in np.flatnonzero(~world.always):
        logit = (fixed[:, m] + world.order_term(m, observed))[lift] + world.latent_logit(h, m, site)
        seen = reach[:, m][lift] * expit(logit)
        result *= np.where(observed[:, m][lift], seen, 1 - seen)
    return result


def _compute_count_weight(world: World, series: Series, rows: slice, h: Array) -> Array:
    """Return the likelihood [N, K] of the numbers of filled bins given h, up to a factor by stay."""
    model = world.series
    within = np.isfinite(series.hours[rows]).sum(axis=1)
    filled = series.mask[rows].sum(axis=1)
    lift = np.exp(model.rise * project(h, world.u))
    log = np.zeros(h.shape[:2])
    for rate in np.unique(model.rate):
        channels = model.rate == rate
        k = filled[:, channels].sum(axis=1)[:, None]
        empty = within[:, None] * channels.sum() - k
        log += k * np.log(-np.expm1(-rate * lift)) - empty * rate * lift
    return np.exp(log - log.max(axis=1, keepdims=True))


def _find_sites(cohort: Cohort) -> Array:
    return np.zeros(len(cohort), dtype=np.int64) if cohort.site is None else cohort.site


def _compute_fixed_logit(world: World, cohort: Cohort) -> Array:
    return world.fixed_logit(cohort.modalities[0].values, _find_sites(cohort))


def _compute_propensities(world: World, cohort: Cohort, h: Array) -> tuple[dict[str, Array], list[str]]:
    """Return propensities of the modalities, of the own pattern and, for up to four modalities, of all patterns, with their names."""
    site, count = _find_sites(cohort), len(world.contents)
    fixed, reach = _compute_fixed_logit(world, cohort), world.reach(cohort.landmark, site)
    alone = np.stack([reach[:, m] * expit(fixed[:, m] + world.latent_logit(h, m, site)) for m in range(count)], axis=1)
    alone[:, world.always] = 1.0
    if world.order is not None:
        later, earlier, coefficient = world.order
        lifted = reach[:, later] * expit(fixed[:, later] + coefficient + world.latent_logit(h, later, site))
        alone[:, later] += alone[:, earlier] * (lifted - alone[:, later])
    result = {
        "propensity": alone,
        "pattern_propensity": compute_pattern_likelihood(world, cohort.observed, fixed, reach, site, h),
    }
    if count > 4:
        return result, []
    bits = (np.arange(2**count)[:, None] >> np.arange(count)) & 1
    patterns = bits[(bits[:, world.always] == 1).all(axis=1)].astype(bool)
    columns = [compute_pattern_likelihood(world, np.tile(p, (len(h), 1)), fixed, reach, site, h) for p in patterns]
    result["pattern_propensities"] = np.stack(columns, axis=1)
    return result, name_patterns(patterns, world.modality_names)
