"""What of some plans' numbers may be printed in public: which tasks, groups, folds, shares and steps are too small."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from results.disclosure import Count, Sum, choose_hidden, is_small, select_shown_steps
from results.plan import Landmark, Plan
from results.storage.store import Store

CohortTask = tuple[str, str, str, str]
"""Dataset, protocol, landmark, task."""
FOLD, VALID = "fold", "validation part of fold"
ALL = "all"
OBSERVED, NOT_OBSERVED = " observed", " not observed"


@dataclass
class Suppression:
    """By CohortTask: ``whole`` counts of the cohorts; ``parts``, the counts of each group and fold, under (attribute, name).

    ``blank``: those that are too small as a whole; ``uncounted``: those whose number of undefined outcomes is; ``hidden_n`` and
    ``hidden``: groups and folds whose rows, or whose positives, are not printed; ``shares``: (dataset, protocol, landmark, modality) and
    ``steps``: (dataset, step, n) that are not.
    """

    whole: dict[CohortTask, set[Count]] = field(default_factory=lambda: defaultdict(set))
    parts: dict[tuple[CohortTask, str, str], set[Count]] = field(default_factory=lambda: defaultdict(set))
    blank: set[CohortTask] = field(default_factory=set)
    uncounted: set[CohortTask] = field(default_factory=set)
    hidden_n: set[tuple[CohortTask, str, str]] = field(default_factory=set)
    hidden: set[tuple[CohortTask, str, str]] = field(default_factory=set)
    shares: set[tuple[str, str, str, str]] = field(default_factory=set)
    steps: set[tuple[str, str, int]] = field(default_factory=set)


def find_suppression(store: Store, plans: Iterable[Plan]) -> Suppression:
    """Find what must be suppressed of ``plans`` taken together: what is hidden in one of them is hidden in all."""
    found = Suppression()
    for plan in plans:
        statistics = store.statistics(plan.name) or {}
        derived = [statistics.get(name) for name in plan.derived]
        groups = [g for found_in in derived if isinstance(found_in, dict) for g in found_in.get("groups", [])]
        folds = _count_folds(store, plan)
        for landmark, facts in plan.landmarks.items():
            _suppress_landmark(found, plan, landmark, facts)
            for task, whole in facts.tasks.items():
                cohort_task = (plan.dataset, plan.protocol, landmark, task)
                total = Count(whole.n, whole.positives)
                own = [g for g in groups if (g["landmark"], g["task"]) == (landmark, task)]
                by_attribute: dict[str, dict[str, Count]] = defaultdict(dict)
                for g in own:
                    by_attribute[g["attribute"]][g["group"]] = Count(g["n"], g["positives"])
                by_attribute.pop(ALL, None)
                most = _find_largest_counts(groups, landmark)
                _suppress_partitions(found, cohort_task, total, by_attribute, list(facts.modalities), most)
                _suppress_partitions(found, cohort_task, total, {FOLD: folds["test"].get((landmark, task), {})}, [], {})
                for fold, count in folds["valid"].get((landmark, task), {}).items():
                    found.parts[cohort_task, VALID, fold].add(count)
                _suppress_undefined(found, plan, landmark, facts, own)
    for (dataset, protocol, landmark, _), attribute, _ in found.hidden_n:
        if attribute.startswith("modality "):
            found.shares.add((dataset, protocol, landmark, attribute.removeprefix("modality ")))
    return found


def _suppress_landmark(found: Suppression, plan: Plan, landmark: str, facts: Landmark) -> None:
    """Suppress what is small of the cohort itself: its size, its tasks, its modalities and its flow."""
    for task, whole in facts.tasks.items():
        cohort_task = (plan.dataset, plan.protocol, landmark, task)
        total = Count(whole.n, whole.positives)
        found.whole[cohort_task].add(total)
        if total.small or is_small(facts.n):
            found.blank.add(cohort_task)
        if any(is_small(abs(other - total.n)) for other in (facts.n, *(t.n for t in facts.tasks.values()))):
            found.uncounted.add(cohort_task)
    for name, share in facts.modalities.items():
        observed = round((share or 0) * facts.n)
        if is_small(observed) or is_small(facts.n - observed):
            found.shares.add((plan.dataset, plan.protocol, landmark, name))
    flow = facts.flow
    shown = select_shown_steps([step["n"] for step in flow])
    found.steps |= {
        (plan.dataset, step["step"], step["n"]) for step, is_shown in zip(flow, shown, strict=True) if not is_shown
    }


def _suppress_partitions(
    found: Suppression,
    cohort_task: CohortTask,
    total: Count,
    by_attribute: dict[str, dict[str, Count]],
    modalities: list[str],
    most: dict[tuple[str, str], int],
) -> None:
    """Hide what is small among the partitions of a landmark and task, and what has to be hidden with it.

    Args:
        total: what each partition adds up to, at most.
        by_attribute: partition -> its groups.
        modalities: of which patterns are made.
        most: (attribute, group) -> its rows under the task that is defined for most of them.
    """
    counts: dict[str, Count] = {}
    sums: list[Sum] = []
    key = {(a, g): f"{a}\0{g}" for a, groups in by_attribute.items() for g in groups}
    for attribute, groups in by_attribute.items():
        members = {key[attribute, g]: count for g, count in groups.items()}
        n, positives = (sum(getattr(c, what) for c in groups.values()) for what in ("n", "positives"))
        counts |= members
        sums.append(Sum(tuple(members), rest=Count(total.n - n, total.positives - positives)))
    patterns = by_attribute.get("pattern", {})
    for modality in modalities:
        attribute = f"modality {modality}"
        if attribute in by_attribute and patterns:
            for group, has in ((modality + OBSERVED, True), (modality + NOT_OBSERVED, False)):
                inside = [key["pattern", p] for p in patterns if (modality in p.split("+")) is has]
                if group in by_attribute[attribute]:
                    sums.append(Sum(tuple(inside), key[attribute, group]))
    undefined = [key[a, g] for (a, g), n in most.items() if (a, g) in key and is_small(n - by_attribute[a][g].n)]
    hidden = choose_hidden(counts, sums, undefined)
    for (attribute, group), name in key.items():
        found.parts[cohort_task, attribute, group].add(by_attribute[attribute][group])
        if name in hidden.n:
            found.hidden_n.add((cohort_task, attribute, group))
        if name in hidden.positives:
            found.hidden.add((cohort_task, attribute, group))


def _find_largest_counts(groups: list[dict[str, Any]], landmark: str) -> dict[tuple[str, str], int]:
    found: dict[tuple[str, str], int] = {}
    for g in groups:
        if g["landmark"] == landmark:
            at = (g["attribute"], g["group"])
            found[at] = max(found.get(at, 0), g["n"])
    return found


def _suppress_undefined(
    found: Suppression, plan: Plan, landmark: str, facts: Landmark, groups: list[dict[str, Any]]
) -> None:
    """Hide the share of a modality that would tell, together with its groups, in how few stays the outcome is undefined."""
    for name, share in facts.modalities.items():
        observed = round((share or 0) * facts.n)
        whole = {name + OBSERVED: observed, name + NOT_OBSERVED: facts.n - observed}
        own = [g for g in groups if g["attribute"] == f"modality {name}"]
        if any(is_small(abs(whole[g["group"]] - g["n"])) for g in own):
            found.shares.add((plan.dataset, plan.protocol, landmark, name))


def _count_folds(store: Store, plan: Plan) -> dict[str, dict[tuple[str, str], dict[str, Count]]]:
    """Return part -> (landmark, task) -> fold -> the most rows of it that a cell was scored on."""
    found: dict[str, dict[tuple[str, str], dict[str, Count]]] = {"test": defaultdict(dict), "valid": defaultdict(dict)}
    for planned in plan.cells:
        for m in (store.record(planned) or {}).get("metrics", []):
            folds, fold = found[m["split"]][planned.cell.landmark, m["task"]], str(planned.cell.fold)
            if fold not in folds or m["n"] > folds[fold].n:
                folds[fold] = Count(m["n"], m["positives"])
    return found
