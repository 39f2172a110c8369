"""The other worlds: what each breaks is broken, all else is as in factors, and the ceilings hold."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import chi2_contingency
from sklearn.ensemble import HistGradientBoostingClassifier

from datasets.cohort import compute_fingerprint
from datasets.synthetic import truth
from datasets.synthetic.cohort import build
from datasets.synthetic.departures import SHIFTED, SITES, WORLDS
from datasets.synthetic.draw import draw_anchor, draw_cohorts, draw_observed
from datasets.synthetic.model import encode_patterns, project
from datasets.synthetic.params import SyntheticParams
from datasets.synthetic.presets import H, make_world

OTHERS = [name for name in WORLDS if name != "factors"]
PRESETS = ["mimic", "eicu"]
PREVALENCE = {"mortality_inhosp": 0.1, "readmission_30d": 0.2, "icu_90d": 0.1}
SHARES = {
    "mimic": [1, 0.261, 0.755, 0.85],
    "eicu": [1, 0.95, 0.86, 0.88, 0.78, 0.90, 0.92, 0.55, 0.70, 0.76],
}


def population(world, size=20_000, seed=1):
    """h, site and pattern of many stays, without their large contents."""
    rng = np.random.default_rng(seed)
    h = world.latent(rng.standard_normal((size, world.dimension)), rng)
    site = rng.choice(len(world.site_share), size=size, p=world.site_share)
    return h, site, draw_observed(world, h, draw_anchor(world, h, rng), site, rng)


def usual(world, site):
    return np.ones(len(site), dtype=bool) if world.site_shifted is None else ~world.site_shifted[site]


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("preset", PRESETS)
def test_marginals_and_prevalences(preset, name):
    """Of the usual part, where there are two policies."""
    world = make_world(SyntheticParams(preset=preset, world=name))
    h, site, observed = population(world, 60_000)
    h, observed = h[usual(world, site)], observed[usual(world, site)]
    np.testing.assert_allclose(observed.mean(0), SHARES[preset], atol=0.01)
    early = observed & (np.random.default_rng(0).random(observed.shape) < world.known_24h)
    died = world.outcome_probability(world.tasks[0], h, encode_patterns(early), "icu_24h")
    assert abs(died.mean() - PREVALENCE["mortality_inhosp"]) < 0.01
    for task in world.tasks[1:]:
        p = world.outcome_probability(task, h, encode_patterns(observed), "discharge")
        assert abs(np.average(p, weights=1 - died) - PREVALENCE[task.name]) < 0.01


@pytest.mark.parametrize("name", OTHERS)
def test_pattern_and_outcome_without_kappa_and_beta(name):
    """Independent, but where the pattern decides what h does; there the interaction alone links them."""
    world = make_world(SyntheticParams(world=name, kappa=0, beta=0))
    h, _, observed = population(world, 40_000)
    code, task = encode_patterns(observed), world.tasks[1]
    y = np.random.default_rng(3).random(len(h)) < world.outcome_probability(task, h, code, "discharge")
    frequent = [c for c, k in zip(*np.unique(code, return_counts=True), strict=True) if k > 200]
    p = chi2_contingency([[(y[code == c] == v).sum() for v in (0, 1)] for c in frequent]).pvalue
    assert (p < 1e-3) == (name == "interaction")


@pytest.mark.parametrize("name", OTHERS)
def test_worlds_are_deterministic_and_keep_the_constants_of_factors(name):
    factors, world = (make_world(SyntheticParams(world=w)) for w in ("factors", name))
    np.testing.assert_array_equal(world.b[:, :H], factors.b)
    for one, other in zip(world.contents, factors.contents, strict=True):
        np.testing.assert_array_equal(np.hstack([one.A, one.P]), np.hstack([other.A, other.P]))
    for one, other in zip(world.tasks, factors.tasks, strict=True):
        np.testing.assert_array_equal(one.w[:H], other.w)
        assert np.corrcoef(one.delta, other.delta)[0, 1] > 1 - 1e-9
    marks = []
    for seed in (1, 1, 2):
        cohort, known = build(SyntheticParams(world=name, n=60, seed=seed, draws=16))["stay"]
        assert np.isfinite(known.predictions["ceiling_series"]).all()
        marks.append(compute_fingerprint(cohort) + known.predictions["ceiling"].tobytes().hex())
    assert marks[0] == marks[1] != marks[2]


def test_no_departure_is_factors():
    """Bit for bit where nothing else has to be drawn; a mixture whose means are all 0 up to Monte Carlo error."""
    params = SyntheticParams(n=120, draws=256)
    factors = build(params)
    for name in ("interaction", "policy_shift"):
        for landmark, (cohort, known) in build(replace(params, world=name, departure=0)).items():
            same, best = factors[landmark]
            np.testing.assert_array_equal(cohort.observed, same.observed)
            np.testing.assert_array_equal(cohort.outcomes, same.outcomes)
            np.testing.assert_array_equal(known.predictions["ceiling_series"], best.predictions["ceiling_series"])
    world = make_world(replace(params, world="clusters", departure=0))
    for cohort, known in factors.values():
        moments = truth.compute_posterior(world, cohort)
        weight, centre, covariance = world.clusters.posterior(*moments)
        np.testing.assert_allclose(weight, np.tile(world.clusters.weight, (len(cohort), 1)), atol=1e-9)
        np.testing.assert_allclose(centre[:, 2], moments[0], atol=1e-9)
        np.testing.assert_allclose(covariance, moments[1], atol=1e-9)
        mixed = truth.predict(world, cohort, *moments, 2048)[0]["evidence1_cause1"]
        assert np.abs(mixed - known.predictions["ceiling"]).max() < 0.05


def test_clusters_have_the_moments_of_one_gaussian_and_are_none():
    prior = make_world(SyntheticParams(world="clusters")).clusters
    np.testing.assert_allclose(prior.weight @ prior.mean, 0, atol=1e-12)
    between = np.einsum("k,ki,kj->ij", prior.weight, prior.mean, prior.mean)
    np.testing.assert_allclose(between + prior.covariance, np.eye(H), atol=1e-12)
    np.testing.assert_allclose(np.sort(np.linalg.eigvalsh(between)), [0] * 5 + [0.8] * 3, atol=1e-12)
    rng = np.random.default_rng(0)
    h = prior.draw(rng.standard_normal((40_000, H)), rng)
    np.testing.assert_allclose(np.cov(h.T), np.eye(H), atol=0.04)
    along = h @ np.linalg.eigh(between)[1]
    assert abs((along[:, 2:5] ** 2).sum(axis=1).var() / 6 - 1) < 0.1  # chi-square of three has variance 6
    assert (along[:, 5:] ** 2).sum(axis=1).var() < 4


def test_moments_of_the_mixture_are_those_of_its_points():
    world = make_world(SyntheticParams(world="clusters"))
    cohorts, h = draw_cohorts(world, 40, 2)
    given = truth.compute_posterior(world, cohorts["stay"])
    mean, covariance = world.clusters.moments(*given)
    points = truth._make_sampler(world, *given, 1 << 12, 0)(slice(None))
    np.testing.assert_allclose(points.mean(axis=1), mean, atol=0.03)
    off = points - points.mean(axis=1, keepdims=True)
    np.testing.assert_allclose(np.einsum("nki,nkj->nij", off, off) / (1 << 12), covariance, atol=0.05)
    errors = [((h - m) ** 2).sum(1) for m in (given[0], mean)]
    assert errors[1].mean() < errors[0].mean()


@pytest.mark.parametrize("preset", PRESETS)
def test_interaction_is_centred_with_its_size(preset):
    world = make_world(SyntheticParams(preset=preset, world="interaction", departure=0.6, beta=0))
    h, _, observed = population(world, 60_000)
    code = encode_patterns(observed)
    for task in world.tasks[1:]:
        ((_, effect),) = world.pattern_effects(task, code, "discharge", h)
        assert abs(effect.std() - 0.6) < 0.02
        np.testing.assert_allclose(task.gamma[code].mean(axis=0), 0, atol=0.02)
        np.testing.assert_allclose(effect, 0.6 * (h * task.gamma[code]).sum(1))


@pytest.mark.parametrize("preset", PRESETS)
def test_own_factor_of_text_is_seen_in_text_only(preset):
    world = make_world(SyntheticParams(preset=preset, world="text"))
    assert world.dimension == H + 1
    assert [c.name for c in world.contents if H in c.coordinates] == [{"mimic": "T", "eicu": "laboratory"}[preset]]
    assert not world.b[:, H].any()
    assert not world.series.l[:, H].any()
    assert world.u[H] == 0
    assert all(task.w[H] == 1.5 and not task.r[:, H].any() for task in world.tasks)
    cohort = draw_cohorts(world, 400, 0)[0]["discharge"]
    m = next(m for m, c in enumerate(world.contents) if H in c.coordinates)
    spread = truth.compute_posterior(world, cohort)[1][:, H, H]
    assert spread[cohort.observed[:, m]].mean() < 0.6
    np.testing.assert_allclose(spread[~cohort.observed[:, m]], 1, atol=1e-9)


@pytest.mark.parametrize("preset", PRESETS)
def test_policy_is_reversed_at_the_shifted_sites(preset):
    world = make_world(SyntheticParams(preset=preset, world="policy_shift"))
    assert abs(world.site_share[world.site_shifted].sum() - SHIFTED) < 1e-12
    assert world.site_shifted.sum() >= 6
    h, site, observed = population(world, 60_000)
    there, slopes = world.site_shifted[site], []
    for m in np.flatnonzero(~world.always):
        along = project(h, world.b[m])
        slopes.append([np.corrcoef(along[part], observed[part, m])[0, 1] for part in (~there, there)])
    slopes = np.array(slopes)
    assert (slopes[:, 0] > 0.1).all()
    assert (slopes[:, 1] < -0.1).all()
    shares = np.array([observed[site == s].mean(axis=0) for s in np.flatnonzero(world.site_shifted)])[:, ~world.always]
    assert (np.ptp(shares, axis=0) > 0.05).all()
    if preset == "mimic":
        assert len(world.site_share) == SITES
    for cohort in draw_cohorts(world, 200, 0)[0].values():
        policy = cohort.groups["policy"]
        assert policy.labels == ("usual", "shifted")
        np.testing.assert_array_equal(policy.codes == 1, world.site_shifted[cohort.site])


BLIND = {  # the same machinery without what its world adds
    "clusters": lambda world: replace(world, clusters=None),
    "interaction": lambda world: replace(world, interaction=0.0),
    "text": lambda world: replace(world, tasks=tuple(replace(t, w=t.w * (np.arange(H + 1) < H)) for t in world.tasks)),
    "policy_shift": lambda world: replace(world, site_shifted=None),
}


@pytest.fixture(scope="module", params=OTHERS)
def built(request):
    """Landmarks that hold all for whom their outcomes are defined."""
    params = SyntheticParams(preset="eicu", world=request.param, n=4000, seed=5, draws=256)
    landmarks = build(params)
    del landmarks["stay"]
    return make_world(params), landmarks, BLIND[request.param]


def loss(y, p):
    """Log loss by stay; of its expectation where y is a probability."""
    return -y * np.log(p) - (1 - y) * np.log(1 - p)


def exceeds(gain, errors=3.0):
    """Whether a mean is above 0 by so many standard errors."""
    return gain.mean() > errors * gain.std() / np.sqrt(len(gain))


def test_neither_prevalence_nor_oracle_boosting_beats_the_ceiling(built):
    for cohort, known in built[1].values():
        x, train = known.arrays["oracle_features"], np.arange(len(cohort)) % 2 == 0
        for p, y in zip(known.predictions["ceiling"].T, cohort.outcomes.T, strict=True):
            boosting = HistGradientBoostingClassifier(max_iter=40, learning_rate=0.05, random_state=0).fit(
                x[train], y[train]
            )
            best = loss(y, p)[~train]
            assert not exceeds(best - loss(y[~train], boosting.predict_proba(x[~train])[:, 1]))
            assert exceeds(loss(y[~train], y[train].mean()) - best)


def test_ceilings_are_calibrated(built):
    """Against the true probability, fifth by fifth of the prediction: E[truth | prediction] is the prediction."""
    for cohort, known in built[1].values():
        for name in ("ceiling", "ceiling_series"):
            for p, true in zip(known.predictions[name].T, known.arrays["truth_probability"].T, strict=True):
                for part in np.array_split(np.argsort(p), 5):
                    gap = (true - p)[part]
                    assert abs(gap.mean()) < 4 * gap.std() / np.sqrt(len(gap)), (cohort.landmark, name)


def test_who_is_blind_to_the_departure_is_worse(built):
    """Else the departure would be of no account, and the tests above could not see a ceiling that leaves it out."""
    world, landmarks, blind = built
    for cohort, known in landmarks.values():
        other = blind(world)
        moments = truth.compute_posterior(other, cohort)
        wrong = truth.predict(other, cohort, *moments, 256, cells=truth.BEST)[0]["evidence1_cause1"]
        true = known.arrays["truth_probability"]
        gain = loss(true, wrong) - loss(true, known.predictions["ceiling"])
        assert exceeds(gain.sum(axis=1)), cohort.landmark
