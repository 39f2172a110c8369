"""Raindrop: the graph of sensors by hand, the released code's form against torch and PyPOTS, and what its card says must hold."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch import nn
from torch_geometric.nn import MessagePassing
from torch_geometric.utils import scatter

from benchmark.check.cohorts import draw_random_cohort
from methods.common.series import NoSeries, SeriesScaler
from methods.common.training import Batch
from methods.raindrop import LATE, Config, Raindrop, RaindropModule, keep_recorded_steps
from methods.raindrop.graph import SensorGraph, compute_disagreement, prune_edges
from methods.raindrop.released import ReleasedBody
from tests.speed.peer import exchange, needs_peers

FORMS = ["paper", "released"]
WIDTHS = (6, 5, 4)
B, S, F, D_OB, D_T = 7, 6, 5, 4, 8


def readings(seed=0):
    """h, read and p; stay 0 has nothing, stay 1 ends early, stay 2 has one reading, sensor 4 is never read but in stay 3."""
    rng = torch.Generator().manual_seed(seed)
    read = torch.rand(B, S, F, generator=rng) < 0.5
    read[0], read[1, 3:], read[2] = False, False, False
    read[2, 2, 1] = True
    read[:, :, 4] = False
    read[3, 0, 4] = True
    h = torch.randn(B, S, F, D_OB, generator=rng).relu()
    return torch.where(read.unsqueeze(3), h, 0.0), read, torch.randn(B, S, D_T, generator=rng)


def graph(layers=2, prune=0.5, seed=0, positive=False):
    """A graph network whose messages are as large as what they are added to."""
    torch.manual_seed(seed)
    net = SensorGraph(F, S, layers, D_OB, 3, D_T, 6, prune, 0.2).eval()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(torch.rand_like(parameter) if positive else torch.randn_like(parameter))
    return net


def by_hand(net, h, read, p):
    """Stay by stay, step by step and edge by edge, in double precision: h [B, S, F, d], e [B, F, F] and z [B, F d]."""
    relu = lambda x: np.maximum(x, 0)  # noqa: E731
    h, p, read = h.double().numpy(), p.double().numpy(), read.numpy()
    weights = {k: v.detach().double().numpy() for k, v in net.named_parameters()}
    out_h, out_e, out_z = np.zeros_like(h), np.zeros((B, F, F)), np.zeros((B, F, D_OB))
    for i in range(B):
        x, e = h[i], np.ones((F, F))
        for l in range(len(net.layers)):
            r, D, w = (weights[f"layers.{l}.{k}"] for k in "rDw")
            new, alphas = np.zeros_like(x), np.zeros((F, F))
            for t in range(S):
                senders = np.flatnonzero(read[i, t])
                for v in range(F):
                    total = np.zeros(D_OB)
                    for u in senders:
                        alpha = relu(x[t, u] @ D @ np.concatenate([r[v], p[i, t]]))
                        alphas[u, v] += alpha
                        total += np.outer(w[u], w[v]).T @ x[t, u] * alpha * e[u, v]
                    message = relu(total / max(len(senders), 1))
                    new[t, v] = message + (x[t, v] if read[i, t, v] else 0)
            x, e = new, e * alphas / np.maximum(read[i].sum(axis=0), 1)[:, None]
            if l == 0:
                lowest = np.argsort(e, axis=None, kind="stable")[: int(net.prune * F * F)]
                e.flat[lowest] = 0
        out_h[i], out_e[i] = x, e
        steps = np.flatnonzero(read[i].any(axis=1))
        w_q, w_k, s, w = (weights[f"attention.{k}"] for k in ("W_Q", "W_K", "s", "W"))
        for v in range(F) if len(steps) else []:
            both = np.concatenate([x[steps, v], p[i, steps]], axis=1)
            logits = (both @ w_q) @ (both @ w_k).T / np.sqrt(w_q.shape[1]) @ s[steps]
            beta = np.exp(logits - logits.max())
            out_z[i, v] = beta / beta.sum() @ x[steps, v] @ w
    return out_h, out_e, out_z.reshape(B, -1)


@pytest.mark.parametrize("prune", [0.0, 0.5])
@pytest.mark.parametrize("layers", [1, 2, 3])
def test_the_graph_is_the_equations(layers, prune):
    net, given = graph(layers, prune), readings()
    expected_h, expected_e, expected_z = by_hand(net, *given)
    with torch.no_grad():
        h, e = net.propagate(*given)
        z, again = net(*given)
    assert np.count_nonzero(expected_e) > 3
    unread = ~given[1].numpy() & given[1].any(dim=2, keepdim=True).numpy()
    assert np.abs(expected_h[unread]).max() > 0.1  # messages stand in for what was not read
    scale = np.abs(expected_h).max()
    np.testing.assert_allclose(h, expected_h, atol=1e-5 * scale)
    np.testing.assert_allclose(e, expected_e, atol=1e-5 * expected_e.max())
    np.testing.assert_allclose(z, expected_z, atol=1e-5 * np.abs(expected_z).max())
    assert torch.equal(e, again)


class SensorMessages(MessagePassing):
    """The mean, over the sensors read at a step, of what they say to each sensor: ((h_u . w_u) alpha_uv e_uv) w_v, alpha_uv an edge's."""

    def __init__(self, D):
        super().__init__(aggr="mean")
        self.D = D

    def forward(self, h, w, r, p, edges, e):
        alpha = self.edge_updater(edges, h=h, r=r, p=p)
        return self.propagate(edges, h=h, w=w, alpha=alpha, e=e, size=None), alpha

    def edge_update(self, h_j, r_i, p_i):
        return ((h_j @ self.D) * torch.cat([r_i, p_i], dim=1)).sum(dim=1).relu()

    def message(self, h_j, w_j, w_i, alpha, e):
        return ((h_j * w_j).sum(dim=1) * alpha * e)[:, None] * w_i


@pytest.mark.parametrize("layers", [1, 2])
def test_messages_are_those_of_a_message_passing_network(layers):
    """Against ``MessagePassing`` of torch_geometric: a node for each sensor at each step, an edge from each that is read."""
    net, (h, read, p) = graph(layers), readings()
    node = torch.arange(B * S * F).view(B, S, F)
    from_to = node[..., None], node[..., None, :], read[..., None]
    source, target, there = (x.expand(B, S, F, F).flatten() for x in from_to)
    source, target = source[there], target[there]
    pair = source // (S * F) * F * F + source % F * F + target % F  # (stay, u, v)
    times = read.sum(dim=1).clamp(min=1)[..., None].expand(B, F, F)
    x, e = h.flatten(0, 2), torch.ones(B * F * F)
    with torch.no_grad():
        for l, layer in enumerate(net.layers):
            along = [v.repeat(B * S, 1) for v in (layer.w, layer.r)]
            at = p.flatten(0, 1).repeat_interleave(F, dim=0)
            said, alpha = SensorMessages(layer.D)(x, *along, at, torch.stack([source, target]), e[pair])
            x = torch.where(read.flatten()[:, None], x, 0.0) + said.relu()
            e = e * (scatter(alpha, pair, dim_size=len(e)).view_as(times) / times).flatten()
            e = e if l else prune_edges(e.view(B, F, F), net.prune).flatten()
        got, edges = net.propagate(h, read, p)
    torch.testing.assert_close(got.flatten(0, 2), x, atol=1e-5 * float(x.abs().max()), rtol=0)
    torch.testing.assert_close(edges.flatten(), e, atol=1e-5 * float(e.max()), rtol=0)


def test_sensors_hear_of_each_other_and_stays_do_not():
    net, (h, read, p) = graph(positive=True), readings()
    i, t = (read.sum(dim=2) > 1).nonzero()[0].tolist()
    u = int(read[i, t].nonzero()[0])
    changed = h.clone()
    changed[i, t, u] += 1
    with torch.no_grad():
        before, after = (net.propagate(x, read, p.abs())[0] for x in (h, changed))
    differs = (before != after).any(dim=3)
    assert differs[i, t].all()  # all sensors at that step, read or not
    assert not differs[torch.arange(B) != i].any()


def test_each_stay_keeps_its_heaviest_half_of_edges():
    e = torch.rand(6, F, F) + 0.01
    kept = prune_edges(e, 0.5)
    assert ((kept > 0).flatten(1).sum(dim=1) == F * F - F * F // 2).all()
    assert torch.equal(kept[kept > 0], e[kept > 0])
    assert (
        torch.where(kept > 0, e, torch.inf).flatten(1).amin(1) >= torch.where(kept > 0, 0, e).flatten(1).amax(1)
    ).all()
    assert torch.equal(prune_edges(e, 0.0), e)
    net, given = graph(), readings()
    with torch.no_grad():
        edges = net.propagate(*given)[1]
    assert (edges >= 0).all()
    assert ((edges > 0).flatten(1).sum(dim=1) <= F * F - F * F // 2).all()


def test_a_pruned_edge_carries_nothing(monkeypatch):
    net, (h, read, p) = graph(positive=True), readings()
    h, p = torch.where(read.unsqueeze(3), h + 0.1, 0.0), p.abs()
    first = net.layers[0]
    seen = []
    keep = torch.ones(B, F, F)
    keep[:, 1, 3] = 0
    monkeypatch.setattr("methods.raindrop.graph.prune_edges", lambda e, share: e * keep)
    monkeypatch.setattr(net.layers[1], "messages", lambda *a: seen.append(a) or type(first).messages(net.layers[1], *a))
    with torch.no_grad():
        net.propagate(h, read, p)
        own, alpha, e, places, share = seen[0]
        scale = first.messages(own, alpha, e, places, share)
        louder = own + 100.0 * (places.sensor == 1).unsqueeze(1)
        moved = first.messages(louder, alpha, e, places, share) != scale
    assert not moved[:, :, 3].any()
    assert moved[read[:, :, 1]][:, [0, 1, 2, 4]].all()


def test_permuted_sensors_permute_their_embeddings():
    net, (h, read, p) = graph(), readings()
    order = torch.randperm(F, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        before = net(h, read, p)[0].view(B, F, D_OB)
        for layer in net.layers:
            layer.r.copy_(layer.r[order])
            layer.w.copy_(layer.w[order])
        after = net(h[:, :, order], read[:, :, order], p)[0].view(B, F, D_OB)
    torch.testing.assert_close(after, before[:, order], atol=1e-4, rtol=1e-4)


def test_disagreement_is_the_mean_over_all_pairs():
    e = torch.rand(9, F, F)
    pairs = (e.unsqueeze(0) - e.unsqueeze(1)).abs().mean(dim=(0, 1))
    torch.testing.assert_close(compute_disagreement(e), pairs.sum() / F**2)
    assert compute_disagreement(e[:1].expand(9, F, F)).abs() < 1e-7
    assert compute_disagreement(e[:1]) == 0
    other = e[:1].repeat(9, 1, 1)
    other[3, 1, 2] += 1e-2
    assert compute_disagreement(other) > 1e-5


def released(sensors=F, steps=S, layers=2, heads=2):
    torch.manual_seed(0)
    net = ReleasedBody(sensors, steps, layers, heads, D_OB, D_T, 0.2).eval()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return net


def test_the_released_propagation_is_two_layers_within_each_sensor():
    net, (h, _, _) = released(), readings()
    w1, b1, w2, b2 = (v.detach().double().numpy() for v in net.within.parameters())
    out = net.propagate(h).detach()
    for i in range(B):
        for u in range(F):
            x = h[i, :, u].double().numpy().reshape(-1)
            o = np.maximum(w2 @ np.maximum(w1 @ x + b1, 0) + b2, 0).reshape(S, D_OB)
            np.testing.assert_allclose(out[i, :, u], o, atol=1e-5)
    changed = h.clone()
    changed[:, 2, 1] += 1
    assert (net.propagate(changed) != out).any(dim=3).any(dim=1).tolist() == [[u == 1 for u in range(F)]] * B


def test_the_released_transformer_is_that_of_torch():
    net = released()
    d = net.width
    layer = nn.TransformerEncoderLayer(d, 2, 2 * F * D_OB, 0.2, batch_first=True)
    other = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False).eval()
    other.load_state_dict({k.removeprefix("transformer_encoder."): v for k, v in pypots_layers(net).items()})
    x, recorded = torch.randn(B, S, d), torch.arange(S) < torch.tensor([6, 3, 1, 5, 6, 2, 4]).unsqueeze(1)
    expected = other(x, src_key_padding_mask=~recorded)
    found = net.transform(x, recorded)
    torch.testing.assert_close(found[recorded], expected[recorded], atol=1e-5, rtol=0)


def test_the_released_pool_divides_by_one_more_than_the_steps():
    net, (h, read, p) = released(), readings()
    recorded = read.any(dim=2)
    with torch.no_grad():
        x = net.transform(torch.cat([net.propagate(h).flatten(2), p], dim=2), recorded)
        pooled, edges = net(h, read, p)
    for i in range(B):
        torch.testing.assert_close(pooled[i], x[i, recorded[i]].sum(dim=0) / (recorded[i].sum() + 1))
    assert (pooled[0] == 0).all()  # a stay without steps
    assert edges is None


@pytest.mark.parametrize("net", [graph(), released()], ids=FORMS)
def test_embeddings_are_thinned_in_training(net):
    h, read, p = readings()
    whole = torch.ones_like(read)
    for dropout in (m for m in net.modules() if m is not net.dropout and hasattr(m, "p")):
        dropout.p = 0.0
    torch.manual_seed(0)
    outs = [net.train()(h + 1, whole, p)[0].detach() for _ in range(2)]
    same = [net.eval()(h + 1, whole, p)[0].detach() for _ in range(2)]
    assert not torch.equal(*outs)
    assert torch.equal(*same)


def pypots_layers(net):
    """The transformer's weights under torch's names."""
    names = {"qkv.": "self_attn.in_proj_", "out.": "self_attn.out_proj."}
    weights = {}
    for l, layer in enumerate(net.layers):
        for key, value in layer.state_dict().items():
            for ours, theirs in names.items():
                key = key.replace(ours, theirs) if key.startswith(ours) else key
            weights[f"transformer_encoder.layers.{l}.{key}"] = value
    return weights


def module(variant="paper", inputs="true_series", **changes):
    torch.manual_seed(0)
    sizes = (F, S) if inputs == "true_series" else (len(WIDTHS),) * 2
    return RaindropModule(WIDTHS, 2, *sizes, Config(variant=variant, inputs=inputs, **changes))


def batch(n=B, seed=1):
    rng = torch.Generator().manual_seed(seed)
    _, read, _ = readings()
    observed = torch.rand(n, 3, generator=rng) < 0.7
    observed[0], observed[1] = True, False
    series = {
        "values": torch.randn(n, S, F, generator=rng),
        "mask": read,
        "hours": torch.arange(S).float().expand(n, -1),
    }
    return Batch(tuple(torch.randn(n, d, generator=rng) for d in WIDTHS), observed, series)


@pytest.mark.parametrize("inputs", ["true_series", "modality_as_sensor"])
@pytest.mark.parametrize("variant", FORMS)
def test_what_was_not_read_reaches_neither_outputs_nor_gradients(variant, inputs):
    results = []
    for fill in (0.0, torch.nan, torch.inf):
        given, net = batch(), module(variant, inputs, lambda_r=1.0)
        read = given.extra["mask"]
        extra = {
            "values": torch.where(read, given.extra["values"], fill),
            "mask": read,
            "hours": torch.where(read.any(dim=2), given.extra["hours"], fill),
        }
        x = tuple(torch.where(o[:, None], v, fill) for v, o in zip(given.x, given.observed.unbind(1), strict=True))
        torch.manual_seed(2)
        out = net.train()(given._replace(x=x, extra=extra))
        (out.logits.square().sum() + sum(out.losses.values())).backward()
        results.append([out.logits, *(p.grad for p in net.parameters())])
    assert all(v.isfinite().all() for v in results[0])
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


@pytest.mark.parametrize("inputs", ["true_series", "modality_as_sensor"])
@pytest.mark.parametrize("variant", FORMS)
def test_every_parameter_is_trained(variant, inputs):
    net = module(variant, inputs).train()
    net(batch()).logits.square().sum().backward()
    assert [k for k, p in net.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []


@pytest.mark.parametrize("inputs", ["true_series", "modality_as_sensor"])
@pytest.mark.parametrize("variant", FORMS)
def test_a_stay_alone_is_answered_as_among_others(variant, inputs):
    net, given = module(variant, inputs).eval(), batch()
    with torch.no_grad():
        whole = net(given).logits
        alone = torch.cat([net(given.take(slice(i, i + 1))).logits for i in range(B)])
    torch.testing.assert_close(alone, whole, atol=1e-6, rtol=0)


def test_the_regulariser_is_on_only_where_the_graph_is_trained():
    given = batch()
    losses = []
    for weight in (0.5, 1.0):
        net = module(lambda_r=weight).train()
        torch.manual_seed(0)
        losses.append(net(given).losses["edges"].item())
    assert losses[1] == pytest.approx(2 * losses[0])
    assert losses[0] > 0
    assert not net.eval()(given).losses
    assert not module("released").train()(given).losses
    assert not module(lambda_r=0.0).train()(given).losses


def test_modalities_as_sensors_are_seen_once_each():
    net, given = module("paper", "modality_as_sensor"), batch()
    h, read, hours = net.embed(given)
    assert h.shape == (B, 3, 3, 4)
    assert torch.equal(read, torch.diag_embed(given.observed))
    assert hours[0].tolist() == [0, 1, 2]
    for m, f in enumerate(net.modalities.maps):
        expected = torch.where(given.observed[:, m : m + 1], f(given.x[m]).relu(), 0.0)
        torch.testing.assert_close(h[:, m, m], expected)
        assert (h[:, m, [k for k in range(3) if k != m]] == 0).all()


@pytest.mark.parametrize(
    ("variant", "scales"), [("paper", 1e4 ** (np.arange(8) / 8)), ("released", S ** (np.arange(8) / 7))]
)
def test_time_is_encoded_by_its_source(variant, scales):
    hours = torch.tensor([[0.0, 1.5, 70.0, 1000.0]])
    turns = hours.numpy()[..., None] / scales
    found = module(variant).encode_time(hours)
    np.testing.assert_allclose(found, np.concatenate([np.sin(turns), np.cos(turns)], axis=2), atol=1e-7)


def test_recorded_steps_by_hand():
    rng = np.random.default_rng(0)
    mask = rng.random((6, 9, 2)) < 0.3
    mask[0], mask[1] = False, True
    series = {"values": np.where(mask, rng.normal(size=mask.shape), 0).astype(np.float32), "mask": mask}
    series["hours"] = rng.random((6, 9), dtype=np.float32)
    for steps in (1, 4, 9, 12):
        out = keep_recorded_steps(series, steps)
        for i in range(6):
            bins = np.flatnonzero(mask[i].any(axis=1))[-steps:]
            for key, value in out.items():
                assert value.shape[1] == steps
                np.testing.assert_array_equal(value[i, : len(bins)], series[key][i, bins])
                assert not value[i, len(bins) :].any()


def settings(**changes):
    return Config(**{"max_epochs": 3, "batch_size": 32, "lr": 1e-3, **changes})


@cache
def fitted(variant="paper", inputs="true_series"):
    return Raindrop(settings(variant=variant, inputs=inputs), 3).fit(
        draw_random_cohort(97), draw_random_cohort(40, seed=1)
    )


def stretched(cohort, before=2, after=5):
    """The same stays with empty bins before, within and after theirs."""
    s = cohort.series
    n, bins, channels = s.values.shape
    place = before + 2 * np.arange(bins)
    total = place[-1] + 1 + after
    values, mask = np.full((n, total, channels), np.nan, np.float32), np.zeros((n, total, channels), bool)
    hours = np.full((n, total), 77.0, np.float32)
    values[:, place], mask[:, place], hours[:, place] = s.values, s.mask, s.hours
    return replace(cohort, series=replace(s, values=values, mask=mask, hours=hours), fingerprint="")


@pytest.mark.parametrize("variant", FORMS)
def test_bins_in_which_nothing_was_recorded_are_no_steps(variant):
    test = draw_random_cohort(50, seed=2)
    p = fitted(variant).predict_proba(test)
    np.testing.assert_array_equal(fitted(variant).predict_proba(stretched(test)), p)
    parts = [stretched(draw_random_cohort(n, seed=s)) for n, s in ((97, 0), (40, 1))]
    again = Raindrop(settings(variant=variant), 3).fit(*parts)
    np.testing.assert_array_equal(again.predict_proba(test), p)


@pytest.mark.parametrize("variant", FORMS)
def test_the_last_steps_count_of_a_stay_with_more_than_any_in_training(variant):
    short = [
        replace(c, series=cut(c.series, slice(3, None)), fingerprint="")
        for c in (draw_random_cohort(97), draw_random_cohort(40, seed=1))
    ]
    method, test = Raindrop(settings(variant=variant), 3).fit(*short), draw_random_cohort(50, seed=2)
    assert method.steps == 3
    mask = test.series.mask
    recent = mask & (mask.any(axis=2)[:, ::-1].cumsum(axis=1)[:, ::-1, None] <= 3)
    assert (recent != mask).any()
    cropped = replace(test, series=replace(test.series, mask=recent), fingerprint="")
    p = method.predict_proba(test)
    np.testing.assert_array_equal(method.predict_proba(cropped), p)
    few = replace(test, series=cut(test.series, slice(0, 1)), fingerprint="")
    assert np.isfinite(method.predict_proba(few)).all()


def cut(series, bins):
    return replace(series, values=series.values[:, bins], mask=series.mask[:, bins], hours=series.hours[:, bins])


@pytest.mark.parametrize("variant", FORMS)
def test_a_stay_without_steps_has_a_finite_answer_of_its_late_modalities(variant):
    test, series = draw_random_cohort(40, seed=2), draw_random_cohort(40, seed=2).series
    empty = replace(test, series=replace(series, mask=np.zeros_like(series.mask)), fingerprint="")
    p = fitted(variant).predict_proba(empty)
    assert np.isfinite(p).all()
    nothing = replace(empty, observed=np.zeros_like(test.observed), fingerprint="")
    constant = fitted(variant).predict_proba(nothing)
    np.testing.assert_allclose(constant, constant[:1].repeat(40, axis=0), atol=1e-7)
    assert np.abs(p - constant).max() > 1e-3


@pytest.mark.parametrize("variant", FORMS)
def test_nothing_recorded_in_training_is_a_series_of_one_empty_step(variant):
    parts = [draw_random_cohort(n, seed=s) for n, s in ((97, 0), (40, 1))]
    empty = [replace(c, series=replace(c.series, mask=np.zeros_like(c.series.mask)), fingerprint="") for c in parts]
    method = Raindrop(settings(variant=variant, max_epochs=1)).fit(*empty)
    assert method.steps == 1
    assert np.isfinite(method.predict_proba(draw_random_cohort(30, seed=2))).all()


def test_a_cohort_without_series_is_declined_unless_modalities_are_sensors(monkeypatch):
    parts = [draw_random_cohort(n, seed=s, series=False) for n, s in ((97, 0), (40, 1))]
    with pytest.raises(NoSeries, match="raindrop:modality_as_sensor"):
        Raindrop(settings()).fit(*parts)
    monkeypatch.setattr("methods.raindrop.require_series", lambda *_: pytest.fail("the series was read"))
    p = Raindrop(settings(inputs="modality_as_sensor"), 3).fit(*parts).predict_proba(parts[1])
    with_series = [draw_random_cohort(n, seed=s) for n, s in ((97, 0), (40, 1))]
    again = Raindrop(settings(inputs="modality_as_sensor"), 3).fit(*with_series).predict_proba(with_series[1])
    np.testing.assert_array_equal(again, p)


def test_series_are_scaled_by_training_stays():
    train, test = draw_random_cohort(97), draw_random_cohort(30, seed=2)
    expected = keep_recorded_steps(SeriesScaler().fit(train.series).transform(test.series), 6)
    for key, value in fitted().extra_inputs(test).items():
        np.testing.assert_array_equal(value, expected[key])
    assert "series.mean" in fitted().state()
    assert "series.mean" not in fitted(inputs="modality_as_sensor").state()


@pytest.mark.parametrize(("static", "width"), [("linear", LATE), ("encoder", 10)])
def test_late_modalities_stand_beside_the_sensors(static, width):
    net, given = module(static=static, hidden=10).eval(), batch()
    seen = []
    net.head.register_forward_pre_hook(lambda _, x: seen.append(x[0].detach()))
    net(given)
    late, pattern = seen[0][:, F * 4 : -3], seen[0][:, -3:]
    assert torch.equal(pattern, given.observed.float())
    assert late.shape[1] == 3 * width
    for m, phi in enumerate(net.late.encoders):
        expected = torch.where(given.observed[:, m : m + 1], phi(given.x[m]), 0.0)
        torch.testing.assert_close(late[:, width * m : width * (m + 1)], expected)


@pytest.mark.parametrize("variant", FORMS)
def test_the_series_alone_are_learned(variant):
    """The latent is in the series only: modalities are noise."""
    parts = []
    for n, seed in ((400, 0), (100, 1), (500, 2)):
        c = draw_random_cohort(n, seed=seed, undefined=0.0, pattern_effect=0.0)
        rng = np.random.default_rng(seed)
        x = tuple(replace(m, values=rng.normal(size=m.values.shape).astype(np.float32)) for m in c.modalities[:1])
        parts.append(replace(c, modalities=x, observed=np.ones((n, 1), dtype=bool), fingerprint=""))
    train, valid, test = parts
    p = Raindrop(settings(variant=variant, max_epochs=15, lr=2e-3)).fit(train, valid).predict_proba(test)
    assert roc_auc_score(test.outcomes.ravel(), p.ravel()) > 0.7


def test_heads_must_divide_the_width():
    with pytest.raises(ValueError, match="heads=5"):
        ReleasedBody(F, S, 2, 5, 4, 16, 0.0)


@needs_peers
@pytest.mark.slow
@pytest.mark.parametrize("d_ob", [4, 8])
def test_pypots_gives_the_same_with_the_same_weights(tmp_path, d_ob):
    b, steps, sensors = 6, 9, 7
    torch.manual_seed(0)
    net = RaindropModule((3,), 2, sensors, steps, Config(variant="released", d_ob=d_ob)).eval()
    lengths = torch.tensor([9, 1, 4, 9, 6, 2])
    recorded = torch.arange(steps) < lengths.unsqueeze(1)
    read = (torch.rand(b, steps, sensors) < 0.4) & recorded.unsqueeze(2)
    read[:, :, 0] |= recorded
    hours = torch.where(recorded, (torch.rand(b, steps) * 60).cumsum(dim=1), 0)
    series = {"values": torch.where(read, torch.randn(b, steps, sensors), 0), "mask": read, "hours": hours}
    weights = {"R_u": net.R.reshape(1, -1), **pypots_layers(net.body)}
    for theirs, linear in zip(("ob_propagation", "ob_propagation_layer2"), net.body.within, strict=True):
        weights |= {f"{theirs}.lin_value.{k}": v for k, v in linear.state_dict().items()}
    given = {"X": series["values"], "timestamps": hours, "lengths": lengths}
    given |= {f"weight.{k}": v.detach() for k, v in weights.items()}
    np.savez(tmp_path / "in.npz", **{k: v.numpy() for k, v in given.items()}, d_ob=d_ob, heads=2, layers=2)
    exchange("raindrop", tmp_path / "in.npz", tmp_path / "out.npz")
    out = np.load(tmp_path / "out.npz")
    assert out["loose"].tolist() == []  # no other parameter of theirs has any effect
    np.testing.assert_array_equal(out["mask"], ~recorded.numpy())
    with torch.no_grad():
        h, read, hours = net.embed(Batch((), torch.ones(b, 1, dtype=torch.bool), series))
        p = net.encode_time(hours)
        x = net.body.transform(torch.cat([net.body.propagate(h).flatten(2), p], dim=2), recorded)
        pooled, _ = net.body(h, read, p)
    np.testing.assert_allclose(x[recorded], out["out"].transpose(1, 0, 2)[recorded], atol=1e-5, rtol=0)
    np.testing.assert_allclose(pooled, out["pooled"], atol=1e-5, rtol=0)
