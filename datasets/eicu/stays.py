"""Which stays enter a cohort, at which minute they are cut, and what became of them: table ``patient`` only.

Index (strict): adults (18 years and over, "> 89" as 90), of each patient the first unit stay by
``hospitaldischargeyear``, then ``patienthealthsystemstayid``, then ``unitvisitnumber`` (nothing in the data orders
hospital stays within a year), and only then the stays at risk at the landmark. Every comparison with a later field
asks no more than whether it lies beyond the landmark.

- ``icu_24h``: 1,440 minutes after unit admission; the unit stay runs on (``unitdischargeoffset`` > 1,440) and the
  hospital stay does.
- ``unit_discharge``: at ``unitdischargeoffset``, discharged alive to a ward of the same hospital, the hospital stay
  running on.
- ``stay`` (the paper): ages 18 to 89 given as a number, first stay, unit stay of 12 hours to 10 days; cut at
  ``unitdischargeoffset``. Both tasks are defined for all its stays, deaths included, as in the paper; that is no
  prediction before the fact.

Outcomes: ``mortality_inhosp`` = ``hospitaldischargestatus`` is Expired (NaN where it is missing); ``icu_readmission``
= a later unit stay (by ``unitvisitnumber``) of the same hospital stay with ``unitstaytype`` ``readmit``.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass

import duckdb
import numpy as np
import pandas as pd

from datasets.cohort import CohortError, Group
from datasets.eicu.tables import Release, minute
from datasets.eicu.vocabulary import ETHNICITIES
from datasets.raw.tables import identifier, number, text

STRICT, PAPER = "strict", "paper"
PROTOCOL = {"icu_24h": STRICT, "unit_discharge": STRICT, "stay": PAPER}
TASKS = {
    "icu_24h": ("mortality_inhosp",),
    "unit_discharge": ("icu_readmission",),
    "stay": ("mortality_inhosp", "icu_readmission"),
}
WARDS = ("Floor", "Acute Care/Floor", "Step-Down Unit (SDU)", "Telemetry")
LANDMARK_MINUTE = 1440
PAPER_MINUTES = (12 * 60, 10 * 24 * 60)
AGE_BANDS = ((18, "18-44"), (45, "45-64"), (65, "65-79"), (80, "80+"))
SEXES = ("Female", "Male")

READS = (
    "patientunitstayid", "patienthealthsystemstayid", "uniquepid", "age", "gender", "ethnicity", "hospitalid", "hospitaldischargeyear",
    "hospitaldischargeoffset", "hospitaldischargestatus", "unitvisitnumber", "unitstaytype", "unitdischargeoffset",
    "unitdischargelocation", "unitdischargestatus",
)  # fmt: skip


@dataclass(frozen=True)
class Selection:
    """The stays of one landmark, by ascending ``patientunitstayid``.

    ``stay`` int64 [N]; ``cutoff`` int64 [N], minutes from unit admission; ``patient``, ``site`` int64 [N];
    ``outcomes`` float32 [N, T]; ``flow``: what each step of inclusion left and took.
    """

    landmark: str
    stay: np.ndarray
    cutoff: np.ndarray
    patient: np.ndarray
    site: np.ndarray
    groups: dict[str, Group]
    outcomes: np.ndarray
    tasks: tuple[str, ...]
    flow: list[dict]


def read_patients(con: duckdb.DuckDBPyConnection, release: Release) -> pd.DataFrame:
    """Read one row a unit stay, by ascending ``stay``; offsets in minutes, ``years`` with "> 89" as 90 and ``over_89`` marked.

    Raises:
        CohortError: where the table or a column is missing or damaged, a stay has no identifier, stands twice, or
        lacks patient or hospital.
    """
    rows = release.scan("patient", READS)
    with release.reading("patient"):
        frame = con.execute(f"""
            SELECT {identifier("patientunitstayid")} AS stay, {identifier("patienthealthsystemstayid")} AS hospital_stay,
                {text("uniquepid")} AS uniquepid, replace({text("age")}, ' ', '') = '>89' AS over_89,
                {number("age")} AS years, {text("gender")} AS gender, {text("ethnicity")} AS ethnicity,
                {identifier("hospitalid")} AS hospital, {number("hospitaldischargeyear")} AS year,
                {minute("hospitaldischargeoffset")}::DOUBLE AS hospital_end, {text("hospitaldischargestatus")} AS hospital_status,
                {number("unitvisitnumber")} AS visit, {text("unitstaytype")} AS stay_type,
                {minute("unitdischargeoffset")}::DOUBLE AS unit_end, {text("unitdischargelocation")} AS unit_location,
                {text("unitdischargestatus")} AS unit_status
            FROM {rows}
        """).df()
    for column, raw in (("stay", "patientunitstayid"), ("uniquepid", "uniquepid"), ("hospital", "hospitalid")):
        missing = frame[column].isna()
        if missing.any():
            raise CohortError(
                f"table patient: {raw} is missing or unreadable in {int(missing.sum())} row(s); every stay needs one"
            )
    twice = frame.loc[frame.stay.duplicated(), "stay"]
    if len(twice):
        raise CohortError(
            f"table patient: patientunitstayid {int(twice.min())} stands twice; every unit stay must stand once"
        )
    frame["over_89"] = frame.over_89.fillna(False).astype(bool)
    frame["years"] = frame.years.where(~frame.over_89, 90.0)
    return frame.astype({"stay": "int64", "hospital": "int64"}).sort_values("stay").reset_index(drop=True)


def select_stays(patients: pd.DataFrame, landmark: str) -> Selection:
    """Select the stays of ``landmark``, with their cut, groups and outcomes.

    Raises:
        CohortError: for an unknown landmark, or where no stay is left.
    """
    if landmark not in PROTOCOL:
        raise CohortError(f"eICU has no landmark {landmark}; it has {', '.join(PROTOCOL)}")
    left = patients
    flow = [{"step": "unit stays in the release", "n": len(left), "excluded": 0}]
    for step, rule in _list_steps(landmark):
        kept = rule(left)
        flow.append({"step": step, "n": int(kept.sum()), "excluded": int(len(left) - kept.sum())})
        left = left[kept]
        if not len(left):
            raise CohortError(f"no stay is left at landmark {landmark} after the step: {step}")
    left = left.sort_values("stay")
    readmitted = _find_readmitted(patients, left)
    died = np.where(left.hospital_status.isna(), np.nan, (left.hospital_status == "Expired").astype(float))
    truth = {"mortality_inhosp": died, "icu_readmission": readmitted}
    tasks = TASKS[landmark]
    cutoff = np.full(len(left), LANDMARK_MINUTE) if landmark == "icu_24h" else left.unit_end.to_numpy()
    return Selection(
        landmark=landmark,
        stay=left.stay.to_numpy(),
        cutoff=cutoff.astype(np.int64),
        patient=encode_patients(left.uniquepid),
        site=left.hospital.to_numpy(),
        groups=_make_groups(left),
        outcomes=np.stack([truth[task] for task in tasks], axis=1).astype(np.float32),
        tasks=tasks,
        flow=flow,
    )


def _list_steps(landmark: str) -> list[tuple[str, Callable[[pd.DataFrame], pd.Series]]]:
    def first(rows: pd.DataFrame) -> pd.Series:
        ordered = rows.sort_values(["year", "hospital_stay", "visit", "stay"], na_position="last")
        return pd.Series(rows.index.isin(ordered.drop_duplicates("uniquepid").index), index=rows.index)

    steps = []
    if PROTOCOL[landmark] == STRICT:
        steps += [("adults (18 years and over; > 89 as 90)", lambda rows: rows.years >= 18)]
    else:
        steps += [("age 18 to 89, given as a number", lambda rows: rows.years.between(18, 89))]
    steps += [("first unit stay of the patient", first)]
    if landmark == "icu_24h":
        steps += [
            ("unit stay still running 24 h after unit admission", lambda rows: rows.unit_end > LANDMARK_MINUTE),
            (
                "hospital stay still running 24 h after unit admission",
                lambda rows: ~(rows.hospital_end <= LANDMARK_MINUTE),
            ),
        ]
    elif landmark == "unit_discharge":
        steps += [
            ("alive at unit discharge", lambda rows: (rows.unit_status == "Alive") & rows.unit_end.notna()),
            (f"to a ward of the same hospital ({', '.join(WARDS)})", lambda rows: rows.unit_location.isin(WARDS)),
            ("hospital stay still running at unit discharge", lambda rows: ~(rows.hospital_end <= rows.unit_end)),
        ]
    else:
        steps += [("unit stay of 12 hours to 10 days", lambda rows: rows.unit_end.between(*PAPER_MINUTES))]
    return steps


def _find_readmitted(patients: pd.DataFrame, index: pd.DataFrame) -> np.ndarray:
    """Return 1 where a later unit stay of the same hospital stay is a readmission, else 0; NaN where the order is unknown."""
    again = patients[(patients.stay_type == "readmit") & patients.hospital_stay.notna()]
    last = again.groupby("hospital_stay").visit.max()
    later = index.hospital_stay.map(last).to_numpy(dtype=float)
    known = index.visit.notna() & index.hospital_stay.notna()
    return np.where(known, (later > index.visit.to_numpy(dtype=float)).astype(float), np.nan)


def encode_patients(uniquepid: pd.Series) -> np.ndarray:
    """Encode ``uniquepid`` as int64: "002-1039" gives 2_000_001_039, any other form a hash; the same in every release.

    Raises:
        CohortError: where two patients would get one code.
    """

    def code(pid: str) -> int:
        parts = re.fullmatch(r"(\d{1,6})-(\d{1,9})", pid)
        if parts:
            return int(parts[1]) * 10**9 + int(parts[2])
        return int.from_bytes(hashlib.sha256(pid.encode()).digest()[:7], "big") + 2**62

    names = uniquepid.unique()
    codes = {pid: code(pid) for pid in names}
    if len(set(codes.values())) != len(names):
        raise CohortError(
            "table patient: two values of uniquepid give the same patient code; look for ids that differ by zeros only"
        )
    return uniquepid.map(codes).to_numpy(dtype=np.int64)


def _encode_group(values: pd.Series, labels: tuple[str, ...]) -> Group:
    return Group(values.map({label: i for i, label in enumerate(labels)}).fillna(-1).to_numpy(dtype=np.int16), labels)


def _make_groups(rows: pd.DataFrame) -> dict[str, Group]:
    starts = np.array([start for start, _ in AGE_BANDS])
    band = np.searchsorted(starts, rows.years.to_numpy(), side="right") - 1
    return {
        "sex": _encode_group(rows.gender, SEXES),
        "age band": Group(band.astype(np.int16), tuple(label for _, label in AGE_BANDS)),
        "ethnicity": _encode_group(rows.ethnicity, ETHNICITIES),
    }
