"""The Bayes predictions against integration on a grid, and what must hold of every best prediction."""

import itertools
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import statsmodels.api as sm
from scipy.stats import multivariate_normal, norm
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, roc_auc_score

from datasets.synthetic import truth
from datasets.synthetic.cohort import build
from datasets.synthetic.draw import draw_cohorts
from datasets.synthetic.model import Clusters, Content, SeriesModel, Task, World, encode_patterns
from datasets.synthetic.params import SyntheticParams
from datasets.synthetic.presets import make_world


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


TINY = {
    "factors": {},
    "clusters": {"clusters": Clusters(np.array([0.35, 0.65]), np.array([[1.3], [-0.7]]), np.array([[0.15]]))},
    "interaction": {"interaction": 1.2},
    "policy_shift": {"site_shifted": np.array([False, True]), "lean": -0.8},
}


def tiny_world(rho=1.0, beta=0.8, departing="factors"):
    """One latent coordinate, the anchor and one more modality, a series of two channels, selection by survival."""
    content = (
        Content("S", (0,), np.array([[0.5], [0.3]]), np.array([[0.4], [-0.2]]), 0.8, nan_share=0.3),
        Content("R", (0,), np.array([[0.7], [0.2], [-0.4]]), np.array([[0.3], [0.6], [0.1]]), 0.9),
    )
    direction = np.array([[1.0], [1.0]])
    return World(
        name="tiny",
        u=np.array([1.0]),
        contents=content,
        bend=0.75,
        a=np.array([0.0, 0.3]),
        b=np.array([[0.0], [1.0]]),
        c=np.array([[0.0, 0.0], [0.6, -0.9]]),
        kappa=1.7,
        rho=rho,
        always=np.array([True, False]),
        known_24h=np.array([1.0, 0.6]),
        order=None,
        site_share=np.array([0.6, 0.4]),
        site_shift=np.array([[0.0, 0.0], [0.0, 0.9]]),
        site_sends=np.ones((2, 2)),
        tasks=(
            Task(
                "mortality",
                np.array([1.3]),
                direction,
                np.array([0.0, -1.0, 0.0, 0.7]),
                -1.2,
                "icu_24h",
                False,
                np.array([[0.0], [0.9], [0.0], [-0.5]]),
            ),
            Task(
                "readmission",
                np.array([0.9]),
                direction,
                np.array([0.0, 0.8, 0.0, -0.6]),
                -1.0,
                "discharge",
                True,
                np.array([[0.0], [-0.8], [0.0], [0.6]]),
            ),
        ),
        q=0.4,
        beta=beta,
        mortality=0,
        series=SeriesModel(("a", "b"), np.array([[0.6], [-0.4]]), np.array([0.1, 0.25]), 0.2, 1.0, 0.5),
        **TINY[departing],
    )


def grid_prediction(world, cohort, row, series, size=4001):
    """The same predictions by the trapezoid rule over h, every density written out from the model, nothing shared with the code."""
    h = np.linspace(-8, 8, size)
    log = norm.logpdf(h)
    if world.clusters is not None:
        spread = np.sqrt(world.clusters.covariance[0, 0])
        parts = zip(world.clusters.weight, world.clusters.mean[:, 0], strict=True)
        log = np.log(sum(share * norm.pdf(h, centre, spread) for share, centre in parts))
    for content, modality, seen in zip(world.contents, cohort.modalities, cohort.observed[row], strict=True):
        if seen:
            z = np.arcsinh(world.bend * modality.values[row].astype(float)) / world.bend
            there = ~np.isnan(z)
            cov = (content.P @ content.P.T + content.sigma**2 * np.eye(len(z)))[np.ix_(there, there)]
            if there.any():
                log += multivariate_normal(cov=cov, allow_singular=False).logpdf(
                    z[there] - np.outer(h, content.A[there, 0])
                )
    model, s = world.series, cohort.series
    if series:
        bins = np.isfinite(s.hours[row]).sum()
        for c in range(2):
            v = s.values[row, s.mask[row, :, c], c].astype(float)
            filled = 1 - np.exp(-model.rate[c] * np.exp(model.rise * h))
            log += len(v) * np.log(filled) + (bins - len(v)) * np.log(1 - filled)
            if len(v):
                cov = model.patient_sd**2 + model.noise_sd**2 * np.eye(len(v))
                log += multivariate_normal(cov=cov).logpdf(v - np.outer(h, np.full(len(v), model.l[c, 0])))
    anchor = np.nan_to_num(cohort.modalities[0].values[row].astype(float))
    site = cohort.site[row]
    kappa = world.kappa * (world.lean if world.site_shifted is not None and world.site_shifted[site] else 1.0)
    looked = world.rho * h + (1 - world.rho) * (world.c[1] @ anchor)
    drawn = sigmoid(world.a[1] + world.site_shift[site, 1] + kappa * looked)
    early, seen = cohort.landmark == "icu_24h", bool(cohort.observed[row, 1])
    known = drawn * (world.known_24h[1] if early else 1.0)
    pattern = known if seen else 1 - known
    die, again = world.tasks

    def chance(task, code):
        w = task.w[0] + world.interaction * task.gamma[code, 0]
        return sigmoid(task.intercept + w * h + world.q * h**2 + world.beta * task.delta[code])

    code = 3 if seen else 1
    acted = {code: 1.0} if early or not seen else {3: world.known_24h[1], 1: 1 - world.known_24h[1]}
    death = sum(share * chance(die, early_code) for early_code, share in acted.items())
    density = np.exp(log - log.max()) * pattern
    best = {"mortality": np.sum(density * death) / np.sum(density)}
    alive = density * (1 - death)
    best["readmission"] = np.sum(alive * chance(again, code)) / np.sum(alive)
    return [best[t] for t in cohort.tasks]


@pytest.mark.parametrize(("rho", "series"), list(itertools.product((1.0, 0.4), (False, True))))
@pytest.mark.parametrize("departing", TINY)
@pytest.mark.parametrize("landmark", ["icu_24h", "discharge", "stay"])
def test_prediction_equals_integration_on_a_grid(landmark, departing, rho, series):
    world = tiny_world(rho, departing=departing)
    cohort = draw_cohorts(world, 60, 5)[0][landmark]
    moments = truth.compute_posterior(world, cohort, series=series)
    best, _ = truth.predict(world, cohort, *moments, draws=1 << 14, counts=series, cells=truth.BEST)
    expected = [grid_prediction(world, cohort, row, series) for row in range(len(cohort))]
    assert {tuple(p) for p in cohort.observed} == {(True, False), (True, True)}
    tolerance = 5e-4 if departing == "clusters" else 2e-4  # a second coordinate of the points chooses the cluster
    np.testing.assert_allclose(best["evidence1_cause1"], expected, atol=tolerance)
    if departing != "factors":
        usual = [grid_prediction(tiny_world(rho), cohort, row, series) for row in range(len(cohort))]
        assert np.abs(np.subtract(usual, expected)).max() > 0.02


def test_the_ceiling_with_the_series_knows_how_often_was_measured():
    world = tiny_world()
    cohorts, h = draw_cohorts(world, 60, 5)[:2]
    cohort = cohorts["discharge"]
    known = truth.compute_ground_truth(world, cohort, h, draws=1 << 13)
    expected = [grid_prediction(world, cohort, row, True) for row in range(len(cohort))]
    np.testing.assert_allclose(known.predictions["ceiling_series"], expected, atol=5e-4)


def test_survival_moves_the_best_prediction():
    """The grid test would not see a weight that is missing on both sides were survival of no account."""
    world = tiny_world()
    cohort = draw_cohorts(world, 60, 5)[0]["discharge"]
    unselected = replace(world, tasks=(world.tasks[0], replace(world.tasks[1], survivors=False)))
    moments = truth.compute_posterior(world, cohort)
    with_, without = (truth.predict(w, cohort, *moments)[0]["evidence1_cause1"] for w in (world, unselected))
    assert (with_ < without).mean() > 0.9
    assert np.abs(with_ - without).max() > 0.03


@pytest.mark.parametrize("departing", ["factors", "text"])
@pytest.mark.parametrize("preset", ["mimic", "eicu"])
def test_posterior_equals_the_dense_gaussian(preset, departing):
    """Conditioning h on all observed features and measurements jointly, by its covariance matrix."""
    params = SyntheticParams(preset=preset, world=departing)
    world = make_world(params)
    world = replace(
        world,
        contents=tuple(replace(c, A=c.A[:30], P=c.P[:30]) for c in world.contents),
        c=world.c[:, : min(30, world.contents[0].width)],
    )
    cohort = draw_cohorts(world, 5, 1)[0]["stay"]
    mean, covariance = truth.compute_posterior(world, cohort, series=True)
    for row in range(5):
        loading, values, noise = [], [], []
        for m in np.flatnonzero(cohort.observed[row]):
            content, z = world.contents[m], world.phi_inverse(cohort.modalities[m].values[row].astype(float))
            there = ~np.isnan(z)
            full = np.zeros((there.sum(), world.dimension))
            full[:, content.coordinates] = content.A[there]
            loading.append(full)
            values.append(z[there])
            noise.append(content.P[there] @ content.P[there].T + content.sigma**2 * np.eye(there.sum()))
        for c in range(len(world.series.channels)):
            v = cohort.series.values[row, cohort.series.mask[row, :, c], c].astype(float)
            loading.append(np.tile(world.series.l[c], (len(v), 1)))
            values.append(v)
            noise.append(world.series.patient_sd**2 + world.series.noise_sd**2 * np.eye(len(v)))
        big = np.zeros((sum(map(len, values)),) * 2)
        start = 0
        for block in noise:
            big[start : start + len(block), start : start + len(block)] = block
            start += len(block)
        b = np.concatenate(loading)
        gain = np.linalg.solve(big + b @ b.T, b).T
        np.testing.assert_allclose(mean[row], gain @ np.concatenate(values), atol=2e-5)
        np.testing.assert_allclose(covariance[row], np.eye(world.dimension) - gain @ b, atol=1e-9)


@pytest.fixture(scope="module", params=["mimic", "eicu"])
def built(request):
    return build(SyntheticParams(preset=request.param, n=4000, seed=11, draws=512))


def every_task(built, name):
    """(landmark, task, outcomes, predictions) of the stays for which the outcome is defined."""
    for landmark, (cohort, known) in built.items():
        for t, task in enumerate(cohort.tasks):
            there = ~np.isnan(cohort.outcomes[:, t])
            yield landmark, task, cohort.outcomes[there, t], known.predictions[name][there, t]


@pytest.mark.parametrize("name", ["ceiling", "ceiling_series"])
def test_ceilings_are_calibrated(built, name):
    for landmark, task, y, p in every_task(built, name):
        fit = sm.Logit(y, sm.add_constant(np.log(p / (1 - p)))).fit(disp=0)
        low, high = fit.conf_int(alpha=0.002)[1]
        assert low < 1 < high, (landmark, task, low, high)
        assert abs(y.mean() - p.mean()) < 3.3 * np.sqrt((p * (1 - p)).mean() / len(y)), (landmark, task)


def test_best_predictions_are_ordered(built):
    """More information cannot raise the log loss: pattern unused, ceiling, with the series, truth; a step back within 3 standard errors."""
    for landmark, (cohort, known) in built.items():
        steps = [known.predictions[n] for n in ("evidence0_cause0", "ceiling", "ceiling_series")] + [
            known.arrays["truth_probability"]
        ]
        for t in range(len(cohort.tasks)):
            y = cohort.outcomes[:, t]
            losses = [-np.log(np.where(y == 1, p[:, t], 1 - p[:, t]))[~np.isnan(y)] for p in steps]
            for worse, better in itertools.pairwise(losses):
                gap = worse - better
                assert gap.mean() > -3 * gap.std() / np.sqrt(len(gap)), (landmark, t)


LEARNERS = {
    "logistic": lambda: LogisticRegression(max_iter=500),
    "boosting": lambda: HistGradientBoostingClassifier(max_iter=40, learning_rate=0.05, random_state=0),
}


@pytest.mark.parametrize("learner", LEARNERS)
def test_no_predictor_beats_the_ceiling(built, learner):
    """Fed with the ceiling itself, the exact posterior and the pattern, and fitted on the other half, nobody has a lower log loss."""
    for landmark, (cohort, known) in built.items():
        for t, task in enumerate(cohort.tasks):
            there = np.flatnonzero(~np.isnan(cohort.outcomes[:, t]))
            p, y = known.predictions["ceiling"][there, t], cohort.outcomes[there, t]
            x = np.column_stack([np.log(p / (1 - p)), known.arrays["oracle_features"][there]])
            train = np.arange(len(there)) % 2 == 0
            q = LEARNERS[learner]().fit(x[train], y[train]).predict_proba(x[~train])[:, 1]
            loss = [-np.log(np.where(y[~train] == 1, r, 1 - r)) for r in (p[~train], q)]
            gain = loss[0] - loss[1]
            assert gain.mean() < 3 * gain.std() / np.sqrt(len(gain)), (landmark, task)


def worth(known):
    return known.predictions["ceiling"], [known.predictions[f"evidence{e}_cause{c}"] for e in (0, 1) for c in (0, 1)]


@pytest.mark.parametrize("preset", ["mimic", "eicu"])
def test_pattern_is_worth_nothing_where_it_says_nothing(preset):
    """mcar with beta 0: neither evidence nor cause; mar: no evidence, but Delta still acts; mnar: both."""
    dials = {"preset": preset, "n": 300, "draws": 64}
    for _, known in build(SyntheticParams(**dials, mechanism="mcar", beta=0)).values():
        ceiling, cells = worth(known)
        for cell in cells:
            np.testing.assert_allclose(cell, ceiling, atol=1e-13, rtol=0)
    for _, known in build(SyntheticParams(**dials, mechanism="mar")).values():
        ceiling, (neither, cause, evidence, both) = worth(known)
        np.testing.assert_allclose(cause, both, atol=1e-13, rtol=0)
        np.testing.assert_allclose(neither, evidence, atol=1e-13, rtol=0)
        assert np.abs(ceiling - neither).max() > 0.01
    for _, known in build(SyntheticParams(**dials)).values():
        ceiling, (_, cause, evidence, _) = worth(known)
        assert np.abs(ceiling - cause).max() > 0.01
        assert np.abs(ceiling - evidence).max() > 0.01


@pytest.mark.parametrize("preset", ["mimic", "eicu"])
def test_monte_carlo_error_of_the_auc(preset):
    """At the default number of draws, on the default cohort, over eight sets of points."""
    params = SyntheticParams(preset=preset)
    world = make_world(params)
    cohort = draw_cohorts(world, params.n, 0)[0]["stay"]
    moments = truth.compute_posterior(world, cohort)
    aucs = []
    for seed in range(8):
        best, size = truth.predict(world, cohort, *moments, params.points, seed, cells=truth.BEST)
        p = best["evidence1_cause1"]
        there = ~np.isnan(cohort.outcomes)
        aucs.append([roc_auc_score(cohort.outcomes[k, t], p[k, t]) for t, k in enumerate(there.T)])
    assert np.std(aucs, axis=0, ddof=1).max() <= 5e-4
    assert size.mean() > params.points / 4


def test_propensities(built):
    """Those of the patterns sum to 1, agree with those of the modalities, and with how often each is seen."""
    for landmark, (cohort, known) in built.items():
        if landmark == "discharge":
            continue
        error = np.sqrt(0.25 / len(cohort))
        np.testing.assert_allclose(known.arrays["propensity"].mean(0), cohort.observed.mean(0), atol=3.5 * error)
        if "pattern_propensities" in known.arrays:
            all_, names = known.arrays["pattern_propensities"], known.notes["patterns"]
            np.testing.assert_allclose(all_.sum(1), 1)
            for m, name in enumerate(cohort.modality_names):
                with_m = [j for j, pattern in enumerate(names) if name in pattern.split("+")]
                np.testing.assert_allclose(all_[:, with_m].sum(1), known.arrays["propensity"][:, m], atol=1e-12)
            own = [
                "+".join(n for n, seen in zip(cohort.modality_names, row, strict=True) if seen)
                for row in cohort.observed
            ]
            picked = all_[np.arange(len(own)), [names.index(pattern) for pattern in own]]
            np.testing.assert_allclose(picked, known.arrays["pattern_propensity"])


def test_pattern_effect_is_centred_with_the_size_of_beta():
    world = make_world(SyntheticParams(preset="mimic", beta=0.7))
    cohort = draw_cohorts(world, 4000, 2)[0]["icu_24h"]
    effect = world.pattern_effects(world.tasks[0], encode_patterns(cohort.observed), "icu_24h", np.zeros((4000, 8)))[0][
        1
    ]
    assert abs(effect.mean()) < 0.05
    assert abs(effect.std() - 0.7) < 0.05


def test_discharge_is_rows_of_stay(built):
    """The ceiling worked out on the discharge cohort itself, with other points, is the same up to Monte Carlo error."""
    (cohort, known) = built["discharge"]
    params = SyntheticParams(preset=cohort.name.removeprefix("embedded-"))
    h = np.zeros((4000, 8))
    h[cohort.patient] = known.arrays["h"]
    part = cohort.take(np.arange(400))
    again = truth.compute_ground_truth(make_world(params), part, h, 2048, seed=9)
    assert np.abs(again.predictions["ceiling"] - known.predictions["ceiling"][:400]).mean() < 3e-3
    np.testing.assert_allclose(again.arrays["truth_probability"], known.arrays["truth_probability"][:400], atol=1e-6)
    np.testing.assert_allclose(again.arrays["oracle_features"], known.arrays["oracle_features"][:400], atol=1e-6)


def test_expected_residual(built):
    """By hand for a constant; of the ceiling it is 0 within its error, pattern by pattern."""
    cohort, known = built["stay"]
    true, code = known.arrays["truth_probability"], encode_patterns(cohort.observed)
    by_pattern = truth.compute_expected_residual(np.full_like(true, 0.3), true, cohort.observed)
    assert set(by_pattern) == set(code.tolist())
    np.testing.assert_allclose(by_pattern[code[0]], true[code == code[0]].mean(0) - 0.3)
    residual = truth.compute_expected_residual(known.predictions["ceiling"][:, :1], true[:, :1], cohort.observed)
    for c, value in residual.items():
        size = (code == c).sum()
        if size > 50:
            assert abs(value[0]) < 4 * (
                true[code == c, 0] - known.predictions["ceiling"][code == c, 0]
            ).std() / np.sqrt(size)


def test_truth_probability_is_the_rate_of_the_outcome(built):
    for landmark, (cohort, known) in built.items():
        p, y = known.arrays["truth_probability"], cohort.outcomes
        for t, task in enumerate(cohort.tasks):
            there = ~np.isnan(y[:, t])
            for part in np.array_split(np.argsort(p[there, t]), 5):
                q, seen = p[there, t][part], y[there, t][part]
                assert abs(q.mean() - seen.mean()) < 3.8 * np.sqrt((q * (1 - q)).mean() / len(q)), (landmark, task)


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["mimic", "eicu"])
def test_defaults_are_worth_what_is_promised(preset):
    """At 20,000: marginals and prevalences within a percentage point, the other modalities worth .03 AUC, the pattern as evidence .01."""
    params = SyntheticParams(preset=preset, n=20_000)
    world, built = make_world(params), build(params)
    for landmark, (cohort, known) in built.items():
        bare = truth.predict_from_anchor(world, cohort)
        for t, target in enumerate(
            {"mortality_inhosp": 0.1, "readmission_30d": 0.2, "icu_90d": 0.1}[task] for task in cohort.tasks
        ):
            there = ~np.isnan(cohort.outcomes[:, t])
            y = cohort.outcomes[there, t]
            auc = {name: roc_auc_score(y, p[there, t]) for name, p in {**known.predictions, "bare": bare}.items()}
            assert abs(y.mean() - target) < 0.01
            assert 0.75 < auc["ceiling"] < 0.88, landmark
            assert auc["evidence0_cause0"] - auc["bare"] > 0.03
            assert auc["ceiling"] - auc["evidence0_cause1"] > 0.01
            assert auc["ceiling_series"] > auc["ceiling"]
    observed = built["stay"][0].observed
    if preset == "mimic":
        shares = dict(zip("SITR", observed.mean(0), strict=True))
        assert shares["S"] == 1
        for name, target in (("T", 0.755), ("R", 0.85), ("I", 0.261)):
            assert abs(shares[name] - target) < 0.01
        assert abs(observed[:, 2:].any(1).mean() - 0.895) < 0.01


@pytest.mark.slow
def test_twenty_thousand_stays_in_a_minute_and_three_gib():
    program = (
        "import resource, time; start = time.time()\n"
        "from datasets.synthetic.cohort import build\n"
        "from datasets.synthetic.params import SyntheticParams\n"
        "build(SyntheticParams(n=20_000))\n"
        "print(time.time() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)"
    )
    root = Path(__file__).parents[2]
    run = subprocess.run(
        [sys.executable, "-c", program],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        check=True,
    )
    seconds, gib = map(float, run.stdout.split())
    assert seconds < 60
    assert gib < 3


def test_log_loss_of_the_ceiling_is_between_prevalence_and_truth(built):
    for landmark, task, y, p in every_task(built, "ceiling"):
        assert log_loss(y, p) < log_loss(y, np.full(len(y), y.mean())), (landmark, task)
