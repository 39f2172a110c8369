"""The conformance tests on a registered method: how it is constructed for the checks, and on which cohort they run."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator

from benchmark.check import CHECKS, STAYS, Check, Result, run_checks
from benchmark.check.harness import Make
from benchmark.errors import UsageError, unknown
from benchmark.executors.attempt import limit_to_one_thread
from benchmark.plan.config import RunConfig, Schedule, Selection, check_device, load_config
from benchmark.plan.plan import prepare_dataset
from benchmark.plan.rows import resolve_hyperparameters
from datasets.cohort import Cohort
from methods import registry
from methods.base import Method

BRIEF = Schedule(name="brief", batch_size=32, max_epochs=2, patience=2, lr_factor=1.0, stage_length=2)
LEARNING = Schedule(name="learning", batch_size=32, max_epochs=8, patience=8, lr_factor=5.0, stage_length=8)
"""Few epochs with larger steps: enough for an easy cohort, in seconds. The epoch is chosen by AUC, which is what is asked of it: after
steps that large it is the order of the predictions that can be relied upon, not their log loss."""
_ELSEWHERE = (
    "experiment",
    "store",
    "out",
    "folds",
    "seeds",
    "tuning",
    "schedule",
    "rectifier",
    "calibration",
    "method",
)


def check_method(
    name: str, overrides: list[str] | None = None, checks: Iterable[Check] | None = None
) -> Iterator[Result]:
    """Run the checks on the method called ``name`` (``METHOD`` or ``METHOD:VARIANT``); yield each result as it ends.

    ``overrides``: hyper-parameters (``method.hidden=64``), ``device=``, and ``dataset=`` with what belongs to it.

    Raises:
        UsageError: an unknown variant, hyper-parameter or override.
        UnknownMethod, UnusableMethod: no such method, or one that cannot be loaded.
    """
    name, _, variant = name.partition(":")
    info, cls = registry.info(name), registry.load(name)
    if variant and variant not in cls.variants:
        raise unknown(f"variant of {name}", variant, cls.variants)
    config = _compose_config(name, overrides or [])
    check_device(config)
    make = _make_constructor(cls, config, BRIEF, variant)
    learner = _make_constructor(cls, dataclasses.replace(config, selection=Selection.auc), LEARNING, variant)
    cohort = _load_cohort(config) if any(o.startswith("dataset=") for o in overrides or []) else None
    declared = {"uses_seed": info.uses_seed, "uses_series": info.uses_series}
    return _run_on_one_thread(run_checks(make, checks, learner=learner, cohort=cohort, **declared))


def choose_checks(names: Iterable[str], slow: bool) -> list[Check]:
    """Return the checks of these names, or all, the slow ones too if asked for.

    Raises:
        UsageError: no check has that name.
    """
    known = {check.name: check for check in CHECKS}
    names = list(names)
    for name in names:
        if name not in known:
            raise unknown("check", name, known)
    return [known[name] for name in names] or [check for check in CHECKS if slow or not check.slow]


def _run_on_one_thread(results: Iterator[Result]) -> Iterator[Result]:
    with limit_to_one_thread():
        yield from results


def _compose_config(name: str, overrides: list[str]) -> RunConfig:
    for text in overrides:
        if text.partition("=")[0] in _ELSEWHERE:
            raise UsageError(
                f"{text}: check has no use for it; it takes dataset= and its options, device=, method.FIELD="
            )
    small = ["n=" + str(STAYS)] if any(o.startswith("dataset=embedded-") for o in overrides) else []
    return load_config("table1", [f"method={name}", *small, *overrides])


def _make_constructor(cls: type[Method], config: RunConfig, schedule: Schedule, variant: str) -> Make:
    """Return a function that constructs the method from a seed, its training cut to the schedule where it trains by epochs."""
    fields = {f.name for f in dataclasses.fields(cls.Config)}
    settings, _, taken = resolve_hyperparameters(
        cls, dataclasses.replace(config, schedule=schedule), cls.__name__, variant
    )
    unused = set(config.hyper) - taken
    if unused:
        raise unknown(f"hyper-parameter of {cls.__name__}:", f"method.{min(unused)}", [f"method.{k}" for k in fields])
    return lambda seed: cls(cls.Config(**settings), seed, config.device)


def _load_cohort(config: RunConfig) -> Cohort:
    dataset = prepare_dataset(config)
    landmark = config.landmark or dataset.info.landmarks[config.protocol.value][0]
    return dataset.cohort(landmark)
