"""A map for each type: only the own one, with gradients, and for replicas at once."""

import numpy as np
import pytest
import torch

from methods.hgmf.by_type import map_by_all_types, map_by_type

B, D, O, P = 23, 5, 4, 6


@pytest.fixture
def given():
    """Stays of all types but one."""
    rng = torch.Generator().manual_seed(0)
    x, weight = torch.randn(B, D, generator=rng), torch.randn(P, D, O, generator=rng)
    types = torch.randint(P - 1, (B,), generator=rng)
    types[types >= 2] += 1
    return x.double().requires_grad_(), weight.double().requires_grad_(), types


@pytest.mark.parametrize("function", [map_by_type, map_by_all_types])
def test_each_stay_goes_through_the_map_of_its_type(given, function):
    x, weight, types = given
    found = function(*given).detach().numpy()
    for i in range(B):
        np.testing.assert_allclose(found[i], x.detach().numpy()[i] @ weight.detach().numpy()[types[i]], atol=1e-12)


def test_gradients_are_those_of_all_maps_and_none_for_a_type_without_stays(given):
    _, weight, types = given
    assert torch.autograd.gradcheck(map_by_type, given)
    (map_by_type(*given).square().sum()).backward()
    assert (weight.grad[2] == 0).all()
    assert (weight.grad[types.unique()] != 0).any(dim=(1, 2)).all()


@pytest.mark.parametrize("dims", [(0, 0, 0), (0, 0, None), (0, None, 0), (1, 0, 0)])
def test_replicas_at_once_equal_one_after_the_other(given, dims):
    given = [
        v.detach() if d is None else torch.stack([v.detach(), v.detach().flip(0), v.detach().roll(1, 0)], dim=d)
        for v, d in zip(given, dims, strict=True)
    ]
    found = torch.vmap(map_by_type, in_dims=dims)(*given)
    for r in range(3):
        one = [v if d is None else v.select(d, r) for v, d in zip(given, dims, strict=True)]
        torch.testing.assert_close(found[r], map_by_all_types(*one))
