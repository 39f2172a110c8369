"""HGMF: its equations stay by stay and edge by edge, and what its card says must hold."""

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from benchmark.check.cohorts import draw_random_cohort
from methods.common.preprocessing import Inputs
from methods.common.training import Batch
from methods.hgmf import Config, Hgmf, HgmfModule
from methods.hgmf.graph import SMALLEST_TYPE, HypernodeGraph, assign, choose_types, find_nearest

WIDTHS = (6, 5, 4)
SMALL = {"hidden": 8, "subset_width": 4, "rank": 3, "width": 6, "heads": 2, "k": 3}


def inputs(n=70, seed=0, patterns=None):
    rng = np.random.default_rng(seed)
    patterns = np.array(patterns or [[1, 1, 0], [1, 0, 0], [1, 1, 1]], dtype=bool)
    observed = patterns[np.arange(n) % len(patterns)]
    x = tuple(np.where(observed[:, [m]], rng.normal(size=(n, d)), 0).astype(np.float32) for m, d in enumerate(WIDTHS))
    return Inputs(x, observed)


def batch_of(given, extra, rows=None):
    tensors = {k: torch.from_numpy(v) for k, v in extra.items()}
    return Batch(tuple(map(torch.from_numpy, given.x)), torch.from_numpy(given.observed), tensors, None, None, rows)


def made(given, seed=0, **changes):
    """A network on a graph of these stays, in evaluation mode, its tables filled; and the stays as a batch."""
    config = Config(**{**SMALL, "dropout": 0.0, "attention_dropout": 0.0, **changes})
    graph = HypernodeGraph.of(given)
    torch.manual_seed(seed)
    net = HgmfModule(WIDTHS, 2, graph, config).eval()
    batch = batch_of(given, graph.attach(given, config.k, "cpu", themselves=True), torch.arange(len(given.observed)))
    net.refresh(batch)
    return net, batch, graph


def leaky(x):
    return np.where(x > 0, x, 0.2 * x)


def elu(x):
    return np.where(x > 0, x, np.expm1(x))


def softmax(x):
    e = np.exp(x - np.max(x))
    return e / e.sum()


def layer_by_hand(layer, h, types, neighbours):
    """h' of all stays, with explicit loops over stays, types and heads."""
    a = {k: v.detach().double().numpy() for k, v in layer.state_dict().items()}
    pairs = layer.messages > 1

    def w(q, p, head):  # [d, F1]: from a source of type q to a target of type p
        return a["source"][q, :, p if pairs else 0, head] @ (np.eye(layer_width) if pairs else a["target"][p, head])

    layer_width = a["source"].shape[-1]
    out = np.zeros((len(h), layer.heads, layer_width))
    for i, p in enumerate(types):
        around = [*neighbours[i][neighbours[i] >= 0], i]
        for head in range(layer.heads):
            v, s = h[i] @ w(p, p, head), {}
            for q in sorted({types[j] for j in around}):
                sent = np.stack([h[j] @ w(q, p, head) for j in around if types[j] == q])
                e = v @ a["a_centre"][p, q, head] + sent @ a["a_neighbour"][p, q, head]
                s[q] = elu(softmax(leaky(e)) @ sent)
            e = [v @ a["b_centre"][p, head] + s[q] @ a["b_type"][p, head] for q in s]
            out[i, head] = softmax(leaky(np.array(e))) @ np.stack(list(s.values()))
    return out.mean(axis=1) if layer.last else out.reshape(len(h), -1)


@pytest.mark.parametrize("changes", [{}, {"pairwise": True}, {"layers": 2}, {"layers": 2, "pairwise": True}])
def test_layers_equal_the_equations(changes):
    net, batch, graph = made(inputs(), **changes)
    with torch.inference_mode():
        h = net.start(batch)
        logits = net(batch).logits
    expected = h.double().numpy()
    for layer in net.layers:
        assert (layer.messages > 1) == bool(changes.get("pairwise"))
        expected = layer_by_hand(layer, expected, graph.types, batch.extra["neighbours"].numpy())
    head = {k: v.double().numpy() for k, v in net.head.state_dict().items()}
    np.testing.assert_allclose(logits, expected @ head["1.weight"].T + head["1.bias"], atol=1e-5)


@pytest.mark.parametrize("encoder", ["lite", "gram"])
def test_intra_hypernode_encoder_equals_the_equations(encoder):
    net, batch, _ = made(inputs(), encoder=encoder)
    subsets = [(0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (0, 1, 2)]
    with torch.inference_mode():
        h = net.intra.encoders(batch.x, batch.observed).double().numpy()
        got = net.start(batch).unflatten(1, (7, -1)).numpy()
    a = {k: v.double().numpy() for k, v in net.intra.state_dict().items()}
    for i in range(9):
        low = [h[i, m] @ a["reduce.weight"][m] + a["reduce.bias"][m] for m in range(3)]
        for at, s in enumerate(subsets):
            n, nth = len(s) - 1, at - (0, 3, 6)[len(s) - 1]
            if n == 0:
                z = np.outer(h[i, s[0]], h[i, s[0]]).ravel() if encoder == "gram" else h[i, s[0]]
            else:
                z = np.einsum("i,j->ij" if n == 1 else "i,j,k->ijk", *(low[m] for m in s)).ravel()
            expected = np.maximum(z @ a[f"maps.{n}.weight"][nth] + a[f"maps.{n}.bias"][nth], 0)
            there = batch.observed[i, list(s)].all().item()
            np.testing.assert_allclose(got[i, at], expected * there, atol=1e-5)


def test_attention_sums_to_one_over_what_is_there_and_is_zero_elsewhere():
    net, batch, graph = made(inputs())
    layer, types = net.layers[0], batch.extra["types"]
    with torch.inference_mode():
        sent = layer.send(net.start(batch), types)[:, 0]
        near = batch.extra["neighbours"]
        received, senders = sent[near.clamp(min=0)], types[near.clamp(min=0)]
        _, alpha, beta = layer(sent, types, received, senders, near >= 0)
    there = torch.cat([near >= 0, torch.ones(len(near), 1, dtype=torch.bool)], dim=1)
    member = (torch.cat([senders, types[:, None]], dim=1)[..., None] == torch.arange(graph.count)) & there[..., None]
    assert (near < 0).any()
    assert not member.any(1).all()
    sums = torch.einsum("bkh,bkq->bqh", alpha, member.float())
    torch.testing.assert_close(sums, member.any(1)[..., None].expand_as(sums).float())
    torch.testing.assert_close(beta.sum(1), torch.ones_like(beta.sum(1)))
    assert (alpha[~there] == 0).all()
    assert (beta[~member.any(1)] == 0).all()


def test_one_type_is_a_graph_attention_network():
    given = inputs(patterns=[[1, 1, 1]])
    net, batch, graph = made(given, heads=1)
    layer, types, near = net.layers[0], batch.extra["types"], batch.extra["neighbours"]
    assert set(graph.types) == {0}
    with torch.inference_mode():
        h = net.start(batch)
        sent = layer.send(h, types)[:, 0]
        clamped = near.clamp(min=0)
        got, _, beta = layer(sent, types, sent[clamped], types[clamped], near >= 0)
        w = layer.source[0, :, 0, 0] @ layer.target[0, 0]
        v = h @ w
        e = (v @ layer.a_centre[0, 0, 0])[:, None] + (v @ layer.a_neighbour[0, 0, 0])[None]
        edge = torch.eye(len(h), dtype=torch.bool)
        edge[torch.arange(len(h))[:, None].expand_as(near)[near >= 0], near[near >= 0]] = True
        attention = torch.nn.functional.leaky_relu(e, 0.2).masked_fill(~edge, -torch.inf).softmax(1)
    torch.testing.assert_close(got, torch.nn.functional.elu(attention @ v), atol=1e-5, rtol=0)
    assert (beta[:, 0] == 1).all()


@pytest.mark.parametrize("themselves", [False, True])
def test_neighbours_are_those_of_an_exhaustive_search_in_any_company(themselves):
    rng = np.random.default_rng(0)
    bank = rng.integers(0, 3, (600, 4)).astype(np.float32) * np.float32(0.37)  # many ties
    x = bank if themselves else (bank[:90] + rng.choice([0, 0.1], (90, 4))).astype(np.float32)
    d = ((x[:, None].astype(float) - bank[None]) ** 2).sum(2)
    if themselves:
        np.fill_diagonal(d, np.inf)
    expected = np.argsort(np.where(np.isinf(d), d, d.round(6)), axis=1, kind="stable")[:, :7]
    got = find_nearest(x, bank, 7, "cpu", themselves)
    np.testing.assert_array_equal(got, expected)
    if not themselves:
        np.testing.assert_array_equal(np.concatenate([find_nearest(x[[i]], bank, 7, "cpu") for i in range(90)]), got)
    assert find_nearest(x[:0], bank, 7, "cpu").shape == (0, 0)
    assert find_nearest(bank[:1], bank[:1], 7, "cpu", themselves=True).shape == (1, 0)


def test_edges_join_stays_that_share_the_modality_and_none_twice():
    given = inputs(patterns=[[1, 0, 0], [0, 1, 0], [0, 1, 1]])
    graph = HypernodeGraph.of(given)
    near = graph.attach(given, 3, "cpu", themselves=True)["neighbours"]
    for i, row in enumerate(near):
        there = row[row >= 0]
        assert len(set(there)) == len(there)
        assert i not in there
        assert all((given.observed[i] & given.observed[j]).any() for j in there)
        expected = set()
        for m in np.flatnonzero(given.observed[i]):
            d = ((given.x[m] - given.x[m][i]) ** 2).sum(1)
            d[~given.observed[:, m] | (np.arange(len(d)) == i)] = np.inf
            expected |= set(np.argsort(d)[:3])
        assert set(there) == expected


def test_order_of_the_training_stays_does_not_matter():
    given = inputs()
    order = np.random.default_rng(1).permutation(70)
    moved = Inputs(tuple(x[order] for x in given.x), given.observed[order])
    new = inputs(9, seed=5)
    logits = []
    for g in (given, moved):
        net, _, graph = made(g, layers=2)
        with torch.inference_mode():
            logits.append(net(batch_of(new, graph.attach(new, 3, "cpu"))).logits)
    torch.testing.assert_close(*logits, atol=1e-5, rtol=0)


def test_a_batch_of_all_stays_is_the_full_graph_whatever_the_table_holds():
    net, batch, _ = made(inputs(), layers=2)
    with torch.inference_mode():
        exact = net(batch).logits
    for l in range(2):
        net.get_buffer(f"table_{l}").normal_()
    torch.testing.assert_close(net.train()(batch).logits, exact)
    with torch.inference_mode():
        torch.testing.assert_close(net.eval()(batch).logits, exact)


def test_a_smaller_batch_takes_absent_neighbours_from_the_table_and_writes_its_own():
    net, batch, _ = made(inputs())
    with torch.inference_mode():
        exact = net(batch).logits
    rows = torch.arange(0, 70, 3)
    torch.testing.assert_close(net.train()(batch.take(rows)).logits, exact[rows])
    table = net.get_buffer("table_0")
    before = table.clone()
    with torch.no_grad():
        net.intra.encoders.encoders[0][0].weight.add_(0.1)
    net(batch.take(rows)).logits.sum().backward()
    changed = (table != before).flatten(1).any(1)
    assert changed[rows].any()
    assert not changed[np.setdiff1d(np.arange(70), rows)].any()
    assert all(torch.isfinite(p.grad).all() for p in net.parameters() if p.grad is not None)


def test_types_are_frequent_patterns_and_the_rest_follows_the_fallback():
    patterns = np.array([[1, 1, 0], [1, 0, 0], [0, 0, 1], [0, 0, 0]], dtype=bool)
    observed = patterns.repeat([30, 25, 19, 2], axis=0)
    vocab, other = choose_types(observed)
    np.testing.assert_array_equal(vocab, [[1, 1, 0], [1, 0, 0], [0, 0, 0]])
    assert not other  # 19 stays are too few for a type of their own
    later = np.array([[1, 1, 1], [1, 0, 1], [0, 1, 1], [1, 0, 0]], dtype=bool)
    types, seen = assign(later, vocab, other)
    assert types.tolist() == [0, 1, 2, 1]
    np.testing.assert_array_equal(seen, vocab[types])
    vocab, other = choose_types(np.concatenate([observed, later[2:3]]))
    assert other
    types, seen = assign(np.concatenate([later, vocab]), vocab, other)
    assert types.tolist() == [3, 3, 3, 1, 0, 1, 2]
    np.testing.assert_array_equal(seen[:4], later)
    few = observed[: SMALLEST_TYPE - 5]
    assert choose_types(few)[1]  # all of few stays


def test_ten_modalities_of_rare_patterns_keep_what_is_observed():
    widths = (3,) * 10
    train, test = (draw_random_cohort(200, widths, seed=s) for s in (0, 1))
    method = Hgmf(Config(max_epochs=6), seed=0).fit(train, draw_random_cohort(60, widths, seed=2))
    assert method.relabelled > 180
    known = ~np.isnan(test.outcomes[:, 0])
    assert roc_auc_score(test.outcomes[known, 0], method.predict_proba(test)[known, 0]) > 0.7


@pytest.mark.parametrize("layers", [1, 2])
def test_a_stay_without_neighbours_gets_the_output_of_its_self_loop(layers):
    net, batch, _ = made(inputs(), layers=layers)
    alone = batch.take(slice(0, 5))
    alone.extra["neighbours"][:] = -1
    with torch.inference_mode():
        logits = net(alone).logits
        h = net.start(alone).double().numpy()
    for layer in net.layers:
        h = layer_by_hand(layer, h, alone.extra["types"].numpy(), np.full((5, 1), -1))
    head = {k: v.double().numpy() for k, v in net.head.state_dict().items()}
    np.testing.assert_allclose(logits, h @ head["1.weight"].T + head["1.bias"], atol=1e-5)


def fitted(valid_seed=1, **changes):
    settings = {**SMALL, "max_epochs": 2, **changes}
    return Hgmf(Config(**settings), seed=3).fit(draw_random_cohort(130), draw_random_cohort(50, seed=valid_seed))


def test_graph_and_tables_come_from_training_stays_alone():
    one, two = fitted(max_epochs=1), fitted(2, max_epochs=1)
    before = {k: v.copy() for k, v in one.state().items()}
    one.predict_proba(draw_random_cohort(40, seed=6))
    for k, v in before.items():
        np.testing.assert_array_equal(one.state()[k], v)
        np.testing.assert_array_equal(two.state()[k], v)
    assert one._own is None


def test_tables_are_those_of_the_weights_kept():
    method = fitted(max_epochs=4, layers=2)
    train = draw_random_cohort(130)
    batch = method._batch(train)._replace(rows=None)
    edges = method.graph.attach(method.preprocessor.transform(train), 3, "cpu", themselves=True)
    before = [method.module.get_buffer(f"table_{l}").clone() for l in range(2)]
    method.module.refresh(batch._replace(extra={k: torch.from_numpy(v) for k, v in edges.items()}))
    for l in range(2):
        torch.testing.assert_close(method.module.get_buffer(f"table_{l}"), before[l])
