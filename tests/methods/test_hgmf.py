"""HGMF: its equations stay by stay and edge by edge, and what its card says must hold."""

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch_geometric.nn import GATConv
from torch_geometric.utils import scatter
from torch_geometric.utils import softmax as softmax_of_groups

from benchmark.check.cohorts import draw_random_cohort
from methods.common.preprocessing import Inputs
from methods.common.training import Batch
from methods.hgmf import OWN_MAPS, Config, Hgmf, HgmfModule
from methods.hgmf.graph import HypernodeGraph, assign, choose_types, find_nearest

WIDTHS = (6, 5, 4)
SMALL = {"hidden": 8, "subset_width": 4, "rank": 3, "width": 6, "heads": 2, "k": 3, "smallest_type": 20}
PAIRWISE = {**OWN_MAPS, "pairwise": True}


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
    """A network on a graph of these stays, in evaluation mode, its tables filled, no C_p the identity; and the stays as a batch."""
    config = Config(**{**SMALL, "dropout": 0.0, "attention_dropout": 0.0, **changes})
    graph = HypernodeGraph.of(given, config.smallest_type, config.shared)
    torch.manual_seed(seed)
    net = HgmfModule(WIDTHS, 2, graph, config).eval()
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            if name.endswith("target"):
                parameter.add_(0.3 * torch.randn_like(parameter))
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
    pairs, one = layer.messages > 1, len(a["source"]) == 1

    def w(q, p, head):  # [d, F1]: from a source of type q to a target of type p
        a_q = a["source"][0 if one else q, :, p if pairs else 0, head]
        return a_q @ (np.eye(layer_width) if pairs else a["target"][p, head])

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
            out[i, head] = softmax(leaky(np.array(e))) @ np.stack(list(s.values())) + v * layer.add_own
    return out.mean(axis=1) if layer.last else out.reshape(len(h), -1)


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("changes", [{}, {"add_own": False}, OWN_MAPS, PAIRWISE, {"pairwise": True}])
def test_layers_equal_the_equations(changes, layers):
    changes = {**changes, "layers": layers}
    net, batch, graph = made(inputs(), **changes)
    with torch.inference_mode():
        h = net.start(batch)
        logits = net(batch).logits
    expected = h.double().numpy()
    for layer in net.layers:
        assert (layer.messages > 1) == bool(changes.get("pairwise"))
        assert (len(layer.source) > 1) == bool(changes.get("pairwise") or changes.get("own_maps"))
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


def run_layer(layer, h, types, near):
    """What a layer makes of h of all stays, with its alpha and beta."""
    sent, clamped = layer.send(h, types), near.clamp(min=0)
    to = types if layer.messages > 1 else torch.zeros_like(types)
    own = sent[torch.arange(len(h)), to]
    return layer(own, types, sent[clamped, to[:, None]], types[clamped], near >= 0)


def copy_attention(layer, p, q):
    """torch_geometric's graph attention with the weights of a layer from stays of type q to stays of type p; [., H F1], before ELU."""
    d, heads, width = layer.source.shape[1], layer.heads, layer.source.shape[-1]
    conv = GATConv((d, d), width, heads=heads, negative_slope=0.2, add_self_loops=False, bias=False)

    def join(q):  # [H F1, d], W_q>p
        a_q = layer.source[0 if len(layer.source) == 1 else q, :, p if layer.messages > 1 else 0]
        w = a_q if layer.messages > 1 else torch.einsum("dhf,hfg->dhg", a_q, layer.target[p])
        return w.flatten(1).T

    with torch.no_grad():
        conv.lin_src.weight.copy_(join(q))
        conv.lin_dst.weight.copy_(join(p))
        conv.att_src.copy_(layer.a_neighbour[p, q][None])
        conv.att_dst.copy_(layer.a_centre[p, q][None])
    return conv.eval()


def list_edges(near):
    """Edges [2, E] from neighbour to centre, self-loops among them."""
    centre = torch.arange(len(near))
    around = torch.cat([near, centre[:, None]], dim=1)
    return torch.stack([around[around >= 0], centre[:, None].expand_as(around)[around >= 0]])


@pytest.mark.parametrize("add_own", [True, False])
@pytest.mark.parametrize("layers", [1, 2])
def test_one_type_is_a_graph_attention_network(layers, add_own):
    """Against ``GATConv`` of torch_geometric: heads averaged in the last layer, side by side before it."""
    net, batch, graph = made(inputs(patterns=[[1, 1, 1]]), layers=layers, add_own=add_own)
    layer, types, near = net.layers[0], batch.extra["types"], batch.extra["neighbours"]
    assert set(graph.types) == {0}
    with torch.inference_mode():
        h = net.start(batch)
        got, _, beta = run_layer(layer, h, types, near)
        conv = copy_attention(layer, 0, 0)
        expected = torch.nn.functional.elu(conv((h, h), list_edges(near)))
        expected = (expected + add_own * conv.lin_dst(h)).unflatten(1, (layer.heads, -1))
        expected = expected.mean(1) if layers == 1 else expected.flatten(1)
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=0)
    assert (beta[:, 0] == 1).all()


@pytest.mark.parametrize("changes", [{}, OWN_MAPS, PAIRWISE])
def test_several_types_are_graph_attention_by_pair_and_a_softmax_over_types(changes):
    """Level 1 by ``GATConv`` for each pair of types, level 2 by ``softmax`` and ``scatter``, all of torch_geometric."""
    net, batch, _ = made(inputs(), **changes)
    layer, types, near = net.layers[0], batch.extra["types"], batch.extra["neighbours"]
    edges, n = list_edges(near), len(near)
    with torch.inference_mode():
        h = net.start(batch)
        got, _, beta = run_layer(layer, h, types, near)
        parts, stays, sources, own = [], [], [], torch.zeros(n, layer.heads, layer.source.shape[-1])
        for p in types.unique().tolist():
            for q in types.unique().tolist():
                conv = copy_attention(layer, p, q)
                among = edges[:, (types[edges[0]] == q) & (types[edges[1]] == p)]
                s = torch.nn.functional.elu(conv((h, h), among)).unflatten(1, (layer.heads, -1))
                here = among[1].unique()
                parts.append(s[here])
                stays.append(here)
                sources.append(torch.full_like(here, q))
                if p == q:
                    own[types == p] = conv.lin_dst(h).view_as(own)[types == p]
        s, stay, source = torch.cat(parts), torch.cat(stays), torch.cat(sources)
        score = (own * layer.b_centre[types]).sum(2)[stay] + (s * layer.b_type[types[stay]]).sum(2)
        weight = softmax_of_groups(torch.nn.functional.leaky_relu(score, 0.2), stay, num_nodes=n)
        expected = scatter(weight[..., None] * s, stay, dim=0, dim_size=n) + layer.add_own * own
    assert len(types.unique()) == 3
    torch.testing.assert_close(beta[stay, source], weight, atol=1e-5, rtol=0)
    torch.testing.assert_close(got, expected.mean(1), atol=1e-5, rtol=0)


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
    graph = HypernodeGraph.of(given, 20, True)
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


def test_types_are_frequent_patterns_and_with_maps_of_their_own_the_rest_follows_the_fallback():
    patterns = np.array([[1, 1, 0], [1, 0, 0], [0, 0, 1], [0, 0, 0]], dtype=bool)
    observed = patterns.repeat([30, 25, 19, 2], axis=0)
    vocab, other = choose_types(observed, 20)
    np.testing.assert_array_equal(vocab, [[1, 1, 0], [1, 0, 0], [0, 0, 0]])
    assert not other  # 19 stays are too few for a type of their own
    later = np.array([[1, 1, 1], [1, 0, 1], [0, 1, 1], [1, 0, 0]], dtype=bool)
    types, seen = assign(later, vocab, other, False)
    assert types.tolist() == [0, 1, 2, 1]
    np.testing.assert_array_equal(seen, vocab[types])
    vocab, other = choose_types(np.concatenate([observed, later[2:3]]), 20)
    assert other
    types, seen = assign(np.concatenate([later, vocab]), vocab, other, False)
    assert types.tolist() == [3, 3, 3, 1, 0, 1, 2]
    np.testing.assert_array_equal(seen[:4], later)
    assert choose_types(observed[:15], 20)[1]  # all of few stays


def test_with_one_map_a_rare_pattern_is_of_the_nearest_type_within_it_and_keeps_its_modalities():
    patterns = np.array([[1, 1, 0], [1, 0, 0], [0, 0, 1], [0, 0, 0]], dtype=bool)
    blank = lambda n: tuple(np.zeros((n, d), np.float32) for d in WIDTHS)  # noqa: E731
    given = Inputs(blank(250), patterns.repeat([110, 105, 30, 5], axis=0))
    graph = HypernodeGraph.of(given, 100, True)
    np.testing.assert_array_equal(graph.patterns, [[1, 1, 0], [1, 0, 0], [0, 0, 0]])
    assert graph.count == 3  # 30 stays are left, and no type "other" is made of them
    assert np.bincount(graph.types).tolist() == [110, 105, 35]
    assert len(graph.rows[2]) == 30
    later = np.array([[1, 1, 1], [1, 0, 1], [0, 1, 1], [1, 0, 0], [0, 0, 0]], dtype=bool)
    extra = graph.attach(Inputs(blank(5), later), 3, "cpu")
    assert extra["types"].tolist() == [0, 1, 2, 1, 2]
    np.testing.assert_array_equal(extra["seen"], later)


def test_ten_modalities_of_rare_patterns_keep_what_is_observed():
    widths = (3,) * 10
    train, test = (draw_random_cohort(200, widths, seed=s) for s in (0, 1))
    method = Hgmf(Config(max_epochs=6, lr=1e-3), seed=0).fit(train, draw_random_cohort(60, widths, seed=2))
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


def test_one_map_serves_all_types_and_each_begins_as_the_identity():
    train = draw_random_cohort(200)
    method = Hgmf(Config(**{**SMALL, "max_epochs": 3}), seed=0)
    method.begin(train, draw_random_cohort(60, seed=2))
    layer = method.module.layers[0]
    assert method.graph.count > 2
    assert layer.source.shape[0] == 1
    assert (layer.target == torch.eye(6)).all()
    method.fit(train, draw_random_cohort(60, seed=2))
    assert method.fit_report() == {
        "types of stays": method.graph.count,
        "training stays of a pattern that is no type": method.relabelled / 200,
    }
    assert Hgmf(method.config).load_state(method.state()).fit_report() == method.fit_report()
    moved = (method.module.layers[0].target != torch.eye(6)).flatten(1).any(1)
    assert moved[: method.graph.count - 1].all()  # no stay is of the last, the empty one


def test_own_h_is_added_to_the_output():
    net, batch, _ = made(inputs())
    without = made(inputs(), add_own=False)[0]
    with torch.inference_mode():
        layer, h = net.layers[0], net.start(batch)
        sent = layer.send(h, batch.extra["types"])[:, 0]
        own = torch.einsum("bhf,bhfg->bhg", sent, layer.target[batch.extra["types"]]).mean(1)
        torch.testing.assert_close(net.represent(batch), without.represent(batch) + own)


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
