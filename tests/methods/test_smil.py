"""SMIL: its equations computed again by hand, and its gradient of second order against finite differences."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans
from torch.nn import functional as F

from benchmark.check.cohorts import draw_random_cohort, spoil_unobserved
from methods import smil
from methods.common.training import Batch, supervised_loss
from methods.smil import Config, Core, Noise, Smil, adapt, choose_complete_stays, fit_priors, gaussian_kl, meta_losses

M, D, K, W, T = 3, 4, 5, 6, 2
FORMS = [("code", "add"), ("code", "mul"), ("paper", "add"), ("paper", "mul")]


def core(seed=0, **changes):
    """A core in double precision with random priors, of which modality 1 lacks two."""
    torch.manual_seed(seed)
    net = Core(M, T, Config(hidden=D, clusters=K, width=W, **changes)).double().eval()
    net.priors.copy_(torch.randn(M, K, D))
    net.valid.fill_(True)
    net.valid[1, 3:] = False
    return net


def batch(n=9, seed=0, observed=None):
    rng = torch.Generator().manual_seed(seed)
    if observed is None:
        observed = torch.rand(n, M, generator=rng) < 0.5
        observed[0], observed[1] = True, False
    h = torch.randn(n, M, D, generator=rng, dtype=torch.float64) * observed.unsqueeze(-1)
    labels = (torch.rand(n, T, generator=rng) < 0.5).double()
    return Batch((), observed, {"h": h}, labels, torch.rand(n, T, generator=rng) < 0.8)


def bce(logits, b):
    loss = F.binary_cross_entropy_with_logits(logits, b.labels, reduction="none")
    return (loss * b.label_mask).sum() / b.label_mask.sum()


def softplus(x):
    return np.log1p(np.exp(x))


def by_hand(net, h, delta, noise=None):
    """Logits, F and a, one stay at a time."""
    a, c = {k: v.numpy() for k, v in net.state_dict().items()}, net.config
    eps = [None] * 3 if noise is None else [e.numpy() for e in noise]
    affine = lambda name, x: a[f"{name}.weight"] @ x + a[f"{name}.bias"]  # noqa: E731
    out = []
    for i in range(len(h)):
        u, parts = np.concatenate([(h[i] * delta[i][:, None]).ravel(), delta[i]]), []
        scores = softplus(affine("phi_c", u)).reshape(M, K)
        for m in range(M):
            ks = np.flatnonzero(a["valid"][m])
            if c.form == "code":
                w = scores[m, ks] / scores[m, ks].sum()
            else:
                w = (1 + scores[m, ks] * (0 if noise is None else eps[0][i, m, ks])) / len(ks)
            parts.append(h[i, m] if delta[i, m] else w @ a["priors"][m, ks])
        x = np.concatenate(parts)

        def regularise(x, r, e, i=i):
            if delta[i].all():
                return x
            sigma = 1.0
            if c.form == "paper":
                r, raw = np.split(r, 2)
                sigma = softplus(raw)
            s = softplus(r if e is None else r + sigma * e[i])
            return x + s if c.operation == "add" else x * s

        x = regularise(x, affine("phi_r1", u), eps[1])
        z = regularise(np.maximum(affine("fc1", x), 0), affine("phi_r2", x), eps[2])
        out.append((affine("fc2", z), x, z))
    return [np.stack(v) for v in zip(*out, strict=True)]


@pytest.mark.parametrize(("form", "operation"), FORMS)
@pytest.mark.parametrize("noisy", [False, True])
def test_forward_equals_the_equations(form, operation, noisy):
    net, b = core(form=form, operation=operation), batch()
    noise = net.draw(9) if noisy else None
    with torch.no_grad():
        out = net(b.extra["h"], b.observed, noise)
    expected = by_hand(net, b.extra["h"].numpy(), b.observed.double().numpy(), noise)
    for got, want in zip(out[:3], expected, strict=True):
        np.testing.assert_allclose(got, want, atol=1e-12)


def test_code_weights_put_a_missing_feature_into_the_hull_of_the_centroids():
    net = core()
    scores = torch.rand(50, M, K, dtype=torch.float64) + 1e-3
    made = net.reconstruct(scores, None)
    net.priors.copy_(torch.eye(K, dtype=torch.float64)[:, :D].expand(M, K, D))  # then hhat is the weights themselves
    w = net.reconstruct(scores, None)
    assert (w[:, [0, 2]] > 0).all()
    assert (w[:, 1, :3] > 0).all()
    assert (w[:, 1, 3:] == 0).all()
    torch.testing.assert_close(w[:, 1].sum(1), torch.ones(50, dtype=torch.float64))
    net = core()
    low, high = net.priors[1, :3].amin(0), net.priors[1, :3].amax(0)
    assert ((made[:, 1] >= low) & (made[:, 1] <= high)).all()


def test_worked_example_of_the_inner_step():
    """L_mtr = (w p)^2 / 2: w* = w (1 - lr p^2), so d(w*^2 / 2)/dp = w* (-2 lr w p)."""
    w, p, lr = torch.tensor(3.0, requires_grad=True), torch.tensor(2.0, requires_grad=True), 0.1
    for steps, first_order in ((1, False), (2, False), (1, True)):
        net = SimpleNamespace(theta=lambda: {"w": w}, config=Config(inner_steps=steps, first_order=first_order))
        star, value = adapt(net, lambda theta: (theta["w"] * p) ** 2 / 2, lr)
        assert star["w"].item() == pytest.approx(3.0 * 0.6**steps)
        assert value.item() == pytest.approx(18.0 * 0.36 ** (steps - 1))
        d_w, d_p = torch.autograd.grad(star["w"] ** 2 / 2, (w, p), allow_unused=True)
        if first_order:  # the step is a constant
            assert d_p is None
            assert d_w.item() == pytest.approx(1.8)
        else:
            assert d_p.item() == pytest.approx(3.0 * 0.6**steps * steps * 0.6 ** (steps - 1) * -2 * lr * 3.0 * 2.0)
            assert d_w.item() == pytest.approx(3.0 * 0.6 ** (2 * steps))


@pytest.mark.parametrize("form", ["code", "paper"])
@pytest.mark.parametrize("parameter", ["phi_c.weight", "phi_r1.bias", "phi_r2.weight"])
def test_second_order_gradient_of_psi_equals_finite_differences(form, parameter):
    """The outer pass with psi detached: psi acts on L_mte through theta* alone."""
    net, mtr, mte, lr = core(form=form), batch(seed=1), batch(seed=2), 0.5
    noise, fixed = net.draw(9), {k: v.detach().clone() for k, v in net.named_parameters()}

    def through_theta_star():
        step = lambda theta: bce(  # noqa: E731
            torch.func.functional_call(net, theta, (mtr.extra["h"], mtr.observed, noise)).logits, mtr
        )
        star, _ = adapt(net, step, lr)
        out = torch.func.functional_call(net, {**fixed, **star}, (mte.extra["h"], mte.observed, None))
        return bce(out.logits, mte)

    p = net.get_parameter(parameter)
    (grad,) = torch.autograd.grad(through_theta_star(), p)
    assert grad.abs().max() > 1e-6
    flat, step = p.detach().view(-1), 1e-5
    for j in [*grad.abs().view(-1).topk(6).indices.tolist(), 0, len(flat) - 1]:
        ends = []
        for sign in (1, -1):
            flat[j] += sign * step
            ends.append(through_theta_star().item())
            flat[j] -= sign * step
        assert grad.view(-1)[j].item() == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=1e-5, abs=1e-10)


@pytest.mark.parametrize("first_order", [False, True])
def test_gradient_of_the_whole_loss_equals_finite_differences_only_in_second_order(monkeypatch, first_order):
    net = core(first_order=first_order, align=0.1)
    noise = net.draw(9)
    monkeypatch.setattr(net, "draw", lambda n: noise)
    mtr, mte = batch(seed=1), batch(seed=2, observed=torch.ones(9, M, dtype=torch.bool))
    total = lambda: sum(meta_losses(net, mtr, mte, batch(seed=3).observed, bce, 0.5).values())  # noqa: E731
    total().backward()
    errors = []
    for name in ("fc1.weight", "fc2.bias", "phi_c.weight"):
        p = net.get_parameter(name)
        flat, j = p.detach().view(-1), int(p.grad.abs().argmax())
        flat[j] += 1e-5
        up = total().item()
        flat[j] -= 2e-5
        down = total().item()
        flat[j] += 1e-5
        errors.append(abs((up - down) / 2e-5 / p.grad.view(-1)[j].item() - 1))
    assert (max(errors) < 1e-5) != first_order


@pytest.mark.parametrize("form", ["code", "paper"])
def test_inner_rate_zero_is_plain_joint_training(monkeypatch, form):
    net = core(form=form, beta_kl=0.3, lambda_clean=0.7)
    noise = net.draw(9)
    monkeypatch.setattr(net, "draw", lambda n: noise)
    mtr, mte, reduced = batch(seed=1), batch(seed=2), batch(seed=3).observed
    losses = meta_losses(net, mtr, mte, reduced, bce, 0.0)
    made = net(mte.extra["h"], reduced, noise if form == "paper" else None)
    clean = net(mte.extra["h"], mte.observed, None, False)
    expected = {
        "mtr": bce(net(mtr.extra["h"], mtr.observed, noise).logits, mtr),
        "mte": bce(made.logits, mte),
        "clean": 0.7 * bce(clean.logits, mte),
        "kl": 0.3 * made.kl.mean(),
    }
    if form == "code":
        squares = (made.fused - clean.fused).square().mean() + (made.hidden - clean.hidden).square().mean()
        expected["align"] = 0.01 * squares
    assert losses.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(losses[name], value)
    assert meta_losses(net, mtr, mte, reduced, bce, 0.5)["mte"].item() != pytest.approx(expected["mte"].item())


def test_divergence_equals_torchs():
    mu, sigma, one = torch.randn(8), torch.rand(8) + 0.1, torch.ones(8)
    normal = torch.distributions.Normal
    expected = torch.distributions.kl_divergence(normal(mu, sigma), normal(0 * mu, one))
    torch.testing.assert_close(gaussian_kl(mu, sigma), expected)
    torch.testing.assert_close(core()(*full_batch()).kl, torch.zeros(9, dtype=torch.float64))


def full_batch():
    b = batch(observed=torch.ones(9, M, dtype=torch.bool))
    return b.extra["h"], b.observed


@pytest.mark.parametrize(("form", "operation"), FORMS)
def test_complete_stays_know_nothing_of_priors_and_psi(form, operation):
    net = core(form=form, operation=operation)
    before = net(*full_batch(), net.draw(9)).logits
    for name, p in [*net.named_parameters(), ("priors", net.priors)]:
        if not name.startswith("fc"):
            p.data.normal_()
    assert torch.equal(net(*full_batch(), net.draw(9)).logits, before)
    assert torch.equal(net.fc2(net.encode_plain(full_batch()[0])), before)
    net.config = replace(net.config, reg_on_full=True)
    assert not torch.equal(net(*full_batch()).logits, before)


def test_passes_with_noise_differ_and_without_are_the_same():
    net, b = core(), batch()
    passes = [net(b.extra["h"], b.observed, noise).logits for noise in (net.draw(9), net.draw(9), None, None)]
    assert not torch.equal(passes[0][1:], passes[1][1:])
    assert torch.equal(passes[2], passes[3])


def rows(*patterns):
    return np.repeat([[c == "1" for c in p] for p, _ in patterns], [n for _, n in patterns], axis=0)


@pytest.mark.parametrize(
    ("observed", "count", "scarce"),
    [
        (rows(("11", 300), ("10", 700)), 300, False),
        (rows(("11", 199), ("10", 801)), 200, True),
        (rows(("11", 250), ("10", 19750)), 400, True),  # 2 % of 20,000
        (rows(("11", 10), ("10", 10)), 10, False),  # half of a small cohort
        (rows(("110", 300), ("100", 700)), 300, False),  # nobody has the last: complete without it
        (rows(("110", 300), ("100", 90), ("001", 10)), 400, True),  # until the last has its K stays
        (rows(("11", 30)), 30, False),
        (rows(("00", 6)), 6, False),
        (rows(("01", 1)), 1, False),
    ],
)
def test_complete_stays_and_their_fallback(observed, count, scarce):
    chosen, fallback = choose_complete_stays(observed, 10)
    assert (chosen.sum(), fallback) == (count, scarce)
    assert observed[chosen].sum(1).min() >= observed[~chosen].sum(1).max(initial=0)


def test_priors_are_centroids_of_those_observed():
    rng = np.random.default_rng(0)
    h, observed = rng.normal(size=(40, 3, 4)).astype(np.float32), np.ones((40, 3), dtype=bool)
    observed[3:, 1], observed[:, 2] = False, False
    priors, there = fit_priors(h, observed, 5)
    assert there.sum(1).tolist() == [5, 3, 0]
    np.testing.assert_allclose(priors[0], KMeans(5, n_init=10, random_state=0).fit(h[:, 0]).cluster_centers_, atol=1e-6)
    np.testing.assert_allclose(sorted(priors[1, :3].tolist()), sorted(h[:3, 1].tolist()), atol=1e-6)
    assert not priors[2].any()
    assert not priors[1, 3:].any()
    h[~observed] = np.nan
    np.testing.assert_array_equal(fit_priors(h, observed, 5)[0], priors)


SMALL = {"hidden": 16, "width": 8, "clusters": 4, "first_epochs": 2, "meta_iterations": 6, "meta_lr": 1.0}


def fitted(train=None, valid=None, **changes):
    train, valid = train or draw_random_cohort(90), valid or draw_random_cohort(40, seed=1)
    return Smil(Config(**{**SMALL, **changes}), seed=3).fit(train, valid)


def test_priors_come_from_training_stays_alone_and_encoders_stay_frozen(monkeypatch):
    kept = []

    def spy(h, observed, clusters):
        kept.append((h, observed, {k: v.clone() for k, v in method.module.encoders.state_dict().items()}))
        return fit_priors(h, observed, clusters)

    monkeypatch.setattr(smil, "fit_priors", spy)
    train, other, found = draw_random_cohort(90), draw_random_cohort(33, seed=8, signal=-1.0), []
    for valid in (draw_random_cohort(40, seed=1), other):
        method = Smil(Config(**{**SMALL, "first_epochs": 1}), seed=3)  # one epoch: valid has nothing to choose
        method.fit(train, valid)
        found.append(method.module.core.priors)
        h, observed, encoders = kept[-1]
        chosen, _ = choose_complete_stays(train.observed, 4)
        np.testing.assert_array_equal(observed, train.observed[chosen])
        again = method.tensors(train.take(np.flatnonzero(chosen)))
        with torch.inference_mode():
            np.testing.assert_array_equal(method.module.encoders(again.x, again.observed).numpy(), h)
        assert all(torch.equal(v, encoders[k]) for k, v in method.module.encoders.state_dict().items())
    assert torch.equal(*found)
    method.predict_proba(other)
    assert torch.equal(method.module.core.priors, found[1])


@pytest.mark.parametrize(("form", "parts"), [("code", ("mtr", "mte", "align", "clean")), ("paper", ("mte", "clean"))])
def test_losses_of_either_form_are_those_summed(form, parts):
    first, last = (fitted(form=form).history[i] for i in (0, -1))
    assert first.keys() == {"epoch", "loss", "supervised", "valid"}
    assert last["loss"] == pytest.approx(sum(last[k] for k in parts), rel=1e-5)
    assert last.keys() - first.keys() == {"mtr", *parts}


def watched_batches(monkeypatch, train):
    """The batches of D^m and D^f and what is left of the latter, of every meta step, and the loss at logits of zero."""
    seen = []

    def spy(core, incomplete, complete, reduced, loss, inner_lr):
        zero = torch.zeros_like(incomplete.labels)
        seen.append((incomplete, complete, reduced, loss(zero, incomplete)))
        return meta_losses(core, incomplete, complete, reduced, loss, inner_lr)

    monkeypatch.setattr(smil, "meta_losses", spy)
    return fitted(train), seen


def test_the_meta_stage_takes_from_complete_stays_what_incomplete_ones_lack(monkeypatch):
    train = draw_random_cohort(300)
    complete, _ = choose_complete_stays(train.observed, 4)
    lacking = {tuple(r) for r in train.observed[~complete]}
    method, seen = watched_batches(monkeypatch, train)
    taken = 0
    for incomplete, whole, reduced, at_zero in seen:
        assert {tuple(r) for r in incomplete.observed.tolist()} <= lacking
        assert (whole.observed | ~reduced).all()
        allowed = whole.observed.unsqueeze(1) & torch.tensor(sorted(lacking))
        assert (allowed == reduced.unsqueeze(1)).all(2).any(1).all()
        taken += int((whole.observed & ~reduced).sum())
        base = method.offset.expand_as(incomplete.labels)
        weights = torch.full((base.shape[1],), 1 / base.shape[1])
        expected = supervised_loss(base, incomplete.labels, incomplete.label_mask, weights)
        assert at_zero.item() == pytest.approx(expected.item(), rel=1e-5)
    assert taken > 0


def test_without_incomplete_stays_modalities_are_taken_away_one_at_a_time(monkeypatch):
    made = draw_random_cohort(120)
    rng = np.random.default_rng(0)
    full = tuple(replace(m, values=rng.normal(size=m.values.shape).astype(np.float32)) for m in made.modalities)
    train = replace(made, observed=np.ones_like(made.observed), modalities=full, fingerprint="")
    _, seen = watched_batches(monkeypatch, train)
    m = train.observed.shape[1]
    for incomplete, whole, reduced, _ in seen:
        assert (incomplete.observed.sum(1) == m - 1).all()
        assert whole.observed.all()
        assert (reduced.sum(1) == m - 1).all()
    lacks = {r.index(False) for b, *_ in seen for r in b.observed.tolist()}
    assert lacks == set(range(m))


def test_unobserved_content_cannot_matter():
    train, valid, test = draw_random_cohort(90), draw_random_cohort(40, seed=1), draw_random_cohort(30, seed=2)
    for changes in ({}, {"form": "paper", "samples": 3}):
        p = fitted(train, valid, **changes).predict_proba(test)
        other = fitted(spoil_unobserved(train, 5), spoil_unobserved(valid, 6), **changes)
        np.testing.assert_array_equal(other.predict_proba(spoil_unobserved(test, 7)), p)


def test_inner_rate_falls_by_ten(monkeypatch):
    rates = []
    monkeypatch.setattr(smil, "meta_losses", lambda *a: rates.append(a[-1]) or meta_losses(*a))
    fitted(inner_decay=2, batch_size=16)
    np.testing.assert_allclose(rates[:5], [1e-3, 1e-3, 1e-4, 1e-4, 1e-5])


def test_prediction_is_the_mean_probability_of_the_noisy_passes():
    method, test = fitted(form="paper", samples=3), draw_random_cohort(30, seed=2)
    net, b = method.module.core, method.tensors(test)
    with torch.inference_mode():
        h = method.module.encoders(b.x, b.observed)
        draws = (Noise(*(e[s : s + 1] for e in (net.eps_omega, net.eps_first, net.eps_second))) for s in range(3))
        passes = [torch.sigmoid(net(h, b.observed, eps).logits + method.offset) for eps in draws]
    np.testing.assert_allclose(method.predict_proba(test), torch.stack(passes).mean(0), atol=1e-6)


def test_dropout_is_on_in_every_pass_of_the_meta_stage(monkeypatch):
    """Half of a is zeroed before fc2, drawn for each pass; in evaluation none is, and the aligned a is whole."""
    net, mtr, mte = core(), batch(seed=1), batch(seed=2)
    whole, seen = net(mtr.extra["h"], mtr.observed), []
    net.train().fc2.register_forward_pre_hook(lambda _, a: seen.append(a[0]))
    torch.testing.assert_close(net(mtr.extra["h"], mtr.observed).hidden, whole.hidden)
    seen.clear()
    meta_losses(net, mtr, mte, batch(seed=3).observed, bce, 0.5)
    assert len(seen) == 3  # L_mtr, L_mte and the clean pass
    unused = (core(fusion_dropout=0.0)(mtr.extra["h"], mtr.observed).hidden == 0).double().mean()
    assert all((a == 0).double().mean() > unused + 0.15 for a in seen)
    assert not torch.equal(seen[1] == 0, seen[2] == 0)
    modes, kept = [], Smil._step

    def step(self, *args):
        modes.append((self._frozen, self.module.core.training))
        return kept(self, *args)

    monkeypatch.setattr(Smil, "_step", step)
    fitted()
    assert set(modes) == {(False, True), (True, True)}


BOTH = (("first", 0), ("meta", 3))


def test_each_stage_has_its_length_and_rate_whatever_the_schedule(monkeypatch):
    rates, kept = [], Smil._step

    def step(self, batch, weights, optimiser, *how):
        rates.append((self._frozen, optimiser.param_groups[0]["lr"]))
        return kept(self, batch, weights, optimiser, *how)

    monkeypatch.setattr(Smil, "_step", step)
    train = draw_random_cohort(90)
    rest = (~choose_complete_stays(train.observed, 4)[0]).sum()
    for max_epochs in (1, 40):
        rates.clear()
        changes = {"first_epochs": 3, "meta_iterations": 7, "meta_lr": 0.1, "lr": 0.01, "patience": 99}
        method = fitted(train, batch_size=16, max_epochs=max_epochs, **changes)
        passes = -(-7 // -(-rest // 16))
        assert [e["epoch"] for e in method.history] == [1, 2, 3, *range(1, passes + 1)]
        steps = [frozen for frozen, _ in rates]
        assert (steps.count(False), steps.count(True)) == (3 * 6, passes * -(-rest // 16))
        assert {(frozen, round(lr, 9)) for frozen, lr in rates} == {(False, 0.01), (True, 0.001)}
        assert method.config.max_epochs == max_epochs
        report = method.fit_report()
        assert (report["epochs of the first stage"], report["epochs of the meta stage"]) == (3, passes)
        best = [method.history[start + int(report[f"best epoch of the {k} stage"]) - 1] for k, start in BOTH]
        assert [e["valid"] for e in best] == [
            max(e["valid"] for e in h) for h in (method.history[:3], method.history[3:])
        ]


def test_stage_one_is_the_first_stage_alone(monkeypatch):
    first, kept = [], smil.fit_priors

    def spy(*args):
        first.append({k: v.clone() for k, v in method.module.state_dict().items()})
        return kept(*args)

    monkeypatch.setattr(smil, "fit_priors", spy)
    method, alone = Smil(Config(**SMALL), seed=3), fitted(**Smil.variants["stage_one"])
    method.fit(draw_random_cohort(90), draw_random_cohort(40, seed=1))
    net, test = alone.module, draw_random_cohort(30, seed=2)
    assert all(torch.equal(v, first[0][k]) for k, v in net.state_dict().items())
    assert len(first) == 1
    assert alone.fit_report().keys() == {"epochs of the first stage", "best epoch of the first stage"}
    b, p = alone.tensors(test), alone.predict_proba(test)
    with torch.inference_mode():
        a = torch.relu(net.core.fc1(net.encoders(b.x, b.observed).flatten(1)))
        np.testing.assert_allclose(p, torch.sigmoid(net.core.fc2(a) + alone.offset), atol=1e-6)
    np.testing.assert_array_equal(alone.represent(test), a)
    again = Smil(alone.config, seed=9).load_state(alone.state())
    np.testing.assert_array_equal(again.predict_proba(test), p)
    assert not np.array_equal(method.predict_proba(test), p)


def test_logits_of_another_shape_are_refused_in_the_meta_stage_too(monkeypatch):
    def narrow(self, *args, forward=Core.forward):
        made = forward(self, *args)
        return made._replace(logits=made.logits[:, :1])

    monkeypatch.setattr(Core, "forward", narrow)
    with pytest.raises(ValueError, match=r"Smil: the module's Output.logits have shape \[\d+, 1\], expected"):
        fitted()
