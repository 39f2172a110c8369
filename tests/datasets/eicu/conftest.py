"""A small fabricated eICU release: official columns, invented rows, every table of the allow-list."""

from __future__ import annotations

import csv
import gzip
import io
from pathlib import Path

import pytest

from datasets.eicu.build import build
from tests.at_hand import find_demo

COLUMNS = {
    "patient": "patientunitstayid,patienthealthsystemstayid,gender,age,ethnicity,hospitalid,wardid,apacheadmissiondx,admissionheight,"
    "hospitaladmittime24,hospitaladmitoffset,hospitaladmitsource,hospitaldischargeyear,hospitaldischargetime24,hospitaldischargeoffset,"
    "hospitaldischargelocation,hospitaldischargestatus,unittype,unitadmittime24,unitadmitsource,unitvisitnumber,unitstaytype,"
    "admissionweight,dischargeweight,unitdischargetime24,unitdischargeoffset,unitdischargelocation,unitdischargestatus,uniquepid",
    "hospital": "hospitalid,numbedscategory,teachingstatus,region",
    "apacheApsVar": "apacheapsvarid,patientunitstayid,intubated,vent,dialysis,eyes,motor,verbal,meds,urine,wbc,temperature,"
    "respiratoryrate,sodium,heartrate,meanbp,ph,hematocrit,creatinine,albumin,pao2,pco2,bun,glucose,bilirubin,fio2",
    "apachePredVar": "apachepredvarid,patientunitstayid,diedinhospital,aids,hepaticfailure,lymphoma,metastaticcancer,leukemia,"
    "immunosuppression,cirrhosis,electivesurgery,readmit,diabetes,thrombolytics,ventday1,oobventday1,oobintubday1,dischargelocation,"
    "visitnumber,var03hspxlos",
    "apachePatientResult": "apachepatientresultsid,patientunitstayid,acutephysiologyscore,apachescore,apacheversion,"
    "predictedicumortality,actualicumortality,predictedhospitalmortality,actualhospitalmortality,unabridgedunitlos",
    "admissionDx": "admissiondxid,patientunitstayid,admitdxenteredoffset,admitdxpath,admitdxname,admitdxtext",
    "diagnosis": "diagnosisid,patientunitstayid,activeupondischarge,diagnosisoffset,diagnosisstring,icd9code,diagnosispriority",
    "treatment": "treatmentid,patientunitstayid,treatmentoffset,treatmentstring,activeupondischarge",
    "medication": "medicationid,patientunitstayid,drugorderoffset,drugstartoffset,drugordercancelled,drugname,drughiclseqno,routeadmin,"
    "prn,drugstopoffset",
    "infusionDrug": "infusiondrugid,patientunitstayid,infusionoffset,drugname,drugrate,infusionrate,drugamount,volumeoffluid,patientweight",
    "admissionDrug": "admissiondrugid,patientunitstayid,drugoffset,drugenteredoffset,drugname,drughiclseqno",
    "respiratoryCare": "respcareid,patientunitstayid,respcarestatusoffset,airwaytype,ventstartoffset,ventendoffset",
    "respiratoryCharting": "respchartid,patientunitstayid,respchartoffset,respchartentryoffset,respcharttypecat,respchartvaluelabel,"
    "respchartvalue",
    "intakeOutput": "intakeoutputid,patientunitstayid,intakeoutputoffset,intaketotal,outputtotal,nettotal,intakeoutputentryoffset,"
    "cellpath,celllabel,cellvaluenumeric",
    "pastHistory": "pasthistoryid,patientunitstayid,pasthistoryoffset,pasthistoryenteredoffset,pasthistorypath",
    "vitalPeriodic": "vitalperiodicid,patientunitstayid,observationoffset,temperature,sao2,heartrate,respiration,systemicsystolic,"
    "systemicdiastolic,systemicmean",
    "vitalAperiodic": "vitalaperiodicid,patientunitstayid,observationoffset,noninvasivesystolic,noninvasivediastolic,noninvasivemean",
    "lab": "labid,patientunitstayid,labresultoffset,labname,labresult,labresulttext,labresultrevisedoffset",
}

HISTORY = "notes/Progress Notes/Past History/Organ Systems/"
FLOW = "flowsheet|Flowsheet Cell Labels|I&O|"

ROWS = {
    "admissionDx": {
        "admitdxpath": "admission diagnosis|All Diagnosis|Non-operative|Diagnosis|Cardiovascular|Sepsis, pulmonary"
    },
    "diagnosis": {"diagnosisstring": "cardiovascular|shock / hypotension|septic shock", "diagnosispriority": "Primary"},
    "treatment": {"treatmentstring": "pulmonary|ventilation and oxygenation|mechanical ventilation"},
    "medication": {"drugname": "NOREPINEPHRINE 4 MG INJ", "routeadmin": "IV", "prn": "No", "drugordercancelled": "No"},
    "infusionDrug": {"drugname": "Norepinephrine (mcg/min)", "drugrate": 5},
    "admissionDrug": {"drugname": "LASIX               "},
    "respiratoryCare": {"airwaytype": "Oral ETT"},
    "respiratoryCharting": {"respchartvaluelabel": "FiO2", "respchartvalue": "40%"},
    "intakeOutput": {"cellpath": FLOW + "Output (ml)|Urine", "celllabel": "Urine", "cellvaluenumeric": 300},
    "pastHistory": {"pasthistorypath": HISTORY + "Pulmonary/COPD/COPD  - severe"},
    "vitalPeriodic": {"heartrate": 91, "sao2": 97},
    "vitalAperiodic": {"noninvasivesystolic": 120, "noninvasivediastolic": 60, "noninvasivemean": 80},
    "lab": {"labname": "sodium", "labresult": 140},
}
"""A plain row of each time-stamped table, clocks and stay left out."""

CLOCKS = {
    "admissionDx": ("admitdxenteredoffset",),
    "diagnosis": ("diagnosisoffset",),
    "treatment": ("treatmentoffset",),
    "medication": ("drugstartoffset", "drugorderoffset"),
    "infusionDrug": ("infusionoffset",),
    "admissionDrug": ("drugoffset", "drugenteredoffset"),
    "respiratoryCare": ("respcarestatusoffset",),
    "respiratoryCharting": ("respchartoffset", "respchartentryoffset"),
    "intakeOutput": ("intakeoutputoffset", "intakeoutputentryoffset"),
    "pastHistory": ("pasthistoryoffset", "pasthistoryenteredoffset"),
    "vitalPeriodic": ("observationoffset",),
    "vitalAperiodic": ("observationoffset",),
    "lab": ("labresultoffset", "labresultrevisedoffset"),
}


class Raw:
    """Tables as lists of rows (dicts); ``write`` makes a release of them."""

    rows = ROWS
    clocks = CLOCKS

    def __init__(self) -> None:
        self.columns = {table: names.split(",") for table, names in COLUMNS.items()}
        self.tables = {table: [] for table in COLUMNS}

    def add(self, table: str, stay: int, *minutes: int, **fields: object) -> dict:
        """Add a plain row of ``table`` for ``stay``; one minute for all its clocks, or one for each."""
        clocks = CLOCKS.get(table, ())
        minutes = minutes * len(clocks) if len(minutes) == 1 else minutes
        row = {"patientunitstayid": stay, **dict(zip(clocks, minutes, strict=True)), **ROWS.get(table, {}), **fields}
        self.tables[table].append(row)
        return row

    def patient(self, stay: int, pid: str, **fields: object) -> dict:
        """Add a unit stay of three days that ends alive on the floor."""
        row = {
            "patientunitstayid": stay, "patienthealthsystemstayid": 7000 + stay, "uniquepid": pid, "gender": "Female", "age": "61",
            "ethnicity": "Caucasian", "hospitalid": 59, "admissionheight": 165, "admissionweight": 70, "hospitaladmitoffset": -120,
            "hospitaladmitsource": "Emergency Department", "hospitaldischargeyear": 2014, "hospitaldischargeoffset": 9000,
            "hospitaldischargelocation": "Home", "hospitaldischargestatus": "Alive", "unittype": "MICU", "unitadmittime24": "13:14:00",
            "unitadmitsource": "Emergency Department", "unitvisitnumber": 1, "unitstaytype": "admit", "dischargeweight": 69,
            "unitdischargeoffset": 4320, "unitdischargelocation": "Floor", "unitdischargestatus": "Alive",
        } | fields  # fmt: skip
        self.tables["patient"].append(row)
        return row

    def write(self, root: Path, compress: bool = True, without: tuple[str, ...] = ()) -> Path:
        """Write every table but those in ``without``; the folder."""
        root.mkdir(parents=True, exist_ok=True)
        for table, rows in self.tables.items():
            if table in without:
                continue
            text = io.StringIO()
            writer = csv.DictWriter(text, self.columns[table], restval="", extrasaction="ignore", lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
            data = text.getvalue().encode()
            path = root / f"{table}.csv{'.gz' if compress else ''}"
            path.write_bytes(gzip.compress(data) if compress else data)
        return root


def _empty() -> Raw:
    raw = Raw()
    raw.tables["hospital"].append(
        {"hospitalid": 59, "numbedscategory": "100 - 249", "teachingstatus": "f", "region": "Midwest"}
    )
    return raw


def _filled() -> Raw:
    raw = _empty()
    for i in range(6):
        stay = 101 + i
        died = i in (1, 4)
        raw.patient(stay, f"002-{stay}", hospitaldischargestatus="Expired" if died else "Alive", age=str(50 + i))
        raw.tables["apacheApsVar"].append(
            {"patientunitstayid": stay, "wbc": 9 + i, "eyes": 4, "ph": -1, "intubated": 0}
        )
        no = dict.fromkeys(raw.columns["apachePredVar"], 0)
        raw.tables["apachePredVar"].append(
            {**no, "patientunitstayid": stay, "diabetes": 1, "diedinhospital": int(died)}
        )
        for version, p in (("IV", 0.9), ("IVa", 0.1 + i / 100 if i else -1)):
            raw.tables["apachePatientResult"].append(
                {"patientunitstayid": stay, "acutephysiologyscore": 30 + i, "apachescore": 50, "apacheversion": version,
                 "predictedhospitalmortality": p, "actualhospitalmortality": "EXPIRED" if died else "ALIVE"}
            )  # fmt: skip
    for stay in (101, 102, 103):
        for table in CLOCKS:
            raw.add(table, stay, 30 + stay)
            raw.add(table, stay, 300)
        for measure, value in (("creatinine", 1.1), ("potassium", 4.0), ("sodium", 139)):
            raw.add("lab", stay, 60, labname=measure, labresult=value)
    return raw


@pytest.fixture
def empty() -> Raw:
    """A release with its hospital and no stay."""
    return _empty()


@pytest.fixture
def raw() -> Raw:
    """Six patients of one stay each (101 to 106), with rows in every table for the first three, known in their first hours."""
    return _filled()


@pytest.fixture(scope="session")
def untouched(tmp_path_factory: pytest.TempPathFactory) -> dict:
    """The cohorts of ``raw`` as it comes, by landmark."""
    return {k: v.cohort for k, v in build(_filled().write(tmp_path_factory.mktemp("untouched"))).items()}


@pytest.fixture(scope="session")
def demo() -> Path:
    """The open demo of eICU-CRD; tests that need it are skipped where it is absent."""
    return find_demo("eicu-demo", "patient.csv.gz")


@pytest.fixture(scope="session")
def demo_built(demo: Path) -> dict:
    """The demo at every landmark, as built."""
    return build(demo)
