"""CRL-MMNAR: every equation of its docstring computed again by hand."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from benchmark.check.cohorts import draw_random_cohort
from methods.common.training import Batch
from methods.crl_mmnar import (
    Config,
    CrlMmnar,
    CrlMmnarModule,
    contrastive_errors,
    draw_masked,
    mean_over_stays,
    pick,
    reconstruction_errors,
    sum_of_modality_means,
    task_weight,
)

TASKS = ("readmission_30d", "icu_90d", "mortality_inhosp")
WIDTHS = (6, 5, 4)


def module(seed=0, widths=WIDTHS, tasks=TASKS, **changes):
    torch.manual_seed(seed)
    config = Config(**{"hidden": 16, "heads": 4, "dropout": 0.0, "attention_dropout": 0.0, **changes})
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


def by_hand_losses(target, made, own, temperature, average="stay"):
    """L_rec and L_con as explicit loops over stays and candidates."""
    rec, con = {}, {}
    for i in np.flatnonzero(own.any(axis=1)):
        m = int(np.argmax(own[i]))
        cos = lambda j: target[i] @ made[j] / np.linalg.norm(target[i]) / np.linalg.norm(made[j])  # noqa: B023, E731
        others = sum(np.exp(cos(j) / temperature) for j in np.flatnonzero(own[:, m]))
        rec.setdefault(m, []).append(((made[i] - target[i]) ** 2).sum() / target.shape[1])
        con.setdefault(m, []).append(-np.log(np.exp(cos(i) / temperature) / others))
    if average == "stay":
        return tuple(np.mean(np.concatenate(list(errors.values()))) for errors in (rec, con))
    return tuple(sum(np.mean(e) for e in errors.values()) for errors in (rec, con))


@pytest.mark.parametrize(("average", "mean"), [("stay", mean_over_stays), ("modality", sum_of_modality_means)])
@pytest.mark.parametrize("temperature", [0.1, 0.5])
def test_reconstruction_and_contrast_equal_explicit_loops(average, mean, temperature):
    rng = np.random.default_rng(0)
    target, made = rng.normal(size=(11, 6)), rng.normal(size=(11, 6))
    own = np.eye(4, dtype=bool)[rng.integers(0, 3, 11)]  # modality 3 is masked by nobody
    own[[2, 5]] = False  # stays with nothing to spare
    rec, con = by_hand_losses(target, made, own, temperature, average)
    t, p, o = torch.tensor(target), torch.tensor(made), torch.tensor(own)
    assert mean(reconstruction_errors(t, p), o).item() == pytest.approx(rec)
    assert mean(contrastive_errors(t, p, o, temperature), o).item() == pytest.approx(con)


@pytest.mark.parametrize("mean", [mean_over_stays, sum_of_modality_means])
def test_nothing_masked_is_no_loss(mean):
    assert mean(torch.ones(3), torch.zeros(3, 2, dtype=torch.bool)).item() == 0


def test_training_losses_equal_hand_computation(monkeypatch):
    net, b = module(lambda_miss=0.5, lambda_rec=1.0, lambda_con=0.15).train(), batch()
    masked, eligible = draw_masked(b.observed)
    monkeypatch.setattr("methods.crl_mmnar.draw_masked", lambda observed: (masked, eligible))
    monkeypatch.setattr("methods.common.layers.Dropout.forward", lambda self, x: x)
    with torch.no_grad():
        output = net(b)
        e = net.encoders(b.x, b.observed)
    delta = b.observed.double().numpy()
    rest = delta.copy()
    rest[np.arange(len(rest)), masked] = 0
    h, z, _ = fusion_by_hand(net, e.double().numpy(), delta)
    h_rest, _, _ = fusion_by_hand(net, e.double().numpy(), rest)
    a = arrays(net)
    p = sigmoid(z @ a["decode_pattern.weight"].T + a["decode_pattern.bias"])
    miss = -(delta * np.log(p) + (1 - delta) * np.log(1 - p)).mean()
    made = np.stack(
        [
            np.maximum(h_rest[i] @ a["decoders.0.weight"][m] + a["decoders.0.bias"][m], 0) @ a["decoders.3.weight"][m]
            + a["decoders.3.bias"][m]
            for i, m in enumerate(masked)
        ]
    )
    target = e.double().numpy()[np.arange(len(e)), masked]
    own = np.eye(3, dtype=bool)[masked] & eligible.numpy()[:, None]
    rec, con = by_hand_losses(target, made, own, 0.1)
    assert output.losses["miss"].item() == pytest.approx(0.5 * miss, rel=1e-4)
    assert output.losses["rec"].item() == pytest.approx(rec, rel=1e-4)
    assert output.losses["con"].item() == pytest.approx(0.15 * con, rel=1e-4)
    with torch.no_grad():
        expected = torch.cat([head(torch.tensor(h).float()) for head in net.heads], dim=1)
    np.testing.assert_allclose(output.logits, expected, atol=1e-4)


def test_masked_modality_is_drawn_uniformly_among_the_observed():
    torch.manual_seed(0)
    observed = torch.tensor([[True, False, True], [False, True, False], [True, True, True]]).repeat_interleave(9000, 0)
    masked, eligible = draw_masked(observed)
    assert observed.gather(1, masked[:, None]).all()
    assert eligible.tolist() == [True] * 9000 + [False] * 9000 + [True] * 9000
    shares = torch.stack([torch.bincount(part, minlength=3) / 9000 for part in masked.chunk(3)])
    torch.testing.assert_close(
        shares, torch.tensor([[0.5, 0, 0.5], [0, 1, 0], [1 / 3, 1 / 3, 1 / 3]]), atol=0.02, rtol=0
    )


@pytest.mark.parametrize("fusion", ["mmnar", "concat"])
def test_a_masked_modality_does_not_reach_its_own_reconstruction(fusion):
    net, b = module(fusion=fusion).eval(), batch()
    m, rows = 1, batch().observed.sum(1) >= 2
    rest = b.observed.clone()
    rest[:, m] = False
    other = b._replace(x=(b.x[0], 100 * torch.randn_like(b.x[1]), b.x[2]))
    with torch.inference_mode():
        made = []
        for parts in (b, other):
            h, _ = net.fuse(net.encoders(parts.x, b.observed), rest)
            made.append(net.reconstruct(h, torch.full((len(rows),), m)))
        assert torch.equal(*made)
        # and whether the modality was there does not show either
        seen = b.observed.clone()
        seen[:, m] = True
        assert torch.equal(
            net.reconstruct(net.fuse(net.encoders(b.x, seen), rest)[0], torch.full((len(rows),), m)), made[0]
        )
        # the others do reach it
        third = b._replace(x=(b.x[0] + 1, *b.x[1:]))
        h, _ = net.fuse(net.encoders(third.x, b.observed), rest)
        assert (net.reconstruct(h, torch.full((len(rows),), m)) - made[0])[b.observed[:, 0]].abs().max() > 1e-3


def test_detached_target_gets_no_gradient():
    grads = []
    for detach in (False, True):
        torch.manual_seed(1)
        net, b = module(detach_target=detach, lambda_miss=0.0, lambda_con=0.0), batch()
        keep = {}
        net.encoders.register_forward_hook(lambda _m, _i, out, keep=keep: (out.retain_grad(), keep.update(e=out))[1])
        torch.manual_seed(2)
        net.train()(b).losses["rec"].backward()
        torch.manual_seed(2)
        masked, eligible = draw_masked(b.observed)
        grads.append(pick(keep["e"].grad, masked)[eligible].abs().sum().item())
    assert grads[0] > 0
    assert grads[1] == 0


def fitted(**changes):
    config = Config(**{"hidden": 16, "heads": 4, "max_epochs": 3, "lr": 1e-3, **changes})
    return CrlMmnar(config, seed=3).fit(draw_random_cohort(90), draw_random_cohort(40, seed=1))


def test_zero_weights_equal_the_smaller_variant_step_for_step():
    smaller, zero = fitted(**CrlMmnar.variants["mmnar"]), fitted(lambda_rec=0.0, lambda_con=0.0)
    assert smaller.history == zero.history
    test = draw_random_cohort(30, seed=2)
    np.testing.assert_array_equal(smaller.predict_proba(test), zero.predict_proba(test))
    assert (fitted().predict_proba(test) != zero.predict_proba(test)).any()


def test_the_ladder_is_one_class_with_switches():
    losses = {name: set(fitted(max_epochs=1, **changes).history[0]) for name, changes in CrlMmnar.variants.items()}
    base = {"epoch", "loss", "supervised", "valid"}
    whole = base | {"miss", "rec", "con"}
    assert losses == {
        "concat": base,
        "mmnar": base | {"miss"},
        "mmnar_mr": whole,
        "per_modality": whole,
        "detached": whole,
    }


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
    e, own = F.normalize(torch.randn(20, 8), dim=1), torch.ones(20, 1, dtype=torch.bool)
    assert contrastive_errors(e, e, own, 0.1).mean() < contrastive_errors(e, e.roll(1, 0), own, 0.1).mean()
