"""Many methods over many cohorts: the Friedman test, Nemenyi's critical difference, and when neither is called for (Demsar 2006).

Demsar, Statistical comparisons of classifiers over multiple data sets, JMLR 7. Blocks are independent cohorts: never folds, whose training
parts overlap, nor two plans on one cohort, nor a demo together with the release that its patients come from.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import friedmanchisquare, rankdata, studentized_range

from results.plan import Plan
from results.rows import list_rows
from results.storage.store import Store

LEVEL = 0.05
COHORTS = 11
"""Demsar's rule for the chi-square approximation is more than 10 cohorts and more than 5 methods. Of 3 to 5 methods he ranks four himself;
over 11 to 15 cohorts the test's size at .05 is then .041 to .056 (20,000 draws each), so that only the first half is kept."""
METHODS = 3
PART_OF = {"eicu-demo": "eicu", "mimic-iv-demo": "mimic-iv"}


@dataclass(frozen=True, eq=False)
class Ranking:
    """Average ranks of methods (1 is best) over ``cohorts``, and what the tests say of them.

    ``ranks``: by method, ascending, or None where they would mislead; ``statistic`` and ``p``: Friedman's, corrected for ties;
    ``critical_difference``: two methods differ whose average ranks are at least so far apart (at .05, all pairs together);
    ``cliques``: largest groups of methods that are not told apart; ``reason``: why one of these is missing, a sentence.
    """

    cohorts: tuple[str, ...]
    ranks: pd.Series | None = None
    statistic: float | None = None
    p: float | None = None
    critical_difference: float | None = None
    cliques: tuple[tuple[str, ...], ...] = ()
    reason: str | None = None


def rank_methods(values: pd.DataFrame) -> Ranking:
    """Rank methods (columns) over cohorts (index); higher values are better, NaN is no value.

    Refused are: a method without a value on some cohort (no ranks at all), fewer than two cohorts (likewise), fewer than COHORTS or
    METHODS (ranks, no test). Nemenyi's test follows only where Friedman's rejects.
    """
    cohorts, k = tuple(values.index), values.shape[1]
    absent = [(method, cohort) for cohort in cohorts for method in values if math.isnan(values.at[cohort, method])]
    if absent:
        pairs = ", ".join(f"{method} on {cohort}" for method, cohort in absent[:3])
        more = f" and {len(absent) - 3} more" if len(absent) > 3 else ""
        return Ranking(
            cohorts, reason=f"Not ranked: no value for {pairs}{more}; every method is needed on every cohort."
        )
    if len(cohorts) < 2 or k < 2:
        return Ranking(cohorts, reason=f"Not ranked: {_describe_size(cohorts, k)}; two of each is the least.")
    by_cohort = rankdata(-values.to_numpy(), axis=1)
    ranks = pd.Series(by_cohort.mean(axis=0), values.columns).sort_values(kind="stable")
    if len(cohorts) < COHORTS or k < METHODS:
        why = (
            f"Average ranks without a test: {_describe_size(cohorts, k)}; the Friedman test needs {COHORTS} independent cohorts "
            f"and {METHODS} methods or more (Demsar 2006)."
        )
        return Ranking(cohorts, ranks, reason=why)
    test = friedmanchisquare(*values.to_numpy().T)
    statistic, p = float(test.statistic), float(test.pvalue)
    if not p < LEVEL:
        why = f"No pair is tested: the Friedman test finds no difference among the methods (p = {p:.2g})."
        return Ranking(cohorts, ranks, statistic, p, reason=why)
    apart = compute_critical_difference(k, len(cohorts))
    return Ranking(cohorts, ranks, statistic, p, apart, find_cliques(ranks, apart))


def compute_critical_difference(methods: int, cohorts: int, level: float = LEVEL) -> float:
    """Return Nemenyi's ``q sqrt(k (k + 1) / 6 N)``, q the studentized range of k means with infinite df over sqrt(2)."""
    q = studentized_range.ppf(1 - level, methods, math.inf) / math.sqrt(2)
    return float(q * math.sqrt(methods * (methods + 1) / (6 * cohorts)))


def find_cliques(ranks: pd.Series, apart: float) -> tuple[tuple[str, ...], ...]:
    """Return the largest groups, of two or more, whose average ranks (ascending) span less than ``apart``."""
    found, last = [], 0
    for first in range(len(ranks)):
        end = int(np.searchsorted(ranks.to_numpy(), ranks.iloc[first] + apart))
        if end > last and end - first > 1:
            found.append(tuple(ranks.index[first:end]))
        last = max(last, end)
    return tuple(found)


def collect_cohort_values(store: Store, plans: Sequence[Plan]) -> pd.DataFrame:
    """Return the AUC by cohort (dataset) and method (printed name): one row a cohort, the mean over its plans and their tasks.

    NaN where a method lacks one of the tasks. Known rows and rows before the rectifier are left out, and a demo where the whole release is
    there.

    Args:
        store: where the plans' statistics are.
        plans: of one protocol; one dataset may have several (arms, sizes), which are not independent and make one row.
    """
    datasets = {plan.dataset for plan in plans}
    numbers: dict[str, dict[str, list[float]]] = {}
    for plan in plans:
        if PART_OF.get(plan.dataset) in datasets:
            continue
        titles = {(r.method, r.variant): r.title for r in list_rows(plan) if r.stage == "final" and not r.known}
        own = numbers.setdefault(plan.dataset, {})
        for entry in (store.statistics(plan.name) or {}).get("intervals", []):
            title = titles.get((entry["method"], entry["variant"]))
            if title is not None and entry["metric"] == "auc":
                own.setdefault(title, []).append(math.nan if entry["value"] is None else entry["value"])
    tasks = {dataset: max(map(len, own.values()), default=0) for dataset, own in numbers.items()}
    means = {
        dataset: {title: float(np.mean(v)) if len(v) == tasks[dataset] else math.nan for title, v in own.items()}
        for dataset, own in numbers.items()
    }
    return pd.DataFrame.from_dict(means, orient="index").astype(float)


def _describe_size(cohorts: Sequence[str], methods: int) -> str:
    return f"{len(cohorts)} cohort{'s' * (len(cohorts) != 1)} and {methods} method{'s' * (methods != 1)}"
