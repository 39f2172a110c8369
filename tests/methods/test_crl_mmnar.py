"""CRL-MMNAR: every equation of its docstring computed again by hand."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from benchmark.check.cohorts import draw_random_cohort
from methods.common.stacked import fit_stacked
from methods.common.training import Batch, TorchMethod
from methods.crl_mmnar import END_TO_END, Config, CrlMmnar, CrlMmnarModule, task_weight
from methods.crl_mmnar.collapse import CONTRAST, COSINE
from methods.crl_mmnar.left_out import (
    AVERAGES,
    LEAVE_OUT,
    compute_contrastive_errors,
    compute_reconstruction_errors,
    leave_each_out,
    leave_one_out,
)

TASKS = ("readmission_30d", "icu_90d", "mortality_inhosp")
WIDTHS = (6, 5, 4)


def module(seed=0, widths=WIDTHS, tasks=TASKS, **changes):
    torch.manual_seed(seed)
    config = Config(
        **{"hidden": 16, "heads": 4, "dropout": 0.0, "attention_dropout": 0.0, "decoder_dropout": 0.0, **changes}
    )
    net = CrlMmnarModule(widths, tasks, config)
    for name, p in net.named_parameters():  # away from ones and zeros, so that no scale or shift goes unnoticed
        if "norm" in name or "bias" in name or "nothing" in name:
            torch.nn.init.normal_(p, mean=0.5, std=0.3)
    return net


def batch(n=12, seed=0, widths=WIDTHS):
    rng = torch.Generator().manual_seed(seed)
    x = tuple(torch.randn(n, d, generator=rng) for d in widths)
    observed = torch.rand(n, len(widths), generator=rng) < 0.6
    observed[0], observed[1] = True, False
    labels = (torch.rand(n, 3, generator=rng) < 0.5).float()
    return Batch(x, observed, {}, labels, torch.ones(n, 3, dtype=torch.bool), torch.arange(n))


def arrays(net):
    return {k: v.detach().double().numpy() for k, v in net.state_dict().items()}


def layer_norm(x, w, b):
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5) * w + b


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def fusion_by_hand(net, e, delta):
    """h, z and the gates, stay by stay and modality by modality."""
    a, d, heads = arrays(net), net.config.hidden, net.config.heads
    pre = delta @ a["embed_pattern.0.weight"].T + a["embed_pattern.0.bias"]
    pre = np.maximum(layer_norm(pre, a["embed_pattern.1.weight"], a["embed_pattern.1.bias"]), 0)
    pre = pre @ a["embed_pattern.4.weight"].T + a["embed_pattern.4.bias"]
    z = layer_norm(pre, a["embed_pattern.5.weight"], a["embed_pattern.5.bias"])
    n, m = delta.shape
    gates, h = np.zeros((n, m, d)), np.zeros((n, d))
    for i in range(n):
        there = np.flatnonzero(delta[i])
        for k in range(m):
            w, b = a["gate.weight"][k * d : (k + 1) * d], a["gate.bias"][k * d : (k + 1) * d]
            gates[i, k] = sigmoid(w @ z[i] + b)
        if not len(there):
            h[i] = a["nothing_observed"]
            continue
        g = gates[i, there] * e[i, there]  # only the observed tokens exist
        q, k_, v = np.split(g @ a["attention.in_proj_weight"].T + a["attention.in_proj_bias"], 3, axis=1)
        size = d // heads
        mixed = np.concatenate(
            [
                softmax(q[:, s : s + size] @ k_[:, s : s + size].T / np.sqrt(size)) @ v[:, s : s + size]
                for s in range(0, d, size)
            ],
            axis=1,
        )
        out = mixed @ a["attention.out_proj.weight"].T + a["attention.out_proj.bias"] + g
        h[i] = layer_norm(out, a["attention_norm.weight"], a["attention_norm.bias"]).mean(axis=0)
    return h, z, gates


def test_gate_and_fusion_equal_the_equations():
    net, b = module().eval(), batch()
    with torch.inference_mode():
        e = net.encoders(b.x, b.observed)
        h, z = net.fuse(e, b.observed)
        gates = net.gates(z)
    expected_h, expected_z, expected_gates = fusion_by_hand(net, e.double().numpy(), b.observed.double().numpy())
    np.testing.assert_allclose(z, expected_z, atol=1e-5)
    np.testing.assert_allclose(gates, expected_gates, atol=1e-5)
    np.testing.assert_allclose(h, expected_h, atol=1e-5)
    with torch.inference_mode():
        torch.testing.assert_close(net.represent(b), h)


def test_encoders_equal_the_equations():
    net, b = module().eval(), batch()
    with torch.inference_mode():
        e = net.encoders(b.x, b.observed)
    a = {k.removeprefix("encoders."): v for k, v in arrays(net).items() if k.startswith("encoders.")}
    for m in range(3):
        x = b.x[m].double().numpy() @ a[f"first.{m}.weight"].T + a[f"first.{m}.bias"]
        x = (
            np.maximum(layer_norm(x, a["rest.0.weight"][m], a["rest.0.bias"][m]), 0) @ a["rest.3.weight"][m]
            + a["rest.3.bias"][m]
        )
        x = (
            np.maximum(layer_norm(x, a["rest.4.weight"][m], a["rest.4.bias"][m]), 0) @ a["rest.7.weight"][m]
            + a["rest.7.bias"][m]
        )
        x = layer_norm(x, a["rest.8.weight"][m], a["rest.8.bias"][m])
        np.testing.assert_allclose(e[:, m], np.where(b.observed[:, [m]], x, 0), atol=1e-5)


def test_parameter_counts_are_the_released_codes():
    net = CrlMmnarModule((36, 1024, 300, 300), TASKS, Config())
    count = lambda part: sum(p.numel() for p in part.parameters())  # noqa: E731
    assert count(net.encoders) == 59_904 + 312_832 + 127_488 + 127_488
    assert count(net.embed_pattern) == 17_664
    assert [count(h) for h in net.heads] == [25_217, 25_217, 75_137]
    assert count(net.gate) == 4 * (128 * 128 + 128)
    one = CrlMmnarModule((36,), TASKS, Config())
    assert count(one.encoders) == 59_904


def log_sum_exp(values):
    return np.log(np.exp(values).sum())


def by_hand_losses(target, made, own, temperature, average, symmetric, projected=None):
    """L_rec and L_con as explicit loops over modalities, stays and candidates; ``projected``: what L_con compares, where not the tokens."""
    rec, con = {}, {}
    for m in range(own.shape[1]):
        rows = np.flatnonzero(own[:, m])
        t, g = projected or (target, made)
        cos = np.array(
            [[t[i, m] @ g[j, m] / np.linalg.norm(t[i, m]) / np.linalg.norm(g[j, m]) for j in rows] for i in rows]
        )
        for k, i in enumerate(rows):
            one_way = log_sum_exp(cos[k] / temperature) - cos[k, k] / temperature
            back = log_sum_exp(cos[:, k] / temperature) - cos[k, k] / temperature
            rec.setdefault(m, []).append(((made[i, m] - target[i, m]) ** 2).sum() / target.shape[2])
            con.setdefault(m, []).append((one_way + back) / 2 if symmetric else one_way)
    if average == "stay":
        return tuple(np.mean(np.concatenate(list(errors.values()))) for errors in (rec, con))
    if average == "modality":
        return tuple(sum(np.mean(e) for e in errors.values()) for errors in (rec, con))
    pairs = {m: e for m, e in con.items() if len(e) >= 2}
    return tuple(np.mean([np.mean(e) for e in errors.values()]) for errors in (rec, pairs))


@pytest.mark.parametrize("average", AVERAGES)
@pytest.mark.parametrize(("temperature", "symmetric"), [(0.1, True), (0.5, False)])
def test_reconstruction_and_contrast_equal_explicit_loops(average, temperature, symmetric):
    rng = np.random.default_rng(0)
    target, made = rng.normal(size=(2, 11, 4, 6))
    own = rng.random((11, 4)) < [0.7, 0.4, 0.9, 0.0]  # modality 3 is left out of nobody
    own[[2, 5]] = False  # stays with nothing to spare
    rec, con = by_hand_losses(target, made, own, temperature, average, symmetric)
    t, p, o = torch.tensor(target), torch.tensor(made), torch.tensor(own)
    mean = AVERAGES[average]
    assert mean(compute_reconstruction_errors(t, p), o).item() == pytest.approx(rec)
    assert mean(compute_contrastive_errors(t, p, o, temperature, symmetric), o).item() == pytest.approx(con, rel=1e-5)


@pytest.mark.parametrize("mean", AVERAGES.values())
def test_nothing_left_out_is_no_loss(mean):
    assert mean(torch.ones(3, 2), torch.zeros(3, 2, dtype=torch.bool)).item() == 0


@pytest.mark.parametrize("symmetric", [True, False])
def test_constant_vectors_have_the_contrastive_loss_of_chance(symmetric):
    own = torch.zeros(9, 2, dtype=torch.bool)
    own[:7, 0] = True
    target, made = torch.randn(2, 2, 5).unsqueeze(1).expand(2, 9, 2, 5)
    errors = compute_contrastive_errors(target, made, own, 0.1, symmetric)
    torch.testing.assert_close(errors[:7, 0], torch.full((7,), np.log(7), dtype=torch.float32))


def test_the_symmetric_loss_does_not_say_which_is_the_target():
    target, made = torch.randn(2, 9, 2, 5)
    own = torch.rand(9, 2) < 0.7
    one, other = (compute_contrastive_errors(*pair, own, 0.1, True)[own] for pair in ((target, made), (made, target)))
    torch.testing.assert_close(one, other)
    assert not torch.allclose(
        *(compute_contrastive_errors(*pair, own, 0.1, False)[own] for pair in ((target, made), (made, target)))
    )


FORMS = {"default": {}, "end_to_end": END_TO_END, "per_modality": CrlMmnar.variants["per_modality"]}


@pytest.mark.parametrize("form", FORMS)
def test_training_losses_equal_hand_computation(form, monkeypatch):
    net, b = module(lambda_miss=0.5, lambda_rec=1.0, lambda_con=0.15, **FORMS[form]).train(), batch(16)
    c = net.config
    left = {"each": leave_each_out, "one": leave_one_out}[c.left_out](b.observed)
    monkeypatch.setitem(LEAVE_OUT, c.left_out, lambda observed: left)
    monkeypatch.setattr("methods.common.layers.Dropout.forward", lambda self, x: x)
    with torch.no_grad():
        output = net(b)
        e = net.encoders(b.x, b.observed)
    delta, own, e = b.observed.double().numpy(), left[1].numpy(), e.double().numpy()
    h, z, _ = fusion_by_hand(net, e, delta)
    a = arrays(net)
    p = sigmoid(z @ a["decode_pattern.weight"].T + a["decode_pattern.bias"])
    miss = -(delta * np.log(p) + (1 - delta) * np.log(1 - p)).mean()
    made = np.zeros_like(e)
    for m in range(3):
        rest = delta * (1 - own * np.eye(3)[m])  # without m where it is m's turn
        h_rest, _, _ = fusion_by_hand(net, e, rest)
        hidden = np.maximum(h_rest @ a["decoders.0.weight"][m] + a["decoders.0.bias"][m], 0)
        made[:, m] = hidden @ a["decoders.3.weight"][m] + a["decoders.3.bias"][m]
    projected = None
    if c.project:
        projected = tuple(
            np.einsum("imd,mdp->imp", v, a[f"{name}.maps.weight"]) + a[f"{name}.maps.bias"]
            for v, name in ((e, "project_target"), (made, "project_made"))
        )
    rec, con = by_hand_losses(e, made, own, 0.1, c.average, c.project, projected)
    assert output.losses["miss"].item() == pytest.approx(0.5 * miss, rel=1e-4)
    assert output.losses["rec"].item() == pytest.approx(rec, rel=1e-4)
    assert output.losses["con"].item() == pytest.approx(0.15 * con, rel=1e-4)
    with torch.no_grad():
        expected = torch.cat([head(torch.tensor(h).float()) for head in net.heads], dim=1)
    np.testing.assert_allclose(output.logits, expected, atol=1e-4)


def test_one_modality_is_drawn_uniformly_among_the_observed():
    torch.manual_seed(0)
    observed = torch.tensor([[True, False, True], [False, True, False], [True, True, True]]).repeat_interleave(9000, 0)
    (rest,), own = leave_one_out(observed)
    drawn = observed & ~rest
    assert (drawn.sum(1) == 1).all()
    assert torch.equal(own, drawn & torch.tensor([True, False, True]).repeat_interleave(9000)[:, None])
    shares = torch.stack([part.float().mean(0) for part in drawn.chunk(3)])
    torch.testing.assert_close(
        shares, torch.tensor([[0.5, 0, 0.5], [0, 1, 0], [1 / 3, 1 / 3, 1 / 3]]), atol=0.02, rtol=0
    )


def test_every_observed_modality_is_left_out_in_turn():
    observed = torch.tensor([[True, False, True], [False, True, False], [True, True, True]])
    rest, own = leave_each_out(observed)
    assert own.tolist() == [[True, False, True], [False] * 3, [True] * 3]
    for m in range(3):
        expected = observed.clone()
        expected[:, m] = False
        assert torch.equal(rest[m], expected)


@pytest.mark.parametrize("fusion", ["mmnar", "concat"])
def test_passes_equal_the_fusion_of_stays_that_lack_the_modality(fusion, monkeypatch):
    """All passes are one batch; each gives what the stays give alone, their modality marked unobserved."""
    net, b = module(fusion=fusion).train(), batch()
    seen = []
    real = CrlMmnarModule.fuse
    monkeypatch.setattr(CrlMmnarModule, "fuse", lambda self, *a: seen.append(real(self, *a)) or seen[-1])
    net(b)
    h = seen[0][0].unflatten(0, (4, 12))
    for m in range(3):
        lacking = b.observed.clone()
        lacking[:, m] = False
        with torch.no_grad():
            torch.testing.assert_close(
                h[1 + m], real(net, net.encoders(b.x, lacking), lacking)[0], atol=1e-6, rtol=1e-5
            )
            torch.testing.assert_close(
                h[0], real(net, net.encoders(b.x, b.observed), b.observed)[0], atol=1e-6, rtol=1e-5
            )


@pytest.mark.parametrize("fusion", ["mmnar", "concat"])
def test_a_modality_left_out_does_not_reach_its_own_reconstruction(fusion):
    net, b = module(fusion=fusion).eval(), batch()
    m = 1
    rest = b.observed.clone()
    rest[:, m] = False
    other = b._replace(x=(b.x[0], 100 * torch.randn_like(b.x[1]), b.x[2]))
    with torch.inference_mode():
        made = [net.fuse(net.encoders(parts.x, b.observed), rest)[0] for parts in (b, other)]
        assert torch.equal(*made)
        # and whether the modality was there does not show either
        seen = b.observed.clone()
        seen[:, m] = True
        assert torch.equal(net.fuse(net.encoders(b.x, seen), rest)[0], made[0])
        # the others do reach it
        third = b._replace(x=(b.x[0] + 1, *b.x[1:]))
        h, _ = net.fuse(net.encoders(third.x, b.observed), rest)
        assert (h - made[0])[b.observed[:, 0]].abs().max() > 1e-3


def test_a_stay_with_one_modality_enters_the_missingness_loss_alone():
    net, b = module().train(), batch()
    single = torch.zeros_like(b.observed)
    single[:, 1] = True
    losses = net(b._replace(observed=single)).losses
    assert losses["rec"].item() == losses["con"].item() == 0
    assert losses["miss"].item() > 0


def test_the_missingness_loss_reads_the_pattern_alone():
    net, b = module().train(), batch()
    other = b._replace(x=tuple(v + 1 for v in b.x))
    one, two = net(b).losses, net(other).losses
    assert torch.equal(one["miss"], two["miss"])
    assert one["rec"] != two["rec"]


def test_unobserved_content_reaches_no_loss():
    results = []
    for garbage in (0.0, float("nan"), 1e9):
        net, b = module().train(), batch()
        x = tuple(torch.where(seen[:, None], v, garbage) for v, seen in zip(b.x, b.observed.T, strict=True))
        out = net(b._replace(x=x))
        (out.logits.square().sum() + sum(out.losses.values())).backward()
        results.append([out.logits, *out.losses.values(), *(p.grad for p in net.parameters() if p.grad is not None)])
    for other in results[1:]:
        assert all(torch.equal(v, w) for v, w in zip(results[0], other, strict=True))


def test_a_detached_target_gets_no_gradient():
    grads = []
    for detach in (False, True):
        torch.manual_seed(1)
        net, b = module(**END_TO_END | {"detach_target": detach}, lambda_miss=0.0, lambda_con=0.0), batch()
        keep = {}
        net.encoders.register_forward_hook(lambda _m, _i, out, keep=keep: (out.retain_grad(), keep.update(e=out))[1])
        torch.manual_seed(2)
        net.train()(b).losses["rec"].backward()
        torch.manual_seed(2)
        _, own = leave_one_out(b.observed)
        grads.append(keep["e"].grad[own].abs().sum().item())
    assert grads[0] > 0
    assert grads[1] == 0


def test_the_auxiliary_weight_falls_over_ten_epochs():
    net, b = module().train(), batch()
    weights, losses = {}, {}
    for epoch in (1, 5, 10, 11, 40):
        net.epoch.fill_(epoch)
        weights[epoch] = round(net.auxiliary_weight().item(), 6)
        losses[epoch] = net(b).losses
    assert weights == {1: 1.0, 5: 0.6, 10: 0.1, 11: 0.0, 40: 0.0}
    for name in ("miss", "rec", "con"):
        for epoch, weight in weights.items():
            assert losses[epoch][name].item() == pytest.approx(weight * losses[1][name].item(), rel=1e-5)
    net.phase = 1
    assert net.auxiliary_weight() == 1
    assert module(anneal_epochs=0).auxiliary_weight() == 1


def parts(seed=0):
    return draw_random_cohort(90, seed=seed), draw_random_cohort(40, seed=seed + 1)


def configure(**changes):
    return Config(**{"hidden": 16, "heads": 4, "max_epochs": 3, "pretrain_epochs": 2, "lr": 1e-3, **changes})


def fitted(**changes):
    return CrlMmnar(configure(**changes), seed=3).fit(*parts())


def without_score(history):
    return [{k: v for k, v in entry.items() if k != "valid"} for entry in history]


def test_zero_weights_equal_the_smaller_variant_step_for_step():
    smaller, zero = fitted(**CrlMmnar.variants["mmnar"]), fitted(lambda_rec=0.0, lambda_con=0.0)
    assert without_score(smaller.history) == without_score(zero.history)
    test = draw_random_cohort(30, seed=2)
    np.testing.assert_array_equal(smaller.predict_proba(test), zero.predict_proba(test))
    assert (fitted().predict_proba(test) != zero.predict_proba(test)).any()


def test_the_ladder_is_one_class_with_switches():
    losses, stages = {}, {}
    for name, changes in CrlMmnar.variants.items():
        history = fitted(max_epochs=1, **{"pretrain_epochs": 1} | changes).history
        losses[name], stages[name] = set(history[-1]), [e["stage"] for e in history]
        assert all(set(e) == losses[name] for e in history)
    base = {"epoch", "loss", "supervised", "valid", "stage"}
    whole = dict.fromkeys(
        ("mmnar_mr", "focal", "attached", "end_to_end", "per_modality", "detached"), base | {"miss", "rec", "con"}
    )
    assert losses == {"concat": base, "mmnar": base | {"miss"}, **whole}
    one_phase = ("concat", "end_to_end", "per_modality", "detached")
    assert stages == {name: [2] if name in one_phase else [1, 2] for name in CrlMmnar.variants}


def of_heads(state):
    return {k for k in state if k.startswith("heads.")}


def test_phase_1_reads_no_outcome_selects_nothing_and_leaves_the_heads(monkeypatch):
    at_start, after = [], []
    real = TorchMethod._train

    def train(self, *cohorts):
        copy = lambda: {k: v.clone() for k, v in self.module.state_dict().items()}  # noqa: E731
        at_start.append((copy(), self.config.max_epochs, self.module.phase))
        real(self, *cohorts)
        after.append(copy())

    monkeypatch.setattr(TorchMethod, "_train", train)
    train_part, valid = parts()
    flipped = [replace(c, outcomes=1 - c.outcomes, fingerprint="flipped") for c in (train_part, valid)]
    config = configure(pretrain_epochs=4)
    methods = [CrlMmnar(config, seed=3).fit(*given) for given in ((train_part, valid), flipped)]
    assert [(epochs, phase) for _, epochs, phase in at_start] == [(4, 1), (3, 2)] * 2
    assert all(torch.equal(after[0][k], after[2][k]) for k in after[0])  # the same whatever the outcomes
    assert not all(torch.equal(after[1][k], after[3][k]) for k in after[0])
    start, pretrained, begun = at_start[0][0], after[0], at_start[1][0]
    assert {k for k in start if torch.equal(start[k], pretrained[k])} == of_heads(start) | {"nothing_observed"}
    assert all(torch.equal(pretrained[k], begun[k]) for k in begun)  # phase 2 goes on where phase 1 ends
    for method in methods:
        first = [e for e in method.history if e["stage"] == 1]
        assert [e["epoch"] for e in first] == [1, 2, 3, 4]
        assert all(np.isnan(e["valid"]) and e["supervised"] == 0 for e in first)
        assert method.config == config
        assert method.module.phase == 2


def test_phase_1_has_its_own_length_and_phase_2_that_of_the_schedule():
    assert Config().pretrain_epochs == 20
    history = fitted(max_epochs=1, pretrain_epochs=3).history
    assert [(e["stage"], e["epoch"]) for e in history] == [(1, 1), (1, 2), (1, 3), (2, 1)]


def test_an_order_of_epochs_is_of_phase_2():
    asked = []
    method = CrlMmnar(configure(), seed=3)
    method.epoch_order = lambda n, generator: asked.append(n) or torch.arange(n)
    method.fit(*parts())
    assert asked == [90] * 3


def test_without_auxiliary_weights_it_is_the_supervised_loop():
    none = {"lambda_miss": 0.0, "lambda_rec": 0.0, "lambda_con": 0.0}
    bare, smaller = fitted(**none), fitted(reconstruct=False, lambda_miss=0.0, pretrain_epochs=0)
    assert [e["stage"] for e in bare.history] == [2] * 3
    assert bare.history == smaller.history
    assert all(e["loss"] == e["supervised"] for e in bare.history)


def test_passes_end_with_the_epochs_of_the_auxiliary_losses(monkeypatch):
    calls = []
    monkeypatch.setitem(LEAVE_OUT, "each", lambda observed: calls.append(len(observed)) or leave_each_out(observed))
    history = fitted(pretrain_epochs=2, anneal_epochs=2, max_epochs=4, patience=9).history
    assert len(calls) == (2 + 2) * 3  # epochs of phase 1, epochs with a weight above 0; batches of 32 of 90 stays
    counted = [all(e[name] > 0 for name in ("miss", "rec", "con")) for e in history]
    assert counted == [True] * 4 + [False] * 2
    assert all(e["loss"] == e["supervised"] for e in history[4:])
    assert history[3]["rec"] < 0.75 * history[2]["rec"]  # a_2 = 1/2


@pytest.mark.parametrize("variant", CrlMmnar.variants)
def test_every_variant_trains_in_a_stack_as_alone(variant):
    """In a stack the passes of an L_aux that no longer counts go on, with weight 0; alone they are left out."""
    changes = {"pretrain_epochs": 1, "anneal_epochs": 1} | CrlMmnar.variants[variant]
    config = configure(max_epochs=2, dropout=0.0, attention_dropout=0.0, decoder_dropout=0.0, **changes)
    stacked = [CrlMmnar(config, seed=seed) for seed in range(2)]
    assert fit_stacked(stacked, [parts(seed) for seed in range(2)]) == [None, None]
    for seed, method in enumerate(stacked):
        alone = CrlMmnar(config, seed=seed).fit(*parts(seed))
        losses = [[[e[k] for k in sorted(e.keys() - {"valid"})] for e in m.history] for m in (method, alone)]
        share = 0.1 if changes.get("left_out") == "one" else 1e-3  # which modality is masked is drawn
        np.testing.assert_allclose(*losses, rtol=share, atol=1e-3)
        assert method.fit_report().keys() == alone.fit_report().keys()
        assert method.fit_report()[COSINE] == pytest.approx(alone.fit_report()[COSINE], abs=0.05)


def test_missingness_loss_makes_the_pattern_readable():
    method = fitted(max_epochs=30, lr=5e-3)
    assert method.history[-1]["miss"] < 0.3 * method.history[0]["miss"]


@pytest.mark.parametrize("fusion", ["mmnar", "concat"])
def test_a_stay_with_nothing_observed_has_one_learned_answer(fusion):
    method = fitted(fusion=fusion)
    test = draw_random_cohort(40, seed=2)
    observed = test.observed.copy()
    observed[:10] = False
    empty = replace(test, observed=observed, fingerprint="")
    p, h = method.predict_proba(empty), method.represent(empty)
    assert np.isfinite(p).all()
    np.testing.assert_allclose(p[:10], p[:1].repeat(10, axis=0), atol=1e-7)
    learned = method.module.nothing_observed if fusion == "mmnar" else method.module.concat.bias
    np.testing.assert_allclose(h[0], learned.detach(), atol=1e-6)
    assert h.shape == (40, 16)


def test_an_empty_stay_trains_its_constant_and_leaves_gradients_finite():
    net, b = module(), batch()
    out = net.train()(b)
    (out.logits.square().sum() + sum(out.losses.values())).backward()
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in net.parameters())
    assert net.nothing_observed.grad.abs().sum() > 0


def test_attention_ignores_unobserved_tokens_like_torchs_own_mask():
    net, b = module().eval(), batch()
    g = torch.randn(12, 3, 16)
    seen = b.observed[b.observed.any(1)]
    a, _ = net.attention(*(g[: len(seen)],) * 3, key_padding_mask=~seen, need_weights=False)
    spoilt = torch.where(seen[..., None], g[: len(seen)], torch.tensor(1e3))
    c, _ = net.attention(*(spoilt,) * 3, key_padding_mask=~seen, need_weights=False)
    torch.testing.assert_close(a[seen], c[seen])


def test_task_weights_by_name():
    config = Config()
    names = ("readmission_30d", "icu_readmission", "readmission_or_death_30d", "icu_90d", "mortality_inhosp", "sepsis")
    assert [task_weight(n, config) for n in names] == [1.2, 1.2, 1.2, 1.0, 1.5, 1.0]
    assert CrlMmnar(Config(weight_icu=3.0)).task_weights(("icu_90d",)) == [3.0]


def test_info_nce_of_perfect_reconstructions_is_below_that_of_shuffled_ones():
    torch.manual_seed(0)
    e, own = torch.randn(20, 1, 8), torch.ones(20, 1, dtype=torch.bool)
    good, bad = (compute_contrastive_errors(e, made, own, 0.1, True).mean() for made in (e, e.roll(1, 0)))
    assert good < bad


def test_the_fit_says_how_far_the_representation_has_collapsed():
    method, (train, _) = fitted(), parts()
    net, b = method.module.eval(), method.tensors(train)
    excess, cosines = [], []
    with torch.inference_mode():
        for i in (0, 64):  # of 90 stays
            part = b.take(slice(i, i + 64))
            e, seen = net.encoders(part.x, part.observed), part.observed
            for m in range(seen.shape[1]):
                rest = seen.clone()
                rest[:, m] = False
                rows = seen[:, m] & rest.any(1)
                made = net.decoders(net.fuse(e, rest)[0].unsqueeze(1).expand(-1, seen.shape[1], -1))
                q = (
                    F.normalize(net.project_target(e)[rows, m], dim=1)
                    @ F.normalize(net.project_made(made)[rows, m], dim=1).T
                    / 0.1
                )
                index = torch.arange(len(q))
                excess.append((F.cross_entropy(q, index) + F.cross_entropy(q.T, index)).item() / 2 - np.log(len(q)))
                unit = F.normalize(e[seen[:, m], m], dim=1)
                cosines.append((unit @ unit.T)[~torch.eye(len(unit), dtype=torch.bool)].mean().item())
    assert method.fit_report() == pytest.approx({COSINE: np.mean(cosines), CONTRAST: np.mean(excess)}, abs=1e-4)
    assert set(fitted(**CrlMmnar.variants["concat"]).fit_report()) == {COSINE}
    assert CrlMmnar(method.config).load_state(method.state()).fit_report() == {}


def test_the_representation_does_not_collapse():
    """After training, tokens of different stays are told apart; without the stop-gradient they draw together."""
    from datasets.registry import prepare

    cohort = prepare("embedded-mimic", {"n": 330, "seed": 1000, "draws": 16}).cohort("discharge")
    train, valid = cohort.take(np.arange(240)), cohort.take(np.arange(240, len(cohort)))
    found = {}
    for name in ("default", "attached"):
        config = Config(hidden=64, max_epochs=3, lr=4e-4, **CrlMmnar.variants.get(name, {}))
        found[name] = CrlMmnar(config, seed=0).fit(train, valid).fit_report()
    assert found["default"][COSINE] < 0.8
    assert found["default"][CONTRAST] < -0.3
    assert found["attached"][COSINE] > 0.9
