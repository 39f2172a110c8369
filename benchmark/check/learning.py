"""Checks of what is learned, on easy cohorts whose answer is known: a latent health that every modality shows."""

from __future__ import annotations

import time
from functools import cache

import numpy as np
from sklearn.metrics import roc_auc_score

from benchmark.check.cohorts import LATENT, SplitCohort, draw_random_cohort, replace_fields, split_ordinary_cohort
from benchmark.check.harness import Fault, Harness
from datasets.cohort import Cohort

CHANCE_ERRORS = 4.0
"""Standard errors within which an AUC without information must lie."""


def learns(harness: Harness) -> None:
    """On an easy cohort, of few patterns or of many rare ones, a method is better than chance: an AUC above 0.7 for every task. Risks of
    the two tasks run in opposite directions, so that neither swapped tasks nor one output for all will do.
    """
    for patterns, parts in (("few patterns", _draw_easy_cohort()), ("many rare patterns", _draw_rare_patterns())):
        outcomes = parts.whole.outcomes * [1, -1] + [0, 1]
        parts = SplitCohort(replace_fields(parts.whole, outcomes=outcomes.astype(np.float32)), parts.rows)
        p = harness.predict(harness.fit(parts.train, parts.valid, make=harness.learner), parts.test)
        for task, auc in _compute_aucs(parts.test, p).items():
            if not auc > 0.7:
                hint = "; below 0.5, as if it were the other task, whose risk runs the other way" if auc < 0.3 else ""
                raise Fault(f"AUC {auc:.2f} for {task} with {patterns}, where a straight line has 0.8{hint}")


def shuffled_outcomes(harness: Harness) -> None:
    """Where outcomes are shuffled there is nothing to learn: an AUC off 0.5 is a leak, wherever it comes from."""
    _expect_chance(harness, repeats=1)


def shuffled_repeatedly(harness: Harness) -> None:
    """As shuffled_outcomes, over eight cohorts: a leak a third as large is seen."""
    _expect_chance(harness, repeats=8)


def validation_outcomes(harness: Harness) -> None:
    """Nobody trains on the validation part: where its outcomes contradict those of the training part, predictions follow training."""
    parts = _draw_easy_cohort()
    valid = parts.whole.take(np.concatenate([parts.rows["valid"], parts.rows["test"][:300]]))
    test = parts.whole.take(parts.rows["test"][300:])
    train = replace_fields(parts.train, outcomes=1 - parts.train.outcomes)
    p = harness.predict(harness.fit(train, valid, make=harness.learner), test)
    for task, auc in _compute_aucs(test, p).items():
        if auc > 0.5:
            raise Fault(f"AUC {auc:.2f} for {task} after training on its opposite: the validation part was trained on")


def undefined_outcomes(harness: Harness) -> None:
    """An undefined outcome (NaN) is neither 0 nor 1: hidden mostly from patients at high risk (first task) or low risk (second task),
    outcomes still show who is at risk.
    """
    parts = _draw_easy_cohort()
    train, first = parts.train, parts.train.modalities[0]
    risk = np.zeros(len(train))
    seen = train.observed[:, 0]
    risk[seen] = np.nanmean(first.values[seen] * np.resize(LATENT, first.width), axis=1)
    shown = np.arange(len(train)) % 20 == 0
    y = train.outcomes.copy()
    for t, hide in enumerate((risk > -0.2, risk < 0.2)):
        y[hide & ~shown, t] = np.nan
    p = harness.predict(harness.fit(replace_fields(train, outcomes=y), parts.valid, make=harness.learner), parts.test)
    for treated, (task, auc) in zip((0, 1), _compute_aucs(parts.test, p).items(), strict=True):
        if auc < 0.5:
            raise Fault(f"AUC {auc:.2f} for {task}: undefined outcomes seem to count as {treated}")


def base_rate(harness: Harness) -> None:
    """No class weights and no resampling, the Brier score being a metric: with nothing to learn from, the mean prediction is near the
    share of positives, 5 % (a focal loss may move it somewhat, balanced weights make it 50 %).
    """
    whole = draw_random_cohort(1600, seed=21, signal=0.0, undefined=0.0, pattern_effect=0.0)
    positive = (whole.outcomes == 1).any(axis=1)
    parts = split_ordinary_cohort(whole.take(~positive | (np.cumsum(positive) % 24 == 0)))
    p = harness.predict(harness.fit(parts.train, parts.valid, make=harness.learner), parts.test)
    p = np.where(np.isfinite(p), np.clip(p, 0, 1), np.nan)
    for t, task in enumerate(whole.tasks):
        mean, share = float(np.nanmean(p[:, t])), float(parts.train.outcomes[:, t].mean())
        if abs(mean - share) > 0.3:
            raise Fault(f"{task}: {share:.0%} of the training stays are positive, the mean prediction is {mean:.0%}")


def cost(harness: Harness) -> str:
    """Cohorts have 20,000 stays and more: time should grow no faster than their number (reported, never a failure)."""
    sizes = (500, 1000, 2000)
    seconds = []
    for n in sizes:
        cohorts = [harness.copy_cohort(draw_random_cohort(n, seed=seed)) for seed in (1, 2)]
        method, started = harness.make(0), time.perf_counter()
        method.fit(*cohorts).predict_proba(cohorts[1].without_outcomes())
        seconds.append(time.perf_counter() - started)
    power = float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])
    pairs = ", ".join(f"{s:.2f} s at {n:,}" for n, s in zip(sizes, seconds, strict=True))
    return f"{pairs} stays: time grows as N to the power of {power:.1f}"


@cache
def _draw_easy_cohort() -> SplitCohort:
    return split_ordinary_cohort(draw_random_cohort(1000, seed=20, pattern_effect=0.0), train=0.3, valid=0.12)


@cache
def _draw_rare_patterns() -> SplitCohort:
    """Draw an easy cohort of seven modalities, with about 60 patterns among its 180 training stays."""
    whole = draw_random_cohort(900, widths=(3,) * 7, seed=22, pattern_effect=0.0)
    return split_ordinary_cohort(whole, train=0.2, valid=0.12)


def _expect_chance(harness: Harness, repeats: int) -> None:
    """Compare the AUC on cohorts with shuffled outcomes with 0.5.

    Raises:
        Fault: the mean AUC over cohorts of a task is further from 0.5 than chance explains.
    """
    aucs_by_task: dict[str, list[float]] = {}
    bound = 0.0
    for repeat in range(repeats):
        whole = draw_random_cohort(1600, seed=30 + repeat)
        shuffle = np.random.default_rng(repeat).permutation(len(whole))
        parts = split_ordinary_cohort(replace_fields(whole, outcomes=whole.outcomes[shuffle]), train=0.16, valid=0.08)
        p = harness.predict(harness.fit(parts.train, parts.valid, make=harness.learner), parts.test)
        for task, auc in _compute_aucs(parts.test, p).items():
            aucs_by_task.setdefault(task, []).append(auc)
        n = 0.9 * len(parts.test) / 2
        bound = CHANCE_ERRORS * float(np.sqrt((2 * n + 1) / (12 * n * n) / repeats))
    for task, aucs in aucs_by_task.items():
        if abs(np.mean(aucs) - 0.5) > bound:
            raise Fault(f"AUC {np.mean(aucs):.2f} for {task}, expected 0.5 +- {bound:.2f}")


def _compute_aucs(cohort: Cohort, p: np.ndarray) -> dict[str, float]:
    """Return the AUC by task over the stays with an outcome and a finite prediction (another check looks at the others)."""
    out = {}
    for t, task in enumerate(cohort.tasks):
        rows = ~np.isnan(cohort.outcomes[:, t]) & np.isfinite(p[:, t])
        out[task] = float(roc_auc_score(cohort.outcomes[rows, t], p[rows, t]))
    return out
