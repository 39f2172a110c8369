"""Replicas of one method (its folds and seeds) trained at once: parameters stacked, one vectorised loss, a batch of each in every step.

Small networks leave a GPU idle between launches, so R replicas at once cost little more than one. Each keeps its own stays, initial
weights and order of batches, which are those it has alone; what is drawn within a step (dropout, masks) is drawn for the whole stack, so
its metrics are those of another seed, not the same numbers. A replica that its validation part has stopped is computed on and no longer
kept. In a stack an epoch goes through as many stays as the smallest of its training parts has, so that all batches are full together.

``torch.func``: https://docs.pytorch.org/docs/stable/func.html.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call, stack_module_state, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from datasets.cohort import Cohort
from methods.common.outcomes import selection_score
from methods.common.training import (
    CHUNK,
    Batch,
    Output,
    Stopping,
    TorchMethod,
    add_base_log_odds,
    choose_precision,
    descend,
    supervised_loss,
    tell_epoch,
    use_seed,
)

ALIKE = 1.01
"""Training parts whose sizes differ by no more than this factor train in one stack."""


def fit_stacked(methods: Sequence[TorchMethod], pairs: Sequence[tuple[Cohort, Cohort]]) -> list[Exception | None]:
    """Fit each method to its (train, valid), all of them at once; return for each what kept it from being fitted, or None.

    Raises:
        ValueError: the methods are not of one class, configuration and device, or cannot be stacked.
    """
    first = methods[0]
    if any((type(m), m.config, m.device) != (type(first), first.config, first.device) for m in methods):
        raise ValueError("a stack holds replicas of one method with one configuration on one device")
    if not first.stackable(first.config):
        raise ValueError(f"{type(first).__name__} with this configuration cannot be stacked: see its stackable")
    faults: list[Exception | None] = [None] * len(methods)
    replicas = [Replica(i, *each) for i, each in enumerate(zip(methods, pairs, strict=True))]
    going = [r for r in replicas if r.n and r.method.learnable.any()]
    with use_seed(first.seed, first.device), ExitStack() as stages:
        for replica in going:
            stages.callback(replica.stages.close)
        while going := [r for r in going if faults[r.number] is None and r.next_stage()]:
            for stack in group_into_stacks(going):
                for replica, fault in zip(stack, Stack(stack).train(), strict=True):
                    faults[replica.number] = fault
    for replica in replicas:
        replica.method.release()
        replica.method.module.eval()
    return faults


class Replica:
    """One method, its module built but untrained, and the stays of its stage of training on the device."""

    def __init__(self, number: int, method: TorchMethod, pair: tuple[Cohort, Cohort]) -> None:
        train, valid = method.training_stays(pair[0]), pair[1]
        self.number, self.method, self.n = number, method, len(train)
        with use_seed(method.seed, method.device):
            method.begin(train, valid)
        self.stages = method.stages(train, valid)

    def next_stage(self) -> bool:
        """Go to the next stage and place its stays; return whether there is one."""
        parts = next(self.stages, None)
        if parts is None:
            return False
        (train, valid), method = parts, self.method
        self.n, self.data, self.held_out = len(train), method._batch(train, outcomes=True), method._batch(valid)
        self.outcomes = np.where(method.learnable, valid.outcomes, np.float32("nan"))
        self.order = torch.Generator().manual_seed(method.seed)
        return True

    def likeness(self) -> tuple[Any, ...]:
        """Return what replicas of one stack must share: shapes of all tensors, and whatever else their modules hold.

        Raises:
            ValueError: a module holds a tensor that is neither parameter nor buffer, which a stack would share between replicas.
        """
        found: list[tuple[str, Any]] = []
        for name, module in self.method.module.named_modules():
            for key, value in vars(module).items():
                if isinstance(value, Tensor):
                    raise ValueError(f"{type(self.method).__name__}: {name}.{key} must be a buffer to be stacked")
                if isinstance(value, int | float | str | tuple):
                    found.append((f"{name}.{key}", value))
            own = (*module._parameters.items(), *module._buffers.items())
            found += [(f"{name}.{key}", value if value is None else tuple(value.shape)) for key, value in own]
        inputs = [(k, tuple(v.shape[1:])) for k, v in name_tensors(self.data).items()]
        return (*found, *inputs)


def group_into_stacks(replicas: Sequence[Replica]) -> list[list[Replica]]:
    """Group the replicas into as few stacks as their shapes and sizes allow."""
    found: list[tuple[tuple[Any, ...], list[Replica]]] = []
    for replica in sorted(replicas, key=lambda r: r.n):
        like = replica.likeness()
        for other, stack in found:
            if other == like and replica.n <= ALIKE * stack[0].n:
                stack.append(replica)
                break
        else:
            found.append((like, [replica]))
    return [stack for _, stack in found]


class Stack:
    """R replicas of the same shapes, and a stage of their training."""

    def __init__(self, replicas: Sequence[Replica]) -> None:
        self.replicas, self.methods = replicas, [r.method for r in replicas]
        first = self.methods[0]
        self.config, self.device = first.config, torch.device(first.device)
        modules = [m.module for m in self.methods]
        self.parameters, self.buffers = stack_module_state(modules)
        self.skeleton = copy.deepcopy(modules[0]).to("meta")
        self.offset = torch.stack([m.offset for m in self.methods])
        self.weights = torch.tensor(first.task_weights(first.tasks), device=self.device)
        self.precision, self.scaler = choose_precision(self.device)
        self.optimiser = torch.optim.AdamW(
            self.parameters.values(), lr=self.config.lr, weight_decay=self.config.weight_decay, fused=True
        )
        self.data, self.begins = join_parts([name_tensors(r.data) for r in replicas], self.device)
        held_out, begins = join_parts([name_tensors(r.held_out) for r in replicas], self.device)
        sizes = [len(r.outcomes) for r in replicas]
        places = torch.arange(max(sizes), device=self.device)
        self.held_out = [  # chunks of stays; a shorter part is answered from its beginning once more, and cut
            take_stays(held_out, begins + places[i : i + CHUNK] % torch.tensor(sizes, device=self.device).unsqueeze(1))
            for i in range(0, max(sizes), CHUNK)
        ]

    def train(self) -> list[Exception | None]:
        """Train all replicas and give each module its best weights; return for each what kept it from that, or None."""
        count = len(self.replicas)
        faults: list[Exception | None] = [None] * count
        stopping, going = [Stopping(self.config.patience) for _ in self.replicas], np.ones(count, bool)
        state = {**self.parameters, **self.buffers}
        best = {k: v.detach().clone() for k, v in state.items()}
        self.remember()
        for epoch in range(1, self.config.max_epochs + 1):
            means = self.run_epoch(epoch)
            self.remember()
            probabilities = self.predict()
            better = np.zeros(count, bool)
            for r in np.flatnonzero(going):
                mean = {name: float(values[r]) for name, values in means.items()}
                try:
                    self.methods[r].check_finite(mean["loss"], epoch)
                    score = selection_score(self.replicas[r].outcomes, probabilities[r], self.config.selection)
                except (FloatingPointError, ValueError) as fault:
                    faults[r], going[r] = fault, False
                    continue
                self.methods[r].history.append({"epoch": epoch, **mean, "valid": score})
                better[r] = stopping[r].keeps(score)
                going[r] = not stopping[r].over
            kept = torch.from_numpy(better).to(self.device)
            for name, values in best.items():
                values[kept] = state[name].detach()[kept]
            if not going.any():
                break
        for r in range(count):
            self.unstack(r, best)
        return faults

    def run_epoch(self, number: int) -> dict[str, np.ndarray]:
        """Run one pass over the training stays, ``number`` from 1; return the mean of each loss by name, [R]."""
        self.skeleton.train()
        tell_epoch(self.buffers, number)
        n, size = min(r.n for r in self.replicas), self.config.batch_size
        orders = torch.stack([r.method._order(r.n, r.order)[:n] for r in self.replicas]).to(self.device)
        sums: dict[str, Tensor] = {}
        per_epoch = -(-n // size)
        for step, rows in enumerate(orders.split(size, dim=1), start=(number - 1) * per_epoch):
            factor = self.methods[0].lr_factor(step, self.config.max_epochs * per_epoch)
            self.optimiser.param_groups[0]["lr"] = self.config.lr * factor
            for name, value in self.take_step(rows).items():
                sums[name] = sums.get(name, 0.0) + value * rows.shape[1]
        return {name: value.cpu().numpy() / n for name, value in sums.items()}

    def take_step(self, rows: Tensor) -> dict[str, Tensor]:
        """Take one step of each replica on its ``rows`` [R, B]; return its losses by name, [R]."""
        self.optimiser.zero_grad(set_to_none=True)
        batch = take_stays(self.data, self.begins + rows)
        with allow_vmap():
            losses = vmap(self.compute_losses, randomness="different")(
                self.parameters, self.buffers, self.offset, batch
            )
        descend(losses["loss"].sum(), self.optimiser, self.scaler, self.clip)
        return {k: v.detach() for k, v in losses.items()}

    def compute_losses(
        self, parameters: dict[str, Tensor], buffers: dict[str, Tensor], offset: Tensor, inputs: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        """Return the losses of one replica by name, scalars."""
        batch = rebuild_batch(inputs)
        with self.precision():
            output = functional_call(self.skeleton, (parameters, buffers), (batch,))
        logits = self.add_base_log_odds(output, offset, batch)
        supervised = supervised_loss(logits, batch.labels, batch.label_mask, self.weights, self.config.gamma)
        return {"loss": supervised + sum(output.losses.values()), "supervised": supervised, **output.losses}

    def add_base_log_odds(self, output: Output, offset: Tensor, batch: Batch) -> Tensor:
        """Return the logits [B, T] of one replica, refused where they have another shape, as outside a stack."""
        return add_base_log_odds(type(self.methods[0]).__name__, output, offset, len(batch.observed))

    def clip(self) -> None:
        """Scale each replica's gradient down to ``grad_clip``, as ``nn.utils.clip_grad_norm_`` does for one."""
        gradients = [p.grad for p in self.parameters.values() if p.grad is not None]
        norms = torch.stack([g.reshape(len(g), -1).norm(dim=1) for g in gradients], dim=1).norm(dim=1)
        scale = (self.config.grad_clip / (norms + 1e-6)).clamp(max=1.0)
        torch._foreach_mul_(gradients, [scale.view(-1, *[1] * (g.dim() - 1)) for g in gradients])

    def predict(self) -> list[np.ndarray]:
        """Predict each replica's validation part, float64 [N, T]; one replica after the other where a method overrides ``_predict``."""
        if type(self.methods[0])._predict is not TorchMethod._predict:
            state = {**self.parameters, **self.buffers}
            return [self.unstack(r, state)._predict(one.held_out) for r, one in enumerate(self.replicas)]
        self.skeleton.eval()

        def logits(parameters: dict[str, Tensor], buffers: dict[str, Tensor], offset: Tensor, inputs: Any) -> Tensor:
            batch = rebuild_batch(inputs)
            output = functional_call(self.skeleton, (parameters, buffers), (batch,))
            return self.add_base_log_odds(output, offset, batch)

        with torch.no_grad(), allow_vmap():
            parts = [vmap(logits)(self.parameters, self.buffers, self.offset, chunk) for chunk in self.held_out]
        found = torch.cat(parts, dim=1).cpu().numpy()
        return [
            r.method.probabilities_from_logits(z[: len(r.outcomes)]) for r, z in zip(self.replicas, found, strict=True)
        ]

    def remember(self) -> None:
        """Update what each method keeps of its training stays for its predictions."""
        if type(self.methods[0]).remember is TorchMethod.remember:
            return
        for r, replica in enumerate(self.replicas):
            self.unstack(r, {**self.parameters, **self.buffers})._remember(replica.data)
            for name, value in replica.method.module.named_buffers():
                self.buffers[name][r].copy_(value)

    def unstack(self, r: int, state: dict[str, Tensor]) -> TorchMethod:
        """Copy replica ``r``'s part of this state into its module, and return its method."""
        module = self.methods[r].module
        with torch.no_grad():
            for name, value in (*module.named_parameters(), *module.named_buffers()):
                value.copy_(state[name][r])
        return self.methods[r]


@contextmanager
def allow_vmap() -> Iterator[None]:
    """Compute attention in the form that vmap can vectorise, and silence its warning of operations that run replica by replica."""
    with warnings.catch_warnings(), sdpa_kernel(SDPBackend.MATH):
        warnings.filterwarnings("ignore", message="There is a performance drop")
        yield


def name_tensors(batch: Batch) -> dict[str, Tensor]:
    """Return the tensors of a batch by name."""
    named = {f"x{m}": v for m, v in enumerate(batch.x)} | {f"extra.{k}": v for k, v in batch.extra.items()}
    rest = {"observed": batch.observed, "labels": batch.labels, "label_mask": batch.label_mask, "rows": batch.rows}
    return named | {k: v for k, v in rest.items() if v is not None}


def rebuild_batch(inputs: dict[str, Tensor]) -> Batch:
    """Return the batch whose tensors by name these are."""
    x = tuple(inputs[f"x{m}"] for m in range(sum(k[0] == "x" for k in inputs)))
    extra = {k.removeprefix("extra."): v for k, v in inputs.items() if k.startswith("extra.")}
    return Batch(x, inputs["observed"], extra, *(inputs.get(k) for k in ("labels", "label_mask", "rows")))


def join_parts(parts: Sequence[dict[str, Tensor]], device: torch.device) -> tuple[dict[str, Tensor], Tensor]:
    """Concatenate the stays of all parts; return them and where each part begins, int64 [R, 1]."""
    sizes = torch.tensor([len(part["observed"]) for part in parts], device=device)
    return {k: torch.cat([part[k] for part in parts]) for k in parts[0]}, (sizes.cumsum(0) - sizes).unsqueeze(1)


def take_stays(data: dict[str, Tensor], places: Tensor) -> dict[str, Tensor]:
    """Take the stays at ``places`` [R, B], each tensor as [R, B, ...]."""
    return {k: v.index_select(0, places.flatten()).unflatten(0, places.shape) for k, v in data.items()}
