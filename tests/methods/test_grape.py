"""GRAPE: its message passing in three forms, and what its card says must hold."""

from functools import cache

import numpy as np
import pytest
import torch
from torch_geometric.nn import SAGEConv

from benchmark.check.cohorts import draw_random_cohort, spoil_unobserved
from methods.common.training import Batch
from methods.grape import Config, Grape, GrapeModule, Layer, propagate, propagate_edges

WIDTHS = (6, 5, 4)
GRAPHS = ["modality", "feature"]


def graph(n=11, c=4, d=3, layers=2, norm=True, seed=0):
    """Layers with their edges [n, c, d]; stay 0 has all, stay 1 none, and nobody has column 3."""
    torch.manual_seed(seed)
    sizes = [(c, d)] + [(8, 8)] * (layers - 1)
    net = [Layer(a, b, 8, last=l == layers - 1, norm=norm) for l, (a, b) in enumerate(sizes)]
    seen = torch.rand(n, c) < 0.6
    seen[0], seen[1] = True, False
    seen[:, 3] = False
    return net, torch.where(seen[..., None], torch.randn(n, c, d), 0.0), seen


def by_hand(net, e, seen):
    """Node by node and edge by edge, in double precision."""
    n, c = seen.shape
    lin = lambda layer, x: layer.weight.detach().double().numpy() @ x + layer.bias.detach().double().numpy()  # noqa: E731
    h = {("i", i): np.full(c, c**-0.5) for i in range(n)} | {("j", j): np.eye(c)[j] for j in range(c)}
    edges = {}
    for i, j in np.argwhere(seen.numpy()):
        edges["i", i, "j", j] = edges["j", j, "i", i] = e[i, j].double().numpy()
    states = []
    for layer in net:
        new = {}
        for v in h:
            into = [np.maximum(lin(layer.message, np.r_[h[u[:2]], edges[u]]), 0) for u in edges if u[2:] == v]
            x = np.maximum(lin(layer.node, np.r_[np.mean(into, axis=0) if into else np.zeros(8), h[v]]), 0)
            new[v] = x / max(np.linalg.norm(x), 1e-12) if layer.norm else x
        h = new
        states.append(np.stack([h["j", j] for j in range(c)]))
        if layer.edge is not None:
            edges = {u: np.maximum(lin(layer.edge, np.r_[h[u[:2]], h[u[2:]], edges[u]]), 0) for u in edges}
    return np.stack([h["i", i] for i in range(n)]), states


@pytest.mark.parametrize("norm", [True, False])
@pytest.mark.parametrize("layers", [1, 2, 3])
def test_dense_and_edge_list_forms_equal_the_equations(layers, norm):
    net, e, seen = graph(layers=layers, norm=norm)
    expected, expected_states = by_hand(net, e, seen)
    (dense,), dense_states = propagate(net, [(e, seen)])
    listed, listed_states = propagate_edges(net, e, seen)
    torch.testing.assert_close(dense, listed, atol=1e-5, rtol=0)
    np.testing.assert_allclose(dense.detach(), expected, atol=1e-5)
    for a, b, x in zip(dense_states, listed_states, expected_states, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=0)
        np.testing.assert_allclose(a.detach(), x, atol=1e-5)
    for reader in (dense, listed):  # unit length, or dead
        lengths = reader.norm(dim=1)
        assert not norm or ((lengths - 1).abs() < 1e-5).logical_or(lengths == 0).all()


def by_graph_sage(net, e, seen):
    """h_i^L and the columns' states, by torch_geometric's mean aggregation: a message is a source that its target takes the mean of."""
    b, c = seen.shape
    i, j = seen.nonzero(as_tuple=True)
    source, target = torch.cat([i, b + j]), torch.cat([b + j, i])
    attribute, states = e[i, j].repeat(2, 1), []
    x = torch.cat([e.new_full((b, c), c**-0.5), torch.eye(c)])
    for layer in net:
        message = layer.message(torch.cat([x[source], attribute], dim=1)).relu()
        hidden = message.shape[1]
        conv = SAGEConv((hidden, x.shape[1]), hidden, aggr="mean")
        conv.lin_l.weight.data, conv.lin_r.weight.data = layer.node.weight.data.split([hidden, x.shape[1]], dim=1)
        conv.lin_l.bias.data = layer.node.bias.data
        x = conv((message, x), torch.stack([torch.arange(len(message)), target]), size=(len(message), b + c)).relu()
        x = torch.nn.functional.normalize(x, dim=1) if layer.norm else x
        states.append(x[b:])
        if layer.edge is not None:
            attribute = layer.edge(torch.cat([x[source], x[target], attribute], dim=1)).relu()
    return x[:b], states


@pytest.mark.parametrize("norm", [True, False])
@pytest.mark.parametrize("layers", [1, 2, 3])
def test_messages_are_averaged_as_in_graph_sage(layers, norm):
    net, e, seen = graph(layers=layers, norm=norm, seed=1)
    with torch.no_grad():
        (got,), states = propagate(net, [(e, seen)])
        expected, expected_states = by_graph_sage(net, e, seen)
    torch.testing.assert_close(got, expected, atol=1e-6, rtol=0)
    torch.testing.assert_close(states, expected_states, atol=1e-6, rtol=0)


def test_both_forms_have_the_same_gradients():
    net, e, seen = graph(layers=3)
    grads = []
    for form in (lambda: propagate(net, [(e, seen)]), lambda: propagate_edges(net, e, seen)):
        (stays, states), layers = form(), torch.nn.ModuleList(net)
        stays = stays[0] if isinstance(stays, list) else stays
        layers.zero_grad()
        (stays[:, 0].sum() + states[-1][:, 1].sum()).backward()
        grads.append([p.grad.clone() for p in layers.parameters()])
    for a, b in zip(*grads, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)


def test_stored_states_answer_each_stay_alone_in_both_forms():
    net, e, seen = graph(layers=3)
    (whole,), states = propagate(net, [(e, seen)])
    fixed = torch.stack(states)
    for rows in (slice(0, 11), slice(4, 5), slice(2, 9)):
        (dense,), read = propagate(net, [(e[rows], seen[rows])], fixed)
        torch.testing.assert_close(dense, whole[rows], atol=1e-6, rtol=0)
        torch.testing.assert_close(dense, propagate_edges(net, e[rows], seen[rows], fixed)[0], atol=1e-5, rtol=0)
        assert torch.equal(torch.stack(read), fixed)


def test_a_graph_in_parts_is_the_graph():
    net, e, seen = graph()
    (whole,), states = propagate(net, [(e, seen)])
    parts, again = propagate(net, [(e[:4], seen[:4]), (e[4:5], seen[4:5]), (e[5:], seen[5:])])
    torch.testing.assert_close(torch.cat(parts), whole, atol=1e-6, rtol=0)
    torch.testing.assert_close(torch.stack(again), torch.stack(states), atol=1e-6, rtol=0)


def test_permuted_stays_and_columns_permute_the_states():
    net, e, seen = graph()
    (whole,), states = propagate(net, [(e, seen)])
    rows, columns = torch.randperm(11), torch.randperm(4)
    (moved,), moved_states = propagate(net, [(e[rows], seen[rows])])
    torch.testing.assert_close(moved, whole[rows], atol=1e-6, rtol=0)
    torch.testing.assert_close(moved_states[-1], states[-1], atol=1e-6, rtol=0)
    first = net[0]
    with torch.no_grad():  # the same network, its one-hot inputs relabelled
        first.message.weight[:, :4] = first.message.weight[:, :4][:, columns]
        first.node.weight[:, 8:] = first.node.weight[:, 8:][:, columns]
    (moved,), moved_states = propagate(net, [(e[:, columns], seen[:, columns])])
    torch.testing.assert_close(moved, whole, atol=1e-6, rtol=0)
    torch.testing.assert_close(moved_states[-1], states[-1][columns], atol=1e-6, rtol=0)


def module(batch=None, **changes):
    torch.manual_seed(0)
    net = GrapeModule(WIDTHS, 2, Config(**{"hidden": 8, **changes}))
    return net, batch or some_stays()


def some_stays(n=12):
    rng = torch.Generator().manual_seed(1)
    observed = torch.rand(n, 3, generator=rng) < 0.7
    observed[0] = True
    return Batch(tuple(torch.randn(n, d, generator=rng) for d in WIDTHS), observed, {})


def test_a_dropped_edge_moves_nothing_but_is_a_target(monkeypatch):
    net, batch = module(lambda_imp=1.0)
    seen_by = []
    monkeypatch.setattr(
        "methods.grape.propagate",
        lambda layers, parts, fixed=None: (seen_by.append(parts), propagate(layers, parts))[1],
    )

    def step(x):
        torch.manual_seed(5)  # drops the same edges
        out = net.train()(batch._replace(x=x))
        ((_, known),) = seen_by[-1]
        return out, known, propagate(net.layers, seen_by[-1])

    first, known, (stays, states) = step(batch.x)
    i, m = (batch.observed & ~known).nonzero()[0].tolist()
    x = tuple(v.clone() for v in batch.x)
    x[m][i] += 3
    out, _, (stays_2, states_2) = step(x)
    assert torch.equal(stays[0], stays_2[0])  # neither direction of the edge is left
    assert all(torch.equal(a, b) for a, b in zip(states, states_2, strict=True))
    assert torch.equal(out.logits, first.logits)
    assert out.losses["imp"] != first.losses["imp"]
    i, m = known.nonzero()[0].tolist()
    x = tuple(v.clone() for v in batch.x)
    x[m][i] += 3
    _, _, (stays_3, states_3) = step(x)
    assert not torch.equal(stays[0][i], stays_3[0][i])
    assert not torch.equal(states[-1][m], states_3[-1][m])


def test_known_is_the_share_kept_and_is_drawn_at_each_step(monkeypatch):
    net, batch = module(some_stays(400), known=0.7)
    kept = []
    monkeypatch.setattr(
        "methods.grape.propagate",
        lambda layers, parts, fixed=None: (kept.append(parts[0][1]), propagate(layers, parts))[1],
    )
    for _ in range(10):
        net.train()(batch)
    assert not any((k & ~batch.observed).any() for k in kept)
    assert abs(torch.stack(kept)[:, batch.observed].float().mean() - 0.7) < 0.02
    assert not torch.equal(kept[0], kept[1])
    net.eval()(batch)
    assert torch.equal(kept[-1], batch.observed)


def test_imputation_loss_is_a_mean_over_edges():
    net, batch = module()
    row, seen = torch.randn(12, 15), batch.observed
    spoilt = tuple(torch.where(o[:, None], x, torch.nan) for x, o in zip(batch.x, seen.unbind(1), strict=True))
    errors = []
    for i, m in seen.nonzero().tolist():
        start = sum(WIDTHS[:m])
        errors.append((row[i, start : start + WIDTHS[m]] - batch.x[m][i]).square().mean())
    loss = net.imputation_loss(row, batch._replace(x=spoilt), seen)
    torch.testing.assert_close(loss, torch.stack(errors).mean())


def test_unobserved_contents_reach_neither_outputs_nor_gradients():
    results = []
    for fill in (0.0, torch.nan, torch.inf):
        net, batch = module(lambda_imp=1.0)
        x = tuple(torch.where(o[:, None], x, fill) for x, o in zip(batch.x, batch.observed.unbind(1), strict=True))
        torch.manual_seed(2)
        out = net.train()(batch._replace(x=x))
        (out.logits.square().sum() + out.losses["imp"]).backward()
        results.append([out.logits, *(p.grad for p in net.parameters())])
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def settings(graph, **changes):
    small = {"raw_columns": 5, "components": 3} if graph == "feature" else {}
    return Config(**{"hidden": 8, "max_epochs": 3, "batch_size": 32, "graph": graph, **small, **changes})


@cache
def fitted(graph):
    return Grape(settings(graph), seed=3).fit(draw_random_cohort(97), draw_random_cohort(40, seed=1))


@pytest.mark.parametrize("graph", GRAPHS)
def test_the_states_are_those_of_the_training_graph_under_the_best_weights(graph):
    method, train, test = fitted(graph), draw_random_cohort(97), draw_random_cohort(30, seed=2)
    batch, before = method.tensors(train), method.module.states.clone()
    with torch.no_grad():
        e, seen = method.module.edges(batch)
        torch.testing.assert_close(before, torch.stack(propagate_edges(method.module.layers, e, seen)[1]))
    assert before.abs().sum() > 0
    p = method.predict_proba(test)
    assert torch.equal(method.module.states, before)
    np.testing.assert_allclose(method.predict_proba(test.take(np.arange(5))), p[:5], atol=1e-6)
    np.testing.assert_array_equal(method.predict_proba(spoil_unobserved(test, 1)), p)


def test_columns_are_recorded_values_or_components_of_training_stays():
    train, test = draw_random_cohort(97), draw_random_cohort(60, seed=2)
    extra = fitted("feature").extra_inputs(train)
    values, edges = extra["values"], extra["edges"]
    assert values.shape == (97, 3 + 5 + 4)  # the first modality, of six, as three components
    assert (edges[:, :3] == train.observed[:, :1]).all()
    raw = np.concatenate([m.values for m in train.modalities[1:]], axis=1)
    gone = np.isnan(raw) | ~np.repeat(train.observed[:, 1:], [5, 4], axis=1)
    np.testing.assert_array_equal(edges[:, 3:], ~gone)
    raw = np.where(gone, np.nan, raw)
    low, high = np.nanmin(raw, axis=0), np.nanmax(raw, axis=0)
    np.testing.assert_allclose(values[:, 3:], np.where(gone, 0, (raw - low) / (high - low)), atol=1e-5)
    inputs = fitted("feature").preprocessor.transform(train)
    x = inputs.x[0][inputs.observed[:, 0]].astype(float)
    _, _, vt = np.linalg.svd(x - x.mean(axis=0), full_matrices=False)
    score = (x - x.mean(axis=0)) @ vt[:3].T
    for k in range(3):
        assert abs(np.corrcoef(values[inputs.observed[:, 0], k], score[:, k])[0, 1]) > 0.9999
    later = fitted("feature").extra_inputs(test)["values"]
    assert later.min() == 0
    assert later.max() == 1


def test_the_imputation_loss_trains_the_imputed_row():
    train, valid = draw_random_cohort(97), draw_random_cohort(40, seed=1)
    losses = [h["imp"] for h in Grape(settings("modality", lambda_imp=1.0, max_epochs=15)).fit(train, valid).history]
    assert losses[-1] < 0.75 * losses[0]
    assert "imp" not in fitted("modality").history[0]
