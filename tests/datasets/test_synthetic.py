"""The synthetic cohort: what is drawn has the marginals, the order and the independence that the model says."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binom, chi2_contingency
from threadpoolctl import threadpool_limits

from datasets.cohort import compute_fingerprint
from datasets.storage import load_cohort, load_ground_truth, save_cohort, save_ground_truth
from datasets.synthetic.cohort import build, fingerprint_params
from datasets.synthetic.departures import WORLDS
from datasets.synthetic.draw import draw_anchor, draw_cohorts, draw_observed
from datasets.synthetic.model import encode_patterns
from datasets.synthetic.params import MECHANISM_NAMES, PRESET_NAMES, WORLD_NAMES, SyntheticParams
from datasets.synthetic.presets import PRESETS, make_world

TASKS = {
    "icu_24h": ("mortality_inhosp",),
    "discharge": ("readmission_30d", "icu_90d"),
    "stay": ("mortality_inhosp", "readmission_30d", "icu_90d"),
}


@pytest.fixture(scope="module", params=["mimic", "eicu"])
def drawn(request):
    params = SyntheticParams(preset=request.param, n=1500, seed=4)
    world = make_world(params)
    return world, *draw_cohorts(world, params.n, params.seed)


def population(world, size=60_000, seed=1):
    """h, site, anchor and pattern of many stays, without their large contents."""
    rng = np.random.default_rng(seed)
    h = rng.standard_normal((size, world.dimension))
    site = rng.choice(len(world.site_share), size=size, p=world.site_share)
    anchor = draw_anchor(world, h, rng)
    return h, site, anchor, draw_observed(world, h, anchor, site, rng)


def test_build_is_deterministic_and_depends_on_the_seed(tmp_path):
    first, again, other = (build(SyntheticParams(n=60, seed=s, draws=16)) for s in (1, 1, 2))
    marks = set()
    for landmark, (cohort, known) in first.items():
        same, same_known = again[landmark]
        assert compute_fingerprint(cohort) == compute_fingerprint(same)
        assert compute_fingerprint(cohort) != compute_fingerprint(other[landmark][0])
        for name, p in known.predictions.items():
            np.testing.assert_array_equal(p, same_known.predictions[name])
        assert cohort.fingerprint == same.fingerprint
        marks |= {cohort.fingerprint, other[landmark][0].fingerprint}
    assert len(marks) == 6
    cohort, known = first["icu_24h"]
    save_cohort(cohort, tmp_path / "cohort")
    save_ground_truth(known, tmp_path / "known")
    assert compute_fingerprint(load_cohort(tmp_path / "cohort")) == compute_fingerprint(cohort)
    assert load_ground_truth(tmp_path / "known").notes == known.notes


def test_fingerprint_sees_every_dial():
    base = SyntheticParams()
    changed = {
        "n": 7,
        "seed": 1,
        "preset": "eicu",
        "world_seed": 1,
        "mechanism": "mar",
        "kappa": 1,
        "beta": 0,
        "q": 0,
        "snr": 1,
        "draws": 64,
    }
    changed |= {
        "blur": 1,
        "bend": 1,
        "nan_share": 0.1,
        "known_24h": 1,
        "strength": 1,
        "rho": 0.5,
        "series_rate": 2,
        "series_rise": 0,
        "world": "text",
        "departure": 0.5,
        "recorded": True,
    }
    marks = {fingerprint_params(base)} | {fingerprint_params(SyntheticParams(**{k: v})) for k, v in changed.items()}
    assert len(marks) == len(changed) + 1
    assert fingerprint_params(SyntheticParams(kappa=2)) == fingerprint_params(SyntheticParams(kappa=2.0))


def test_what_is_known_fits_the_cohort():
    for landmark, (cohort, known) in build(SyntheticParams(n=50, draws=16)).items():
        shape = (len(cohort), len(cohort.tasks))
        assert set(known.predictions) == {"ceiling", "ceiling_series"} | {
            f"evidence{e}_cause{c}" for e in (0, 1) for c in (0, 1)
        }
        for p in [*known.predictions.values(), known.arrays["truth_probability"]]:
            assert p.shape == shape
            assert p.dtype == np.float64
            assert ((p > 0) & (p < 1)).all()
        np.testing.assert_array_equal(known.predictions["ceiling"], known.predictions["evidence1_cause1"])
        assert all(len(values) == len(cohort) for values in known.arrays.values())
        assert known.arrays["oracle_features"].shape == (len(cohort), 8 + 8 + 4)
        assert known.notes["params"]["n"] == 50
        assert set(known.notes["effective_sample_size"]["ceiling"]) == set(cohort.tasks), landmark


def test_landmarks_hold_one_and_the_same_stays(drawn):
    world, cohorts, _ = drawn
    early, discharge, stay = cohorts["icu_24h"], cohorts["discharge"], cohorts["stay"]
    assert {k: c.tasks for k, c in cohorts.items()} == TASKS
    assert all(c.name == world.name for c in cohorts.values())
    np.testing.assert_array_equal(early.patient, np.arange(1500))
    np.testing.assert_array_equal(stay.patient, np.arange(1500))
    dead = early.outcomes[:, 0] == 1
    np.testing.assert_array_equal(discharge.patient, np.flatnonzero(~dead))
    np.testing.assert_array_equal(stay.outcomes[:, 0], early.outcomes[:, 0])
    np.testing.assert_array_equal(np.isnan(stay.outcomes[:, 1:]), np.repeat(dead[:, None], 2, axis=1))
    np.testing.assert_array_equal(discharge.outcomes, stay.outcomes[~dead, 1:])
    assert not (early.observed & ~stay.observed).any()
    assert early.observed.sum() < stay.observed.sum()
    assert early.observed[:, 0].all()
    never = world.known_24h == 0
    assert never.sum() == 1
    assert not early.observed[:, never].any()
    for m in range(len(stay.modalities)):
        both = early.observed[:, m]
        np.testing.assert_array_equal(early.modalities[m].values[both], stay.modalities[m].values[both])
        for cohort in cohorts.values():
            assert np.isnan(cohort.modalities[m].values[~cohort.observed[:, m]]).all()
            assert not np.isnan(cohort.modalities[m].values[cohort.observed[:, m]]).all(axis=1).any()
    np.testing.assert_array_equal(early.series.values, stay.series.values[:, :24])
    np.testing.assert_array_equal(early.series.mask, stay.series.mask[:, :24])


def test_presets_have_the_sizes_of_their_datasets():
    mimic, eicu = (draw_cohorts(make_world(SyntheticParams(preset=p)), 300, 0)[0]["stay"] for p in ("mimic", "eicu"))
    assert {m.name: m.width for m in mimic.modalities} == {"S": 36, "I": 1376, "T": 768, "R": 768}
    assert mimic.site is None
    assert abs(np.isnan(mimic.modalities[0].values).mean() - 0.2) < 0.02
    assert len(eicu.modalities) == 10
    assert {m.width for m in eicu.modalities} <= set(range(4, 31))
    assert 20 < len(np.unique(eicu.site)) <= 30
    for world in (make_world(SyntheticParams(preset=p)) for p in ("mimic", "eicu")):
        assert all(2 <= len(c.coordinates) <= 4 for c in world.contents)


def test_stored_contents_invert():
    """phi is inverted from float32, in the tails too: what is lost is far below the noise of a feature."""
    world = make_world(SyntheticParams())
    z = np.linspace(-8, 8, 10_001)
    assert (np.diff(world.phi(z)) > 0).all()
    np.testing.assert_allclose(world.phi_inverse(world.phi(z).astype(np.float32).astype(float)), z, atol=2e-6)


def test_marginals_and_prevalences():
    world = make_world(SyntheticParams())
    h, _, _, observed = population(world)
    for m, target in ((1, 0.261), (2, 0.755), (3, 0.850)):
        assert abs(observed[:, m].mean() - target) < 0.01
    assert abs(observed[:, 2:].any(axis=1).mean() - 0.895) < 0.01
    early = observed & (np.random.default_rng(0).random(observed.shape) < world.known_24h)
    mortality, readmission, icu = world.tasks
    died = world.outcome_probability(mortality, h, encode_patterns(early), "icu_24h")
    assert abs(died.mean() - 0.10) < 0.005
    for task, target in ((readmission, 0.20), (icu, 0.10)):
        p = world.outcome_probability(task, h, encode_patterns(observed), "discharge")
        assert abs(np.average(p, weights=1 - died) - target) < 0.005


@pytest.mark.parametrize(
    "dials", [{}, {"mechanism": "mar"}, {"mechanism": "mcar"}, {"rho": 0.5}, {"kappa": 3.0, "world_seed": 5}]
)
def test_marginals_hold_under_every_mechanism(dials):
    world = make_world(SyntheticParams(**dials))
    observed = population(world, 40_000)[-1]
    np.testing.assert_allclose(observed.mean(0), [1, 0.261, 0.755, 0.85], atol=0.01)
    assert abs(observed[:, 2:].any(axis=1).mean() - 0.895) < 0.01


@pytest.mark.parametrize("preset", ["mimic", "eicu"])
def test_pattern_and_outcome_are_independent_without_kappa_and_beta(preset):
    """And dependent with either: the test can see what it looks for."""
    values = {}
    for kappa, beta in itertools.product((0, 1.6), (0, 0.4)):
        world = make_world(SyntheticParams(preset=preset, kappa=kappa, beta=beta))
        h, _, _, observed = population(world, 40_000)
        task, rng = world.tasks[1], np.random.default_rng(3)
        y = rng.random(len(h)) < world.outcome_probability(task, h, encode_patterns(observed), "discharge")
        code = encode_patterns(observed)
        frequent = [c for c, k in zip(*np.unique(code, return_counts=True), strict=True) if k > 200]
        table = [[(y[code == c] == v).sum() for v in (0, 1)] for c in frequent]
        values[kappa, beta] = chi2_contingency(table).pvalue
    assert values.pop((0, 0)) > 1e-3
    assert max(values.values()) < 1e-3


def test_mechanisms_look_where_they_say():
    """Correlation of R's indicator with b . h given S (mnar), with c . x_S (mar), with neither (mcar)."""
    seen = {}
    for mechanism in ("mcar", "mar", "mnar"):
        world = make_world(SyntheticParams(mechanism=mechanism))
        h, _, anchor, observed = population(world, 30_000)
        r = observed[:, 3].astype(float)
        looked = np.nan_to_num(anchor) @ world.c[3]
        assert abs(looked.std() - 1) < 0.02
        hidden = h[:, 7]
        seen[mechanism] = (np.corrcoef(r, looked)[0, 1], np.corrcoef(r, hidden)[0, 1])
    error = 4 / np.sqrt(30_000)
    assert max(map(abs, seen["mcar"])) < error
    assert seen["mar"][0] > 0.3
    assert abs(seen["mar"][1]) < error
    assert seen["mnar"][1] > 0.2


def test_one_seed_shares_all_else_between_mechanisms():
    """Two mechanisms differ in what is observed, not in who the patients are."""
    one, two = (draw_cohorts(make_world(SyntheticParams(mechanism=m)), 80, 3) for m in ("mcar", "mnar"))
    np.testing.assert_array_equal(one[1], two[1])
    a, b = one[0]["stay"], two[0]["stay"]
    assert (a.observed != b.observed).any()
    for m in range(4):
        both = a.observed[:, m] & b.observed[:, m]
        np.testing.assert_array_equal(a.modalities[m].values[both], b.modalities[m].values[both])
    np.testing.assert_array_equal(a.series.mask, b.series.mask)


@pytest.mark.parametrize("dials", [{}, {"preset": "eicu"}, {"world": "interaction"}, {"world": "policy_shift"}])
def test_nothing_is_missing_where_the_mechanism_is_complete(dials):
    """Stays, contents and series are those of the other mechanisms; with one pattern, the best predictions with and without it are one."""
    parts = build(SyntheticParams(mechanism="complete", nan_share=0, n=60, draws=64, **dials))
    usual = build(SyntheticParams(n=60, draws=64, **dials))
    for landmark, (cohort, known) in parts.items():
        assert cohort.observed.all()
        assert all(np.isfinite(m.values).all() for m in cohort.modalities)
        np.testing.assert_array_equal(known.arrays["h"][:5], usual["stay"][1].arrays["h"][cohort.patient[:5]])
        np.testing.assert_array_equal(known.arrays["pattern_propensity"], 1)
        np.testing.assert_allclose(known.predictions["ceiling"], known.predictions["evidence0_cause0"], atol=1e-13)
        assert np.isfinite(known.arrays["truth_probability"]).all(), landmark


def test_series_last_as_long_as_they_are_asked_to():
    parts = build(SyntheticParams(series_hours=200, n=60, draws=16))
    hours = np.isfinite(parts["stay"][0].series.hours).sum(axis=1)
    assert 100 <= hours.min() < hours.max() <= 200
    assert hours.max() > 150
    assert parts["icu_24h"][0].series.mask.shape[1] == 24


def test_order_term_links_discharge_text_to_reports():
    world = make_world(SyntheticParams(mechanism="mcar"))
    observed = population(world)[-1]
    with_, without = observed[observed[:, 3], 2].mean(), observed[~observed[:, 3], 2].mean()
    np.testing.assert_allclose([with_, without], [0.71 / 0.85, 0.045 / 0.15], atol=0.02)


def test_sites_differ_in_what_they_send():
    world = make_world(SyntheticParams(preset="eicu"))
    _, site, _, observed = population(world)
    silent = np.argwhere(world.site_sends == 0)
    assert len(silent) >= 3
    for s, m in silent:
        assert not observed[site == s, m].any()
    share = np.array([observed[site == s].mean(0) for s in range(30)])
    assert share[:, 1:].std(0).min() > 0.005
    np.testing.assert_allclose(observed.mean(0), [1, 0.95, 0.86, 0.88, 0.78, 0.90, 0.92, 0.55, 0.70, 0.76], atol=0.012)


def test_eighty_percent_rule():
    world = make_world(SyntheticParams(preset="eicu"))
    cohort = draw_cohorts(world, 1500, 4)[0]["stay"]
    for m, content in enumerate(world.contents):
        values = cohort.modalities[m].values[cohort.observed[:, m]]
        if content.rule:
            assert np.isnan(values).mean(axis=1).max() <= 0.8
    # width 4: only four of four exceed 80 %; width 5: four of five do not; width 6: five of six do
    for width, name in ((4, "fluid_balance"), (5, "admission"), (8, "respiratory")):
        content = next(c for c in world.contents if c.name == name)
        assert content.width == width
        losing = [k for k in range(width + 1) if k / width > 0.8]
        assert content.survives_rule == pytest.approx(1 - binom.pmf(losing, width, content.nan_share).sum())


def test_times_of_record_are_minutes_of_the_hours_and_change_nothing_else(drawn):
    world, plain, _ = drawn
    cohorts, _ = draw_cohorts(world, 1500, 4, times=True)
    for landmark, cohort in cohorts.items():
        series, recorded = cohort.series, cohort.series.recorded
        assert plain[landmark].series.recorded is None
        assert compute_fingerprint(replace(cohort, series=replace(series, recorded=None))) == compute_fingerprint(
            plain[landmark]
        )
        for stay in (0, 7, len(cohort) - 1):
            bins, channel = np.nonzero(series.mask[stay])
            step, again = np.nonzero(recorded.mask[stay])
            hours = recorded.hours[stay, step]
            assert sorted(
                zip(np.floor(hours + 1e-4), again, recorded.values[stay, step, again], strict=True)
            ) == sorted(zip(bins, channel, series.values[stay, bins, channel], strict=True))
            assert (np.diff(recorded.hours[stay][np.isfinite(recorded.hours[stay])]) > 0).all()
        minute = np.mod(recorded.hours[recorded.mask.any(axis=2)], 1) * 60
        np.testing.assert_allclose(minute, np.round(minute), atol=0.01)
        assert np.histogram(np.round(minute) % 60, 6, (0, 60))[0] / len(minute) == pytest.approx(
            np.full(6, 1 / 6), abs=0.01
        )


def test_series_follows_its_model(drawn):
    world, cohorts, h = drawn
    series, model = cohorts["stay"].series, world.series
    within = np.isfinite(series.hours)
    length = within.sum(axis=1)
    assert length.min() >= model.shortest
    assert length.max() <= model.longest
    assert not (series.mask & ~within[:, :, None]).any()
    np.testing.assert_array_equal(series.mask, ~np.isnan(series.values))
    np.testing.assert_array_equal(series.hours[0, : length[0]], np.arange(length[0]))
    rate = model.rate * np.exp(model.rise * (h @ world.u))[:, None]
    expected = length[:, None] * (1 - np.exp(-rate))
    count = series.mask.sum(axis=1)
    error = np.sqrt((expected * np.exp(-rate)).sum(0))
    assert (np.abs(count.sum(0) - expected.sum(0)) < 4 * error).all()
    often = count[:, 0] > 4
    residual = np.nanmean(series.values[often, :, 0], axis=1) - h[often] @ model.l[0]
    assert abs(residual.std() - model.patient_sd) < 0.15
    assert abs(np.nanstd(series.values[often, :, 0], axis=1, ddof=1).mean() - model.noise_sd) < 0.05


def test_groups_are_independent_of_all_else(drawn):
    _, cohorts, _ = drawn
    stay = cohorts["stay"]
    assert set(stay.groups) == {"sex", "age_band"}
    for group in stay.groups.values():
        assert set(group.codes) == set(range(len(group.labels)))
        table = [[(stay.outcomes[group.codes == c, 0] == v).sum() for v in (0, 1)] for c in range(len(group.labels))]
        assert chi2_contingency(table).pvalue > 1e-3


def test_the_names_that_params_accepts_are_those_of_the_registries():
    """In the same order: the position of a preset and of a world enters the seed of its constants."""
    assert tuple(PRESETS) == PRESET_NAMES
    assert tuple(WORLDS) == WORLD_NAMES
    made = {name: SyntheticParams(mechanism=name) for name in MECHANISM_NAMES}
    kappa = SyntheticParams().kappa
    acting = {name: (params.effective_kappa, params.effective_rho) for name, params in made.items()}
    assert acting == {"complete": (0.0, 0.0), "mcar": (0.0, 0.0), "mar": (kappa, 0.0), "mnar": (kappa, 1.0)}


@pytest.mark.parametrize(
    ("dials", "words"),
    [
        (
            {"world": "circles"},
            "world must be one of factors, clusters, interaction, text, policy_shift, not 'circles'",
        ),
        ({"departure": 1.1}, "departure must be a number from 0 to 1"),
        ({"preset": "mimic-iv"}, "preset must be one of mimic, eicu"),
        ({"mechanism": "MNAR"}, "mechanism must be one of complete, mcar, mar, mnar"),
        ({"n": 0}, "n must be a whole number from 1"),
        ({"n": 1000.5}, "n must be a whole number"),
        ({"series_hours": 24}, "series_hours must be a whole number from 48"),
        ({"kappa": -1}, "kappa must be a number from 0 to 10"),
        ({"beta": float("nan")}, "beta must be a number"),
        ({"draws": 100}, "draws must be a power of 2"),
        ({"rho": 0.5, "mechanism": "mar"}, "needs mechanism mnar"),
        ({"rho": "1"}, r"rho must be in \(0, 1\]"),
        ({"rho": 1.5}, r"rho must be in \(0, 1\]"),
        ({"bend": "x"}, "bend must be a number"),
    ],
)
def test_unusable_dials_are_refused_in_one_line(dials, words):
    with pytest.raises(ValueError, match=words) as caught:
        SyntheticParams(**dials)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "dials",
    [
        {"n": 1},
        {"n": 3, "bend": 0},
        {"n": 40, "nan_share": 0},
        {"n": 40, "known_24h": 1},
        {"n": 40, "known_24h": 0},
        {"n": 40, "blur": 0},
    ],
)
@pytest.mark.parametrize("preset", ["mimic", "eicu"])
def test_dials_at_their_ends(preset, dials):
    for cohort, known in build(SyntheticParams(preset=preset, draws=16, **dials)).values():
        assert np.isfinite(known.predictions["ceiling_series"]).all()
        assert known.predictions["ceiling"].shape == cohort.outcomes.shape


def test_the_number_of_threads_changes_nothing():
    params, made = SyntheticParams(n=400, draws=16), []
    for threads in (1, 2):
        with threadpool_limits(threads):
            made.append(build(params))
    for landmark, (cohort, known) in made[0].items():
        other, other_known = made[1][landmark]
        for ours, theirs in zip(cohort.modalities, other.modalities, strict=True):
            np.testing.assert_array_equal(ours.values, theirs.values)
        for name, values in {**known.arrays, **known.predictions}.items():
            np.testing.assert_array_equal(values, {**other_known.arrays, **other_known.predictions}[name])
