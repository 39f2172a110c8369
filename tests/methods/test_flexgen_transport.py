"""FLEXGEN-EHR's alignment: its plans against POT and against sums written out, and what the design card says of fills."""

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist

from methods.flexgen_ehr.transport import (
    CORNER,
    Transport,
    compute_disagreement,
    compute_geodesics,
    linear_cost,
    partial_gw,
    sinkhorn,
)

EPS = 1e-2


def spaces(k1=12, k2=9, pairs=2, seed=0):
    """Distances and margins of pairs of spaces, the last of which has one point less, as padding."""
    rng = np.random.default_rng(seed)
    c1, c2 = np.zeros((pairs, k1, k1)), np.zeros((pairs, k2, k2))
    sizes = [(k1, k2)] * (pairs - 1) + [(k1 - 1, k2)] if pairs > 1 else [(k1, k2)]
    p, q = np.zeros((pairs, k1)), np.zeros((pairs, k2))
    for i, (a, b) in enumerate(sizes):
        x, y = rng.normal(size=(a, 3)), rng.normal(size=(b, 2))
        c1[i, :a, :a], c2[i, :b, :b] = cdist(x, x) / cdist(x, x).max(), cdist(y, y) / cdist(y, y).max()
        p[i, :a], q[i, :b] = 1 / a, 1 / b
    return [torch.from_numpy(v) for v in (c1, c2, p, q)]


def by_loops(c1, c2, plan):
    out = np.zeros(plan.shape)
    for i, j in np.ndindex(*out.shape):
        out[i, j] = (plan * (c1[i][:, None] - c2[j][None, :]) ** 2).sum()
    return out


def test_linear_cost_is_the_expected_squared_distortion():
    c1, c2, *_ = spaces()
    plan = torch.rand(2, 12, 9, dtype=torch.float64)
    expected = [by_loops(a.numpy(), b.numpy(), t.numpy()) for a, b, t in zip(c1, c2, plan, strict=True)]
    np.testing.assert_allclose(linear_cost(c1, c2, plan), np.stack(expected), atol=1e-12)


@pytest.mark.parametrize("mass", [0.2, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("steps", [1, 30])
def test_plans_have_the_mass_and_stay_below_the_margins(mass, steps):
    c1, c2, p, q = spaces()
    discount = 1 - 0.5 * (torch.rand(2, 12, 9, dtype=torch.float64) < 0.5)
    for eps in (1e-3, 5e-2):
        plan = partial_gw(c1, c2, p, q, mass, eps, steps, discount)
        assert plan.min() >= 0
        assert (plan.sum(2) <= p + 1e-4).all()
        assert (plan.sum(1) <= q + 1e-4).all()
        torch.testing.assert_close(plan.sum((1, 2)), torch.full((2,), mass, dtype=torch.float64), atol=1e-4, rtol=0)
        assert not plan[1, -1].any()  # the padded point


def test_a_plan_of_identical_spaces_that_starts_on_the_diagonal_stays_there():
    c, _, p, _ = spaces(k1=15, pairs=1)
    plan = partial_gw(c, c, p, p, 1.0, 1e-4, 20, start=torch.diag_embed(p))
    torch.testing.assert_close(plan, torch.diag_embed(p), atol=1e-6, rtol=0)
    z = torch.randn(15, 4, dtype=torch.float64)
    torch.testing.assert_close((plan[0] / plan[0].sum(1, keepdim=True)) @ z, z, atol=1e-4, rtol=0)


def test_permuted_anchors_permute_the_plan():
    c1, c2, p, q = spaces(pairs=1)
    discount = 1 - 0.5 * (torch.rand(1, 12, 9, dtype=torch.float64) < 0.5)
    one, two = torch.randperm(12), torch.randperm(9)
    plan = partial_gw(c1, c2, p, q, 0.8, EPS, 5, discount)
    moved = partial_gw(c1[:, one][:, :, one], c2[:, two][:, :, two], p, q, 0.8, EPS, 5, discount[:, one][:, :, two])
    torch.testing.assert_close(moved, plan[:, one][:, :, two], atol=1e-9, rtol=0)


def test_padding_and_other_pairs_change_no_plan():
    c1, c2, p, q = spaces()
    both = partial_gw(c1, c2, p, q, 0.7, EPS, 5)
    alone = partial_gw(c1[1:, :-1, :-1], c2[1:], p[1:, :-1], q[1:], 0.7, EPS, 5)
    torch.testing.assert_close(both[1:, :-1], alone, atol=1e-12, rtol=0)


def test_outcomes_that_agree_attract():
    c1, c2, p, q = spaces(pairs=1)
    y1, y2 = np.arange(12)[:, None] % 2.0, np.arange(9)[:, None] % 2.0
    discount = torch.from_numpy(compute_disagreement(y1, y2))[None]
    agree = discount[0] == 0.5
    shares = [partial_gw(c1, c2, p, q, 0.5, EPS, 20, d)[0][agree].sum() for d in (None, discount)]
    assert shares[1] > shares[0] + 0.05


@pytest.mark.parametrize(("mass", "eps"), [(0.6, EPS), (0.3, 0.5), (1.0, EPS)])
def test_a_step_equals_pots_sinkhorn_on_the_augmented_problem(mass, eps):
    ot = pytest.importorskip("ot")
    c1, c2, p, q = spaces(pairs=1)
    discount = 1 - 0.5 * (torch.rand(1, 12, 9, dtype=torch.float64) < 0.5)
    ours = partial_gw(c1, c2, p, q, mass, eps, 1, discount, rounds=5000)[0]
    constant, h1, h2 = ot.gromov.init_matrix(c1[0].numpy(), c2[0].numpy(), p[0].numpy(), q[0].numpy())
    cost = 0.5 * ot.gromov.gwggrad(constant, h1, h2, np.outer(p[0], q[0])) * discount[0].numpy()
    cost = np.pad(cost, (0, 1))
    cost[-1, -1] = CORNER * cost.max()
    a, b = (np.append(v[0].numpy(), 1 - mass) / (2 - mass) for v in (p, q))
    rows, columns = a > 0, b > 0  # without a virtual anchor where all is shared
    plan = ot.bregman.sinkhorn_log(
        a[rows], b[columns], cost[rows][:, columns], eps * cost[:-1, :-1].max(), numItermax=5000, stopThr=1e-12
    )
    np.testing.assert_allclose(ours, (2 - mass) * plan[:12, :9], atol=1e-7)


def test_where_all_is_shared_the_plan_is_one_that_pot_keeps():
    ot = pytest.importorskip("ot")
    c1, c2, p, q = spaces(pairs=1)
    plan = partial_gw(c1, c2, p, q, 1.0, 5e-2, 400, rounds=100)
    reg = 2 * 5e-2 * float(linear_cost(c1, c2, plan).max())  # POT's gradient is twice the cost
    args = [v[0].numpy() for v in (c1, c2, p, q)]
    again = ot.gromov.entropic_gromov_wasserstein(
        *args, "square_loss", epsilon=reg, G0=plan[0].numpy(), max_iter=50, tol=1e-12
    )
    np.testing.assert_allclose(again, plan[0], atol=1e-6)
    assert (plan[0] - torch.outer(p[0], q[0])).abs().max() > 1e-3


def test_partial_plans_cost_as_little_as_those_of_pots_conditional_gradient():
    """Both end in local optima, so they are compared in sum; ten of fourteen points are turned, the others elsewhere."""
    ot = pytest.importorskip("ot")
    mass, p, cost = 9 / 14, torch.full((1, 14), 1 / 14, dtype=torch.float64), np.zeros(3)
    for seed in range(6):
        rng = np.random.default_rng(seed)
        x = rng.normal(size=(14, 2)) * [3, 1]
        y = np.r_[x[:10] @ [[0, 1], [-1, 0]], rng.normal(size=(4, 2)) * 3 + 6]
        c1, c2 = (torch.from_numpy(cdist(v, v) / cdist(v, v).max())[None] for v in (x, y))
        args = [v[0].numpy() for v in (c1, c2, p, p)]
        pots = torch.from_numpy(ot.gromov.partial_gromov_wasserstein(*args, m=mass))[None]
        product = mass * p[:, :, None] * p[:, None]
        plans = partial_gw(c1, c2, p, p, mass, 1e-3, 100, rounds=50), pots, product
        cost += [float((linear_cost(c1, c2, t) * t).sum()) for t in plans]
    assert cost[0] < cost[1]
    assert cost[1] < 0.1 * cost[2]


def test_sinkhorn_ends_at_the_column_margins_and_converges_to_the_others():
    cost, a, b = 30 * torch.rand(1, 6, 5).double(), torch.full((1, 6), 1 / 6).double(), torch.full((1, 5), 0.2).double()
    f, g = sinkhorn(cost, a, b, torch.zeros_like(a), torch.zeros_like(b), 300)
    plan = (f[:, :, None] + g[:, None] - cost).exp()
    torch.testing.assert_close(plan.sum(1), b)
    torch.testing.assert_close(plan.sum(2), a, atol=1e-6, rtol=0)


def test_geodesics_follow_the_graph_and_join_its_parts_by_the_shortest_edge():
    rng = np.random.default_rng(0)
    z = np.concatenate([rng.normal(size=(8, 2)), rng.normal(size=(7, 2)) + 40, rng.normal(size=(6, 2)) - [90, 0]])
    z[1] = z[0]  # the same point twice
    k, direct = 3, cdist(z, z)
    edge = np.zeros(direct.shape, dtype=bool)
    for i in range(len(z)):
        near = [j for j in np.argsort(direct[i], kind="stable") if j != i][:k]
        edge[i, near] = edge[near, i] = True
    part = np.repeat([0, 1, 2], [8, 7, 6])
    for _ in range(2):
        between = np.where(part[:, None] == part, np.inf, direct)
        i, j = np.unravel_index(between.argmin(), between.shape)
        edge[i, j] = edge[j, i] = True
        part[part == part[j]] = part[i]
    c = np.where(edge, direct, np.inf)
    np.fill_diagonal(c, 0)
    for via in range(len(z)):
        c = np.minimum(c, c[:, via, None] + c[via])
    found, largest = compute_geodesics(z, k)
    assert largest == pytest.approx(c.max())
    np.testing.assert_allclose(found, c / c.max(), atol=1e-9)
    assert found.max() == 1


@pytest.mark.parametrize("z", [np.zeros((1, 3)), np.zeros((5, 3)), np.eye(2)])
def test_geodesics_of_few_or_equal_points(z):
    c, largest = compute_geodesics(z, 5)
    assert np.isfinite(c).all()
    assert largest > 0


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ([1], [1], 0.5),
        ([1], [0], 1.0),
        ([np.nan], [1], 1.0),
        ([np.nan], [np.nan], 1.0),
        ([1, 0], [1, 1], 0.75),
        ([1, np.nan], [1, 1], 0.5),
        ([1, 0, np.nan], [np.nan, 0, 1], 0.5),
    ],
)
def test_disagreement(first, second, expected):
    np.testing.assert_allclose(compute_disagreement(np.array([first, first]), np.array([second])), [[expected]] * 2)


def latents(n=60, m=3, size=4, seed=0):
    """Latents of modalities that show one point each, and which are observed; modality 1 is the hub, stay 0 has nothing."""
    rng = np.random.default_rng(seed)
    h = rng.normal(size=(n, 3))
    z = np.stack([h @ rng.normal(size=(3, size)) for _ in range(m)], axis=1)
    observed = rng.random((n, m)) < 0.7
    observed[:, 1], observed[0] = True, False
    return torch.from_numpy(z), observed, (h[:, :1] > 0).astype(float)


def transport(rows=None, eps_out=EPS, mass=0.8, outcomes=None, k=20):
    z, observed, y = latents()
    rows = rows or [np.flatnonzero(o)[: k - m] for m, o in enumerate(observed.T)]  # fewer and fewer
    net = Transport(3, max(len(r) for r in rows), 4, 5, eps_out)
    net.fit(z, observed, rows, y if outcomes is None else outcomes, mass, EPS, 10)
    return net, z, observed, rows


def test_the_hub_is_what_most_stays_have_and_its_plan_is_diagonal():
    net, *_ = transport()
    assert net.hub == 1
    torch.testing.assert_close(net.plan[1], torch.diag(net.real[1].double() / 19))


def test_anchors_are_as_far_from_each_other_as_their_graph_says():
    net, *_ = transport()
    for m in range(3):
        n = int(net.real[m].sum())
        torch.testing.assert_close(net.distances(net.z[m, :n], m)[:, :n], net.c[m, :n, :n], atol=1e-9, rtol=0)


def test_distances_of_a_new_stay_go_over_its_nearest_anchors():
    net, *_ = transport()
    new = torch.randn(6, 4, dtype=torch.float64)
    direct = (new[:, None] - net.z[2, :18]).norm(dim=2) / net.scale[2]
    for i, d in enumerate(direct):
        expected = torch.stack([d[l] + net.c[2, l, :18] for l in d.argsort()[:5]]).amin(0)
        torch.testing.assert_close(net.distances(new[i : i + 1], 2)[0, :18], expected)
    assert (net.distances(new, 2)[:, :18] > direct + 1e-3).any()  # not Euclidean


@pytest.mark.parametrize(("a", "b"), [(0, 1), (1, 0), (0, 2), (2, 0)])
def test_weights_are_the_softmax_of_the_linearised_cost(a, b):
    net, z, *_ = transport()
    joined = net.plan[a].numpy().copy()
    if b != 1:
        if a == 1:
            joined = net.plan[b].numpy().T / 19 / np.maximum(net.plan[b].numpy().sum(0), 1e-300)[:, None]
        else:
            joined = joined @ (net.plan[b].numpy().T / np.maximum(net.plan[b].numpy().sum(0), 1e-300)[:, None])
    n = int(net.real[b].sum())
    far, cb = net.distances(z[:5, a], a), net.c[b].numpy()
    w = net.weights(far @ net.plan[a], a, b).numpy()
    for i in range(5):
        c = [(joined * (far[i].numpy()[:, None] - cb[j]) ** 2).sum() / joined.sum() for j in range(n)]
        e = np.exp(-(np.array(c) - min(c)) / EPS)
        np.testing.assert_allclose(w[i, :n], e / e.sum(), atol=1e-9)
    assert not w[:, n:].any()


def test_fills_average_over_what_a_stay_has_and_leave_the_rest():
    net, z, observed, _ = transport()
    seen = torch.from_numpy(observed)
    made = net.fill(torch.where(seen[..., None], z, torch.nan), seen)
    assert torch.equal(made[seen], z[seen])
    torch.testing.assert_close(made[0], net.mean)
    torch.testing.assert_close(net.mean[2], z[observed[:, 2], 2].mean(0))
    for i, b in (~seen[1:]).nonzero().tolist():
        i += 1
        parts = [
            net.weights(net.distances(z[i : i + 1, a], a) @ net.plan[a], a, b)[0] @ net.z[b]
            for a in np.flatnonzero(observed[i])
        ]
        torch.testing.assert_close(made[i, b], torch.stack(parts).mean(0))
        anchors = net.z[b][net.real[b]]
        assert (made[i, b] >= anchors.amin(0) - 1e-9).all()
        assert (made[i, b] <= anchors.amax(0) + 1e-9).all()


def test_a_fill_depends_on_no_other_stay():
    net, z, observed, _ = transport()
    seen = torch.from_numpy(observed)
    whole = net.fill(z, seen)
    for rows in ([7], [3, 50, 9]):
        torch.testing.assert_close(net.fill(z[rows], seen[rows]), whole[rows], atol=1e-12, rtol=0)


def test_anchors_of_identical_spaces_are_filled_by_themselves():
    z, _, y = latents()
    observed = np.ones((60, 2), dtype=bool)
    rows = np.arange(20)
    net = Transport(2, 20, 4, 5, 1e-6)
    net.fit(z[:, :1].expand(-1, 2, -1), observed, [rows, rows], y, 1.0, 1e-4, 1)
    net.plan[1] = torch.eye(20) / 20
    shown = torch.tensor([[True, False]]).expand(20, -1)
    torch.testing.assert_close(net.fill(z[rows][:, [0, 0]], shown)[:, 1], z[rows, 0], atol=1e-6, rtol=0)


def test_outcomes_matter_of_anchors_alone():
    net, _, _, rows = transport()
    y = latents()[2]
    anchors = np.unique(np.concatenate(rows))
    others = y.copy()
    others[np.setdiff1d(np.arange(60), anchors)] = np.nan
    assert torch.equal(transport(outcomes=others)[0].plan, net.plan)
    y[anchors] = np.nan
    assert not torch.equal(transport(outcomes=y)[0].plan, net.plan)


def test_a_modality_without_anchors_is_never_read_nor_filled():
    z, observed, y = latents()
    observed[:, 2] = False
    rows = [np.flatnonzero(o)[:20] for o in observed.T]
    net = Transport(3, 20, 4, 5, EPS)
    net.fit(z, observed, rows, y, 0.8, EPS, 10)
    made = net.fill(torch.where(torch.from_numpy(observed)[..., None], z, torch.nan), torch.from_numpy(observed))
    assert made.isfinite().all()
    assert not made[:, 2].any()


def test_one_anchor_is_enough():
    net, z, observed, _ = transport(rows=[np.array([3]), np.array([5]), np.array([9])])
    assert net.fill(z, torch.from_numpy(observed)).isfinite().all()
