"""Features of the demo against pandas on the raw tables: another implementation of the same words."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest


@pytest.fixture(scope="module")
def discharged(demo_built):
    return demo_built["unit_discharge"].cohort


@pytest.fixture(scope="module")
def index(demo, discharged):
    """Stay and cutoff of each row of the cohort, found again from the patient's code."""
    rows = pd.read_csv(demo / "patient.csv.gz")
    rows["code"] = [int(a) * 10**9 + int(b) for a, b in rows.uniquepid.str.split("-")]
    rows["years"] = pd.to_numeric(rows.age.str.replace("> 89", "90"), errors="coerce")
    order = ["hospitaldischargeyear", "patienthealthsystemstayid", "unitvisitnumber"]
    first = rows[rows.years >= 18].sort_values(order).drop_duplicates("code").set_index("code")
    return first.loc[discharged.patient, ["patientunitstayid", "unitdischargeoffset"]].reset_index(drop=True)


def known(demo, index, table, *clocks, since=-1440):
    rows = pd.read_csv(demo / f"{table}.csv.gz", low_memory=False)
    rows = rows.merge(index.reset_index(names="row"), on="patientunitstayid")
    for clock in clocks:
        rows = rows[rows[clock] < rows.unitdischargeoffset]
    return rows[rows[clocks[0]] >= since]


def column(cohort, modality, name):
    """The feature where its modality is observed."""
    m = cohort.modality_names.index(modality)
    values = cohort.modalities[m].values[:, cohort.modalities[m].feature_names.index(name)]
    return pd.Series(values)[cohort.observed[:, m]]


def same(ours, theirs):
    theirs = theirs.reindex(ours.index)
    assert np.isfinite(ours).sum() > 100
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "label", "low", "high"), [("creatinine", "creatinine", 0, 40), ("ph", "pH", 6.3, 8.4)]
)
def test_labs_of_the_demo(demo, discharged, index, name, label, low, high):
    rows = known(demo, index, "lab", "labresultoffset", "labresultrevisedoffset")
    rows = rows[(rows.labname == label) & rows.labresult.between(low, high)]
    for statistic, value in rows.groupby("row").labresult.agg(["mean", "min", "max", "std"]).items():
        same(column(discharged, "Laboratory", f"{name}_{statistic.replace('std', 'sd')}"), value)


def test_vitals_of_the_demo(demo, discharged, index):
    rows = known(demo, index, "vitalPeriodic", "observationoffset")
    for statistic, value in (
        rows[rows.heartrate.between(10, 300)].groupby("row").heartrate.agg(["mean", "min", "max", "std"]).items()
    ):
        same(column(discharged, "Vitals", f"heart_rate_{statistic.replace('std', 'sd')}"), value)
    cuff = known(demo, index, "vitalAperiodic", "observationoffset")
    cuff = cuff[cuff.noninvasivesystolic.between(20, 300)]
    same(column(discharged, "Vitals", "systolic_mean"), cuff.groupby("row").noninvasivesystolic.mean())


def test_respiratory_charting_of_the_demo(demo, discharged, index):
    rows = known(demo, index, "respiratoryCharting", "respchartoffset", "respchartentryoffset")
    rows = rows[rows.respchartvaluelabel.isin(["PEEP", "PEEP/CPAP", "CPAP"])]
    rows = rows.assign(x=pd.to_numeric(rows.respchartvalue.astype(str).str.replace("%", ""), errors="coerce"))
    rows = rows[rows.x.between(0, 40)]
    same(column(discharged, "Respiratory", "peep_mean"), rows.groupby("row").x.mean())
    same(column(discharged, "Respiratory", "peep_max"), rows.groupby("row").x.max())


def test_flags_and_counts_of_the_demo(demo, discharged, index):
    rows = known(demo, index, "diagnosis", "diagnosisoffset", since=-(10**9))
    same(column(discharged, "Diagnosis", "diagnosis_entries"), rows.groupby("row").size())
    text = rows.diagnosisstring.str.lower()
    renal = text.str.startswith("renal|disorder of kidney|acute renal failure")
    same(column(discharged, "Diagnosis", "acute_renal_failure"), renal.groupby(rows.row).any().astype(float))
    rows = known(demo, index, "pastHistory", "pasthistoryoffset", "pasthistoryenteredoffset", since=-(10**9))
    same(
        column(discharged, "Comorbidities", "copd"),
        rows.pasthistorypath.str.contains("/COPD/").groupby(rows.row).any().astype(float),
    )
    rows = known(demo, index, "medication", "drugstartoffset", "drugorderoffset", since=-(10**9))
    orders = column(discharged, "Medication", "orders").dropna()
    same(orders, rows.groupby("row").size().astype(float))


def test_fluids_of_the_demo(demo, discharged, index):
    rows = known(demo, index, "intakeOutput", "intakeoutputoffset", "intakeoutputentryoffset", since=0)
    urine = rows[rows.cellpath.str.endswith("Output (ml)|Urine") & rows.cellvaluenumeric.between(0, 10_000)]
    ours = column(discharged, "Fluid balance", "urine")
    others = rows[
        rows.cellpath.str.contains(r"Output \(ml\)") & ~rows.cellpath.str.endswith("Output (ml)|Urine")
    ].row.unique()
    ours = ours[~ours.index.isin(others) & ours.index.isin(urine.row)]
    same(ours, urine.groupby("row").cellvaluenumeric.sum())
