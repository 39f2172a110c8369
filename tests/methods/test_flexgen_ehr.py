"""FLEXGEN-EHR: what each stage is trained on, what may matter to it, and what the fitted method reports and keeps."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from benchmark.check.cohorts import draw_random_cohort, spoil_unobserved
from methods.common.training import TorchMethod
from methods.flexgen_ehr import HELD_OUT, Config, FlexgenEhr, choose_anchors, keep_outcomes_alone
from methods.flexgen_ehr.diffusion import Denoiser

BRIEF = {"vae_epochs": 3, "ot_steps": 3, "diffusion_epochs": 3, "max_epochs": 3}
SMALL = {"hidden": 16, "latent": 6, "anchors": 20, "n_t": 5, "batch_size": 32, **BRIEF}


def fit(train=None, valid=None, seed=3, **changes):
    train = draw_random_cohort(90) if train is None else train
    return FlexgenEhr(Config(**{**SMALL, **changes}), seed).fit(
        train, draw_random_cohort(40, seed=1) if valid is None else valid
    )


@cache
def fitted(**changes):
    return fit(**changes)


def part(method, name):
    return {k: v for k, v in method.module.state_dict().items() if k.startswith(name)}


def same(first, second):
    return all(torch.equal(first[k].nan_to_num(), second[k].nan_to_num()) for k in first)


def with_outcomes(cohort, outcomes):
    return replace(cohort, outcomes=outcomes.astype(np.float32), fingerprint="")


def test_stages_have_their_own_epochs_whatever_the_heads():
    def epochs(method):
        return {s: sum(h["stage"] == s for h in method.history) for s in ("latent", "diffusion", "head")}

    assert epochs(fitted()) == {"latent": 3, "diffusion": 3, "head": 3}
    for head in (1, 4):
        method = fit(max_epochs=head, vae_epochs=2, diffusion_epochs=3)
        assert epochs(method) == {"latent": 2, "diffusion": 3, "head": head}
    impatient = epochs(fit(vae_epochs=5, diffusion_epochs=6, patience=1))
    assert (impatient["latent"], impatient["diffusion"]) == (5, 6)  # nothing is there to stop them
    assert epochs(fit(synthetic=0.0)) == {"latent": 3, "diffusion": 0, "head": 3}
    losses = {s: {k for h in method.history if h["stage"] == s for k in h} for s in ("latent", "diffusion", "head")}
    always = {"epoch", "loss", "supervised", "valid", "stage"}
    assert losses == {"latent": always | {"rec", "kl"}, "diffusion": always | {"noise"}, "head": always}
    assert all(h["supervised"] == 0 for h in method.history if h["stage"] != "head")
    assert (Config().vae_epochs, Config().diffusion_epochs, Config().ot_steps) == (60, 50, 50)


def test_plans_take_their_steps_whatever_the_epochs(monkeypatch):
    steps = []
    monkeypatch.setattr(
        "methods.flexgen_ehr.transport.partial_gw",
        lambda *a: steps.append(a[6]) or torch.ones(len(a[0]), 20, 20).double(),
    )
    fit(max_epochs=2, ot_steps=7)
    fit(max_epochs=2, ot_steps=1)
    assert steps == [7, 1]


def test_the_mean_takes_the_place_of_the_transport_and_of_nothing_else():
    method, plain, test = fitted(fill="mean"), fitted(), draw_random_cohort(30, seed=2)
    assert same(part(method, "vaes"), part(plain, "vaes"))
    batch = method.tensors(test)
    mu, sd = method.module.vaes.latents(batch.x, batch.observed)
    train = method.tensors(draw_random_cohort(90))
    ours = method.module.vaes.latents(train.x, train.observed)[0]
    means = torch.stack([ours[train.observed[:, m], m].mean(0) for m in range(3)])
    expected = torch.where(batch.observed.unsqueeze(2), mu, means)
    torch.testing.assert_close(method.module.complete(batch), torch.stack([expected.flatten(1), sd.flatten(1)], dim=1))
    assert not batch.observed.all()
    assert not np.array_equal(method.predict_proba(test), plain.predict_proba(test))
    assert method.fit_report() == {}
    assert not method.module.transport.plan.any()
    again = FlexgenEhr(method.config, seed=9).load_state(method.state())
    np.testing.assert_array_equal(again.predict_proba(test), method.predict_proba(test))
    assert FlexgenEhr.beside == ("mean_fill",)


def test_the_fit_report_is_the_error_over_that_of_the_mean():
    method, report = fitted(), fitted().fill_report
    assert method.fit_report() == {f"fill error of {m} over the mean's": e["ot"] / e["mean"] for m, e in report.items()}
    assert all(isinstance(v, float) and 0 < v < 3 for v in method.fit_report().values())
    blank = FlexgenEhr(method.config).load_state({**method.state(), "module.errors": np.full((3, 3), np.nan)})
    assert blank.fit_report() == {}


def test_the_denoisers_rate_falls_linearly_to_nothing(monkeypatch):
    rates, step = [], TorchMethod._step

    def spy(self, batch, weights, optimiser, *rest):
        rates.append((type(self.module).__name__, optimiser.param_groups[0]["lr"]))
        return step(self, batch, weights, optimiser, *rest)

    monkeypatch.setattr(TorchMethod, "_step", spy)
    fit(batch_size=90, diffusion_epochs=4, lr=1e-3)
    np.testing.assert_allclose([r for n, r in rates if n == "Denoiser"], 3e-3 * np.array([1, 0.75, 0.5, 0.25]))
    assert {r for n, r in rates if n != "Denoiser"} == {1e-3}


def heads_stays(monkeypatch, **changes):
    """Outcomes and their mask of the stays that the head is trained on."""
    seen, base = [], TorchMethod._batch

    def spy(self, cohort, outcomes=False):
        batch = base(self, cohort, outcomes)
        if outcomes:
            seen.append(batch)
        return batch

    monkeypatch.setattr(TorchMethod, "_batch", spy)
    fit(**changes)
    return seen[-1].labels, seen[-1].label_mask


@pytest.mark.parametrize(
    ("changes", "real", "made"),
    [
        ({}, 90, 45),
        ({"synthetic": 1.0, "tstr": True}, 0, 90),
        ({"synthetic": 0.0}, 90, 0),
        ({"synthetic": 2.5}, 90, 225),
    ],
)
def test_the_head_is_trained_on_real_stays_and_on_synthetic_ones_with_outcomes_of_real_ones(
    monkeypatch, changes, real, made
):
    given = []
    monkeypatch.setattr(Denoiser, "sample", lambda self, c, w: given.append((c, w)) or torch.full((len(c), 18), 7.0))
    train = draw_random_cohort(90)
    labels, mask = heads_stays(monkeypatch, **changes)
    assert len(labels) == real + made
    expected = ~np.isnan(train.outcomes)
    np.testing.assert_array_equal(mask[:real], expected[:real])
    np.testing.assert_array_equal(labels[:real], np.where(expected, train.outcomes, 0)[:real])
    if made:
        ((c, w),) = given
        assert w == 0.5
        bits = torch.stack([mask & (labels == 1), mask & (labels == 0)], dim=2).flatten(1).float()
        assert torch.equal(c, bits[real:])
        rows = np.random.default_rng(3).permutation(90)
        np.testing.assert_array_equal(mask[real:], expected[np.resize(rows, made)])
    else:
        assert not given


def test_synthetic_stays_reach_the_head(monkeypatch):
    """Where they contradict the real ones, a head trained on them alone follows them."""
    train = draw_random_cohort(300, undefined=0.0)
    test = draw_random_cohort(300, seed=2, undefined=0.0)
    long = dict.fromkeys(BRIEF, 10)
    method = fit(train, **long, lr=3e-3)

    def contrary(self, c, w):  # a latent that says the opposite of its outcomes
        z = method.evaluate(lambda b: method.module.complete(b)[:, 0], method.tensors(train))
        y = train.outcomes[:, 0] == 1
        centre = {label: torch.from_numpy(z[y == label].mean(0)) for label in (True, False)}
        return torch.stack([centre[not bool(row[0])] for row in c])

    monkeypatch.setattr(Denoiser, "sample", contrary)
    valid = draw_random_cohort(40, seed=1).without_outcomes()
    again = fit(train, valid, **long, lr=3e-3, tstr=True)
    aucs = [roc_auc_score(test.outcomes[:, 0], m.predict_proba(test)[:, 0]) for m in (method, again)]
    assert aucs[0] > 0.75
    assert aucs[1] < 0.35


def test_autoencoders_know_no_outcomes_and_plans_those_of_anchors_alone():
    train, method = draw_random_cohort(90), fitted()
    y = train.outcomes
    flipped = fit(with_outcomes(train, 1 - y))
    assert same(part(method, "vaes"), part(flipped, "vaes"))
    others = np.setdiff1d(np.arange(90), np.concatenate(method._anchors))
    assert len(others) > 10
    y = y.copy()
    y[others] = 1 - y[others]
    changed = fit(with_outcomes(train, y))
    assert same(part(method, "transport"), part(changed, "transport"))
    assert not same(part(method, "denoiser"), part(changed, "denoiser"))
    y[method._anchors[1]] = np.nan
    assert not same(part(method, "transport"), part(fit(with_outcomes(train, y)), "transport"))


def test_norms_end_with_the_statistics_of_the_training_stays():
    method = fitted()
    encoder, batch = method.module.vaes.encoder, method.tensors(draw_random_cohort(90))
    for m, (w, x) in enumerate(zip(encoder.first, batch.x, strict=True)):
        torch.testing.assert_close(encoder.norm_h.mean[m], w(x[batch.observed[:, m]]).mean(0), atol=1e-5, rtol=1e-4)


def test_validation_stays_stop_the_head_and_nothing_else():
    other = fit(valid=draw_random_cohort(70, seed=9, signal=-2.0), max_epochs=4)
    method = fit(max_epochs=4)
    for name in ("vaes", "transport", "denoiser", "errors"):
        assert same(part(method, name), part(other, name))


def test_anchors_are_training_stays_with_the_modality_that_measure_nothing():
    observed = draw_random_cohort(200).observed
    held, rows = choose_anchors(observed, 30, 0)
    assert held.sum() == int(HELD_OUT * 200)
    for m, chosen in enumerate(rows):
        assert len(np.unique(chosen)) == len(chosen) == 30
        assert observed[chosen, m].all()
        assert not held[chosen].any()
    assert [len(r) for r in choose_anchors(observed, 1000, 0)[1]] == (observed & ~held[:, None]).sum(0).tolist()
    assert choose_anchors(np.ones((5000, 1), dtype=bool), 10, 0)[0].sum() == 200
    rare = np.zeros((200, 1), dtype=bool)
    rare[np.flatnonzero(held)[0]] = True  # only a stay held out has it
    assert choose_anchors(rare, 30, 0)[1][0].tolist() == [np.flatnonzero(held)[0]]
    assert not np.array_equal(choose_anchors(observed, 30, 1)[1][0], rows[0])


def test_the_hub_is_the_modality_that_most_stays_have():
    method = fitted()
    assert method.module.transport.hub == draw_random_cohort(90).observed.mean(0).argmax()


@pytest.mark.parametrize("changes", [{}, {"synthetic": 1.0, "tstr": True}, {"mass": 1.0}, {"fill": "mean"}], ids=str)
def test_predictions_know_no_test_outcomes_no_other_stays_and_nothing_unobserved(changes):
    method, test = fitted(**changes), draw_random_cohort(30, seed=2)
    p = method.predict_proba(test)
    assert np.isfinite(p).all()
    np.testing.assert_array_equal(method.predict_proba(spoil_unobserved(test, 1)), p)
    np.testing.assert_array_equal(method.predict_proba(with_outcomes(test, 1 - test.outcomes)), p)
    for rows in ([4], [20, 3, 11]):
        np.testing.assert_allclose(method.predict_proba(test.take(rows)), p[rows], atol=1e-6)


def test_stays_with_nothing_observed_have_one_answer_from_mean_latents():
    method, test = fitted(), draw_random_cohort(12, seed=2)
    p = method.predict_proba(replace(test, observed=np.zeros_like(test.observed), fingerprint=""))
    z = method.module.transport.mean.flatten()[None].float()
    logits = method.module.head.net(z).detach() + method.offset
    np.testing.assert_allclose(p, np.tile(torch.sigmoid(logits).numpy(), (12, 1)), atol=1e-6)


def test_logits_are_the_heads_of_observed_and_filled_latents():
    method, test = fitted(), draw_random_cohort(12, seed=2)
    batch = method.tensors(test)
    mu, sd = method.module.vaes.latents(batch.x, batch.observed)
    z = method.module.transport.fill(mu, batch.observed)
    both = method.module.complete(batch)
    torch.testing.assert_close(both, torch.stack([z.flatten(1), sd.flatten(1)], dim=1))
    assert torch.equal(z[batch.observed], mu[batch.observed])
    torch.testing.assert_close(method.module(batch).logits, method.module.head.net(z.flatten(1).float()))


def test_state_keeps_predictions_report_and_generator():
    method, test = fitted(), draw_random_cohort(30, seed=2)
    state = {k: np.array(v) for k, v in method.state().items()}
    again = FlexgenEhr(method.config, seed=9).load_state(state)
    np.testing.assert_array_equal(again.predict_proba(test), method.predict_proba(test))
    assert again.fill_report == method.fill_report
    for a, b in zip(again.generate(test.outcomes), method.generate(test.outcomes), strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_report_is_of_training_stays_and_transport_beats_the_mean_where_modalities_show_one_latent():
    stages = {"vae_epochs": 15, "ot_steps": 15, "diffusion_epochs": 1}
    method = fit(draw_random_cohort(400), anchors=200, **stages)
    report = method.fill_report
    assert all(error < 0.97 for error in method.fit_report().values())
    assert report.keys() == {"m0", "m1", "m2"}
    for errors in report.values():
        assert errors.keys() == {"ot", "mean", "knn"}
        assert errors["ot"] < errors["mean"] - 0.03
        assert errors["mean"] == pytest.approx(1, abs=0.05)


def test_generated_stays_have_every_modality_and_are_drawn_by_seed():
    method = fitted()
    outcomes = np.array([[1, 0], [0, np.nan], [np.nan, np.nan]], dtype=np.float32)
    before = torch.random.get_rng_state()
    made = method.generate(outcomes)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert [x.shape for x in made] == [(3, w) for w in method.preprocessor.widths]
    assert all(np.isfinite(x).all() for x in made)
    assert not np.array_equal(method.generate(outcomes, seed=1)[0], made[0])
    other = outcomes.copy()
    other[0] = 1 - other[0]
    again = method.generate(other)
    assert not np.array_equal(again[0][0], made[0][0])
    np.testing.assert_allclose(again[0][1:], made[0][1:], atol=1e-5)


def test_generated_latents_are_within_the_range_of_training():
    method = fitted()
    z = method.evaluate(lambda b: method.module.complete(b)[:, 0], method.tensors(draw_random_cohort(90)))
    np.testing.assert_allclose(method.module.denoiser.low, z.min(0), atol=1e-5)
    np.testing.assert_allclose(method.module.denoiser.high, z.max(0), atol=1e-5)


def test_stays_with_outcomes_alone_may_repeat():
    cohort = draw_random_cohort(20)
    some = keep_outcomes_alone(cohort, np.array([3, 3, 5]))
    np.testing.assert_array_equal(some.outcomes, cohort.outcomes[[3, 3, 5]])
    assert not some.observed.any()
    assert some.series is None
