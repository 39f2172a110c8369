"""The conformance tests: named checks that anyone can run on a method, each alone if need be.

    from benchmark.check import run_checks
    for result in run_checks(lambda seed: MyMethod(seed=seed)):
        print(result.name, result.verdict, result.detail)

``python -m benchmark check METHOD`` runs it on a registered method or plug-in.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from benchmark.check import contract, learning, odd
from benchmark.check.cohorts import draw_random_cohort, split_ordinary_cohort
from benchmark.check.harness import Fault, Harness, Make, Skip
from datasets.cohort import Cohort
from methods.base import NotApplicable

STAYS = 400
"""Stays of a given cohort that the checks run on."""


@dataclass(frozen=True)
class Check:
    """A named check: ``run`` raises Fault or anything else where a method fails, and may return a remark.

    ``protects``: one sentence; ``slow``: only on request; ``given``: it can run on a given cohort, the others bring their own.
    """

    name: str
    protects: str
    run: Callable[[Harness], str | None]
    slow: bool = False
    given: bool = True


@dataclass(frozen=True)
class Result:
    """The result of a check: ``verdict`` is passed, failed or skipped; ``detail`` says why, or what was measured.

    Why a method does not apply to the cohort (NotApplicable) is the detail of the first check that it stops, and of no other.
    """

    name: str
    verdict: str
    detail: str
    seconds: float


def _make_check(run: Callable[[Harness], str | None]) -> Check:
    sentence = " ".join((run.__doc__ or "").split())
    slow = run in (learning.shuffled_repeatedly, learning.cost)
    return Check(run.__name__, sentence, run, slow, given=run.__module__ != learning.__name__)


CHECKS: tuple[Check, ...] = tuple(
    _make_check(run)
    for run in (
        contract.probabilities,
        contract.same_seed,
        contract.other_seed,
        contract.other_rows,
        contract.unobserved_in_fit,
        contract.unobserved_in_prediction,
        contract.test_outcomes,
        contract.keys,
        contract.representation,
        contract.validation_inputs,
        contract.prediction_inputs,
        contract.arguments,
        contract.save_and_load,
        contract.fields,
        odd.unseen_pattern,
        odd.single_modality,
        odd.nothing_observed,
        odd.absent_modality,
        odd.constant_feature,
        odd.unrecorded_feature,
        odd.single_class,
        odd.single_class_validation,
        odd.tiny,
        odd.last_batch,
        odd.one_modality_one_task,
        learning.learns,
        learning.shuffled_outcomes,
        learning.validation_outcomes,
        learning.undefined_outcomes,
        learning.base_rate,
        learning.shuffled_repeatedly,
        learning.cost,
    )
)


def run_checks(
    make: Make,
    checks: Iterable[Check] | None = None,
    *,
    learner: Make | None = None,
    cohort: Cohort | None = None,
    uses_seed: bool = True,
    uses_series: bool = True,
) -> Iterator[Result]:
    """Run checks and yield the result of each as it ends; all that are not slow where none are named.

    ``make`` constructs the method with a seed; ``learner`` likewise, but trained as long as learning takes (else ``make``).
    ``cohort`` replaces the small random one where a check can use it, its first ``STAYS`` stays; ``uses_seed`` and ``uses_series``
    as in INFO.
    """
    chosen = [c for c in CHECKS if not c.slow] if checks is None else checks
    cohort = draw_random_cohort(260, widths=(6, 5, 4, 3), seed=0) if cohort is None else cohort
    parts = split_ordinary_cohort(cohort.take(np.arange(min(STAYS, len(cohort)))))
    harness = Harness(make, learner or make, parts, uses_seed, uses_series)
    said: set[str] = set()
    for check in chosen:
        started = time.perf_counter()
        verdict, detail = _judge(check, harness, said)
        yield Result(check.name, verdict, detail, round(time.perf_counter() - started, 3))


def _judge(check: Check, harness: Harness, said: set[str]) -> tuple[str, str]:
    """Return verdict and detail of a check; ``said``: why the method does not apply, once a result has said it."""
    try:
        return "passed", check.run(harness) or ""
    except Skip as reason:
        return "skipped", str(reason)
    except Fault as fault:
        return "failed", str(fault)
    except Exception as error:
        # a refusal of the ordinary cohort is one of all checks; of an odd cohort alone, it is the fault that the check is about
        if isinstance(error, NotApplicable) and harness.obstacle is not None:
            detail = (
                ""
                if harness.obstacle in said
                else f"not applicable, and so are the checks that follow: {harness.obstacle}"
            )
            said.add(harness.obstacle)
            return "skipped", detail
        line = next(iter(str(error).splitlines()), "")
        return "failed", f"raised {type(error).__name__}: {line}"
