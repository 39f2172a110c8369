"""The one training loop of the torch methods.

A method states its module (``build``), and perhaps more inputs, task weights or things to fit first; the rest is here: AdamW, batches
by index from tensors that already lie on the device, focal or cross-entropy loss under label masks, gradient clipping, mixed
precision on a GPU, early stopping on the validation part, best weights restored. Nothing in the loop waits for the device but the
validation at the end of an epoch.

The log odds of the training base rate are added to the logits, so that an untrained network predicts the base rate (the prior
initialisation of Lin et al. 2017): a run that stops early is then not punished by the Brier score for what it had no time to unlearn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from datasets.cohort import Cohort
from methods.base import Method, prefix, unprefix
from methods.common.outcomes import SELECTIONS, base_rate, has_both_classes, labelled, selection_score
from methods.common.preprocessing import Preprocessor

CHUNK = 1024
"""Stays predicted at once."""


@dataclass(frozen=True)
class TrainingConfig:
    """Fields that all torch methods share; a method's Config inherits them and sets its paper's defaults."""

    lr: float = 2e-4
    weight_decay: float = 1e-5
    batch_size: int = 32
    max_epochs: int = 100
    patience: int = 30
    grad_clip: float = 1.0
    gamma: float = 0.0
    """Exponent of the focal loss; 0 is cross-entropy."""
    selection: str = SELECTIONS[0]
    """The rule by which validation rows stop training and choose the epoch: ``methods.common.outcomes.selection_score``."""

    pca: int = 0
    """Leading principal components that a modality with more columns is given by, fitted on training stays; 0: all its columns."""

    def one_of(self, **choices: tuple[str, ...]) -> None:
        """Refuse a field whose value is none of its ``choices``, with one line that names them."""
        for field, known in choices.items():
            if getattr(self, field) not in known:
                raise ValueError(f"{field} is {getattr(self, field)!r}; it must be {' or '.join(known)}")


class Batch(NamedTuple):
    """Some stays, on the device: what a module's forward takes.

    ``x`` float [B, width_m] for each modality and ``observed`` bool [B, M]; ``extra`` what the method's ``extra_inputs`` gave, by name.
    In training also ``labels`` float [B, T] (0 where undefined), ``label_mask`` bool [B, T] and ``rows`` int64 [B], positions among the
    training stays; None at prediction.
    """

    x: tuple[Tensor, ...]
    observed: Tensor
    extra: dict[str, Tensor]
    labels: Tensor | None = None
    label_mask: Tensor | None = None
    rows: Tensor | None = None

    def take(self, rows: Tensor | slice) -> Batch:
        """Return the given rows of the batch, as a batch."""
        pick = (lambda v: v[rows]) if isinstance(rows, slice) else (lambda v: v.index_select(0, rows))
        return Batch(
            tuple(pick(v) for v in self.x),
            pick(self.observed),
            {k: pick(v) for k, v in self.extra.items()},
            None if self.labels is None else pick(self.labels),
            None if self.label_mask is None else pick(self.label_mask),
            None if self.rows is None else pick(self.rows),
        )

    def chunks(self) -> list[Batch]:
        """Split the batch into parts of CHUNK stays, at least one part."""
        return [self.take(slice(i, i + CHUNK)) for i in range(0, max(len(self.observed), 1), CHUNK)]


class Output(NamedTuple):
    """``logits`` [B, T] and, in training, the method's own losses: name -> scalar, already weighted, added to the supervised one."""

    logits: Tensor
    losses: dict[str, Tensor]


def supervised_loss(logits: Tensor, labels: Tensor, mask: Tensor, weights: Tensor, gamma: float = 0.0) -> Tensor:
    """Return sum_t w_t mean_{i labelled} (1 - p_it)^gamma BCE_it, a scalar; p_it is the probability given to the outcome that came.

    Shapes: logits, labels, mask [B, T], weights [T]. A task without a labelled stay in the batch contributes 0. Focal loss: Lin et
    al. 2017, without its class weight alpha, which would move the base rate.
    """
    loss = F.binary_cross_entropy_with_logits(logits.float(), labels, reduction="none")
    if gamma:
        loss = (-torch.expm1(-loss)).clamp(min=1e-12) ** gamma * loss
    loss = torch.where(mask, loss, loss.new_zeros(()))
    return (weights * loss.sum(dim=0) / mask.sum(dim=0).clamp(min=1)).sum()


def add_base_log_odds(method: str, output: Output, offset: Tensor, stays: int) -> Tensor:
    """Return the logits float32 [B, T] of a module's output for ``stays`` stays, the log odds of the base rates, ``offset`` [T], added.

    Raises:
        ValueError: the logits have another shape; the message names the method.
    """
    got, expected = list(output.logits.shape), [stays, len(offset)]
    if got != expected:
        # [B, 1] would be broadcast silently to one prediction for all tasks
        raise ValueError(f"{method}: the module's Output.logits have shape {got}, expected [B, T] = {expected}")
    return output.logits.float() + offset


@dataclass
class Stopping:
    """Early stopping: the best validation score so far, and for how many epochs it has not been beaten."""

    patience: int
    best: float = -np.inf
    since: int = 0

    def keeps(self, score: float) -> bool:
        """Say whether an epoch of this score is the one to keep: better than any before, or without a score (NaN)."""
        if np.isnan(score) or score > self.best:
            self.best, self.since = self.best if np.isnan(score) else score, 0
            return True
        self.since += 1
        return False

    @property
    def over(self) -> bool:
        """Whether training ends with the last epoch, which was not kept."""
        return self.since >= max(1, self.patience)


def tell_epoch(buffers: Mapping[str, Tensor], epoch: int) -> None:
    """Write the number of an epoch, from 1 in each stage, into a module's buffer ``epoch``, where it has one."""
    if "epoch" in buffers:
        buffers["epoch"].fill_(epoch)


def descend(
    loss: Tensor, optimiser: torch.optim.Optimizer, scaler: torch.amp.GradScaler | None, clip: Callable[[], object]
) -> None:
    """Take one step of ``optimiser`` down a scalar ``loss``, its gradients clipped by ``clip``; scaled where there is a ``scaler``."""
    if scaler is None:
        loss.backward()
        clip()
        optimiser.step()
        return
    scaler.scale(loss).backward()
    scaler.unscale_(optimiser)
    clip()
    scaler.step(optimiser)
    scaler.update()


class TorchMethod(Method):
    """A method that is one ``nn.Module``: subclasses write ``build``, and override the hooks they need.

    The module's forward takes a ``Batch`` and returns an ``Output``; the log odds of the base rates, float32 [T], are added to its logits
    here, and given to a module that has an attribute ``base_log_odds`` because its own losses need them. A module that has a buffer
    ``epoch`` finds the number of the epoch there, from 1 in each stage. Where its logits follow from
    one vector a stay, its ``represent`` takes a ``Batch`` and returns these vectors [B, d]. Tasks with one class in training are left
    out of the loss and answered with their smoothed base rate. After ``fit``: ``module``, ``preprocessor``, ``history`` (one dict an
    epoch: epoch, loss, supervised, each named loss, valid).
    """

    Config = TrainingConfig
    on_epoch: Callable[[dict[str, float]], None] | None = None
    """Called with the newest entry of ``history``; it may raise to stop a run."""
    epoch_order: Callable[[int, torch.Generator], Tensor] | None = None
    """The positions among the n training stays that an epoch goes through; None: each once, at random (only the audit sets another)."""
    history: list[dict[str, float]]

    def build(self, widths: tuple[int, ...], tasks: tuple[str, ...]) -> nn.Module:
        """Build the untrained module for modalities of these widths (after preprocessing) and these tasks."""
        raise NotImplementedError

    @classmethod
    def stackable(cls, config: TrainingConfig) -> bool:
        """Return whether a fit is the loop below, in one or several stages.

        A method whose loss cannot be vectorised (a shape depends on a value) overrides it to return False.
        """
        return (cls.fit, cls._train, cls._step) == (TorchMethod.fit, TorchMethod._train, TorchMethod._step)

    def training_stays(self, train: Cohort) -> Cohort:
        """Choose the stays of the given cohort that ``fit`` trains on: all of them."""
        return train

    def prepare(self, train: Cohort, valid: Cohort) -> None:
        """Fit what the module needs before it is built (graphs, scalers of series, ...); called with ``preprocessor`` fitted."""

    def extra_inputs(self, cohort: Cohort) -> dict[str, np.ndarray]:
        """Return more inputs by name, arrays with the stays of ``cohort`` first; they arrive in ``Batch.extra``."""
        return {}

    def remember(self, train: Batch) -> None:
        """Bring up to date what the module keeps of the training stays for its predictions; called in evaluation mode and without
        gradients, before the first step and before each validation, with all training stays."""

    def task_weights(self, tasks: tuple[str, ...]) -> list[float]:
        """Return weight of each task's loss: 1 / T."""
        return [1.0 / len(tasks)] * len(tasks)

    def stages(self, train: Cohort, valid: Cohort) -> Iterator[tuple[Cohort, Cohort]]:
        """Yield the training and the validation part of each stage of the loop in turn: one stage, with the parts of the fit.

        A method of several makes itself ready for a stage (module, configuration, inputs) before it gives its parts, and has what the
        stage made of it when it is asked for the next.
        """
        yield train, valid

    def lr_factor(self, step: int, steps: int) -> float:
        """Return what ``lr`` is multiplied by in step ``step``, from 0, of at most ``steps`` in a stage: 1."""
        return 1.0

    def release(self) -> None:
        """Release what only training needed; called when training ends, however it ends."""

    def fit(self, train: Cohort, valid: Cohort) -> Self:
        """Train the method on ``train``, stopped by ``valid``, and return it.

        Raises:
            FloatingPointError: the training loss is not finite.
        """
        train = self.training_stays(train)
        with use_seed(self.seed, self.device):
            self.begin(train, valid)
            torch.manual_seed(self.seed)
            try:
                if self.learnable.any() and len(train):
                    with closing(self.stages(train, valid)) as stages:
                        for parts in stages:
                            self._train(*parts)
            finally:
                self.release()
        self.module.eval()
        return self

    def begin(self, train: Cohort, valid: Cohort) -> None:
        """Do all of ``fit`` that comes before training: base rates, preprocessing, what ``prepare`` fits, the untrained module."""
        self.tasks, self.history = train.tasks, []
        self.learnable, self.base_rate = has_both_classes(train.outcomes), base_rate(train.outcomes)
        self.preprocessor = Preprocessor(self.config.pca).fit(train)
        self.prepare(train, valid)
        self._place_module()

    def predict_proba(self, cohort: Cohort) -> np.ndarray:
        """Return probabilities float64 [N, T]."""
        return self._predict(self._batch(cohort))

    def represent(self, cohort: Cohort) -> np.ndarray | None:
        """Return float32 [N, d] as the module gives it, or None where the module has no ``represent``."""
        if not hasattr(self.module, "represent"):
            return None
        return self.evaluate(self.module.represent, self.tensors(cohort))

    def tensors(self, cohort: Cohort) -> Batch:
        """Return all stays of ``cohort`` as one batch on the device, without outcomes."""
        return self._batch(cohort)

    def evaluate(self, function: Callable[[Batch], Tensor], batch: Batch) -> np.ndarray:
        """Apply ``function`` to the stays of ``batch``, chunk by chunk, in evaluation mode: float32 [N, ...]."""
        training = self.module.training
        self.module.eval()
        with torch.inference_mode():
            out = torch.cat([function(part).float() for part in batch.chunks()]).cpu().numpy()
        self.module.train(training)
        return out

    def state(self) -> dict[str, np.ndarray]:
        """Return the fitted method as plain arrays: module, preprocessor, tasks and base rates (not what ``prepare`` fitted)."""
        return {
            **prefix("module", {k: v.detach().cpu().numpy() for k, v in self.module.state_dict().items()}),
            **prefix("preprocessor", self.preprocessor.state()),
            "tasks": np.array(self.tasks),
            "learnable": self.learnable,
            "base_rate": self.base_rate,
        }

    def load_state(self, state: dict[str, np.ndarray]) -> Self:
        """Restore the method from its ``state`` and return it, ready to predict."""
        self.tasks = tuple(str(t) for t in state["tasks"])
        self.learnable, self.base_rate = state["learnable"], state["base_rate"]
        self.preprocessor = Preprocessor().load_state(unprefix("preprocessor", state))
        with use_seed(self.seed, self.device):
            self._place_module()
        self.module.load_state_dict({k: torch.as_tensor(v) for k, v in unprefix("module", state).items()})
        self.module.eval()
        return self

    def _place_module(self) -> None:
        self.module = self.build(self.preprocessor.widths, self.tasks).to(self.device)
        odds = np.log(self.base_rate) - np.log1p(-self.base_rate)
        self.offset = torch.tensor(odds, dtype=torch.float32, device=self.device)
        if hasattr(self.module, "base_log_odds"):
            self.module.base_log_odds = self.offset

    def _batch(self, cohort: Cohort, outcomes: bool = False) -> Batch:
        def place(a: np.ndarray) -> Tensor:
            return torch.from_numpy(np.ascontiguousarray(a)).to(self.device)

        inputs = self.preprocessor.transform(cohort)
        extra = {k: place(v) for k, v in self.extra_inputs(cohort).items()}
        batch = Batch(tuple(place(v) for v in inputs.x), place(inputs.observed), extra)
        if not outcomes:
            return batch
        mask = labelled(cohort.outcomes) & self.learnable
        labels = np.where(mask, cohort.outcomes, np.float32(0))
        return batch._replace(labels=place(labels), label_mask=place(mask), rows=place(np.arange(len(cohort))))

    def _predict(self, batch: Batch) -> np.ndarray:
        if not self.learnable.any():
            return np.tile(self.base_rate, (len(batch.observed), 1))
        return self.probabilities_from_logits(self.evaluate(lambda b: self.add_base_log_odds(self.module(b), b), batch))

    def add_base_log_odds(self, output: Output, batch: Batch) -> Tensor:
        """Return the logits float32 [B, T] of the module's output for ``batch``, the log odds of the base rates added.

        Raises:
            ValueError: the logits have another shape than [B, T].
        """
        return add_base_log_odds(type(self).__name__, output, self.offset, len(batch.observed))

    def probabilities_from_logits(self, logits: np.ndarray) -> np.ndarray:
        """Return probabilities float64 [N, T] of logits [N, T]; of a task that cannot be learned, its base rate."""
        p = 1.0 / (1.0 + np.exp(-np.clip(logits.astype(np.float64), -700, 700)))
        return np.where(self.learnable, p, self.base_rate)

    def _train(self, train: Cohort, valid: Cohort) -> None:
        c, device = self.config, torch.device(self.device)
        data, held_out = self._batch(train, outcomes=True), self._batch(valid)
        valid_outcomes = np.where(self.learnable, valid.outcomes, np.float32("nan"))
        weights = torch.tensor(self.task_weights(self.tasks), device=device)
        optimiser = torch.optim.AdamW(self.module.parameters(), lr=c.lr, weight_decay=c.weight_decay, fused=True)
        precision, scaler = choose_precision(device)
        generator = torch.Generator().manual_seed(self.seed)
        best, stopping, per_epoch = None, Stopping(c.patience), -(-len(train) // c.batch_size)
        self._remember(data)
        for epoch in range(1, c.max_epochs + 1):
            self.module.train()
            tell_epoch(dict(self.module.named_buffers()), epoch)
            sums: dict[str, Tensor] = {}
            orders = self._order(len(train), generator).to(device).split(c.batch_size)
            for step, rows in enumerate(orders, start=(epoch - 1) * per_epoch):
                optimiser.param_groups[0]["lr"] = c.lr * self.lr_factor(step, c.max_epochs * per_epoch)
                losses = self._step(data.take(rows), weights, optimiser, precision, scaler)
                for name, value in losses.items():
                    sums[name] = sums.get(name, 0.0) + value * len(rows)
            means = dict(zip(sums, (torch.stack(list(sums.values())) / len(train)).tolist(), strict=True))
            self.check_finite(means["loss"], epoch)
            self._remember(data)
            score = selection_score(valid_outcomes, self._predict(held_out), c.selection)
            self.history.append({"epoch": epoch, **means, "valid": score})
            if self.on_epoch is not None:
                self.on_epoch(self.history[-1])
            if stopping.keeps(score):
                best = {k: v.detach().clone() for k, v in self.module.state_dict().items()}
            elif stopping.over:
                break
        if best is not None:
            self.module.load_state_dict(best)

    def check_finite(self, loss: float, epoch: int) -> None:
        """Check the mean training loss of an epoch.

        Raises:
            FloatingPointError: it is not finite.
        """
        if not np.isfinite(loss):
            raise FloatingPointError(
                f"{type(self).__name__}: the training loss is {loss} in epoch {epoch}; try a smaller lr"
            )

    def _order(self, n: int, generator: torch.Generator) -> Tensor:
        return torch.randperm(n, generator=generator) if self.epoch_order is None else self.epoch_order(n, generator)

    def _remember(self, data: Batch) -> None:
        self.module.eval()
        with torch.no_grad():
            self.remember(data)

    def _step(
        self,
        batch: Batch,
        weights: Tensor,
        optimiser: torch.optim.Optimizer,
        precision: Callable[[], torch.autocast],
        scaler: torch.amp.GradScaler | None,
    ) -> dict[str, Tensor]:
        """Take one step on ``batch``; return its losses by name, detached, still on the device."""
        optimiser.zero_grad(set_to_none=True)
        with precision():
            output = self.module(batch)
        logits = self.add_base_log_odds(output, batch)
        supervised = supervised_loss(logits, batch.labels, batch.label_mask, weights, self.config.gamma)
        loss = supervised + sum(output.losses.values())
        descend(
            loss, optimiser, scaler, lambda: nn.utils.clip_grad_norm_(self.module.parameters(), self.config.grad_clip)
        )
        named = {"loss": loss, "supervised": supervised, **output.losses}
        return {k: v.detach() for k, v in named.items()}


@contextmanager
def use_seed(seed: int, device: str) -> Iterator[None]:
    """Draw everything inside from ``seed``, and leave the generators outside as they were."""
    place = torch.device(device)
    devices = [place.index if place.index is not None else torch.cuda.current_device()] if place.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield


def choose_precision(device: torch.device) -> tuple[Callable, torch.amp.GradScaler | None]:
    """Choose autocast for a GPU (bfloat16, else float16 with loss scaling), nothing elsewhere."""
    if device.type != "cuda":
        return nullcontext, None
    if torch.cuda.is_bf16_supported():
        return lambda: torch.autocast("cuda", torch.bfloat16), None
    return lambda: torch.autocast("cuda", torch.float16), torch.amp.GradScaler("cuda")
