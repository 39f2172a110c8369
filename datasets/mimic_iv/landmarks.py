"""Which index stays enter a cohort at each landmark, when they are cut, and how many each rule took.

Strict: adults (18 years and over), index years that are certainly at or before 2019 (notes were released no further), at
risk at the landmark. ``subset=cxr_era``: index years certainly within 2011 to 2016 and an index admission through the
emergency department, the cohort on which X-rays could exist.

- ``icu_24h``: 24 hours after the index ICU admission; alive, in hospital, the unit stay still running.
- ``discharge_72h``: 72 hours after hospital discharge; alive, not admitted again.
- ``discharge``: at discharge, alive; the discharge summary of that admission is exempt from the clock.
- ``stay`` (the paper's): at discharge or death, all of them; the discharge summary is exempt.

``dod`` is a day without an hour: who died on the landmark's day is taken for dead, but at ``discharge`` itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from datasets.cohort import CohortError, Group
from datasets.mimic_iv import labels
from datasets.mimic_iv.stays import DAY, HOUR, History

STRICT, PAPER = "strict", "paper"
PROTOCOL = {"icu_24h": STRICT, "discharge_72h": STRICT, "discharge": STRICT, "stay": PAPER}
TASKS = {
    "icu_24h": ("mortality_inhosp",),
    "discharge_72h": ("readmission_30d", "icu_90d"),
    "discharge": ("readmission_30d", "icu_90d"),
    "stay": ("mortality_inhosp", "readmission_30d", "icu_90d"),
}
SENSITIVITY = "readmission_or_death_30d"
EXEMPT = ("discharge", "stay")
"""Landmarks at which the discharge summary of the index admission counts whenever it was signed."""

WAIT_HOURS = {"icu_24h": 24, "discharge_72h": 72, "discharge": 0, "stay": 0}
NOTES_UNTIL = 2019
CXR_YEARS = (2011, 2016)
SUBSETS = ("cxr_era",)
AGE_BANDS = ((18, "18-44"), (45, "45-64"), (65, "65-79"), (80, "80+"))
SEXES = {"F": "Female", "M": "Male"}
ETHNICITIES = {
    "White": "WHITE|PORTUGUESE", "Black": "BLACK", "Hispanic": "HISPANIC|SOUTH AMERICAN", "Asian": "ASIAN",
    "Other": "OTHER|NATIVE|MULTIPLE|PACIFIC",
}  # fmt: skip
"""Labels and the patterns by which ``race`` is sorted into them, the first that fits; else unknown."""


@dataclass(frozen=True, eq=False)
class Selection:
    """The stays of one landmark, by ascending ``subject_id``: ``index`` has a row each, ``cutoff`` float64 [N] in seconds.

    ``outcomes`` float32 [N, T]; ``sensitivity`` float32 [N]; ``flow``: what each rule left and took.
    """

    landmark: str
    index: pd.DataFrame
    cutoff: np.ndarray
    groups: dict[str, Group]
    outcomes: np.ndarray
    tasks: tuple[str, ...]
    sensitivity: np.ndarray
    flow: list[dict]


def select_stays(
    history: History, index: pd.DataFrame, landmark: str, *, subset: str | None = None, observation_admit: bool = False
) -> Selection:
    """Select the stays of ``landmark`` among the ``index`` stays, with their cut, groups and outcomes.

    Raises:
        CohortError: for an unknown landmark or subset, or where no stay is left.
    """
    if landmark not in PROTOCOL:
        raise CohortError(f"MIMIC-IV has no landmark {landmark}; it has {', '.join(PROTOCOL)}")
    if subset is not None and subset not in SUBSETS:
        raise CohortError(f"MIMIC-IV has no subset {subset}; it has {', '.join(SUBSETS)}")
    flow = _count_before_selection(history, index)
    left = index
    for step, rule in _list_steps(history, landmark, subset):
        kept = rule(left)
        flow.append({"step": step, "n": int(kept.sum()), "excluded": int((~kept).sum())})
        left = left[kept]
        if not len(left):
            raise CohortError(f"no stay is left at landmark {landmark} after the step: {step}")
    left = left.reset_index(drop=True)
    tasks = TASKS[landmark]
    truth = labels.derive_outcomes(
        history,
        left,
        _compute_risk_start(left, landmark),
        paper=PROTOCOL[landmark] == PAPER,
        observation_admit=observation_admit,
    )
    return Selection(
        landmark=landmark,
        index=left,
        cutoff=compute_cutoff(left, landmark),
        groups=_make_groups(left),
        outcomes=np.stack([truth[task] for task in tasks], axis=1).astype(np.float32),
        tasks=tasks,
        sensitivity=truth[SENSITIVITY].astype(np.float32),
        flow=flow,
    )


def compute_cutoff(index: pd.DataFrame, landmark: str) -> np.ndarray:
    """Return the landmark of each index stay in seconds, float64 [N]."""
    since = index.begin if landmark == "icu_24h" else index.discharged
    return (since + WAIT_HOURS[landmark] * HOUR).to_numpy(dtype=float)


def _compute_risk_start(index: pd.DataFrame, landmark: str) -> np.ndarray:
    """Return where the risk windows start: at the landmark, but never before discharge."""
    return np.maximum(compute_cutoff(index, landmark), index.discharged.to_numpy(dtype=float))


def _count_before_selection(history: History, index: pd.DataFrame) -> list[dict]:
    raw = len(history.admissions) + history.backwards
    with_icu = history.admissions.hadm.isin(history.stays.hadm)
    unit = history.admissions.hadm.isin(history.stays.hadm[history.stays.intensive])
    steps = [
        ("hospital admissions in the release", raw),
        ("that end after they begin", len(history.admissions)),
        ("with an ICU stay", int(with_icu.sum())),
        ("that began in an intensive unit, not in step-down", int(unit.sum())),
        ("the first such admission of each patient, and its first such stay", len(index)),
    ]
    counts = [n for _, n in steps]
    return [
        {"step": step, "n": n, "excluded": before - n}
        for (step, n), before in zip(steps, [counts[0], *counts], strict=False)
    ]


def _list_steps(history: History, landmark: str, subset: str | None) -> list[tuple[str, Callable]]:
    steps: list[tuple[str, Callable]] = [("adults (18 years and over)", lambda rows: rows.years >= 18)]
    if PROTOCOL[landmark] == STRICT:
        steps += [(f"index year certainly at or before {NOTES_UNTIL}", lambda rows: rows.latest <= NOTES_UNTIL)]
    if subset == "cxr_era":
        steps += [(f"cxr_era: index year certainly {CXR_YEARS[0]} to {CXR_YEARS[1]}, through the emergency department",
                   is_in_cxr_era)]  # fmt: skip
    if landmark == "icu_24h":
        steps += [
            ("alive and in hospital 24 h after ICU admission", lambda rows: _is_in_hospital(rows, landmark)),
            ("ICU stay still running then", lambda rows: ~(rows.end <= compute_cutoff(rows, landmark))),
        ]
    elif landmark in ("discharge_72h", "discharge"):
        steps += [("discharged alive", lambda rows: ~rows.died & rows.death.isna())]
    if landmark == "discharge_72h":
        steps += [
            ("alive 72 h after discharge", lambda rows: ~(rows.dod <= compute_cutoff(rows, landmark) // DAY * DAY)),
            ("not admitted again by then", lambda rows: ~_is_admitted_again(history, rows, landmark)),
        ]
    return steps


def is_in_cxr_era(index: pd.DataFrame) -> pd.Series:
    """Return whether an X-ray could have been released for the index admission: bool [N]."""
    years = (index.earliest >= CXR_YEARS[0]) & (index.latest <= CXR_YEARS[1])
    return years & (index.emergency <= index.begin)


def _is_in_hospital(rows: pd.DataFrame, landmark: str) -> pd.Series:
    cut = compute_cutoff(rows, landmark)
    return ~(rows.death <= cut) & (rows.discharged > cut)


def _is_admitted_again(history: History, rows: pd.DataFrame, landmark: str) -> pd.Series:
    admissions = history.joined.rename(columns={"admitted": "begin"})
    again = labels.find_followed(rows, admissions, rows.discharged.to_numpy(float), compute_cutoff(rows, landmark))
    return pd.Series(again, index=rows.index)


def _make_groups(rows: pd.DataFrame) -> dict[str, Group]:
    band = np.searchsorted([start for start, _ in AGE_BANDS], rows.years.to_numpy(), side="right") - 1
    race = pd.Series(-1, index=rows.index)
    for code, pattern in reversed(list(enumerate(ETHNICITIES.values()))):
        race[rows.race.fillna("").str.contains(pattern, regex=True)] = code
    years = sorted(rows.year_group.unique())
    return {
        "sex": _encode_group(rows.gender.map(SEXES), tuple(SEXES.values())),
        "age band": Group(band.astype(np.int16), tuple(label for _, label in AGE_BANDS)),
        "ethnicity": Group(race.to_numpy(dtype=np.int16), tuple(ETHNICITIES)),
        "year group": _encode_group(rows.year_group, tuple(years)),
    }


def _encode_group(values: pd.Series, words: tuple[str, ...]) -> Group:
    return Group(values.map({word: i for i, word in enumerate(words)}).fillna(-1).to_numpy(dtype=np.int16), words)
