"""Inputs with one row a stay and no clock: admission fields of ``patient``, ``hospital``, and two of the three APACHE tables.

Admission fields are known when the stay begins. The APACHE tables have no clock. ``apacheApsVar`` and ``apachePredVar`` hold the worst
values of the first 24 hours in the unit (the APACHE day) and what was known of the patient on that day: they count as known once
that day is over, and are missing for a stay that is cut before (`features.build_modalities`). That is a decision, since nothing in the data
can confirm it. ``apachePatientResult`` is no input: it has rows only for stays whose status at hospital discharge is recorded, so that
even the presence of a row comes from the future. Only the columns listed in ``vocabulary`` are read. Left out, because they are
outcomes, are set after the first day, or nothing says when they are set:

- ``patient``: everything named discharge or status (``dischargeweight``, ``hospitaldischargeyear``, ...), ``wardid``
  and ``apacheadmissiondx`` (it has no clock; ``admissionDx``, which has one, gives the same);
- ``apachePredVar``: ``diedinhospital`` (the label), ``dischargelocation``, ``visitnumber``, ``var03hspxlos``,
  ``activetx``, ``saps3*``, ``sicuday``, ``graftcount``, ``ejectfx``, ``amilocation``, ``ima``, ``midur``,
  ``admitsource`` and ``admitdiagnosis`` (repeat ``patient`` and ``admissionDx``), the constants, and ``day1*`` and
  other columns that repeat ``apacheApsVar``;
- ``apachePatientResult``: the scores (sums of what ``apacheApsVar`` and the admission fields hold), ``predicted*`` (``apache_iva`` is a
  comparison row, never an input), ``actual*``, ``unabridged*``, ``predventdays``, ``preopmi``, ``preopcardiaccath``,
  ``ptcawithin24h`` and the physician's speciality.

A value outside its bounds, -1 among them, is missing. Categories are one column a word of a fixed vocabulary plus one
for any other word, all NaN where the field is empty.
"""

from __future__ import annotations

import duckdb
import numpy as np
import pandas as pd

from datasets.cohort import CohortError
from datasets.eicu import vocabulary as words
from datasets.eicu.tables import Release
from datasets.raw.blocks import Block, blank_outside, encode_one_hot, join_blocks, stack_columns
from datasets.raw.tables import identifier, number, text

PATIENT_READS = (
    "patientunitstayid", "hospitalid", "age", "gender", "ethnicity", "admissionheight", "admissionweight", "hospitaladmitoffset",
    "hospitaladmitsource", "unitadmitsource", "unitadmittime24", "unittype", "unitstaytype", "unitvisitnumber",
)  # fmt: skip
HOSPITAL_READS = ("hospitalid", "numbedscategory", "teachingstatus", "region")
APACHE_VERSION = "IVa"
HEIGHT_CM, WEIGHT_KG, BMI = (100, 230), (20, 400), (10, 100)
LONGEST_PRIOR_HOURS = 365 * 24


def check_tables(release: Release) -> None:
    """Raise a CohortError where a table or column read here is missing; nothing but first lines is read."""
    for table, reads in list_columns().items():
        release.scan(table, reads)


def list_columns() -> dict[str, tuple[str, ...]]:
    """Return the columns that a build reads of each table of one row a stay, by table."""
    return {
        "patient": PATIENT_READS,
        "hospital": HOSPITAL_READS,
        "apacheApsVar": ("patientunitstayid", *words.APACHE_APS),
        "apachePredVar": ("patientunitstayid", *words.APACHE_PRED),
        "apachePatientResult": (
            "patientunitstayid",
            "apacheversion",
            "predictedhospitalmortality",
        ),
    }


def read_static(con: duckdb.DuckDBPyConnection, release: Release, stays: np.ndarray) -> pd.DataFrame:
    """Read one row for each of ``stays`` (int64 [N], in this order) with the admission and APACHE fields, raw but typed.

    Raises:
        CohortError: where a table or column is missing or damaged, or an APACHE table or ``hospital`` has two rows
        where one is due.
    """
    con.register("wanted", pd.DataFrame({"stay": stays}))
    patient = _read_table(
        con,
        release,
        "patient",
        f"""{identifier("patientunitstayid")} AS stay, {identifier("hospitalid")} AS hospital,
        CASE WHEN replace({text("age")}, ' ', '') = '>89' THEN 90 ELSE {number("age")} END AS years, {text("gender")} AS gender,
        {text("ethnicity")} AS ethnicity, {number("admissionheight")} AS height, {number("admissionweight")} AS weight,
        {number("hospitaladmitoffset")} AS hospital_start, {text("hospitaladmitsource")} AS hospital_source,
        {text("unitadmitsource")} AS unit_source, {number("split_part(unitadmittime24, ':', 1)")} AS unit_hour,
        {text("unittype")} AS unit_type, {text("unitstaytype")} AS stay_type, {number("unitvisitnumber")} AS visit""",
    )
    hospital = _read_table(
        con,
        release,
        "hospital",
        f"""{identifier("hospitalid")} AS hospital, {text("numbedscategory")} AS beds, {text("teachingstatus")} AS teaching,
        {text("region")} AS region""",
        key="hospital",
    )
    frame = patient.merge(hospital, on="hospital", how="left")
    for table, read in (("apacheApsVar", words.APACHE_APS), ("apachePredVar", words.APACHE_PRED)):
        selected = ", ".join(f"{number(c)} AS {table}_{c}" for c in read)
        rows = _read_table(con, release, table, f"{identifier('patientunitstayid')} AS stay, {selected}")
        frame = frame.merge(rows, on="stay", how="left")
    return frame.set_index("stay").loc[stays].reset_index()


def read_apache_prediction(con: duckdb.DuckDBPyConnection, release: Release, stays: np.ndarray) -> np.ndarray:
    """Read APACHE IVa's own probability of death in hospital for each stay, float64 [N]; NaN where it is empty or -1."""
    con.register("wanted", pd.DataFrame({"stay": stays}))
    selected = f"{identifier('patientunitstayid')} AS stay, {number('predictedhospitalmortality')} AS p"
    rows = _read_table(con, release, "apachePatientResult", selected, f"{text('apacheversion')} = '{APACHE_VERSION}'")
    p = rows.set_index("stay").p.reindex(stays).to_numpy(dtype=np.float64)
    return np.where((p >= 0) & (p <= 1), p, np.nan)


def build_demographics(frame: pd.DataFrame) -> Block:
    """Build age, sex, height, weight, body-mass index and ethnicity: names and float32 [N, d]."""
    height, weight = blank_outside(frame.height, HEIGHT_CM), blank_outside(frame.weight, WEIGHT_KG)
    sex = np.where(frame.gender == "Male", 1.0, np.where(frame.gender == "Female", 0.0, np.nan))
    numbers = {
        "age": frame.years.to_numpy(dtype=float),
        "male": sex,
        "height": height,
        "weight": weight,
        "bmi": blank_outside(weight / (height / 100) ** 2, BMI),
    }
    return join_blocks(stack_columns(numbers), encode_one_hot("ethnicity", frame.ethnicity, words.ETHNICITIES))


def build_admission(frame: pd.DataFrame) -> Block:
    """Build the features of how and where the unit stay began, and of the hospital: names and float32 [N, d]."""
    beds = frame.beds.map({name: i for i, name in enumerate(words.BED_CATEGORIES)})
    teaching = frame.teaching.str.lower().map({"t": 1.0, "f": 0.0, "true": 1.0, "false": 0.0})
    numbers = {
        "hours_in_hospital_before": blank_outside(0 - frame.hospital_start / 60, (0, LONGEST_PRIOR_HOURS)),
        "unit_admission_hour": blank_outside(frame.unit_hour, (0, 23)),
        "unit_visit_number": blank_outside(frame.visit, (1, 50)),
        "hospital_beds_category": beds.to_numpy(dtype=float),
        "teaching_hospital": teaching.to_numpy(dtype=float),
    }
    return join_blocks(
        stack_columns(numbers),
        encode_one_hot("unit_type", frame.unit_type, words.UNIT_TYPES),
        encode_one_hot("unit_stay_type", frame.stay_type, words.UNIT_STAY_TYPES),
        encode_one_hot("unit_source", frame.unit_source, words.ADMIT_SOURCES),
        encode_one_hot("hospital_source", frame.hospital_source, words.ADMIT_SOURCES),
        encode_one_hot("region", frame.region, words.REGIONS),
    )


def build_apache(frame: pd.DataFrame) -> Block:
    """Build the first-day APACHE variables: names and float32 [N, d]."""
    tables = {
        "apacheApsVar": words.APACHE_APS,
        "apachePredVar": words.APACHE_PRED,
    }
    prefix = {"apacheApsVar": "aps", "apachePredVar": "pred"}
    return stack_columns(
        {
            f"{prefix[table]}_{column}": blank_outside(frame[f"{table}_{column}"], bounds)
            for table, columns in tables.items()
            for column, bounds in columns.items()
        }
    )


def _read_table(
    con: duckdb.DuckDBPyConnection,
    release: Release,
    table: str,
    selected: str,
    where: str = "true",
    key: str = "stay",
) -> pd.DataFrame:
    rows = release.scan(table, list_columns()[table])
    wanted = "WHERE stay IN (SELECT stay FROM wanted)" if key == "stay" else f"WHERE {key} IS NOT NULL"
    with release.reading(table):
        frame = con.execute(f"SELECT * FROM (SELECT {selected} FROM {rows} WHERE {where}) {wanted}").df()
    twice = frame.loc[frame[key].duplicated(), key]
    if len(twice):
        column = "patientunitstayid" if key == "stay" else "hospitalid"
        raise CohortError(f"table {table}: {column} {int(twice.min())} stands twice; one row is expected")
    return frame
