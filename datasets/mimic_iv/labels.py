"""What is predicted: outcomes of index stays, and what each rule makes of the raw counts.

- ``mortality_inhosp``: died in the index admission (``hospital_expire_flag``).
- ``readmission_30d``: an unplanned admission that begins within 720 hours of discharge and after the landmark. Elective and
  same-day-surgery admissions and pure observation stays do not count; ``OBSERVATION ADMIT`` does where asked for. Undefined
  after discharge to hospice, against advice or to another acute hospital. Death first is a 0.
- ``icu_90d``: an ICU stay that begins or ends in an intensive unit, begins within 90 days of discharge and after the landmark.
- ``readmission_or_death_30d`` (sensitivity, never a task): the same, or death by ``dod``, within the 30 days.

The last three are undefined where the follow-up may reach past the end of the database: the patient's year group bounds
the true year of its last day, and the latest such year must be covered. Under the paper's protocol any later admission and
any ICU stay count, deaths in hospital are zeros, and the windows start at discharge.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from datasets.mimic_iv.stays import DAY, HOUR, History, extract_years

READMISSION = 720 * HOUR
ICU = 90 * DAY
NOT_AT_RISK = ("HOSPICE", "AGAINST ADVICE", "ACUTE HOSPITAL")
LAST_YEARS = (2019, 2022)
"""The last years of the releases up to 2.2 and from 3.0."""

Array = np.ndarray


def find_last_year(patients: pd.DataFrame) -> int:
    """Return the last year that a release covers: 2022 where a patient's year group reaches past 2019, else 2019."""
    return LAST_YEARS[1] if (patients.group_end > LAST_YEARS[0]).any() else LAST_YEARS[0]


def select_unplanned(joined: pd.DataFrame, observation_admit: bool) -> pd.DataFrame:
    """Select the joined admissions that count as a readmission."""
    return joined[joined.unplanned | (joined.converted if observation_admit else False)]


def find_followed(rows: pd.DataFrame, events: pd.DataFrame, after: Array, until: Array) -> Array:
    """Return bool [N]: whether an event of the same patient, of another admission, begins in (``after``, ``until``].

    ``rows`` [N] and ``events`` have ``subject`` and ``joined``; ``events`` has ``begin``; ``after`` and ``until`` are float64 [N].
    """
    asked = pd.DataFrame({"row": np.arange(len(rows)), "after": after, "until": until})
    asked["subject"], asked["own"] = rows.subject.to_numpy(), rows.joined.to_numpy()
    pairs = asked.merge(events[["subject", "joined", "begin"]], on="subject")
    hit = (pairs.begin > pairs.after) & (pairs.begin <= pairs.until) & (pairs.joined != pairs.own)
    followed = np.zeros(len(rows), dtype=bool)
    followed[pairs.row[hit].unique()] = True
    return followed


def derive_outcomes(
    history: History, index: pd.DataFrame, after: Array, *, paper: bool = False, observation_admit: bool = False
) -> dict[str, Array]:
    """Derive outcomes float64 [N] (0, 1, NaN) by name, of the index stays in ``index``; ``after`` float64 [N] begins the risk windows."""
    admissions = history.joined.rename(columns={"admitted": "begin"})
    intensive = history.stays
    if not paper:
        admissions = select_unplanned(admissions, observation_admit)
        intensive = intensive[intensive.intensive | intensive.ends_intensive]
    end = index.discharged.to_numpy(dtype=float)
    died = index.died.to_numpy(dtype=bool)
    again = find_followed(index, admissions, after, end + READMISSION)
    icu = find_followed(index, intensive, after, end + ICU)
    dod = index.dod.to_numpy(dtype=float)
    dead = ~died & (dod <= end + READMISSION)
    covered = find_last_year(history.patients)
    no_30 = _find_latest_years(index, end + READMISSION) > covered
    no_90 = _find_latest_years(index, end + ICU) > covered
    away = np.zeros(len(index), bool) if paper else died | index.destination.isin(NOT_AT_RISK).to_numpy()
    return {
        "mortality_inhosp": died.astype(float),
        "readmission_30d": np.where(no_30 | away, np.nan, again & ~died),
        "icu_90d": np.where(no_90 | (died & (not paper)), np.nan, icu & ~died),
        "readmission_or_death_30d": np.where(no_30 | away, np.nan, (again | dead) & ~died),
    }


def _find_latest_years(index: pd.DataFrame, moments: Array) -> Array:
    """Return the latest true calendar year of moments in seconds."""
    return (index.group_end + extract_years(pd.Series(moments, index=index.index)) - index.anchor_year).to_numpy(
        dtype=float
    )


def count_by_rule(history: History, landmark_hours: int, observation_admit: bool = False) -> list[dict]:
    """Count what each rule of the labels leaves of the raw counts, over all admissions with an ICU stay, before any selection.

    One {"task", "rule", "n", "positives"} a rule; the rules of a task add up. The risk windows of the last ones start
    ``landmark_hours`` after discharge, of admissions still at risk then.
    """
    raw = history.admissions[history.admissions.hadm.isin(history.stays.hadm)]
    alive = raw[~raw.died].assign(joined=lambda rows: rows.hadm)
    each = history.admissions.assign(joined=history.admissions.hadm)
    whole = history.joined.rename(columns={"admitted": "begin", "discharged": "end"})
    left = whole[whole.joined.isin(history.stays.joined) & ~whole.died]
    late = left[~find_followed(left, whole, left.end, left.end + landmark_hours * HOUR)]
    risk = late[~late.destination.isin(NOT_AT_RISK)]
    strict = select_unplanned(whole, observation_admit)
    units = history.stays[history.stays.intensive | history.stays.ends_intensive]
    joined = "overlapping admissions and internal transfers joined"
    after = f"begins after the landmark ({landmark_hours} h), no admission before it"
    rows = [("mortality_inhosp", "hospital admissions with an ICU stay", len(raw), int(raw.died.sum()))]

    def count(task: str, rule: str, of: pd.DataFrame, events: pd.DataFrame, span: int, wait: int = 0) -> None:
        followed = find_followed(of, events, of.end + wait * HOUR, of.end + span)
        rows.append((task, rule, len(of), int(followed.sum())))

    start = "with an ICU stay, discharged alive; any"
    count("readmission_30d", f"{start} admission within 720 h", alive, each, READMISSION)
    count("readmission_30d", joined, left, whole, READMISSION)
    count("readmission_30d", "pure observation stays do not count", left, whole[~whole.observed], READMISSION)
    if not observation_admit:
        inpatient = whole[~whole.observed & (whole.unplanned | whole.planned)]
        count("readmission_30d", "OBSERVATION ADMIT does not count", left, inpatient, READMISSION)
    count("readmission_30d", "elective and same-day-surgery admissions do not count", left, strict, READMISSION)
    count("readmission_30d", after, late, strict, READMISSION, landmark_hours)
    count("readmission_30d", f"not {', '.join(NOT_AT_RISK).lower()}", risk, strict, READMISSION, landmark_hours)
    by_stay = history.stays.assign(joined=history.stays.hadm)
    count("icu_90d", f"{start} ICU stay within 90 days", alive, by_stay, ICU)
    count("icu_90d", joined, left, history.stays, ICU)
    count("icu_90d", "intensive units only", left, units, ICU)
    count("icu_90d", after, late, units, ICU, landmark_hours)
    return [dict(zip(("task", "rule", "n", "positives"), row, strict=True)) for row in rows]
