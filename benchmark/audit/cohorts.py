"""A3, A8, A9 and A10: audit steps that change the cohort before the split is used.

A step is a function of (cohort, whole, dials): the cohort at the landmark, the one of the paper's protocol (``stay``: all stays,
contents of the whole stay), and the dials. It returns the cohort that the released pipeline would have handed on.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from datasets.cohort import Cohort, Group, Modality


@dataclass(frozen=True)
class Dials:
    """What is assumed of later stays: the released code reads them, the cohort has none, so they are drawn. No rate is known.

    - ``later_share``: survivors without a counted return who come back all the same, later than the outcome's window
    - ``mention``: how far a later note is moved along a fixed direction of its task by the event that it reports, in standard
      deviations of the notes along that direction
    - ``seed`` of who comes back, of what is recorded then, and of the directions
    """

    later_share: float = 0.3
    mention: float = 2.0
    seed: int = 40_000


FLAG = "in_hospital_death"


def find_in_hospital_deaths(cohort: Cohort, whole: Cohort) -> np.ndarray:
    """Return who died in the index stay, bool [N]: by the cohort's own mortality task where it has one, else by that of the whole stays."""
    own = _find_mortality_task(cohort)
    if own is not None:
        return cohort.outcomes[:, own] == 1
    task = _find_mortality_task(whole)
    if task is None:
        return np.zeros(len(cohort), dtype=bool)
    return np.isin(cohort.patient, whole.patient[whole.outcomes[:, task] == 1])


def add_later_stays(cohort: Cohort, whole: Cohort, dials: Dials, contents: bool, pattern: bool) -> Cohort:
    """Apply A3: pool notes, reports and images over all of a subject's life; a modality is observed if it was ever recorded.

    A stay is followed by a later one never after death, always where a task other than mortality is positive (a counted return), and
    with ``later_share`` otherwise. The later stay records a modality with the share observed in the cohort; its content is that of a
    stay drawn at random, moved by ``mention`` where the return is positive. ``contents``: observed modalities become the mean of both.
    ``pattern``: modalities that only the later stay has count as observed, with its content (unmoved unless ``contents`` is on too).
    Modalities that every stay has (the structured file) are left as they are.
    """
    rng = np.random.default_rng(dials.seed)
    n = len(cohort)
    returns = [t for t, task in enumerate(cohort.tasks) if not task.startswith("mortality")]
    positive = np.nan_to_num(cohort.outcomes[:, returns]) == 1
    chance = np.where(positive.any(axis=1), 1.0, dials.later_share)
    later = (rng.random(n) < chance) & ~find_in_hospital_deaths(cohort, whole)
    modalities, observed = [], cohort.observed.copy()
    for m, modality in enumerate(cohort.modalities):
        here = cohort.observed[:, m]
        recorded = later & (rng.random(n) < here.mean())
        donors = rng.choice(np.flatnonzero(here), size=n) if here.any() else np.arange(n)
        directions = rng.standard_normal((len(returns), modality.width))
        if here.all() or not here.any():
            modalities.append(modality)
            continue
        own = modality.values
        second = own[donors]
        moved = _move_by_mention(second, own[here], positive, directions, dials.mention) if contents else second
        values = own.copy()
        if contents:
            both = recorded & here
            values[both] = _average_recorded(own[both], moved[both])
        if pattern:
            new = recorded & ~here
            values[new] = moved[new]
            observed[:, m] |= new
        modalities.append(replace(modality, values=values))
    return _replace_fields(cohort, modalities=tuple(modalities), observed=observed)


def add_index_deaths(cohort: Cohort, whole: Cohort) -> Cohort:
    """Apply A8: add those who died in the index stay as negatives of every task, and the flag of that death to the first modality."""
    dead = ~np.isin(whole.patient, cohort.patient) & find_in_hospital_deaths(whole, whole)
    joined = stack_cohorts(cohort, whole.take(dead))
    outcomes = np.vstack([cohort.outcomes, np.zeros((int(dead.sum()), len(cohort.tasks)), dtype=np.float32)])
    flag = np.r_[np.zeros(len(cohort)), np.ones(int(dead.sum()))]
    return append_flag(_replace_fields(joined, outcomes=outcomes), flag)


def add_death_flag(cohort: Cohort, whole: Cohort) -> Cohort:
    """Apply A9b: add the flag of in-hospital death to the inputs of in-hospital mortality."""
    return append_flag(cohort, find_in_hospital_deaths(cohort, whole))


def use_whole_stay(cohort: Cohort, whole: Cohort) -> Cohort:
    """Apply A9a: put contents and pattern of the whole stay (discharge summary, counts up to discharge) for those known at the landmark."""
    at = np.argsort(whole.patient)
    rows = at[np.searchsorted(whole.patient, cohort.patient, sorter=at)]
    taken = tuple(replace(m, values=m.values[rows]) for m in whole.modalities)
    return _replace_fields(cohort, modalities=taken, observed=whole.observed[rows])


def scale_on_all_rows(cohort: Cohort) -> Cohort:
    """Apply A10: cut features of the first modality at mean +- 3 sd and fill gaps with the mean, both taken over all rows."""
    first, *others = cohort.modalities
    here = cohort.observed[:, 0]
    values = first.values.copy()
    recorded = values[here].astype(np.float64)
    given = ~np.isnan(recorded)
    count = np.maximum(given.sum(axis=0), 1)
    mean = np.where(given, recorded, 0.0).sum(axis=0) / count
    sd = np.sqrt(np.where(given, (recorded - mean) ** 2, 0.0).sum(axis=0) / count)
    values[here] = np.where(given, np.clip(recorded, mean - 3 * sd, mean + 3 * sd), mean).astype(np.float32)
    return _replace_fields(cohort, modalities=(replace(first, values=values), *others))


def stack_cohorts(cohort: Cohort, more: Cohort) -> Cohort:
    """Return the stays of both, one below the other, with the tasks of ``cohort`` (undefined for ``more``) and without series.

    Raises:
        ValueError: the modalities are not the same.
    """
    if cohort.modality_names != more.modality_names:
        raise ValueError(f"modalities differ: {', '.join(cohort.modality_names)} and {', '.join(more.modality_names)}")
    pairs = zip(cohort.modalities, more.modalities, strict=True)
    modalities = tuple(replace(a, values=np.concatenate([a.values, b.values])) for a, b in pairs)
    groups = {
        name: Group(np.concatenate([g.codes, more.groups[name].codes]), g.labels)
        for name, g in cohort.groups.items()
        if name in more.groups and more.groups[name].labels == g.labels
    }
    return _replace_fields(
        cohort,
        patient=np.concatenate([cohort.patient, more.patient]),
        site=None if cohort.site is None or more.site is None else np.concatenate([cohort.site, more.site]),
        groups=groups,
        modalities=modalities,
        observed=np.concatenate([cohort.observed, more.observed]),
        outcomes=np.vstack([cohort.outcomes, np.full((len(more), len(cohort.tasks)), np.nan, dtype=np.float32)]),
        series=None,
    )


def append_flag(cohort: Cohort, flag: np.ndarray) -> Cohort:
    """Return the cohort whose first modality has one feature more, FLAG, of 0 and 1."""
    first, *others = cohort.modalities
    values = np.column_stack([first.values, np.asarray(flag, dtype=np.float32)])
    return _replace_fields(cohort, modalities=(Modality(first.name, values, (*first.feature_names, FLAG)), *others))


def _replace_fields(cohort: Cohort, **fields: Any) -> Cohort:
    """Return the cohort with other fields and the fingerprint of its new content."""
    return replace(cohort, **fields, fingerprint="")


def _find_mortality_task(cohort: Cohort) -> int | None:
    return next((t for t, task in enumerate(cohort.tasks) if task.startswith("mortality")), None)


def _move_by_mention(
    second: np.ndarray, notes: np.ndarray, positive: np.ndarray, directions: np.ndarray, mention: float
) -> np.ndarray:
    """Return contents [n, d] moved along each task's direction [T, d] where it is positive [n, T], in sd of ``notes`` along it."""
    unit = (directions / np.linalg.norm(directions, axis=1, keepdims=True)).astype(np.float32)
    spread = (np.nan_to_num(notes) @ unit.T).std(axis=0)
    return second + (positive * (mention * spread)).astype(np.float32) @ unit


def _average_recorded(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the mean of two arrays; where one is not recorded, the other."""
    return np.where(np.isnan(a), b, np.where(np.isnan(b), a, (a + b) / 2))
