"""COM: its networks against torch's own, its losses computed again by hand, and what must never reach a prediction."""

from functools import cache
from itertools import product

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from benchmark.check.cohorts import draw_random_cohort
from methods import com
from methods.com import Bank, Com, ComModule, Config, Earlier, attention, supcon
from methods.com.networks import GroupedBatchNorm, Rows, make_inward, make_outward
from methods.common.training import Batch

WIDTHS, T, D = (6, 5, 4), 2, torch.float64


@pytest.fixture(autouse=True)
def seeded():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def some_stays(n=12, observed=None, widths=WIDTHS, seed=1):
    """Stay 0 has all modalities, stay 1 none; some outcomes are undefined, and then NaN."""
    rng = torch.Generator().manual_seed(seed)
    if observed is None:
        observed = torch.rand(n, len(widths), generator=rng) < 0.6
        observed[0], observed[1:2] = True, False
    x = tuple(torch.randn(n, d, generator=rng, dtype=D) * o[:, None] for d, o in zip(widths, observed.T, strict=True))
    labels, mask = (torch.rand(n, T, generator=rng, dtype=D) < 0.5).to(D), torch.rand(n, T, generator=rng) < 0.8
    return Batch(x, observed, {}, labels * mask, mask, torch.arange(n))


def module(batch, **changes):
    """In training mode, double precision, without dropout; the bank is the batch."""
    torch.manual_seed(0)
    widths = tuple(v.shape[1] for v in batch.x)
    net = ComModule(widths, ("a", "b"), Config(**{"hidden": 8, "width": 10, "dropout": 0.0, **changes})).double()
    net.bank = Bank(batch.x, batch.observed)
    return net.train()


def step(net, batch, seed=3):
    torch.manual_seed(seed)  # the same draws from the bank
    return net(batch)


def everything(n):
    return Rows.of(torch.ones(n, 1, dtype=torch.bool), D)


def torchs(networks, m, columns=None, bias=False):
    """Network m as torch's own layers; ``columns`` where the last batch norm is of all modalities side by side."""
    layers = []
    for f, norm in zip(networks.maps, networks.norms, strict=True):
        weight = f.weight[m].T if hasattr(f, "weight") else f.maps[m].weight
        linear, bn = nn.Linear(*weight.shape[::-1], bias=bias, dtype=D), nn.BatchNorm1d(len(weight), dtype=D)
        linear.weight.data.copy_(weight)
        at = (m, 0) if len(norm.weight) > 1 or columns is None else (0, 0, columns)
        for name, own in (("weight", "weight"), ("bias", "bias"), ("running_mean", "mean"), ("running_var", "var")):
            getattr(bn, name).data.copy_(getattr(norm, own)[at])
        layers += [linear, bn, nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers[:-1])


@pytest.mark.parametrize("into", [True, False])
def test_networks_equal_torchs_one_by_one(into):
    """In training, where it makes no difference that torch's maps have biases, and then, without them, in evaluation."""
    net = (make_inward(WIDTHS, (7, 8, 3)) if into else make_outward((3, 7, 8), WIDTHS)).double()
    for norm in net.norms:
        norm.weight.data.normal_()
        norm.bias.data.normal_()
    columns = torch.arange(sum(WIDTHS)).split(WIDTHS)
    for bias in (True, False):
        single = [torchs(net, m, None if into else columns[m], bias) for m in range(3)]
        for training in (True, True, False)[: 1 if bias else 3]:
            x = some_stays(20, torch.ones(20, 3, dtype=torch.bool)).x if into else torch.randn(3, 20, 3, dtype=D)
            out = net.train(training)(x, rows=everything(20))
            for m in range(3):
                got = out[m] if into else out[0][:, columns[m]]
                torch.testing.assert_close(got, single[m].train(training)(x[m]))


def test_normalisation_is_by_the_chosen_rows():
    which = torch.rand(9, 3) < 0.6
    which[:, 1], which[:, 2] = torch.arange(9) == 4, False  # one row, none
    norm, x = GroupedBatchNorm(3, 5).double(), torch.randn(3, 9, 5, dtype=D)
    norm.mean.normal_()
    norm.var.uniform_(0.5, 2)
    before = norm.mean.clone(), norm.var.clone()
    rows = Rows.of(which, D)
    norm(x, rows, track=False)
    assert torch.equal(norm.mean, before[0])
    out = norm(x, rows, track=True)
    of = x[0, which[:, 0]]
    mean, var = of.mean(0), of.var(0, unbiased=False)
    torch.testing.assert_close(out[0], (x[0] - mean) / (var + 1e-5).sqrt())
    torch.testing.assert_close(norm.mean[0, 0], 0.9 * before[0][0, 0] + 0.1 * mean)
    torch.testing.assert_close(norm.var[0, 0], 0.9 * before[1][0, 0] + 0.1 * of.var(0))
    torch.testing.assert_close(out[1:], (x[1:] - before[0][1:]) / (before[1][1:] + 1e-5).sqrt())
    assert torch.equal(norm.mean[1:], before[0][1:])
    assert torch.equal(norm.var[1:], before[1][1:])
    x[0, ~which[:, 0]] *= 7  # other rows move nobody
    torch.testing.assert_close(norm(x, rows, track=False)[0, which[:, 0]], out[0, which[:, 0]])


def test_gradient_of_the_normalisation_equals_finite_differences():
    which = torch.rand(6, 3) < 0.6
    which[:2, 0], which[:, 2] = True, torch.arange(6) == 1
    norm, rows = GroupedBatchNorm(3, 2).double(), Rows.of(which, D)

    def function(x, weight, bias):
        return torch.func.functional_call(norm, {"weight": weight, "bias": bias}, (x, rows, False))

    inputs = [torch.randn(*shape, dtype=D, requires_grad=True) for shape in ((3, 6, 2), (3, 1, 2), (3, 1, 2))]
    assert torch.autograd.gradcheck(function, inputs)


def supcon_by_hand(s, positive, valid, first=None):
    """Anchor by anchor, of the ``first`` things; all of them are contrasted."""
    things, total = np.flatnonzero(valid), 0.0
    anchors = [a for a in things if first is None or a < first]
    for a in anchors:
        others = [n for n in things if n != a]
        own = [p for p in others if positive[a, p]]
        if own:
            total -= np.mean([s[a, p] - np.log(sum(np.exp(s[a, n]) for n in others)) for p in own])
    return total / max(1, len(anchors))


def test_supcon_of_fewer_anchors_than_things():
    s, positive, valid = torch.randn(9, 9, dtype=D) * 5, torch.rand(9, 9) < 0.4, torch.rand(9) < 0.7
    expected = supcon_by_hand(s.numpy(), positive.numpy(), valid.numpy(), 4)
    assert supcon(s[:4], positive[:4], valid).item() == pytest.approx(expected)


@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
def test_supcon_equals_its_definition(share):
    s, positive, valid = torch.randn(9, 9, dtype=D) * 5, torch.rand(9, 9) < 0.3, torch.rand(9) < share
    s[:, ~valid] = 300.0
    expected = supcon_by_hand(s.numpy(), positive.numpy(), valid.numpy())
    assert supcon(s, positive, valid).item() == pytest.approx(expected, abs=1e-9)
    both = supcon(s, torch.stack([positive, positive & False]), torch.stack([valid, valid]))
    torch.testing.assert_close(both, torch.tensor([expected, 0.0], dtype=D))


def test_logits_are_those_of_torchs_encoder_on_cls_and_the_observed_modalities_alone():
    batch = some_stays()
    net = module(batch)
    for p in net.fuse.parameters():
        p.data.normal_(std=0.5)
    for _ in range(3):
        net(batch)  # moves the running statistics
    logits, fuse = net.eval()(batch).logits, net.fuse
    projectors, encoders = [torchs(net.project, m).eval() for m in range(3)], []
    for block in fuse.blocks:
        layer = nn.TransformerEncoderLayer(8, 4, 32, 0.0, "relu", batch_first=True).double()
        state = {f"self_attn.in_proj_{k}": block.state_dict()[f"into.{k}"] for k in ("weight", "bias")}
        names = {"out": "self_attn.out_proj", "up": "linear1", "down": "linear2", "norm_1": "norm1", "norm_2": "norm2"}
        state |= {f"{b}.{k}": block.state_dict()[f"{a}.{k}"] for a, b in names.items() for k in ("weight", "bias")}
        layer.load_state_dict(state)
        encoders.append(layer)
    for i, seen in enumerate(batch.observed.numpy()):
        own = [projectors[m](batch.x[m][i : i + 1]) + fuse.types[m] for m in np.flatnonzero(seen)]
        x = fuse.norm(torch.cat([fuse.cls[0], *own]).unsqueeze(0))
        for layer in encoders:
            x = layer(x)
        torch.testing.assert_close(logits[i], fuse.head(torch.tanh(fuse.pool(x[0, 0]))))


def test_a_missing_key_has_no_weight_at_all():
    """However large it is."""
    q, k, keys = (
        torch.randn(12, 2, 4, 5),
        1e3 * torch.randn(12, 2, 4, 5),
        F.pad(some_stays().observed, (1, 0), value=True),
    )
    weights = attention(q, k, keys).permute(0, 3, 1, 2)
    assert not weights[~keys].any()
    torch.testing.assert_close(weights.sum(1), torch.ones(12, 2, 4))
    fuse = module(some_stays()).fuse.float()
    t, observed = torch.randn(12, 3, 8), some_stays().observed
    huge = torch.where(observed.unsqueeze(2), t, 1e6 * torch.randn(12, 3, 8))
    assert torch.equal(fuse(t, observed), fuse(huge, observed))
    t.requires_grad_()
    fuse(t, observed).square().sum().backward()
    assert (t.grad[observed] != 0).any(1).all()
    assert not t.grad[~observed].any()


def randomise(networks):
    for v in networks.state_dict().values():
        v.uniform_(0.5, 3)


@pytest.mark.parametrize("norm_rows", ["observed", "all"])
def test_the_generator_does_not_reach_the_prediction(norm_rows):
    batch = some_stays()
    net = module(batch, norm_rows=norm_rows)
    trained = step(net, batch)
    before = net.eval()(batch).logits
    randomise(net.generate)
    randomise(net.discriminate)
    assert torch.equal(net(batch).logits, before)
    after = step(net.train(), batch)
    assert all(after.losses[k] != trained.losses[k] for k in ("adv", "sup", "con"))
    assert torch.equal(after.logits, trained.logits) == (
        norm_rows == "observed"
    )  # else by way of the batch's statistics


def test_unobserved_contents_reach_neither_outputs_nor_gradients_nor_statistics():
    results = []
    for fill in (0.0, torch.nan, torch.inf):
        batch = some_stays()
        x = tuple(torch.where(o[:, None], v, fill) for v, o in zip(batch.x, batch.observed.T, strict=True))
        net = module(batch)
        out = step(net, batch._replace(x=x))
        (out.logits.square().sum() + sum(out.losses.values())).backward()
        results.append([out.logits, *out.losses.values(), *(p.grad for p in net.parameters()), *net.buffers()])
        results[-1].append(net.eval()(batch._replace(x=x)).logits)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_running_statistics_follow_the_second_pass_alone():
    batch = some_stays()
    net = module(batch)
    step(net, batch)
    raw = net.project.maps[0](batch.x)
    for m in range(3):
        mean = raw[m][batch.observed[:, m]].mean(0)
        torch.testing.assert_close(net.project.norms[0].mean[m, 0], 0.1 * mean)


def test_stays_and_modalities_without_anything_are_left_out(monkeypatch):
    batch = some_stays()
    batch.observed[:, 2] = False
    net = module(batch)
    calls = [
        spy(monkeypatch, net, name) for name in ("adversarial_loss", "label_contrast_loss", "modality_contrast_loss")
    ]
    step(net, batch)
    expected = batch.observed.any(1)[:, None] & torch.tensor([True, True, False])
    assert 0 < expected.sum() < 24
    for ((args, _),) in calls:
        assert any(a.dtype == torch.bool and torch.equal(a, expected) for a in args if isinstance(a, torch.Tensor))


def spy(monkeypatch, owner, name):
    calls, function = [], getattr(owner, name)
    monkeypatch.setattr(owner, name, lambda *a, **k: calls.append((a, function(*a, **k))) or calls[-1][1])
    return calls


def test_completed_modalities_are_the_observed_ones_and_else_made_of_the_mean(monkeypatch):
    batch = some_stays()
    net = module(batch)
    full, made = spy(monkeypatch, net.project, "forward"), spy(monkeypatch, net, "generate_all")
    step(net, batch)
    (centre, _), made = made[0]
    p = net.project(batch.x, rows=net.rows(batch.observed))
    for i, seen in enumerate(batch.observed.numpy()):
        mean = torch.stack([p[m, i] for m in np.flatnonzero(seen)]).mean(0) if seen.any() else torch.zeros(8, dtype=D)
        torch.testing.assert_close(centre[i], mean)
        for m, part in enumerate(made.split(WIDTHS, dim=1)):
            assert torch.equal(full[1][0][0][m][i], batch.x[m][i] if seen[m] else part[i])


def test_with_everything_observed_nothing_is_filled_and_an_anchor_has_the_other_modalities(monkeypatch):
    batch = some_stays(observed=torch.ones(12, 3, dtype=torch.bool))
    net, contrasts = module(batch), spy(monkeypatch, com, "supcon")
    full = spy(monkeypatch, net.project, "forward")
    step(net, batch)
    assert all(torch.equal(a, b) for a, b in zip(full[1][0][0], batch.x, strict=True))
    (_, positive, valid), _ = contrasts[-1]
    assert valid[:36].all()
    assert not valid[36:].any()  # nobody was there before
    assert (positive.sum(1) - 1 == 2).all()  # itself is not counted


def earlier_stays(k, seed=9):
    """Stays of a memory, some modalities and outcomes of which do not count."""
    rng = torch.Generator().manual_seed(seed)
    f, unit = torch.randn(k, 3, 8, generator=rng, dtype=D), torch.randn(k, sum(WIDTHS), generator=rng, dtype=D)
    labels = (torch.rand(k, T, generator=rng, dtype=D) < 0.5).to(D)
    valid, mask = torch.rand(k, 3, generator=rng) < 0.6, torch.rand(k, T, generator=rng) < 0.7
    return Earlier(unit, F.normalize(f, dim=2), valid, labels, mask)


@pytest.mark.parametrize("k", [0, 5])
def test_contrast_between_modalities_by_hand(monkeypatch, k):
    batch = some_stays(8)
    net, earlier = module(batch), earlier_stays(k)
    net.bank.seen[2] = False
    t, valid = torch.randn(8, 3, 8, dtype=D), batch.observed.any(1, keepdim=True) & net.bank.seen
    f = F.normalize(t, dim=2)

    def by_hand(n, last):
        """Anchors of ``n`` stays, contrasted with the ``last`` first things of batch and memory."""
        things = torch.cat([f[:n], earlier.f]).reshape(-1, 8)[:last].numpy()
        counts = torch.cat([valid[:n], earlier.valid]).flatten()[:last].numpy()
        stay = np.arange(len(things)) // 3
        return supcon_by_hand(things @ things.T / 0.07, stay[:, None] == stay, counts, 3 * n)

    assert net.modality_contrast_loss(f, valid, earlier).item() == pytest.approx(by_hand(8, 3 * (8 + k)))
    for most, n, last in ((13, 4, 12), (31, 8, 30)):  # four stays of three modalities, ten
        monkeypatch.setattr(com, "MOST_FEATURES", most)
        assert net.modality_contrast_loss(f, valid, earlier).item() == pytest.approx(by_hand(n, last))


@pytest.mark.parametrize("k", [0, 6])
@pytest.mark.parametrize("positives", ["task", "exact"])
def test_contrast_by_outcomes_by_hand(positives, k):
    batch = some_stays(10)
    net, earlier = module(batch, positives=positives), earlier_stays(k)
    net.bank.seen[1] = False
    full = [F.normalize(torch.randn(10, d, dtype=D), dim=1) for d in WIDTHS]
    valid = batch.observed.any(1, keepdim=True) & net.bank.seen
    earlier = earlier._replace(valid=earlier.valid & net.bank.seen)
    y, known = (torch.cat(v).numpy() for v in ((batch.labels, earlier.labels), (batch.label_mask, earlier.label_mask)))

    def same(i, j):
        both = [t for t in range(T) if known[i, t] and known[j, t]]
        return bool(both) and all(y[i, t] == y[j, t] for t in both)

    total = 0.0
    for m in (0, 2):
        unit = torch.cat([full[m], earlier.unit.split(WIDTHS, dim=1)[m]]).numpy()
        s, here = unit @ unit.T / 0.07, torch.cat([valid[:, m], earlier.valid[:, m]]).numpy()
        if positives == "exact":
            positive = np.array([[same(i, j) for j in range(10 + k)] for i in range(10 + k)])
            total += supcon_by_hand(s, positive, here & known.any(1), 10) / 2
        else:
            for t in range(T):
                total += supcon_by_hand(s, y[:, t, None] == y[None, :, t], here & known[:, t], 10) / (2 * T)
    unit = torch.cat(full, dim=1)
    assert net.label_contrast_loss(unit, valid, batch, earlier).item() == pytest.approx(total)
    undefined = batch._replace(labels=torch.where(batch.label_mask, batch.labels, 1 - batch.labels))
    assert net.label_contrast_loss(unit, valid, undefined, earlier).item() == pytest.approx(total)


@pytest.mark.parametrize("positives", ["task", "exact"])
def test_a_small_batch_is_contrasted_as_in_a_large_one(monkeypatch, positives):
    """The second half of twelve stays has the first half in its contrast, as it was, and no stay has itself."""
    batch = some_stays()
    net = module(batch, contrast=12, positives=positives)
    contrasts = spy(monkeypatch, com, "supcon")
    step(net, batch.take(slice(0, 6)))
    step(net, batch.take(slice(6, 12)))
    (s, _, valid), _ = contrasts[-1]
    assert s.shape == (18, 36)
    assert valid[18:].sum() == (batch.observed[:6].any(1) * 3).sum()
    (s, positive, valid), _ = contrasts[-2]
    assert s.shape == (3, 6, 12)
    order = [*range(6, 12), *range(6)]
    observed = batch.observed[order]
    for m in range(3):
        raw = F.normalize(batch.x[m][order], dim=1)
        known = observed[:6, m, None] & observed[:, m]
        torch.testing.assert_close(s[m][known], (raw[:6] @ raw.T / 0.07)[known])
    y = batch.labels[order]
    if positives == "task":
        assert torch.equal(positive[0, 0], y[:6, 0, None] == y[:, 0])
    step(net, batch.take(slice(0, 6)))
    assert net.memory.rows.tolist() == [*range(12)]
    fewer = module(batch, contrast=8)
    step(fewer, batch.take(slice(0, 6)))
    step(fewer, batch.take(slice(6, 12)))
    assert fewer.memory.rows.tolist() == [*range(6, 12), 0, 1]


def test_adversarial_loss_by_hand(monkeypatch):
    batch = some_stays()
    batch.observed[:, 2] = False
    net = module(batch)
    real = tuple(torch.randn(12, d, dtype=D) for d in WIDTHS)
    monkeypatch.setattr(net.bank, "draw", lambda n: real)
    made, valid = torch.randn(12, 15, dtype=D), batch.observed.any(1, keepdim=True) & net.bank.seen
    expected = 0.0
    for m, fake in list(enumerate(made.split(WIDTHS, dim=1)))[:2]:
        rows = torch.cat([fake[valid[:, m]], real[m]])
        target = torch.cat([torch.zeros(int(valid[:, m].sum())), torch.ones(12)]).to(D)
        d = torchs(net.discriminate, m)
        expected += F.binary_cross_entropy_with_logits(d(rows).squeeze(1), target).item() / 2
    assert net.adversarial_loss(made, valid).item() == pytest.approx(expected)


@pytest.mark.parametrize("train_disc", [True, False])
def test_one_backward_pass_descends_for_the_discriminator_and_ascends_for_the_generator(train_disc):
    batch = some_stays()
    net = module(batch, sup=0.0, con=0.0, train_disc=train_disc)
    step(net, batch).losses["adv"].backward()
    signs = {"discriminate.maps.1.weight": 1, "generate.maps.2.weight": -1, "project.maps.1.weight": -1}
    for name, sign in signs.items():
        p = net.get_parameter(name)
        if p.grad is None:
            assert not train_disc
            continue
        flat, j = p.detach().view(-1), int(p.grad.abs().argmax())
        ends = []
        for move in (1e-6, -2e-6):
            flat[j] += move
            ends.append(step(net, batch).losses["adv"].item())
        slope = (ends[0] - ends[1]) / 2e-6
        assert p.grad.view(-1)[j].item() == pytest.approx(sign * slope, rel=1e-4)
        assert abs(slope) > 1e-7
    assert all((p.grad is not None) == train_disc for p in net.discriminate.parameters())


def test_the_bank_draws_rows_that_have_the_modality():
    batch = some_stays(40)
    batch.observed[:, 2] = False
    bank = Bank(
        tuple(torch.where(o[:, None], v, 0.0) for v, o in zip(batch.x, batch.observed.T, strict=True)), batch.observed
    )
    assert bank.seen.tolist() == [True, True, False]
    draws = bank.draw(2000)
    for m in (0, 1):
        rows = (draws[m][:, None] == batch.x[m]).all(2)
        found = rows.sum(0)[batch.observed[:, m]]
        assert rows.sum() == 2000
        assert found.sum() == 2000
        expected = 2000 / len(found)
        assert ((found - expected).abs() < 6 * expected**0.5).all()
    assert not draws[2].any()
    torch.manual_seed(5)
    first = bank.draw(9)
    torch.manual_seed(5)
    assert all(torch.equal(a, b) for a, b in zip(first, bank.draw(9), strict=True))


def test_rows_permute_with_the_batch_and_stand_alone():
    batch = some_stays()
    net = module(batch).eval()
    logits, order = net(batch).logits, torch.randperm(12)
    torch.testing.assert_close(net(batch.take(order)).logits, logits[order])
    torch.testing.assert_close(net(batch.take(slice(3, 4))).logits, logits[3:4])


@pytest.mark.parametrize(("n", "m"), [*product([1, 2, 3], [1, 3])])
def test_small_batches_have_finite_losses_and_gradients(n, m):
    for pattern in product([True, False], repeat=m):
        bank = some_stays(9, widths=WIDTHS[:m])
        net = module(bank)
        batch = some_stays(n, torch.tensor([pattern] * n), WIDTHS[:m])
        out = step(net, batch)
        (out.logits.sum() + sum(out.losses.values())).backward()
        assert all(p.grad is None or p.grad.isfinite().all() for p in net.parameters())
        assert all(v.isfinite() for v in out.losses.values())
        assert not any(pattern) or (net.eval()(batch).logits.isfinite().all())


SMALL = {"hidden": 16, "width": 12, "max_epochs": 2, "batch_size": 32, "lr": 1e-3}


@cache
def fitted(variant=""):
    return Com(Config(**SMALL, **Com.variants.get(variant, {})), seed=3).fit(
        draw_random_cohort(97), draw_random_cohort(40, seed=1)
    )


def test_the_bank_goes_with_training_and_history_has_the_losses_that_count():
    for variant, losses in (("", {"adv", "sup", "con"}), ("without_con", {"adv", "sup"})):
        assert fitted(variant).module.bank is None
        assert fitted(variant).history[0].keys() == {"epoch", "loss", "supervised", "valid"} | losses


def test_losses_are_weighted_and_added(monkeypatch):
    batch, sizes = some_stays(), {}
    for changes in ({"lam": 1.0}, {"lam": 0.1, "adv": 2.0, "sup": 3.0, "con": 5.0}):
        sizes[changes["lam"]] = step(module(batch, **changes), batch).losses
    for name, times in {"adv": 0.2, "sup": 0.3, "con": 0.5}.items():
        assert sizes[0.1][name].item() == pytest.approx(times * sizes[1.0][name].item())
    entry = fitted().history[-1]
    assert entry["loss"] == pytest.approx(sum(entry[k] for k in ("supervised", "adv", "sup", "con")), rel=1e-5)


def test_only_a_trained_discriminator_moves():
    start = Com(Config(**SMALL), seed=3)
    start.preprocessor = fitted().preprocessor
    for variant, moves in (("", True), ("frozen_disc", False)):
        torch.manual_seed(3)
        initial = start.build(start.preprocessor.widths, ("a", "b")).discriminate
        method = fitted(variant)
        same = [
            torch.equal(a, b)
            for a, b in zip(initial.parameters(), method.module.discriminate.parameters(), strict=True)
        ]
        assert all(same) if not moves else not any(same)
        assert any(p.requires_grad for p in method.module.discriminate.parameters()) == moves
