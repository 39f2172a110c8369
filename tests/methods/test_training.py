"""The training loop: losses against hand computation, what is restored, what is left untouched."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from torch import nn

from benchmark.check.cohorts import draw_random_cohort
from methods.common.outcomes import base_rate, selection_score
from methods.common.stacked import fit_stacked
from methods.common.training import Batch, Output, TorchMethod, TrainingConfig, supervised_loss


@dataclass(frozen=True)
class Config(TrainingConfig):
    lr: float = 1e-2
    max_epochs: int = 6
    dropout: float = 0.3


class Net(nn.Module):
    def __init__(self, width, tasks, dropout):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(width, 16), nn.ReLU(), nn.Dropout(dropout), nn.Linear(16, tasks))

    def forward(self, batch):
        losses = {"size": 1e-3 * batch.extra["size"].float().mean()} if self.training else {}
        return Output(self.net(batch.x[0]), losses)


class Simple(TorchMethod):
    Config = Config

    def build(self, widths, tasks):
        return Net(widths[0], len(tasks), self.config.dropout)

    def extra_inputs(self, cohort):
        return {"size": cohort.observed.sum(axis=1)}


@pytest.fixture(scope="module")
def parts():
    return draw_random_cohort(97, seed=0), draw_random_cohort(60, seed=1), draw_random_cohort(80, seed=2)


@pytest.mark.parametrize(("gamma", "expected"), [(2.0, 0.2104361), (3.5, 0.1553328)])
def test_focal_loss_of_a_published_example(gamma, expected):
    logits, y = torch.tensor([[0.0], [2.0], [-1.0]]), torch.tensor([[1.0], [0.0], [1.0]])
    loss = supervised_loss(logits, y, torch.ones(3, 1, dtype=torch.bool), torch.tensor([0.25]), gamma)
    assert loss.item() == pytest.approx(expected, abs=1e-6)


def test_supervised_loss_is_the_weighted_sum_of_masked_means():
    rng = np.random.default_rng(0)
    z, y, known = rng.normal(size=(9, 3)), (rng.random((9, 3)) < 0.5) * 1.0, rng.random((9, 3)) < 0.6
    known[:, 2] = False
    p = 1 / (1 + np.exp(-z))
    bce = -(y * np.log(p) + (1 - y) * np.log(1 - p))
    expected = sum(w * bce[known[:, t], t].mean() for t, w in ((0, 0.2), (1, 1.5)))
    logits = torch.tensor(z, dtype=torch.float32, requires_grad=True)
    loss = supervised_loss(logits, torch.tensor(y).float(), torch.tensor(known), torch.tensor([0.2, 1.5, 9.0]))
    loss.backward()
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    assert (logits.grad[~torch.tensor(known)] == 0).all()


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_loss_has_finite_gradients_at_extreme_logits(gamma):
    logits = torch.tensor([[200.0], [-200.0], [200.0]], requires_grad=True)
    y = torch.tensor([[1.0], [0.0], [0.0]])
    supervised_loss(logits, y, torch.ones(3, 1, dtype=torch.bool), torch.ones(1), gamma).backward()
    assert torch.isfinite(logits.grad).all()


def test_history_and_best_weights(parts):
    train, valid, _ = parts
    seen = []
    method = Simple(Config(max_epochs=8))
    method.on_epoch = seen.append
    method.fit(train, valid)
    assert [h["epoch"] for h in method.history] == list(range(1, 9))
    assert seen == method.history
    assert set(method.history[0]) == {"epoch", "loss", "supervised", "size", "valid"}
    assert method.history[0]["loss"] == pytest.approx(
        method.history[0]["supervised"] + method.history[0]["size"], rel=1e-4
    )
    assert selection_score(valid.outcomes, method.predict_proba(valid)) == max(h["valid"] for h in method.history)
    assert method.history[-1]["supervised"] < method.history[0]["supervised"]


@pytest.mark.parametrize("selection", ["log_loss", "auc"])
def test_selection_decides_which_epoch_is_kept(parts, selection):
    train, valid, _ = parts
    method = Simple(Config(max_epochs=8, selection=selection)).fit(train, valid)
    scores = [h["valid"] for h in method.history]
    assert all(s < 0 for s in scores) if selection == "log_loss" else all(0 <= s <= 1 for s in scores)
    assert selection_score(valid.outcomes, method.predict_proba(valid), selection) == max(scores)


class Told(Net):
    """A network whose own loss is the number of the epoch that it is told."""

    def __init__(self, width, tasks, dropout):
        super().__init__(width, tasks, dropout)
        self.register_buffer("epoch", torch.zeros(()), persistent=False)

    def forward(self, batch):
        return Output(self.net(batch.x[0]), {"told": self.epoch + 0.0 * self.net[0].bias.sum()})


class InTwoStages(Simple):
    """Two stages of the loop, whose modules are told the epoch."""

    def build(self, widths, tasks):
        return Told(widths[0], len(tasks), 0.0)

    def stages(self, train, valid):
        yield train, valid
        yield train, valid


def test_a_module_is_told_the_epoch_of_its_stage_alone_and_in_a_stack(parts):
    train, valid, _ = parts
    stack = [InTwoStages(Config(max_epochs=3), seed=s) for s in (0, 1)]
    assert fit_stacked(stack, [(train, valid)] * 2) == [None, None]
    for method in (InTwoStages(Config(max_epochs=3)).fit(train, valid), *stack):
        assert [h["told"] for h in method.history] == [1, 2, 3, 1, 2, 3]
    # the number is no part of what was fitted
    assert not [name for name in method.state() if "epoch" in name]


def test_patience_stops(parts):
    train, valid, _ = parts
    method = Simple(Config(max_epochs=200, patience=3, lr=0.05)).fit(train, valid)
    scores = [h["valid"] for h in method.history]
    assert len(scores) == int(np.argmax(scores)) + 1 + 3 < 200


def test_seed_decides_everything_and_global_generators_are_left_alone(parts):
    train, valid, test = parts
    torch.manual_seed(5)
    np.random.seed(5)  # noqa: NPY002
    before = torch.random.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    first = Simple(seed=1).fit(train, valid).predict_proba(test)
    assert torch.equal(torch.random.get_rng_state(), before[0])
    np.testing.assert_array_equal(np.random.get_state()[1], before[1])  # noqa: NPY002
    torch.manual_seed(99)
    np.testing.assert_array_equal(Simple(seed=1).fit(train, valid).predict_proba(test), first)
    assert (Simple(seed=2).fit(train, valid).predict_proba(test) != first).any()


def test_a_task_with_one_class_is_its_base_rate_and_out_of_the_loss(parts):
    train, valid, test = parts
    y = train.outcomes.copy()
    y[:, 1] = np.where(np.isnan(y[:, 1]), np.nan, 0)
    single = replace(train, outcomes=y, fingerprint="")
    method = Simple().fit(single, valid)
    np.testing.assert_array_equal(method.predict_proba(test)[:, 1], base_rate(y)[1])
    y = y.copy()
    y[:, 1] = np.nan
    np.testing.assert_array_equal(
        Simple().fit(replace(train, outcomes=y, fingerprint=""), valid).predict_proba(test)[:, 0],
        method.predict_proba(test)[:, 0],
    )


class Silent(Simple):
    """A network that says nothing."""

    def build(self, widths, tasks):
        net = super().build(widths, tasks)
        for p in net.parameters():
            nn.init.zeros_(p)
        return net


def test_an_untrained_network_predicts_the_training_base_rate(parts):
    train, valid, test = parts
    method = Silent(replace(Config(), max_epochs=0), seed=0).fit(train, valid)
    expected = np.tile(base_rate(train.outcomes), (len(test), 1))
    np.testing.assert_allclose(method.predict_proba(test), expected, atol=1e-6)
    again = Silent(Config(), seed=0).load_state(method.state())
    np.testing.assert_array_equal(again.predict_proba(test), method.predict_proba(test))


def test_state_round_trip_without_pickle(parts, tmp_path):
    train, valid, test = parts
    method = Simple().fit(train, valid)
    np.savez(tmp_path / "m.npz", **method.state())
    with np.load(tmp_path / "m.npz", allow_pickle=False) as stored:
        again = Simple().load_state(dict(stored))
    np.testing.assert_array_equal(again.predict_proba(test), method.predict_proba(test))


def test_chunks_do_not_matter(parts, monkeypatch):
    train, valid, test = parts
    method = Simple().fit(train, valid)
    whole = method.predict_proba(test)
    monkeypatch.setattr("methods.common.training.CHUNK", 7)
    np.testing.assert_allclose(method.predict_proba(test), whole, atol=1e-6)


def test_a_diverging_loss_is_one_clear_error(parts):
    train, valid, _ = parts

    class Broken(Simple):
        def task_weights(self, tasks):
            return [float("inf")] * len(tasks)

    with pytest.raises(FloatingPointError, match=r"Broken: the training loss is .* in epoch 1"):
        Broken().fit(train, valid)


def test_logits_of_another_shape_are_refused_by_name_at_fit_and_at_prediction(parts):
    class Narrow(Simple):
        columns = slice(1)

        def build(self, widths, tasks):
            module = super().build(widths, tasks)
            module.register_forward_hook(lambda *given: given[-1]._replace(logits=given[-1].logits[:, self.columns]))
            return module

    with pytest.raises(
        ValueError, match=r"Narrow: the module's Output.logits have shape \[\d+, 1\], expected \[B, T\] ="
    ):
        Narrow().fit(*parts[:2])
    narrow = Narrow()
    narrow.columns = slice(None)
    narrow.fit(*parts[:2]).columns = slice(1)
    with pytest.raises(ValueError, match=r"Narrow: .*expected \[B, T\] ="):
        narrow.predict_proba(parts[2])


def test_batch_take_keeps_fields_together():
    batch = Batch(
        (torch.arange(4.0)[:, None],), torch.ones(4, 1, dtype=torch.bool), {"a": torch.arange(4)}, rows=torch.arange(4)
    )
    part = batch.take(torch.tensor([2, 0]))
    assert part.x[0].flatten().tolist() == part.extra["a"].tolist() == part.rows.tolist() == [2, 0]
    assert part.labels is None
    assert batch.take(slice(1, 3)).rows.tolist() == [1, 2]


@pytest.mark.gpu
def test_trains_in_mixed_precision_on_a_gpu(parts):
    train, valid, test = parts
    p = Simple(Config(max_epochs=3), device="cuda").fit(train, valid).predict_proba(test)
    assert np.isfinite(p).all()
