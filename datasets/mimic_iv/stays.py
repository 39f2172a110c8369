"""Patients, hospital admissions and ICU stays of a release, and each patient's index stay.

An **admission** here is what the tables call one or more: admissions of a patient that overlap, or follow each other
within ``JOIN_HOURS`` (internal transfers, psychiatry and rehabilitation in the same house), are joined into one, which
begins with the first and ends with the last. The **index stay** is the patient's first stay that began in an intensive
unit (not a step-down unit), in the first admission that has one; the index admission is the joined one around it.
Nothing that happens after that stay began chooses it. Moments are seconds as float64 (NaN where missing).
"""

from __future__ import annotations

from dataclasses import dataclass

import duckdb
import numpy as np
import pandas as pd

from datasets.cohort import CohortError
from datasets.mimic_iv.tables import Release, second
from datasets.raw.tables import EXAMPLE, identifier, number, text

HOUR, DAY = 3600, 86_400
JOIN_HOURS = 6
"""Admissions of a patient at most this many hours apart are one."""

INTENSIVE = r"intensive care|coronary care|\bm?icu\b|\b[a-z]*sicu\b"
"""Care units that are intensive, as a regular expression over the name in lower case; step-down and intermediate are not."""

UNPLANNED = ("EW EMER.", "DIRECT EMER.", "URGENT")
OBSERVATION = ("EU OBSERVATION", "DIRECT OBSERVATION", "AMBULATORY OBSERVATION")
PLANNED = ("ELECTIVE", "SURGICAL SAME DAY ADMISSION")

READS = {
    "hosp/patients": ("subject_id", "gender", "anchor_age", "anchor_year", "anchor_year_group", "dod"),
    "hosp/admissions": (
        "subject_id", "hadm_id", "admittime", "dischtime", "deathtime", "admission_type", "admission_location",
        "discharge_location", "insurance", "language", "marital_status", "race", "edregtime", "hospital_expire_flag",
    ),
    "icu/icustays": ("subject_id", "hadm_id", "stay_id", "first_careunit", "last_careunit", "intime", "outtime"),
}  # fmt: skip
MOMENTS = {
    "hosp/patients": ("dod",),
    "hosp/admissions": ("admittime", "dischtime", "deathtime", "edregtime"),
    "icu/icustays": ("intime", "outtime"),
}
"""The moments among them; most patients have no ``dod``, so a date in another form would pass for one that is blank."""


@dataclass(frozen=True, eq=False)
class History:
    """Who was where and when: one row a patient, an admission as in the table, a joined admission, an ICU stay.

    ``admissions`` and ``stays`` carry the number of their joined admission, ``joined``. ``backwards`` counts the
    admissions that end before they begin (the release has some): they are left out, with their ICU stays.
    """

    patients: pd.DataFrame
    admissions: pd.DataFrame
    joined: pd.DataFrame
    stays: pd.DataFrame
    backwards: int


def read_history(con: duckdb.DuckDBPyConnection, release: Release) -> History:
    """Read the three tables of identifiers and moments, joined and checked.

    Raises:
        CohortError: where a table or column is missing or damaged, an identifier is missing or stands twice, an
            admission lacks a moment, or an admission or ICU stay has no patient or admission.
    """
    patients = _read_patients(con, release)
    admissions = _read_admissions(con, release)
    stays = _read_stays(con, release)
    _check_reference("hosp/admissions", "subject_id", admissions.subject, patients.subject, "hosp/patients")
    _check_reference("icu/icustays", "hadm_id", stays.hadm, admissions.hadm, "hosp/admissions")
    backwards = admissions.end < admissions.begin
    dropped = admissions.loc[backwards, "hadm"]
    admissions, stays = admissions[~backwards], stays[~stays.hadm.isin(dropped)]
    admissions = join_admissions(admissions).merge(patients[["subject", "anchor_year", "group_end"]], on="subject")
    admissions = admissions.sort_values(["subject", "begin", "end", "hadm"]).reset_index(drop=True)
    stays = stays.merge(admissions[["hadm", "joined"]], on="hadm").sort_values(["subject", "begin", "stay"])
    return History(
        patients, admissions, _summarise_joined(admissions), stays.reset_index(drop=True), int(backwards.sum())
    )


def join_admissions(admissions: pd.DataFrame) -> pd.DataFrame:
    """Return the admissions by patient and moment with ``joined``, the number of the joined admission each belongs to."""
    rows = admissions.sort_values(["subject", "begin", "end", "hadm"]).reset_index(drop=True)
    latest = rows.groupby("subject").end.cummax()
    apart = rows.begin - latest.groupby(rows.subject).shift() > JOIN_HOURS * HOUR
    rows["joined"] = (apart | ~rows.subject.duplicated()).cumsum()
    return rows


def select_index_stays(history: History) -> pd.DataFrame:
    """Select one row a patient: the index stay (``stay``, ``hadm``, ``begin``, ``end``, ``unit``) and its admission.

    Of the joined admission: ``joined``, ``admitted``, ``discharged``, ``died``, ``death``, ``destination``; of its first
    part: type, location and what was asked at admission; of the patient: ``years`` of age, sex, year group, ``dod``.
    ``earliest`` and ``latest`` bound the true calendar year of the ICU admission.
    """
    stays = history.stays[history.stays.intensive].drop_duplicates("subject")
    joined = history.joined.drop(columns="subject")
    rows = stays.rename(columns={"first_unit": "unit"}).merge(joined, on="joined").merge(history.patients, on="subject")
    year = extract_years(rows.begin)
    rows["years"] = rows.anchor_age + extract_years(rows.admitted) - rows.anchor_year
    rows["earliest"] = rows.group_start + year - rows.anchor_year
    rows["latest"] = rows.group_end + year - rows.anchor_year
    return rows.sort_values("subject").reset_index(drop=True)


def extract_years(moments: pd.Series) -> pd.Series:
    """Return the shifted calendar year of moments in seconds, float64 (NaN where missing)."""
    values = np.asarray(moments, dtype=np.float64)
    dates = np.nan_to_num(values).astype(np.int64).astype("datetime64[s]")
    years = dates.astype("datetime64[Y]").astype(np.int64) + 1970.0
    return pd.Series(np.where(np.isnan(values), np.nan, years), index=getattr(moments, "index", None))


def _read_patients(con: duckdb.DuckDBPyConnection, release: Release) -> pd.DataFrame:
    frame = _read_table(con, release, "hosp/patients", f"""{identifier("subject_id")} AS subject, {text("gender")} AS gender,
        {number("anchor_age")} AS anchor_age, {number("anchor_year")} AS anchor_year,
        {text("anchor_year_group")} AS year_group, {second("dod")}::DOUBLE AS dod""")  # fmt: skip
    _check_unique("hosp/patients", "subject_id", frame.subject)
    bounds = frame.year_group.fillna("").str.extract(r"^(\d{4}) - (\d{4})$").astype(float)
    frame["group_start"], frame["group_end"] = bounds[0], bounds[1]
    for column, raw in (
        ("anchor_age", "anchor_age"),
        ("anchor_year", "anchor_year"),
        ("group_end", "anchor_year_group"),
    ):
        bad = frame[column].isna()
        if bad.any():
            raise CohortError(f"table hosp/patients: subject_id {frame.subject[bad].min()} has no readable {raw}")
    return frame.astype({"subject": "int64"}).sort_values("subject").reset_index(drop=True)


def _read_admissions(con: duckdb.DuckDBPyConnection, release: Release) -> pd.DataFrame:
    words = ", ".join(
        f"{text(c)} AS {c}" for c in ("admission_location", "discharge_location", "insurance", "language", "race")
    )
    frame = _read_table(con, release, "hosp/admissions", f"""{identifier("subject_id")} AS subject, {identifier("hadm_id")} AS hadm,
        {second("admittime")}::DOUBLE AS "begin", {second("dischtime")}::DOUBLE AS "end", {second("deathtime")}::DOUBLE AS death,
        {text("admission_type")} AS type, {text("marital_status")} AS marital, {words},
        {second("edregtime")}::DOUBLE AS emergency, {number("hospital_expire_flag")} = 1 AS died""")  # fmt: skip
    _check_unique("hosp/admissions", "hadm_id", frame.hadm)
    for column, raw in (("subject", "subject_id"), ("begin", "admittime"), ("end", "dischtime")):
        bad = frame[column].isna()
        if bad.any():
            raise CohortError(f"table hosp/admissions: hadm_id {frame.hadm[bad].min()} has no readable {raw}")
    frame["died"] = frame.died.fillna(False).astype(bool)
    return frame.astype({"subject": "int64", "hadm": "int64"})


def _read_stays(con: duckdb.DuckDBPyConnection, release: Release) -> pd.DataFrame:
    intensive = f"regexp_matches(lower({{}}), '{INTENSIVE}')"
    frame = _read_table(con, release, "icu/icustays", f"""{identifier("subject_id")} AS subject, {identifier("hadm_id")} AS hadm,
        {identifier("stay_id")} AS stay, {text("first_careunit")} AS first_unit, {second("intime")}::DOUBLE AS "begin",
        {second("outtime")}::DOUBLE AS "end", coalesce({intensive.format("first_careunit")}, false) AS intensive,
        coalesce({intensive.format("last_careunit")}, false) AS ends_intensive""")  # fmt: skip
    _check_unique("icu/icustays", "stay_id", frame.stay)
    for column, raw in (("subject", "subject_id"), ("hadm", "hadm_id"), ("begin", "intime")):
        bad = frame[column].isna()
        if bad.any():
            raise CohortError(f"table icu/icustays: stay_id {frame.stay[bad].min()} has no readable {raw}")
    return frame.astype({"subject": "int64", "hadm": "int64", "stay": "int64"})


def _read_table(con: duckdb.DuckDBPyConnection, release: Release, table: str, selected: str) -> pd.DataFrame:
    rows = release.scan(table, READS[table])
    moments = MOMENTS[table]
    unread = ", ".join(f"CASE WHEN {second(c)} IS NULL THEN {text(c)} END AS unread_{c}" for c in moments)
    with release.reading(table):
        frame = con.execute(
            f"SELECT {selected}, {unread}, {', '.join(f'{second(c)} AS read_{c}' for c in moments)} FROM {rows}"
        ).df()
    for column in moments:
        examples, readable = frame.pop(f"unread_{column}").dropna(), frame.pop(f"read_{column}")
        if len(examples) and readable.isna().all():
            raise CohortError(
                f"table {table}: column {column} is unreadable in all of its {len(examples):,} values, e.g. "
                f"{examples.min()[:EXAMPLE]!r}; expected {release.moment_form}"
            )
    return frame


def _check_unique(table: str, column: str, values: pd.Series) -> None:
    if values.isna().any():
        raise CohortError(f"table {table}: {column} is missing or unreadable in {int(values.isna().sum())} row(s)")
    twice = values[values.duplicated()]
    if len(twice):
        raise CohortError(f"table {table}: {column} {int(twice.min())} stands twice; it must stand once")


def _check_reference(table: str, column: str, values: pd.Series, among: pd.Series, other: str) -> None:
    strange = values[~values.isin(among)]
    if len(strange):
        raise CohortError(f"table {table}: {column} {int(strange.min())} is not in {other}")


def _summarise_joined(admissions: pd.DataFrame) -> pd.DataFrame:
    """Return one row a joined admission, by patient and moment."""
    first = admissions.drop_duplicates("joined").set_index("joined")
    last = admissions.sort_values(["joined", "end", "begin", "hadm"]).drop_duplicates("joined", keep="last")
    by = admissions.groupby("joined")
    known = ["subject", "type", "admission_location", "insurance", "language", "marital", "race", "emergency"]
    rows = first[known].copy()
    rows["admitted"], rows["discharged"] = by.begin.min(), by.end.max()
    rows["died"], rows["death"] = by.died.any(), by.death.min()
    rows["destination"] = last.set_index("joined").discharge_location
    rows["observed"] = admissions.type.isin(OBSERVATION).groupby(admissions.joined).all()
    for name, types in (("unplanned", UNPLANNED), ("planned", PLANNED), ("converted", ("OBSERVATION ADMIT",))):
        rows[name] = admissions.type.isin(types).groupby(admissions.joined).any()
    rows["parts"] = by.size()
    return rows.reset_index()
