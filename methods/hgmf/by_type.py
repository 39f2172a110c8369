"""A linear map for each type of stay: each stay through the map of its own type, and through no other.

With P types, all maps of all stays would be P times the arithmetic. Here the stays of a type go through its map together. How many there
are is a value, for which a GPU would have to wait in each step; there all maps are computed and one of them is taken.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def map_by_type(x: Tensor, weight: Tensor, types: Tensor) -> Tensor:
    """Return [B, o]: x_i ``weight[types[i]]``, of x [B, d], weight [P, d, o] and types int64 [B], each in 0 .. P - 1."""
    return ByType.apply(x, weight, types) if x.device.type == "cpu" else map_by_all_types(x, weight, types)


def map_by_all_types(x: Tensor, weight: Tensor, types: Tensor) -> Tensor:
    """Return the same as ``map_by_type``, by computing the maps of all types."""
    every = torch.einsum("bd,pdo->bpo", x, weight)
    return every.take_along_dim(types[:, None, None], dim=1).squeeze(1)


class ByType(torch.autograd.Function):
    """``map_by_type`` with the stays of a type side by side.

    With y_i = x_i W_t(i), the gradients are dx_i = dy_i W_t(i)^T and dW_p = sum over the stays of type p of x_i^T dy_i. They are written
    by hand since autograd, for every ``out[rows] = ...`` and ``weight[p]``, would copy and add whole tensors of zeros.
    """

    @staticmethod
    def forward(x: Tensor, weight: Tensor, types: Tensor) -> Tensor:
        out = x.new_empty(len(x), weight.shape[2])
        for p, rows in group_by_type(types):
            out[rows] = x[rows] @ weight[p]
        return out

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        x, weight, types = ctx.saved_tensors
        to_x, to_weight, _ = ctx.needs_input_grad
        of_x = torch.empty_like(x) if to_x else None
        of_weight = torch.empty_like(weight) if to_weight else None
        for p, rows in group_by_type(types):
            if to_x:
                of_x[rows] = grad[rows] @ weight[p].T
            if to_weight:
                torch.mm(x[rows].T, grad[rows], out=of_weight[p])  # in place: no stack of P matrices
        if to_weight:
            # the memory of types without stays in the batch is not initialised
            for p in set(range(len(weight))).difference(types.tolist()):
                of_weight[p].zero_()
        return of_x, of_weight, None

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[int | None, ...], x: Tensor, weight: Tensor, types: Tensor
    ) -> tuple[Tensor, int]:
        """Map R replicas at once, as stays of R P types."""
        x, weight, types = (
            v.expand(info.batch_size, *v.shape) if d is None else v.movedim(d, 0)
            for v, d in zip((x, weight, types), in_dims, strict=True)
        )
        first = weight.shape[1] * torch.arange(info.batch_size, device=types.device)
        out = ByType.apply(x.flatten(0, 1), weight.flatten(0, 1), (types + first[:, None]).flatten())
        return out.view(*x.shape[:2], -1), 0


def group_by_type(types: Tensor) -> list[tuple[int, Tensor]]:
    """Group the rows by type: the types that occur, in order, each with its rows, int64."""
    order = types.argsort(stable=True)
    there, counts = torch.unique_consecutive(types[order], return_counts=True)
    return list(zip(there.tolist(), order.split(counts.tolist()), strict=True))
