"""Faults of the kind that a change brings in by accident, and the gate's experiment run with one of them: what the gate has to see."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pandas as pd

from benchmark.cell import run_cell
from benchmark.cell.splits import Split
from benchmark.executors.attempt import limit_to_one_thread
from benchmark.plan.config import load_config
from benchmark.plan.plan import plan_run
from methods.common.preprocessing import Inputs, Preprocessor
from results.gate.judge import collect_gate_values
from results.storage.store import Store


@contextmanager
def labels_shifted() -> Iterator[None]:
    """Training outcomes are those of the row before."""
    build = run_cell.build_method

    def shifted(*args):
        method = build(*args)
        fit = method.fit
        method.fit = lambda train, valid: fit(
            dataclasses.replace(train, outcomes=np.roll(train.outcomes, 1, axis=0)), valid
        )
        return method

    with patch.object(run_cell, "build_method", shifted):
        yield


@contextmanager
def mask_ignored() -> Iterator[None]:
    """Every modality is said to be observed; the slots of those that are not hold the zeros they always hold."""
    transform = Preprocessor.transform

    def unmasked(self, cohort):
        inputs = transform(self, cohort)
        return Inputs(inputs.x, np.broadcast_to([bool(s.seen) for s in self.statistics], inputs.observed.shape).copy())

    with patch.object(Preprocessor, "transform", unmasked):
        yield


@contextmanager
def mask_ignored_and_filled_forward() -> Iterator[None]:
    """Every modality is said to be observed, and an unobserved slot holds that of the last stay above that has one."""
    transform = Preprocessor.transform

    def filled(self, cohort):
        inputs = transform(self, cohort)
        last = [np.maximum.accumulate(np.where(seen, np.arange(len(seen)), 0)) for seen in inputs.observed.T]
        x = tuple(np.ascontiguousarray(values[rows]) for values, rows in zip(inputs.x, last, strict=True))
        return Inputs(x, np.broadcast_to([bool(s.seen) for s in self.statistics], inputs.observed.shape).copy())

    with patch.object(Preprocessor, "transform", filled):
        yield


@contextmanager
def validation_trained_on() -> Iterator[None]:
    """The training part holds the validation part too."""
    rows = Split.rows

    def leaking(self, fold):
        train, valid, test = rows(self, fold)
        return np.sort(np.concatenate([train, valid])), valid, test

    with patch.object(Split, "rows", leaking):
        yield


@contextmanager
def learning_rate_tenfold() -> Iterator[None]:
    """A method's learning rate is ten times what it was; a method without one is as it was."""
    build = run_cell.build_method

    def fast(planned, *args):
        how = planned.config["method"]
        settings = {k: 10 * v if k == "lr" else v for k, v in how["config"].items()}
        changed = planned.config | {"method": how | {"config": settings}}
        return build(dataclasses.replace(planned, config=changed), *args)

    with patch.object(run_cell, "build_method", fast):
        yield


FAULTS = {
    "labels_shifted": labels_shifted,
    "mask_ignored": mask_ignored,
    "mask_ignored_and_filled_forward": mask_ignored_and_filled_forward,
    "validation_trained_on": validation_trained_on,
    "learning_rate_tenfold": learning_rate_tenfold,
}


def run_gate(
    root: Path, built: Path, overrides: list[str], fault: AbstractContextManager | None = None
) -> pd.DataFrame:
    """Run the gate in this process in ``root``, with the fault or without, and return its values (``collect_gate_values``)."""
    config = load_config("gate", [*overrides, f"built={built}"])
    plan, store = plan_run(config), Store(root)
    with fault or nullcontext(), limit_to_one_thread():
        for planned in plan.cells:
            if store.record(planned) is None:
                store.write(planned, *run_cell.run_cell(planned, plan.inputs_of(planned.cell)))
    return collect_gate_values(store, plan.plan)
