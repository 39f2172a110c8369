"""A small made MIMIC-IV release: official columns, invented rows, every table of the allow-list; notes and images as dated vectors."""

from __future__ import annotations

import csv
import gzip
import io
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from datasets.mimic_iv.build import build
from datasets.mimic_iv.dated import Dated
from tests.at_hand import find_demo

COLUMNS = {
    "hosp/patients": "subject_id,gender,anchor_age,anchor_year,anchor_year_group,dod",
    "hosp/admissions": "subject_id,hadm_id,admittime,dischtime,deathtime,admission_type,admit_provider_id,admission_location,"
    "discharge_location,insurance,language,marital_status,race,edregtime,edouttime,hospital_expire_flag",
    "icu/icustays": "subject_id,hadm_id,stay_id,first_careunit,last_careunit,intime,outtime,los",
    "icu/d_items": "itemid,label,abbreviation,linksto,category,unitname,param_type,lownormalvalue,highnormalvalue",
    "hosp/labevents": "labevent_id,subject_id,hadm_id,specimen_id,itemid,order_provider_id,charttime,storetime,value,valuenum,valueuom,"
    "ref_range_lower,ref_range_upper,flag,priority,comments",
    "icu/chartevents": "subject_id,hadm_id,stay_id,caregiver_id,charttime,storetime,itemid,value,valuenum,valueuom,warning",
    "icu/inputevents": "subject_id,hadm_id,stay_id,starttime,endtime,storetime,itemid,amount,amountuom,rate,ordercategoryname,"
    "statusdescription",
    "icu/outputevents": "subject_id,hadm_id,stay_id,charttime,storetime,itemid,value,valueuom",
    "icu/procedureevents": "subject_id,hadm_id,stay_id,starttime,endtime,storetime,itemid,value",
    "hosp/pharmacy": "subject_id,hadm_id,pharmacy_id,starttime,stoptime,medication,status,entertime,route",
    "hosp/microbiologyevents": "microevent_id,subject_id,hadm_id,chartdate,charttime,spec_type_desc,storedate,storetime,org_name",
    "hosp/services": "subject_id,hadm_id,transfertime,prev_service,curr_service",
    "hosp/transfers": "subject_id,hadm_id,transfer_id,eventtype,careunit,intime,outtime",
    "hosp/diagnoses_icd": "subject_id,hadm_id,seq_num,icd_code,icd_version",
    "hosp/omr": "subject_id,chartdate,seq_num,result_name,result_value",
}

CLOCKS = {
    "hosp/labevents": ("charttime", "storetime"),
    "icu/chartevents": ("charttime", "storetime"),
    "icu/inputevents": ("starttime", "endtime", "storetime"),
    "icu/outputevents": ("charttime", "storetime"),
    "icu/procedureevents": ("starttime", "storetime"),
    "hosp/pharmacy": ("starttime", "entertime"),
    "hosp/microbiologyevents": ("charttime", "storetime"),
    "hosp/services": ("transfertime",),
    "hosp/transfers": ("intime",),
    "hosp/omr": ("chartdate",),
}
"""The moments of each time-stamped table."""

ROWS = {
    "hosp/labevents": {"itemid": 50912, "valuenum": 1.1},
    "icu/chartevents": {"itemid": 220045, "valuenum": 91},
    "icu/inputevents": {"itemid": 221906, "amount": 50, "amountuom": "ml", "ordercategoryname": "01-Drips"},
    "icu/outputevents": {"itemid": 226559, "value": 200},
    "icu/procedureevents": {"itemid": 225752},
    "hosp/pharmacy": {"medication": "Furosemide", "route": "IV"},
    "hosp/microbiologyevents": {"spec_type_desc": "URINE"},
    "hosp/services": {"curr_service": "MED"},
    "hosp/transfers": {"eventtype": "transfer", "careunit": "Medicine"},
    "hosp/omr": {"result_name": "Weight (Lbs)", "result_value": 160},
}
"""A plain row of each time-stamped table."""

START = datetime(2150, 3, 1, 12)
"""ICU admission of every index stay; the hospital admission begins two hours before."""


def at(hours: float | str) -> str:
    """The moment ``hours`` after ``START`` as the tables write it; blank where blank is given."""
    return "" if hours == "" else (START + timedelta(hours=hours)).strftime("%Y-%m-%d %H:%M:%S")


class Raw:
    """Tables as lists of rows (dicts); ``write`` makes a release of them."""

    clocks = CLOCKS

    def __init__(self) -> None:
        self.columns = {table: names.split(",") for table, names in COLUMNS.items()}
        self.tables: dict[str, list[dict]] = {table: [] for table in COLUMNS}
        self.tables["icu/d_items"] = [
            {"itemid": 221906, "label": "Norepinephrine"}, {"itemid": 222315, "label": "Vasopressin"},
        ]  # fmt: skip

    def add(self, table: str, subject: int, *hours: float | str, **fields: object) -> dict:
        """Add a plain row of ``table``; one hour for all its clocks, or one for each."""
        clocks = CLOCKS[table]
        hours = hours * len(clocks) if len(hours) == 1 else hours
        row = {"subject_id": subject, "hadm_id": 10 * subject, **ROWS[table], **fields}
        row |= {clock: at(hour) for clock, hour in zip(clocks, hours, strict=True)}
        if table == "hosp/omr":
            row["chartdate"] = row["chartdate"][:10]
        if table == "hosp/microbiologyevents":
            row["chartdate"] = row["charttime"][:10] and row["charttime"][:10] + " 00:00:00"
        self.tables[table].append(row)
        return row

    def patient(self, subject: int, **fields: object) -> dict:
        """Add a woman of 60 whose index year is between 2011 and 2013."""
        row = {
            "subject_id": subject,
            "gender": "F",
            "anchor_age": 60,
            "anchor_year": 2150,
            "anchor_year_group": "2011 - 2013",
        }
        self.tables["hosp/patients"].append(row | fields)
        return row

    def admission(
        self, subject: int, begin: float = -2, end: float = 120, hadm: int | None = None, **fields: object
    ) -> dict:
        """Add an emergency admission from which the patient goes home."""
        row = {
            "subject_id": subject, "hadm_id": hadm or 10 * subject, "admittime": at(begin), "dischtime": at(end),
            "admission_type": "EW EMER.", "admission_location": "EMERGENCY ROOM", "discharge_location": "HOME", "insurance": "Medicare",
            "language": "ENGLISH", "marital_status": "MARRIED", "race": "WHITE", "edregtime": at(begin - 5), "hospital_expire_flag": 0,
        } | fields  # fmt: skip
        self.tables["hosp/admissions"].append(row)
        return row

    def icu(self, subject: int, begin: float = 0, end: float = 60, stay: int | None = None, **fields: object) -> dict:
        """Add an ICU stay."""
        unit = "Medical Intensive Care Unit (MICU)"
        row = {"subject_id": subject, "hadm_id": 10 * subject, "stay_id": stay or 100 * subject, "first_careunit": unit,
               "last_careunit": unit, "intime": at(begin), "outtime": at(end)} | fields  # fmt: skip
        self.tables["icu/icustays"].append(row)
        return row

    def stay(self, subject: int, died: bool = False, **fields: object) -> None:
        """Add a patient with an index stay."""
        self.patient(subject)
        gone = {"hospital_expire_flag": 1, "deathtime": at(120), "discharge_location": "DIED"} if died else {}
        self.admission(subject, **gone, **fields)
        self.icu(subject)

    def write(self, root: Path, compress: bool = True) -> Path:
        """Write every table; the folder."""
        for table, rows in self.tables.items():
            text = io.StringIO()
            writer = csv.DictWriter(text, self.columns[table], restval="", extrasaction="ignore", lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
            path = root / f"{table}.csv{'.gz' if compress else ''}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(gzip.compress(text.getvalue().encode()) if compress else text.getvalue().encode())
        return root


def _filled() -> Raw:
    raw = Raw()
    for i in range(6):
        raw.stay(101 + i, died=i in (1, 4))
    raw.admission(101, -900, -800, hadm=9)
    raw.tables["hosp/diagnoses_icd"].append({"subject_id": 101, "hadm_id": 9, "icd_code": "I5030", "icd_version": 10})
    for subject in (101, 102, 103):
        for table in CLOCKS:
            raw.add(table, subject, -30 if table == "hosp/omr" else 2 + subject / 1000)
            raw.add(table, subject, -60 if table == "hosp/omr" else 9)
    return raw


def made_items(subjects: list[int], hours: list[float], known: list[float], hadm: list[int], width: int = 3) -> Dated:
    """Dated vectors, the same for the same place in the list."""

    def moments(values: list[float]) -> np.ndarray:
        return np.array([at(h).replace(" ", "T") if h != "" else "NaT" for h in values], dtype="datetime64[s]")

    vectors = np.random.default_rng(0).normal(size=(len(subjects), width)).astype(np.float32)
    return Dated(np.array(subjects, np.int64), np.array(hadm, np.int64), moments(hours), moments(known), vectors)


@pytest.fixture
def empty() -> Raw:
    """A release without patients."""
    return Raw()


@pytest.fixture
def raw() -> Raw:
    """Six patients (101 to 106) of one index stay of 60 hours in an admission of 122; two rows in every table for three of them."""
    return _filled()


@pytest.fixture(scope="session")
def untouched(tmp_path_factory: pytest.TempPathFactory) -> dict:
    """The cohorts of ``raw`` as it comes, by landmark."""
    return {k: v.cohort for k, v in build(_filled().write(tmp_path_factory.mktemp("untouched"))).items()}


@pytest.fixture(scope="session")
def demo() -> Path:
    """The open demo of MIMIC-IV; tests that need it are skipped where it is absent."""
    return find_demo("mimic-iv-demo", "hosp/patients.csv.gz")


@pytest.fixture(scope="session")
def demo_built(demo: Path) -> dict:
    """The demo at every landmark, as built."""
    return build(demo)
