"""GRU-D: its recurrence one stay and one step at a time, decays, packed steps, and PyPOTS with the same weights."""

from dataclasses import replace
from itertools import cycle

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch import nn
from torch.nn import functional

from benchmark.check.cohorts import draw_random_cohort, replace_fields
from datasets.cohort import Series
from methods.common.layers import keep_observed
from methods.common.series import NoSeries
from methods.common.training import Batch
from methods.gru_d import LATE, Config, GruDMethod, GruDModule
from methods.gru_d.cell import CELLS, GruD, decay, gather_steps
from tests.speed.peer import exchange, needs_peers

F, H = 4, 5


def recurrence(cell="paper", seed=0, dropout=0.0, scale=0.5):
    """A recurrence in double precision whose weights, decays and biases are all random."""
    torch.manual_seed(seed)
    net = GruD(F, H, cell, dropout, "zeros").double().eval()
    for p in net.parameters():
        p.data.normal_(std=scale)
    return net


def series(n=7, bins=9, seed=0, share=0.4):
    """Random series with empty bins inside, and stays that end early; stay 0 has every bin, stay 1 none."""
    rng = torch.Generator().manual_seed(seed)
    mask = torch.rand(n, bins, F, generator=rng) < share
    mask &= (torch.arange(bins) < torch.randint(0, bins + 1, (n, 1), generator=rng)).unsqueeze(2)
    mask[0, :, 0], mask[1] = True, False
    hours = torch.rand(n, bins, generator=rng, dtype=torch.float64).mul(4).add(0.1).cumsum(dim=1)
    return torch.randn(n, bins, F, generator=rng, dtype=torch.float64), mask, hours


MEAN = torch.tensor([0.3, -0.2, 0.0, 1.1], dtype=torch.float64)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def by_hand(net, values, mask, hours, mean, keep_x=None, keep_h=None):
    """h_S of one stay [L, F]: the paper's recursions over the bins in which something was recorded, PyPOTS' by torch's own GRU cell."""
    a = {k: v.detach().numpy() for k, v in net.named_parameters()}
    keep_x, keep_h = np.ones(2 * F) if keep_x is None else keep_x, np.ones(H) if keep_h is None else keep_h
    w, v = np.split(a["w"], 2, axis=1)
    gru = nn.GRUCell(2 * F + H, H).double()
    if net.redundant is not None:
        gru.load_state_dict(pypots_weights(net, "rnn_cell."))
    h, delta, last, previous = np.zeros(H), np.zeros(F), mean.numpy().copy(), None
    for x, m, s in zip(values.numpy(), mask.numpy(), hours.tolist(), strict=True):
        if not m.any():
            continue
        if previous is not None:
            delta = s - previous[0] + np.where(previous[1], 0, delta)
        gx = np.exp(-np.maximum(0, a["decay_x"][0] * delta + a["decay_x"][1]))
        gh = np.exp(-np.maximum(0, a["decay_h.weight"] @ delta + a["decay_h.bias"]))
        xh = np.array([x[f] if m[f] else gx[f] * last[f] + (1 - gx[f]) * mean[f].item() for f in range(F)])
        last, previous, hd = np.where(m, x, last), (s, m), gh * h
        xh, m, read = xh * keep_x[:F], m * keep_x[F:], hd * keep_h
        if net.redundant is None:
            r, z = np.split(sigmoid((w @ xh + v @ m + a["b"])[: 2 * H] + a["u"][: 2 * H] @ read), 2)
            n = np.tanh((w @ xh + v @ m + a["b"])[2 * H :] + a["u"][2 * H :] @ (r * read))
            h = (1 - z) * hd + z * n
        else:
            assert np.array_equal(hd, read), "torch's cell has no dropout"
            with torch.no_grad():
                h = gru(torch.from_numpy(np.concatenate([xh, hd, m])), torch.from_numpy(hd)).numpy()
    return h


def pypots_weights(net, under=""):
    """PyPOTS' names and layout of the weights of a ``pypots`` cell, those whose name starts with ``under``, without it."""
    p = {k: v.detach() for k, v in net.named_parameters()}
    w, v = p["w"].split(net.decay_x.shape[1], dim=1)
    found = {
        "temp_decay_h.W": p["decay_h.weight"],
        "temp_decay_h.b": p["decay_h.bias"],
        "temp_decay_x.W": p["decay_x"][0].diag(),
        "temp_decay_x.b": p["decay_x"][1],
        "temp_decay_x.m": torch.eye(net.decay_x.shape[1], dtype=w.dtype),
        "rnn_cell.weight_ih": torch.cat([w, p["redundant"], v], dim=1),
        "rnn_cell.weight_hh": p["u"],
        "rnn_cell.bias_ih": p["b"],
        "rnn_cell.bias_hh": p["recurrent_bias"],
    }
    return {k.removeprefix(under): value for k, value in found.items() if k.startswith(under)}


@pytest.mark.parametrize("cell", CELLS)
def test_states_of_ragged_stays_equal_the_recursions(cell):
    net, (values, mask, hours) = recurrence(cell), series()
    with torch.no_grad():
        h = net(**gather_steps(values, mask, hours, MEAN), mean=MEAN)
    expected = [by_hand(net, *stay, MEAN) for stay in zip(values, mask, hours, strict=True)]
    np.testing.assert_allclose(h, np.stack(expected), atol=1e-12)
    assert not h[1].any()
    assert h.abs().sum(dim=1).gt(0).sum() == mask.any(dim=(1, 2)).sum() < len(h)


def test_time_gaps_equal_the_papers_worked_example():
    """Its figure 2; the fifth time, at which nothing was recorded, is no step here, which changes no later gap."""
    na = np.nan
    values = torch.tensor([[47, 49, na, 40, na, 43, 55], [na, 15, 14, na, na, na, 15]]).t().unsqueeze(0)
    hours = torch.tensor([[0, 0.1, 0.6, 1.6, 2.2, 2.5, 3.1]])
    found = gather_steps(values, ~values.isnan(), hours, torch.tensor([44.0, 15.0]))
    expected = torch.tensor([[0, 0.1, 0.5, 1.5, 0.9, 0.6], [0, 0.1, 0.5, 1.0, 1.9, 2.5]])
    torch.testing.assert_close(found["delta"][0].t(), expected)
    last = torch.tensor([[47.0, 49, 49, 40, 43, 55], [15, 15, 14, 14, 14, 15]])  # 15 at first is the mean
    assert torch.equal(found["last"][0].t(), last)
    assert found["length"].item() == 6


def test_time_gaps_equal_the_closed_form():
    values, mask, hours = series(n=12, bins=15, seed=3, share=0.25)
    found = gather_steps(values, mask, hours, MEAN)
    assert torch.equal(found["length"], mask.any(dim=2).sum(dim=1))
    for i in range(len(values)):
        real = mask[i].any(dim=1)
        s, m = hours[i][real], mask[i][real]
        for t in range(len(s)):
            for f in range(F):
                earlier = [u for u in range(t) if m[u, f]]
                since = s[earlier[-1]] if earlier else s[0]
                assert found["delta"][i, t, f].item() == pytest.approx((s[t] - since).item(), abs=1e-12)


def test_with_everything_observed_and_no_decay_of_the_state_it_is_a_gru():
    """The paper's gates have the reset before the product, so torch's GRU is not the reference; PyPOTS' cell is tested against it."""
    values, _, hours = series()
    mask, net = torch.ones_like(values, dtype=torch.bool), recurrence()
    for p in net.decay_h.parameters():
        p.data.zero_()
    given = gather_steps(values, mask, hours, MEAN)
    with torch.no_grad():
        found = net(**given, mean=MEAN)
        u_r, u_z, u_n = net.u.split(H)
        h = torch.zeros(len(values), H, dtype=torch.float64)
        for x in values.unbind(dim=1):
            r, z, n = functional.linear(torch.cat([x, torch.ones_like(x)], dim=1), net.w, net.b).split(H, dim=1)
            r, z = torch.sigmoid(r + h @ u_r.T), torch.sigmoid(z + h @ u_z.T)
            h = (1 - z) * h + z * torch.tanh(n + (r * h) @ u_n.T)
        torch.testing.assert_close(found, h)
        net.decay_x.normal_(std=3.0)
        assert torch.equal(net(**given, mean=MEAN), found)
        net.decay_h.bias.fill_(0.5)
        assert not torch.allclose(net(**given, mean=MEAN), found)


def test_decays_lie_between_0_and_1_and_fall_with_the_gap():
    net = recurrence()
    delta = torch.linspace(0, 50, 40, dtype=torch.float64).unsqueeze(1).expand(-1, F)
    for gamma in (net.gamma_x, net.gamma_h):
        with torch.no_grad():
            found = gamma(delta)
        assert ((found > 0) & (found <= 1)).all()
        assert (found < 1).any()
    net.decay_x[0].data.abs_()
    net.decay_h.weight.data.abs_()
    for gamma in (net.gamma_x, net.gamma_h):
        assert (gamma(delta).diff(dim=0) <= 0).all()


def test_a_missing_value_goes_from_the_last_one_to_the_mean():
    net = recurrence()
    net.decay_x.data[0] = 0.7
    seen, last = torch.tensor([[1.0, 0.0, 0.0, 0.0]]).double(), torch.randn(1, F, dtype=torch.float64)
    fill = lambda d: net.fill(last, seen, torch.full((1, F), d, dtype=torch.float64), MEAN)[0]  # noqa: E731
    assert torch.equal(fill(1e9)[1:], MEAN[1:])
    assert fill(1e9)[0] == last[0, 0]
    net.decay_x.data.zero_()
    assert torch.equal(fill(1e9), last[0])


def test_decays_that_start_at_zero_are_trained():
    torch.manual_seed(0)
    net, (values, mask, hours) = GruD(F, H, "paper", 0.0, "zeros").double(), series()
    assert torch.equal(net.gamma_h(torch.rand(3, F).double() * 40), torch.ones(3, H).double())
    net(**gather_steps(values, mask, hours, MEAN), mean=MEAN).square().sum().backward()
    assert (net.decay_x.grad != 0).all()
    assert (net.decay_h.weight.grad != 0).all()
    a = torch.tensor([-1.0, 0.0, 2.0], requires_grad=True)
    decay(a).sum().backward()
    torch.testing.assert_close(a.grad, torch.tensor([0.0, -1.0, -np.exp(-2.0)], dtype=torch.float32))
    drawn = GruD(F, 16, "paper", 0.0, "uniform")
    assert 0.3 < drawn.decay_x.abs().max() <= 0.5
    assert 0.2 < drawn.decay_h.weight.abs().max() <= 0.25


def test_what_stands_where_nothing_was_recorded_is_never_read():
    values, mask, hours = series()
    net = recurrence()
    before = net(**gather_steps(torch.where(mask, values, 0.0), mask, hours, MEAN), mean=MEAN)
    rubbish = torch.where(mask, values, torch.tensor([np.nan, np.inf, -np.inf, 1e9]))
    late = torch.where(mask.any(dim=2), hours, np.nan)
    after = net(**gather_steps(rubbish, mask, late, MEAN), mean=MEAN)
    assert torch.equal(after, before)
    after.sum().backward()
    assert all(p.grad.isfinite().all() for p in net.parameters())


@pytest.mark.parametrize("where", ["behind", "before", "between"])
def test_bins_in_which_nothing_was_recorded_change_nothing(where):
    values, mask, hours = series()
    net, n = recurrence(), len(values)
    before = net(**gather_steps(values, mask, hours, MEAN), mean=MEAN)
    at = {"behind": range(values.shape[1]), "before": range(5, 5 + values.shape[1]), "between": range(1, 18, 2)}[where]
    wide = [
        torch.full((n, 20, F), np.nan).double(),
        torch.zeros(n, 20, F, dtype=torch.bool),
        torch.zeros(n, 20).double(),
    ]
    for new, old in zip(wide, (values, mask, hours), strict=True):
        new[:, list(at)] = old
    assert torch.equal(net(**gather_steps(*wide, MEAN), mean=MEAN), before)


@pytest.mark.parametrize("cell", CELLS)
def test_a_step_with_nothing_recorded_would_be_that_of_a_constant_series(cell):
    """The recurrence itself, asked for steps that ``gather_steps`` never makes: xh is the mean, and no decay where w = 0 and b <= 0."""
    net, n, s = recurrence(cell), 3, 6
    net.decay_x.data[0], net.decay_x.data[1] = 0, -1
    net.decay_h.weight.data.zero_()
    net.decay_h.bias.data.fill_(-1)
    full = torch.full((n,), s)
    never, delta = torch.zeros(n, s, F, dtype=torch.bool), torch.arange(s).double().view(1, s, 1).expand(n, s, F)
    found = net(MEAN.expand(n, s, F), never, delta, full, MEAN)
    constant = recurrence(cell)
    constant.load_state_dict(net.state_dict())
    constant.w.data[:, F:] = 0  # the values of a constant series, without the mask that says they are there
    expected = constant(MEAN.expand(n, s, F), ~never, delta, full, MEAN)
    torch.testing.assert_close(found, expected)
    assert found.abs().min() > 0


def test_a_stay_is_read_alone_in_any_order_and_only_its_own_steps():
    net, given = recurrence(), gather_steps(*series(), MEAN)
    rows = []
    net.decay_h.register_forward_hook(lambda _, given, out: rows.append(len(given[0])))
    with torch.no_grad():
        whole = net(**given, mean=MEAN)
        assert rows == [given["length"].sum()]
        for some in ([3, 0, 6], [5], [1], [1, 1], []):
            part = net(**{k: v[some] for k, v in given.items()}, mean=MEAN)
            torch.testing.assert_close(part, whole[some])
    empty = gather_steps(
        torch.zeros(0, 5, F), torch.zeros(0, 5, F, dtype=torch.bool), torch.zeros(0, 5), torch.zeros(F)
    )
    assert recurrence().float()(**empty, mean=torch.zeros(F)).shape == (0, H)


class Given(nn.Module):
    """Dropout whose draws are known: those of the values [B, F], of the mask [B, F] and of the state [B, H]."""

    p = 0.5

    def __init__(self, *draws):
        super().__init__()
        self.draws = cycle(draws)

    def forward(self, ones):
        return ones * next(self.draws)


def test_dropout_takes_the_same_elements_at_every_step_and_leaves_the_state_itself_whole():
    net, (values, mask, hours) = recurrence(), series()
    given = gather_steps(values, mask, hours, MEAN)
    order = given["length"].argsort(descending=True, stable=True)
    x, m, h = ((torch.rand(len(values), k) < 0.5).double() * 2 for k in (F, F, H))
    net.train().dropout = Given(x, m, h)
    with torch.no_grad():
        found = net(**given, mean=MEAN)
    rows = zip(values[order], mask[order], hours[order], torch.cat([x, m], dim=1).numpy(), h.numpy(), strict=True)
    expected = [by_hand(net, *stay, MEAN, keep_x, keep_h) for *stay, keep_x, keep_h in rows]
    np.testing.assert_allclose(found[order], np.stack(expected), atol=1e-12)
    net.eval()
    np.testing.assert_allclose(net(**given, mean=MEAN)[0].detach(), by_hand(net, values[0], mask[0], hours[0], MEAN))


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_gradients_equal_finite_differences(cell, dropout):
    net, given = recurrence(cell, dropout=dropout).train(), gather_steps(*series(n=5, bins=6), MEAN)
    if dropout:
        net.dropout = Given(*((torch.rand(5, k) < 0.5).double() * 2 for k in (F, F, H)))
    names, parameters = zip(*net.named_parameters(), strict=True)

    def h(last, mean, *weights):
        given["last"] = last
        return torch.func.functional_call(net, dict(zip(names, weights, strict=True)), (), {**given, "mean": mean})

    inputs = [v.detach().clone().requires_grad_() for v in (given["last"], MEAN, *parameters)]
    assert torch.autograd.gradcheck(h, inputs)


@pytest.mark.parametrize(("static", "width", "layers"), [("linear", LATE, 1), ("encoder", H, 2)])
def test_static_modalities_join_behind_the_recurrence(static, width, layers):
    torch.manual_seed(0)
    net = GruDModule((3, 2), 2, Config(hidden=H, static=static), channels=F).eval()
    x, observed = (torch.randn(7, 3), torch.randn(7, 2)), torch.rand(7, 2) < 0.5
    given = {k: v.float() if v.is_floating_point() else v for k, v in gather_steps(*series(), torch.zeros(F)).items()}
    logits = net(Batch(x, observed, given)).logits
    tokens = [keep_observed(e(v), o) for e, v, o in zip(net.static.encoders, x, observed.T, strict=True)]
    joined = torch.cat([net.gru(**given, mean=torch.zeros(F)), *tokens, observed.float()], dim=1)
    assert joined.shape[1] == H + 2 * width + 2
    torch.testing.assert_close(logits, net.head(joined))
    assert all(sum(isinstance(part, nn.Linear) for part in e.modules()) == layers for e in net.static.encoders)


def test_modalities_as_sensors_are_pseudo_steps_that_decay_to_the_bias():
    torch.manual_seed(0)
    net = GruDModule((3, 2, 4), 2, Config(hidden=H, inputs="modality_as_sensor"), channels=None).eval()
    k, x = net.sensors.k, tuple(torch.randn(3, d) for d in (3, 2, 4))
    observed = torch.tensor([[True, False, True], [False, False, False], [True, True, True]])
    seen = []
    net.gru.register_forward_hook(lambda _, __, kwargs, out: seen.append((kwargs, out)), with_kwargs=True)
    logits = net(Batch(x, observed, {})).logits
    given, h = seen[0]
    bias = torch.cat([f.bias for f in net.sensors.maps])
    assert torch.equal(given["mean"], bias)
    assert given["length"].tolist() == [2, 0, 3]
    first, third = net.sensors.maps[0](x[0][0]), net.sensors.maps[2](x[2][0])
    torch.testing.assert_close(given["last"][0, 1], torch.cat([first, bias[k : 2 * k], third]))
    assert given["delta"][0, 1].tolist() == [2.0] * (3 * k)  # modality 1 is no step of stay 0
    torch.testing.assert_close(logits, net.head(h))
    assert torch.equal(net(Batch(x, observed, {})).logits[1], net.head(torch.zeros(H)))


SMALL = {"hidden": 8, "max_epochs": 2, "batch_size": 32}


def fitted(train=None, valid=None, **changes):
    train, valid = train or draw_random_cohort(90), valid or draw_random_cohort(40, seed=1)
    return GruDMethod(Config(**{**SMALL, **changes}), seed=3).fit(train, valid)


def with_series(cohort, **fields):
    return replace_fields(cohort, series=replace(cohort.series, **fields))


def test_series_slots_without_a_record_change_nothing_bit_for_bit():
    parts = [draw_random_cohort(n, seed=s) for n, s in ((90, 0), (40, 1), (30, 2))]
    rng = np.random.default_rng(0)
    spoiled = []
    for c in parts:
        noise = rng.choice([np.nan, np.inf, -np.inf, 1e9], c.series.values.shape).astype(np.float32)
        hours = np.where(
            c.series.mask.any(axis=2), c.series.hours, rng.choice([np.nan, np.inf, -7], c.series.hours.shape)
        )
        values = np.where(c.series.mask, c.series.values, noise)
        spoiled.append(with_series(c, values=values, hours=hours.astype(np.float32)))
    p, q = (fitted(*cs[:2]).predict_proba(cs[2]) for cs in (parts, spoiled))
    np.testing.assert_array_equal(p, q)


def test_a_channel_that_nobody_in_training_has_is_not_read_later():
    train, valid, test = (draw_random_cohort(n, seed=s) for n, s in ((90, 0), (40, 1), (30, 2)))
    off = lambda c: c.series.mask & (np.arange(3) != 1)  # noqa: E731
    method = fitted(with_series(train, mask=off(train)), valid)
    p = method.predict_proba(test)
    np.testing.assert_array_equal(p, method.predict_proba(with_series(test, mask=off(test))))
    assert not np.array_equal(p, fitted(train, valid).predict_proba(test))


@pytest.mark.parametrize("inputs", ["true_series", "modality_as_sensor"])
def test_series_are_read_and_kept_in_the_state_where_they_are_the_input(inputs):
    method, test = fitted(inputs=inputs), draw_random_cohort(30, seed=2)
    series_read = inputs == "true_series"
    assert any(key.startswith("series.") for key in method.state()) == series_read
    other = with_series(test, values=np.where(test.series.mask, -2 * test.series.values, np.nan))
    assert np.array_equal(method.predict_proba(other), method.predict_proba(test)) != series_read


def test_without_series_it_declines_and_modalities_as_sensors_never_look_for_them(monkeypatch):
    bare = [replace_fields(draw_random_cohort(n, seed=s), series=None) for n, s in ((90, 0), (40, 1), (30, 2))]
    with pytest.raises(NoSeries, match="gru_d:modality_as_sensor"):
        fitted(*bare[:2])
    with pytest.raises(NoSeries):
        fitted().predict_proba(bare[2])
    p = fitted(*bare[:2], inputs="modality_as_sensor").predict_proba(bare[2])
    full = [draw_random_cohort(n, seed=s) for n, s in ((90, 0), (40, 1), (30, 2))]
    for c in full:
        monkeypatch.setitem(vars(c), "series", Untouchable(c.series))
    np.testing.assert_array_equal(fitted(*full[:2], inputs="modality_as_sensor").predict_proba(full[2]), p)


class Untouchable:
    """A series that may be selected from, as a cohort does, and not be read."""

    def __init__(self, series):
        self.hidden = series

    def __getattr__(self, name):
        raise AssertionError(f"series.{name} was read")


def noise_cohort(n, seed):
    """Modalities say nothing, and the outcome is how a channel was when it was last recorded, some hours before the end."""
    c, rng = draw_random_cohort(n, seed=seed, undefined=0.0), np.random.default_rng(seed)
    mask = rng.random((n, 12, 2)) < 0.3
    values = np.where(mask, rng.normal(size=mask.shape), np.nan).astype(np.float32)
    final = np.array([v[~np.isnan(v)][-1:].sum() for v in values[:, :, 0]])
    hours = np.tile(np.arange(12, dtype=np.float32) * 2, (n, 1))
    modalities = tuple(replace(m, values=rng.normal(size=m.values.shape).astype(np.float32)) for m in c.modalities)
    y = (final > 0).astype(np.float32)
    series = Series(values, mask, hours, ("a", "b"))
    return replace_fields(c, modalities=modalities, series=series, outcomes=np.stack([y, 1 - y], axis=1))


def test_what_only_the_series_say_is_learned():
    method = fitted(noise_cohort(400, 0), noise_cohort(100, 1), hidden=16, max_epochs=25, lr=1e-2, dropout=0.0)
    test = noise_cohort(300, 2)
    assert roc_auc_score(test.outcomes.ravel(), method.predict_proba(test).ravel()) > 0.9


@needs_peers
@pytest.mark.slow
def test_pypots_gives_the_same_states_with_the_same_weights(tmp_path):
    values, mask, hours = (v[[0, 2, 3, 4, 5, 6]] for v in series(share=0.5, bins=12))
    mask[:, :, 0] = True  # every bin is a step, as it is there
    net = recurrence("pypots", scale=0.3).float()
    given = {k: v.float() if v.is_floating_point() else v for k, v in gather_steps(values, mask, hours, MEAN).items()}
    inputs = {"X": torch.where(mask, values, 0).float(), "mask": mask.float(), "mean": MEAN.float()}
    inputs |= {"delta": given["delta"], "last": given["last"]}
    weights = {f"weight.{k}": v.float() for k, v in pypots_weights(net).items()}
    np.savez(tmp_path / "in.npz", **{k: v.numpy() for k, v in {**inputs, **weights}.items()})
    exchange("gru_d", tmp_path / "in.npz", tmp_path / "out.npz")
    out = np.load(tmp_path / "out.npz")
    with torch.no_grad():
        np.testing.assert_allclose(net(**given, mean=MEAN.float()), out["h"], atol=1e-5, rtol=0)
        for t in (1, 5, 11):
            before = net(**{**given, "length": torch.full((6,), t)}, mean=MEAN.float())
            np.testing.assert_allclose(before * net.gamma_h(given["delta"][:, t]), out["rep"][:, t], atol=1e-5, rtol=0)
    by_index = gather_steps(values, mask, torch.arange(12).float().expand(6, -1), MEAN)
    np.testing.assert_array_equal(by_index["delta"], out["index_delta"])
    known = mask.cumsum(dim=1) > 0  # before the first record PyPOTS looks ahead
    np.testing.assert_array_equal(
        torch.where(known, by_index["last"].float(), 0), np.where(known, out["index_last"], 0)
    )


def test_the_variant_that_reads_modalities_as_sensors_is_not_the_default():
    changed = Config(**GruDMethod.variants["modality_as_sensor"])
    assert changed.inputs == "modality_as_sensor" != Config().inputs
