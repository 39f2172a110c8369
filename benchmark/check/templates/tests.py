"""New method: its own equations, by hand; what every method must hold is tested for it as well, by ``check``."""

import torch

from methods import new_method
from methods.common.training import Batch

WIDTHS, TASKS = (3, 2), 2


def untrained():
    torch.manual_seed(0)
    config = new_method.Config(hidden=4)
    return new_method.NewMethodModule(WIDTHS, TASKS, config).eval()


def batch(observed):
    x = tuple(torch.randn(len(observed), width) for width in WIDTHS)
    return Batch(x, torch.tensor(observed), {})


def test_one_observed_modality_speaks_alone():
    module, stays = untrained(), batch([[False, True]])
    expected = module.heads(module.encoders.encoders[1](stays.x[1]))
    torch.testing.assert_close(module(stays).logits, expected)


def test_two_observed_modalities_have_equal_weight():
    module, stays = untrained(), batch([[True, True]])
    z = [phi(x) for phi, x in zip(module.encoders.encoders, stays.x, strict=True)]
    torch.testing.assert_close(module(stays).logits, module.heads((z[0] + z[1]) / 2))
