"""Building blocks against plain torch."""

import pytest
import torch
from torch import nn

from methods.common.layers import (
    Dropout,
    GroupedLayerNorm,
    GroupedLinear,
    ModalityEncoders,
    ModalitySensors,
    apply_affine,
    encoder,
    keep_observed,
    mean_observed,
    mlp,
)


def test_keep_observed_stops_nan_and_its_gradient():
    x = torch.tensor([[1.0, 2.0], [float("nan"), float("inf")]], requires_grad=True)
    out = keep_observed(x, torch.tensor([True, False]))
    out.square().sum().backward()
    assert out.tolist() == [[1, 2], [0, 0]]
    assert x.grad.tolist() == [[2, 4], [0, 0]]


def test_mean_observed():
    tokens = torch.arange(12.0).reshape(2, 3, 2)
    observed = torch.tensor([[True, False, True], [False, False, False]])
    assert mean_observed(tokens, observed).tolist() == [[2, 3], [0, 0]]


def test_encoders_give_zero_tokens_where_unobserved_whatever_lies_there():
    torch.manual_seed(0)
    module = ModalityEncoders((3, 5), 8, 0.1).eval()
    x = (torch.randn(4, 3), torch.full((4, 5), float("nan")))
    observed = torch.tensor([[True, False]] * 4)
    tokens = module(x, observed)
    torch.testing.assert_close(tokens[:, 0], module.encoders[0](x[0]))
    assert (tokens[:, 1] == 0).all()


def test_encoder_and_mlp_sizes():
    assert [tuple(p.shape) for p in encoder(5, 8, 0.1).parameters()] == [(8, 5), (8,), (8, 8), (8,)]
    assert [type(m).__name__ for m in mlp((3, 4, 2), 0.1)] == ["Linear", "ReLU", "Dropout", "Linear"]


def test_grouped_layers_equal_separate_ones():
    torch.manual_seed(0)
    linear, norm = GroupedLinear(3, 4, 5), GroupedLayerNorm(3, 5)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    x = torch.randn(7, 3, 4)
    out = norm(linear(x))
    for m in range(3):
        y = nn.functional.layer_norm(x[:, m] @ linear.weight[m] + linear.bias[m], (5,), norm.weight[m], norm.bias[m])
        torch.testing.assert_close(out[:, m], y)
    bound = 4**-0.5
    assert linear.weight.abs().max() <= bound
    assert linear.weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.15)


def test_dropout_keeps_the_mean_and_is_absent_in_evaluation():
    torch.manual_seed(0)
    layer, x = Dropout(0.25), torch.ones(100_000)
    out = layer(x)
    assert out.unique().tolist() == pytest.approx([0, 4 / 3])
    assert (out == 0).float().mean().item() == pytest.approx(0.25, abs=0.01)
    assert layer.eval()(x) is x
    with pytest.raises(ValueError, match="dropout is 1"):
        Dropout(1)


def test_modalities_as_sensors_are_seen_once_each_in_their_own_block():
    torch.manual_seed(0)
    sensors = ModalitySensors((3, 2), k=2)
    x = (torch.randn(3, 3), torch.tensor([[1.0, 2.0], [torch.nan, torch.inf], [0.5, 0.0]]))
    observed = torch.tensor([[True, True], [True, False], [False, True]])
    out = sensors(x, observed)
    assert out["hours"].tolist() == [[0, 1]] * 3
    assert out["mask"].int().tolist() == [
        [[1, 1, 0, 0], [0, 0, 1, 1]],
        [[1, 1, 0, 0], [0, 0, 0, 0]],
        [[0, 0, 0, 0], [0, 0, 1, 1]],
    ]
    torch.testing.assert_close(out["values"][0, 0, :2], sensors.maps[0](x[0][0]))
    torch.testing.assert_close(out["values"][2, 1, 2:], sensors.maps[1](x[1][2]))
    assert (out["values"][~out["mask"]] == 0).all()


def test_an_affine_map_of_parts_is_that_of_the_parts_side_by_side():
    torch.manual_seed(0)
    linear, a, b = nn.Linear(7, 3), torch.randn(5, 1, 4), torch.randn(6, 3)
    joined = torch.cat([a.expand(-1, 6, -1), b.expand(5, -1, -1)], dim=-1)
    torch.testing.assert_close(apply_affine(linear, a, b), linear(joined))
