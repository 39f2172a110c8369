"""M3Care: its equations stay by stay and edge by edge, its bank, and what its card says must hold."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from benchmark.check.cohorts import draw_random_cohort
from methods.common.layers import Dropout, ObservedBatchNorm
from methods.common.outcomes import selection_score
from methods.common.training import Batch
from methods.m3care import Config, InteractionLayer, M3Care, M3CareModule, Network, Recalled, norm_gap
from methods.m3care.similarity import gaussian_kernel, mean_distance, squared_distances

M, WIDTHS = 3, (5, 4, 3)
SMALL = {"hidden": 8, "batch_size": 8, "graph": 16, "max_epochs": 2, "lr": 1e-3}
PATTERNS = [[1, 1, 0], [1, 0, 0], [0, 0, 1], [1, 1, 1], [0, 0, 0], [0, 1, 1]]


def inputs(n=18, seed=0, patterns=PATTERNS):
    """x_m [n, d_m] with numbers in unobserved slots too, and observed [n, M]."""
    made = torch.Generator().manual_seed(seed)
    observed = torch.tensor(patterns, dtype=torch.bool).repeat(n, 1)[:n]
    x = tuple(torch.randn(n, d, generator=made, dtype=torch.float64) for d in WIDTHS)
    return x, observed


def network(seed=0, **changes):
    """In evaluation mode and double precision, every number of it drawn."""
    torch.manual_seed(seed)
    net = Network(WIDTHS, 2, Config(**{"hidden": 8, **changes})).double().eval()
    with torch.no_grad():
        for v in (net.similarity.norm.mean, net.similarity.norm.bias, net.similarity.e):
            v.normal_()
        for v in (net.similarity.norm.var, net.similarity.norm.weight):
            v.uniform_(0.5, 2)
        for k in (0, 2, 4):
            net.similarity.phi[k].weight.mul_(3)
        net.similarity.l.fill_(-0.5)
    return net


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def relu(x):
    return np.maximum(x, 0)


def selu(x):
    return 1.0507009873554805 * np.where(x > 0, x, 1.6732632423543772 * np.expm1(np.minimum(x, 0)))


class ByHand:
    """The equations with loops over stays and modalities; later stays are given the bank's ByHand."""

    def __init__(self, net, x, observed, bank=None):
        self.a, self.c = {k: v.numpy() for k, v in net.state_dict().items()}, net.config
        self.delta, n = observed.numpy(), len(observed)
        self.act = {"relu": relu, "selu": selu}[self.c.act]
        weights = [[self.a[f"encoders.encoders.{m}.0.{k}"] for k in ("weight", "bias")] for m in range(M)]
        self.h = np.zeros((n, M, 8))
        self.u, self.z, self.phi = np.zeros_like(self.h), np.zeros_like(self.h), np.zeros_like(self.h)
        for i, m in zip(*np.nonzero(self.delta), strict=True):
            w, b = weights[m]
            self.h[i, m] = self.act(w @ x[m][i].numpy() + b)
            v = self.act(self.affine("similarity.phi.0", m, self.h[i, m]))
            v = self.act(self.affine("similarity.phi.2", m, v))
            self.phi[i, m] = self.affine("similarity.phi.4", m, v)
            odir = self.c.kernel == "odir"
            self.u[i, m] = self.normed(m, self.act(self.phi[i, m]) if odir else self.phi[i, m])
            self.z[i, m] = self.normed(M + m, self.h[i, m])
        self.s = bank.s if bank else [[self.bandwidth(v, m) for m in range(M)] for v in (self.u, self.z)]
        self.near = bank or self
        self.S = np.array([[self.similarity(i, j) for j in range(len(self.near.delta))] for i in range(n)])
        self.edges = np.where(sigmoid(self.a["similarity.l"]) < self.S, self.S, 0)
        self.g1 = self.convolve("gcn.0", self.h, self.near.h, bank)
        self.g = self.convolve("gcn.1", self.g1, self.near.g1 if bank else self.g1, bank)

    def affine(self, name, m, x):
        return x @ self.a[f"{name}.weight"][m] + self.a[f"{name}.bias"][m]

    def normed(self, at, x):
        mean, variance, w, b = (self.a[f"similarity.norm.{k}"][at] for k in ("mean", "var", "weight", "bias"))
        return (x - mean) / np.sqrt(variance + 1e-5) * w + b

    def bandwidth(self, v, m):
        rows = np.flatnonzero(self.delta[:, m])
        pairs = [((v[i, m] - v[j, m]) ** 2).sum() for i in rows for j in rows if i != j]
        return np.mean(pairs) if pairs else 1.0

    def similarity(self, i, j):
        g = []
        for m in np.flatnonzero(self.delta[i] & self.near.delta[j]):
            k = []
            for v, other, s in ((self.u, self.near.u, self.s[0][m]), (self.z, self.near.z, self.s[1][m])):
                d = ((v[i, m] - other[j, m]) ** 2).sum()
                k.append(np.mean([np.exp(-d / b) for b in (s / 2, s, 2 * s)]))
            eps = sigmoid(self.a["similarity.e"][m])
            g.append(((1 - eps) * k[0] + eps) * k[1] if self.c.kernel == "odir" else (1 - eps) * k[0] + eps * k[1])
        return np.mean(g) if g else 0.0

    def convolve(self, name, own, sent, bank):
        out = np.zeros_like(own)
        for i in range(len(own)):
            for m in range(M):
                edges = [(w, x[m]) for w, x, d in zip(self.edges[i], sent, self.near.delta, strict=True) if d[m]]
                if bank and self.delta[i, m]:
                    edges.append((1.0, own[i, m]))
                total, weight = sum(w * x for w, x in edges), sum(w for w, _ in edges)
                if self.c.row_norm and weight > 0:
                    total = total / weight
                if self.c.row_mask and not self.delta[i, m]:
                    total = 0.0
                out[i, m] = self.act(self.affine(name, m, np.zeros(8) + total))
        return out

    def tokens(self):
        out = self.g.copy()
        for i, m in zip(*np.nonzero(self.delta), strict=True):
            a, c = sigmoid(self.affine("w_g", m, self.g[i, m])), sigmoid(self.affine("w_h", m, self.h[i, m]))
            out[i, m] = a / (a + c) * self.g[i, m] + c / (a + c) * self.h[i, m]
        return out


CHANGES = [{}, {"kernel": "ov", "act": "selu"}, {"row_mask": True}, {"row_norm": False}]


@pytest.mark.parametrize("changes", CHANGES)
def test_a_graph_equals_the_equations_within_a_batch_and_with_a_bank(changes):
    net, among, later = network(**changes), inputs(), inputs(7, seed=5, patterns=PATTERNS[::-1])
    with torch.no_grad():
        found = [net(*among)]
        found.append(net(*later, found[0].stays))
    expected = [ByHand(net, *among)]
    expected.append(ByHand(net, *later, expected[0]))
    assert 0.1 < (expected[0].edges > 0).mean() < 0.7
    assert (expected[1].edges > 0).any()
    for got, (_, observed), want in zip(found, (among, later), expected, strict=True):
        np.testing.assert_allclose(got.edges, want.edges, atol=1e-9)
        np.testing.assert_allclose(got.g, want.g, atol=1e-9)
        np.testing.assert_allclose(got.stays.h, want.h, atol=1e-12)
        with torch.no_grad():
            tokens = net.fuse(got.stays.h, got.g, observed)
            logits = net.head(net.layers(torch.from_numpy(want.tokens()) + net.types))
        np.testing.assert_allclose(tokens, want.tokens(), atol=1e-9)
        torch.testing.assert_close(got.output.logits, logits)


@pytest.mark.parametrize("ln", [True, False])
def test_an_interaction_layer_is_torchs_behind_a_linear_layer_and_positions(ln):
    torch.manual_seed(0)
    ours = InteractionLayer(M, 4, Config(hidden=8, ln=ln)).double().eval()
    torchs = nn.TransformerEncoderLayer(8, 4, 32, batch_first=True, norm_first=True, dtype=torch.float64).eval()
    if not ln:
        torchs.norm1, torchs.norm2 = nn.Identity(), nn.Identity()
        torchs.norm1.eps, torchs.norm2.eps = (
            1.0,
            2.0,
        )  # read where torch looks for a shorter way, which it then does not take
    theirs = {
        "self_attn.in_proj_": ours.qkv,
        "self_attn.out_proj.": ours.out,
        "linear1.": ours.ffn[0],
        "linear2.": ours.ffn[3],
    }
    copied = {f"{name}{k}": v for name, part in theirs.items() for k, v in part.state_dict().items()}
    torchs.load_state_dict(copied, strict=False)
    t = torch.randn(6, M, 8, dtype=torch.float64)
    positions = [[f(m / 10000 ** (2 * k / 8)) for k in range(4) for f in (np.sin, np.cos)] for m in range(M)]
    with torch.no_grad():
        expected = torch.relu(torchs(ours.embed(t) + torch.tensor(positions)))
        torch.testing.assert_close(ours(t), expected, atol=1e-6, rtol=0)  # PE is in single precision


def test_kernel_and_bandwidth_equal_their_definitions():
    a, observed = (
        torch.randn(2, 6, 4, dtype=torch.float64),
        torch.tensor([[1, 1, 1, 0, 1, 0], [0, 0, 1, 0, 0, 0]]).bool().T,
    )
    d = squared_distances(a, a, begins=True)
    torch.testing.assert_close(d, torch.cdist(a, a).square())
    assert (d.diagonal(dim1=1, dim2=2) == 0).all()
    rows = [0, 1, 2, 4]
    pairs = [d[0, i, j].item() for i in rows for j in rows if i != j]
    s = mean_distance(a, observed)
    assert s.tolist() == pytest.approx([np.mean(pairs), 1.0])
    expected = sum(torch.exp(-d[0] / b) for b in (s[0] / 2, s[0], 2 * s[0])) / 3
    torch.testing.assert_close(gaussian_kernel(d, s)[0], expected)
    assert mean_distance(1e-3 * a, observed)[0] == 1
    assert not mean_distance(a.requires_grad_(), observed).requires_grad


def test_batch_norm_is_torchs_over_observed_rows():
    ours, x = ObservedBatchNorm(2, 4), 3 * torch.randn(12, 2, 4) + 1
    observed = torch.zeros(12, 2, dtype=torch.bool)
    observed[:7, 0], observed[5, 1] = True, True
    theirs = nn.BatchNorm1d(4)
    torch.testing.assert_close(ours(x, observed)[:7, 0], theirs(x[:7, 0]))
    torch.testing.assert_close(ours.mean[0], theirs.running_mean)
    torch.testing.assert_close(ours.var[0], theirs.running_var)
    assert (ours.mean[1] == 0).all()  # of one row nothing is learned
    assert (ours.var[1] == 1).all()
    torch.testing.assert_close(ours.eval()(x, observed)[:, 0], theirs.eval()(x[:, 0]))


def test_recalled_rows_count_in_batch_norm_as_constants():
    """Its output and its gradient in the other rows are torch's, whose loss reads those rows alone."""
    torch.manual_seed(0)
    ours, theirs = ObservedBatchNorm(1, 4).double(), nn.BatchNorm1d(4).double()
    x, further, w = (torch.randn(n, 1, 4, dtype=torch.float64) for n in (7, 9, 7))
    seen, of = torch.arange(7)[:, None] != 2, torch.arange(9)[:, None] != 5
    gradients, means = [], []
    for norm in (ours, theirs):
        rows = x.clone().requires_grad_()
        if norm is ours:
            out = norm.scale(rows, *norm.find_statistics(rows, seen, (further, of)))[seen[:, 0]]
            means.append(norm.mean[0])
        else:
            out = norm(torch.cat([rows[seen[:, 0], 0], further[of[:, 0], 0]]))[:6, None]
            means.append(norm.running_mean)
        gradients.append((out.detach(), *torch.autograd.grad((out.square() * w[:6]).sum(), rows)))
    torch.testing.assert_close(gradients[0], gradients[1])
    torch.testing.assert_close(*means)


def test_similarities_are_symmetric_and_edges_lie_above_the_threshold():
    net, (x, observed) = network(), inputs()
    with torch.no_grad():
        made = net(x, observed)
        s = net.similarity(made.stays.points, made.stays.points, made.stays.scale, observed, observed, begins=True)
        edges, limit = net.similarity.edges(s), torch.sigmoid(net.similarity.l)
    torch.testing.assert_close(s, s.T)
    assert s.min() >= 0
    assert s.max() <= 1 + 1e-12
    torch.testing.assert_close(s.diagonal(), observed.any(1).double())
    common = (observed[:, None] & observed[None]).any(2)
    assert (s[~common] == 0).all()
    assert (s[common] > 0).all()
    assert torch.equal(edges == 0, s <= limit)
    torch.testing.assert_close(edges[edges > 0], s[s > limit])


def test_with_eps_one_the_product_is_the_kernel_of_h():
    net, (x, observed) = network(), inputs(patterns=[[1, 1, 1]])
    with torch.no_grad():
        net.similarity.e.fill_(1e9)
        made = net(x, observed).stays
        s = net.similarity(made.points, made.points, made.scale, observed, observed, begins=True)
        k_z = gaussian_kernel(squared_distances(made.points, made.points, begins=True), made.scale)[M:]
    torch.testing.assert_close(s, k_z.mean(0))


def test_row_mask_gives_one_constant_to_all_who_lack_a_modality_and_the_paper_does_not():
    (x, observed), g = inputs(), {}
    for row_mask in (True, False):
        net = network(row_mask=True) if row_mask else network()
        with torch.no_grad():
            net.similarity.l.fill_(-3)
            g[row_mask] = net(x, observed).g
    for m in range(M):
        lacking = ~observed[:, m] & observed.any(1)
        constant = torch.relu(net.gcn[1].bias[m].detach()).expand(int(lacking.sum()), -1)
        assert torch.equal(g[True][lacking, m], constant)
        assert (g[False][lacking, m].std(0) > 0).any()


def test_contents_of_missing_slots_change_nothing_whatever_they_are():
    (x, observed), out = inputs(), []
    for fill in (0.0, float("nan"), float("inf")):
        net = network().train()
        torch.manual_seed(1)
        spoiled = tuple(torch.where(observed[:, [m]], v, fill) for m, v in enumerate(x))
        made = net(spoiled, observed)
        (made.output.logits.square().sum() + made.output.losses["stabiliser"]).backward()
        out.append([made.output.logits, *(p.grad for p in net.parameters())])
    for other in out[1:]:
        for a, b in zip(out[0], other, strict=True):
            assert torch.equal(a, b)
            assert torch.isfinite(a).all()


@pytest.mark.parametrize("kernel", ["odir", "ov"])
def test_gradient_of_the_outcomes_reaches_every_parameter(kernel):
    net, (x, observed) = network(kernel=kernel).train(), inputs(60)
    loss = nn.functional.binary_cross_entropy_with_logits(net(x, observed).output.logits, torch.ones(60, 2).double())
    loss.backward()
    unreached = [k for k, p in net.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert unreached == []


def test_threshold_learns_by_what_its_edges_carry():
    """S^ keeps S, and its slope in l is that of -L where there is an edge."""
    net, s = network(), torch.tensor([0.1, 0.37, 0.38, 0.9], dtype=torch.float64)
    edges = net.similarity.edges(s)
    limit = torch.sigmoid(net.similarity.l).item()
    torch.testing.assert_close(edges, torch.tensor([0.0, 0.0, 0.38, 0.9]).double())
    edges.sum().backward()
    assert 0.37 < limit < 0.38
    assert net.similarity.l.grad.item() == pytest.approx(-2 * limit * (1 - limit))


def test_stabiliser_is_the_gap_between_frobenius_norms_of_observed_rows():
    phi, h, observed = torch.randn(6, M, 4), torch.randn(6, M, 4), torch.rand(6, M) < 0.6
    expected = 0.0
    for m in range(M):
        rows = observed[:, m].numpy()
        expected += abs(np.linalg.norm(phi[rows, m].numpy()) - np.linalg.norm(h[rows, m].numpy()))
    assert norm_gap(phi, h, observed).item() == pytest.approx(expected, rel=1e-5)
    net, (x, observed) = network(lam=0.5).train(), inputs()
    made = net(x, observed)
    with torch.no_grad():
        expected = 0.5 * norm_gap(net.similarity.phi(made.stays.h), made.stays.h, observed).item()
    assert made.output.losses["stabiliser"].item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("pattern", [[1, 1, 0], [0, 0, 0]])
def test_a_training_batch_of_one_stay_works(pattern):
    net, (x, observed) = network().train(), inputs(1, patterns=[pattern])
    before = net.similarity.norm.mean.clone()
    made = net(x, observed)
    made.output.logits.sum().backward()
    assert made.edges.tolist() == [[float(any(pattern))]]
    assert all(torch.isfinite(p.grad).all() for p in net.parameters() if p.grad is not None)
    assert torch.equal(net.similarity.norm.mean, before)


def test_half_precision_leaves_distances_whole():
    torch.manual_seed(0)
    net, (x, observed) = Network(WIDTHS, 2, Config(hidden=8, dropout=0.0)).train(), inputs()
    x = tuple(v.float() for v in x)
    with torch.autocast("cpu", torch.bfloat16):
        made = net(x, observed)
    assert made.stays.points.dtype == made.edges.dtype == torch.float32
    (made.output.logits.float().sum() + made.output.losses["stabiliser"]).backward()
    points = made.stays.points.detach()
    with torch.autocast("cpu", torch.bfloat16):
        d = squared_distances(points, points, begins=True)
    torch.testing.assert_close(d, torch.cdist(points, points).square(), atol=1e-4, rtol=1e-4)


def module(seed=0, **changes):
    """With a bank of 18 stays, in single precision; two places of it are empty."""
    torch.manual_seed(seed)
    made = M3CareModule(WIDTHS, 2, Config(**{"hidden": 8, "graph": 20, **changes})).eval()
    made.net.load_state_dict(network(seed, **changes).state_dict())
    made.refresh(batch(*inputs()))
    return made


def batch(x, observed):
    return Batch(tuple(v.float() for v in x), observed, {})


@pytest.mark.parametrize("changes", CHANGES)
def test_inference_by_the_bank_knows_no_batch(changes):
    made, many = module(**changes), batch(*inputs(256, seed=3))
    order = torch.randperm(256, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        whole = made(many).logits
        for size in (1, 7, 100):
            parts = torch.cat([made(many.take(rows)).logits for rows in order.split(size)])
            torch.testing.assert_close(parts, whole[order], atol=1e-6, rtol=0)


def test_a_similarity_at_the_threshold_is_judged_alike_in_every_batch():
    """In single precision S differs by batch size in its last digits, and an edge comes or goes."""
    made, many = module(), batch(*inputs(64, seed=3))
    with torch.inference_mode():
        s = torch.sort(made.run_exactly(many, bank(made)).edges.flatten()).values
    for value in s[s > 0][::40][:8]:
        with torch.no_grad():
            made.net.similarity.l.copy_(torch.logit(value))
        with torch.inference_mode():
            whole = made(many).logits
            parts = torch.cat([made(many.take(slice(i, i + 1))).logits for i in range(64)])
        torch.testing.assert_close(parts, whole, atol=1e-6, rtol=0)


def bank(made):
    with torch.no_grad():
        return made.run_exactly(batch(*inputs())).stays


def test_degree_of_the_bank_counts_neighbours():
    made = module()
    with torch.no_grad():
        edges = made.run_exactly(batch(*inputs())).edges
    others = (edges > 0) & ~torch.eye(18, dtype=torch.bool)
    assert made.bank_degree.item() == pytest.approx(others.sum(1).double().mean().item())


def fitted(valid_seed=1, train=None, **changes):
    train = draw_random_cohort(90) if train is None else train
    return M3Care(Config(**{**SMALL, **changes}), seed=3).fit(train, draw_random_cohort(40, seed=valid_seed))


def test_bank_is_drawn_from_training_stays_without_their_outcomes():
    train = draw_random_cohort(90)
    one, two = fitted(max_epochs=1), fitted(2, max_epochs=1)
    assert len(one.module.bank_observed) == 16
    before = {k: v.copy() for k, v in one.state().items()}
    one.predict_proba(draw_random_cohort(40, seed=6))
    for k, v in before.items():
        np.testing.assert_array_equal(one.state()[k], v)
        np.testing.assert_array_equal(two.state()[k], v)
    other = fitted(train=replace(train, outcomes=1 - train.outcomes, fingerprint=""))
    assert torch.equal(other.module.bank_observed, one.module.bank_observed)
    among = {row.tobytes() for row in one.tensors(train).observed.numpy()}
    assert {row.tobytes() for row in one.module.bank_observed.numpy()} <= among
    rows = np.random.default_rng(3).permutation(90)[:16]
    np.testing.assert_array_equal(one.module.bank_observed.numpy(), one.tensors(train).observed.numpy()[rows])


def test_bank_and_validation_scores_are_those_of_the_weights_kept():
    valid = draw_random_cohort(40, seed=1)
    method = fitted(max_epochs=6)
    scores = [entry["valid"] for entry in method.history]
    assert selection_score(valid.outcomes, method.predict_proba(valid)) == max(scores)
    train = draw_random_cohort(90)
    rows = np.random.default_rng(3).permutation(90)[:16]
    kept = {k: v.clone() for k, v in method.module.named_buffers() if k.startswith("bank")}
    method.module.refresh(method.tensors(train.take(rows)))
    for k, v in kept.items():
        torch.testing.assert_close(method.module.get_buffer(k), v)


def test_transductive_graphs_are_of_consecutive_stays():
    method, test = fitted(transductive=True), draw_random_cohort(40, seed=2)
    parts = [method.predict_proba(test.take(np.arange(i, min(i + 16, 40)))) for i in (0, 16, 32)]
    np.testing.assert_allclose(method.predict_proba(test), np.concatenate(parts), atol=1e-7)


def test_nothing_observed_has_one_answer_that_owes_nothing_to_the_bank():
    method, test = fitted(), draw_random_cohort(20, seed=2)
    test = replace(test, observed=np.zeros_like(test.observed), fingerprint="")
    p = method.predict_proba(test)
    np.testing.assert_allclose(p, p[:1].repeat(20, axis=0), atol=1e-7)
    method.module.bank_h.normal_()
    np.testing.assert_array_equal(method.predict_proba(test), p)


@pytest.mark.parametrize("n", [1, 2, 20])
def test_tiny_training_parts_work(n):
    method = fitted(train=draw_random_cohort(20, undefined=0.0).take(np.arange(n)))
    rows = np.random.default_rng(3).permutation(n)[:16]
    seen = method.tensors(draw_random_cohort(20, undefined=0.0).take(rows)).observed
    trained = min(2, n)  # of one stay a task has one class, and nothing is trained
    assert torch.equal(method.module.bank_observed[: len(rows)], seen if trained > 1 else seen & False)
    assert not method.module.bank_observed[len(rows) :].any()
    assert np.isfinite(method.predict_proba(draw_random_cohort(9, seed=2))).all()


def recalled_from(made, rows):
    return Recalled(made.stays.h[rows], made.u[rows], made.stays.g1[rows], made.stays.observed[rows])


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("changes", CHANGES)
def test_recalled_stays_make_the_graph_of_the_whole(changes, training):
    """What a batch gets from stays as they are, with its BN and bandwidths, it gets from the same stays when they are recalled."""
    net, (x, observed) = network(dropout=0.0, **changes).train(training), inputs()
    for layer in net.modules():
        if isinstance(layer, Dropout):
            layer.p = 0.0
    with torch.no_grad():
        whole = net(x, observed)
        part = net(tuple(v[:7] for v in x), observed[:7], recalled=recalled_from(whole, slice(7, None)))
    for a, b in ((part.edges, whole.edges), (part.g, whole.g), (part.output.logits, whole.output.logits)):
        torch.testing.assert_close(a, b[:7])
    torch.testing.assert_close(part.stays.scale, whole.stays.scale)
    torch.testing.assert_close(part.stays.g1, whole.stays.g1[:7])


def test_a_batch_larger_than_the_graph_is_cut_into_graphs():
    (x, observed), net = inputs(), network()
    with torch.no_grad():
        whole = net(x, observed).edges
        net.config = replace(net.config, graph=8)
        cut = net(x, observed).edges
    part = torch.arange(18) // 8
    torch.testing.assert_close(cut, whole * (part[:, None] == part))
    assert not torch.equal(cut, whole)


def test_a_step_sees_as_many_stays_as_the_graph_has_whatever_the_batch(monkeypatch):
    sizes = {}
    for batch_size in (4, 8, 16):
        seen, own = [], Network.forward

        def forward(self, x, observed, bank=None, recalled=None, own=own, seen=seen):
            if recalled is not None:
                seen.append(len(observed) + int(recalled.observed.any(dim=1).sum()))
            return own(self, x, observed, bank, recalled)

        monkeypatch.setattr(Network, "forward", forward)
        train = draw_random_cohort(90)
        train = replace(train, observed=np.ones_like(train.observed), fingerprint="")
        values = [replace(m, values=np.nan_to_num(m.values)) for m in train.modalities]
        fitted(train=replace(train, modalities=tuple(values)), batch_size=batch_size)
        monkeypatch.setattr(Network, "forward", own)
        sizes[batch_size] = seen
    for batch_size, seen in sizes.items():
        assert seen[0] == batch_size
        assert set(seen[16 // batch_size :]) == {16}


def test_the_memory_holds_what_the_network_made_of_the_latest_stays():
    torch.manual_seed(0)
    made = M3CareModule(WIDTHS, 2, Config(hidden=8, graph=12, dropout=0.0)).train()
    x, observed = inputs()
    first, second = torch.arange(6), torch.arange(4, 10)
    for rows in (first, second):
        made(batch(tuple(v[rows] for v in x), observed[rows])._replace(rows=rows))
    assert made.memory.rows.tolist() == [4, 5, 6, 7, 8, 9, 0, 1, 2, 3, -1, -1]
    h = made.net.encoders(tuple(v.float() for v in x), observed)
    torch.testing.assert_close(made.memory.h[:10], h[made.memory.rows[:10]].detach())
    assert torch.equal(made.memory.seen[:10] > 0, observed[made.memory.rows[:10]])
    assert not made.memory.h.requires_grad
    assert not [k for k in made.state_dict() if k.startswith("memory")]


def test_fit_report_says_what_the_validation_stays_get_from_the_bank():
    method, valid = fitted(), draw_random_cohort(40, seed=1)
    report, net, data = method.fit_report(), method.module, method.tensors(valid)
    near, missing, empty, lengths = [], 0, 0, np.zeros(2)
    for i in range(40):
        with torch.no_grad():
            made = net.run_exactly(data.take(slice(i, i + 1)), net.bank())
        seen, edges = data.observed[i], made.edges[0] > 0
        if not seen.any():
            continue
        near.append(int(edges.sum()))
        for m in range(len(seen)):
            if seen[m]:
                lengths += [made.g[0, m].norm().item(), made.stays.h[0, m].norm().item()]
            else:
                missing += 1
                empty += not net.bank_observed[edges, m].any()
    assert report == pytest.approx(
        {
            "share of stays without a neighbour": np.mean(np.array(near) == 0),
            "neighbours of a stay": np.mean(near),
            "share of missing modalities that no neighbour has": empty / missing,
            "size of the refinement over that of h": lengths[0] / lengths[1],
        },
        rel=1e-5,
    )
    assert method.held_out is None
    assert M3Care(method.config).fit_report() == {}


def test_rows_are_normalised_by_default_so_that_the_refinement_has_the_size_of_h():
    """Undivided sums grow with the number of neighbours, without end."""
    sizes = {}
    for row_norm in (True, False):
        for n in (18, 180):
            net, (x, observed) = network(row_norm=row_norm), inputs(n)
            with torch.no_grad():
                net.similarity.l.fill_(-9)
                made = net(x, observed)
            sizes[row_norm, n] = (made.g.norm() / made.stays.h.norm()).item()
    assert Config().row_norm
    assert sizes[True, 180] < 2 * sizes[True, 18] < 4
    assert sizes[False, 180] > 20 * sizes[False, 18]
