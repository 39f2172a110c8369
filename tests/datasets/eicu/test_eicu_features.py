from __future__ import annotations

import duckdb
import numpy as np
import pytest

from datasets.eicu import static
from datasets.eicu.build import build
from datasets.eicu.drugs import DRUG_CODES
from datasets.eicu.features import MODALITIES, compute_balances, compute_shock_indices, list_features
from datasets.eicu.sources import LONG, TREATMENT, VITALS, WIDE

FORBIDDEN = (
    "diedinhospital", "discharge", "actual", "unabridged", "activeupon", "stop", "ventend", "ventstart", "cancel", "predicted", "expired",
    "death", "total",
)  # fmt: skip


FLOW = "flowsheet|Flowsheet Cell Labels|I&O|"


def features(raw, root, landmark="icu_24h"):
    """The value of each feature of stay 101 (row 0), the first stay, and whether its modality is observed."""
    cohort = build(raw.write(root), landmarks=[landmark])[landmark].cohort
    values = {m.name: dict(zip(m.feature_names, m.values[0].tolist(), strict=True)) for m in cohort.modalities}
    return values, dict(zip(cohort.modality_names, cohort.observed[0].tolist(), strict=True))


def test_every_feature_has_a_table_and_a_clock(untouched):
    cohort = untouched["icu_24h"]
    assert cohort.modality_names == MODALITIES
    assert len(MODALITIES) == 10
    built = [(m.name, name) for m in cohort.modalities for name in m.feature_names]
    assert [(f.modality, f.name) for f in list_features()] == built
    assert len(set(built)) == len(built)
    assert all(f.table and f.clock for f in list_features())
    clocks = {table: clock for f in list_features() for table, clock in [(f.table, f.clock)]}
    assert clocks["lab"] == "labresultoffset, labresultrevisedoffset"
    assert clocks["intakeOutput"] == "intakeoutputoffset, intakeoutputentryoffset"


def test_no_input_reads_a_column_that_is_known_later():
    reads = [c for source in (*WIDE, *VITALS, *LONG) for c in source.reads] + list(static.PATIENT_READS)
    reads += [*static.words.APACHE_APS, *static.words.APACHE_PRED]
    assert not [c for c in reads for word in FORBIDDEN if word in c.lower()]
    assert not {"visitnumber", "var03hspxlos", "dischargelocation", "apacheadmissiondx", "wardid"} & set(reads)


def test_the_columns_do_not_depend_on_the_data(raw, untouched, tmp_path):
    for table in raw.clocks:
        raw.tables[table] = []
    raw.tables["patient"][0].update(unittype="Some new unit", ethnicity="Martian", gender="Other")
    cohort = build(raw.write(tmp_path / "release"), landmarks=["icu_24h"])["icu_24h"].cohort
    assert [m.feature_names for m in cohort.modalities] == [m.feature_names for m in untouched["icu_24h"].modalities]
    assert cohort.series.channels == untouched["icu_24h"].series.channels
    emptied = [MODALITIES.index(m) for m in ("Diagnosis", "Medication", "Laboratory", "Vitals", "Comorbidities")]
    assert not cohort.observed[:, emptied].any()


def test_labs_are_mean_min_max_and_sd_within_bounds(empty, tmp_path):
    empty.patient(101, "002-1")
    for minute, value in (
        (-1441, 999),
        (-1440, 130),
        (0, 140),
        (5, 145),
        (6, 1e6),
        (7, ">160"),
        (8, ""),
        (1439, 137.5),
    ):
        empty.add("lab", 101, minute, labname="sodium", labresult=value)
    for name in (
        "potassium",
        "chloride",
        "bicarbonate",
        "BUN",
        "creatinine",
        "glucose",
        "calcium",
        "Hgb",
        "albumin",
        "pH",
        "lactate",
    ):
        empty.add("lab", 101, 10, labname=name, labresult=7)
    empty.add("lab", 101, 10, labname="ionized calcium", labresult=4.8)
    labs, seen = features(empty, tmp_path)
    lab = labs["Laboratory"]
    values = np.array([130, 140, 145, 137.5])
    assert [lab[f"sodium_{s}"] for s in ("mean", "min", "max", "sd")] == pytest.approx(
        [values.mean(), 130, 145, values.std(ddof=1)], rel=1e-6
    )
    assert lab["potassium_mean"] == 7
    assert np.isnan(lab["potassium_sd"])
    assert lab["ionized_calcium_mean"] == pytest.approx(4.8 / 4.008, abs=1e-4)
    assert seen["Laboratory"]


def test_vitals_join_the_arterial_line_and_the_cuff(empty, tmp_path):
    empty.patient(101, "002-1")
    empty.add(
        "vitalPeriodic",
        101,
        10,
        heartrate=80,
        sao2=98,
        respiration=20,
        temperature=98.6,
        systemicsystolic=120,
        systemicdiastolic=60,
    )
    empty.add("vitalPeriodic", 101, 20, heartrate=100, sao2=101, respiration="", temperature=0)
    empty.add("vitalAperiodic", 101, 15, noninvasivesystolic=100, noninvasivediastolic=50, noninvasivemean=70)
    values, seen = features(empty, tmp_path)
    vital = values["Vitals"]
    assert seen["Vitals"]
    assert vital["temperature_mean"] == pytest.approx(37)
    assert vital["oxygen_saturation_max"] == 98
    assert (vital["systolic_min"], vital["systolic_max"], vital["systolic_mean"]) == (100, 120, 110)
    assert (vital["map_min"], vital["map_max"]) == (70, 80)
    assert vital["shock_index"] == pytest.approx(90 / 110)
    assert vital["shock_index_worst"] == pytest.approx(100 / 100)


def test_flags_and_counts_are_nan_without_rows_and_zero_with_others(raw, tmp_path):
    values, seen = features(raw, tmp_path)
    assert (values["Diagnosis"]["septic_shock"], values["Diagnosis"]["seizures"]) == (1, 0)
    assert (values["Diagnosis"]["diagnosis_entries"], values["Diagnosis"]["primary_entries"]) == (2, 2)
    assert (values["Comorbidities"]["copd"], values["Comorbidities"]["hiv"]) == (1, 0)
    assert (values["Medication"]["ordered_vasopressor"], values["Medication"]["ordered_insulin"]) == (1, 0)
    assert (values["Medication"]["infused_norepinephrine"], values["Medication"]["infused_epinephrine"]) == (1, 0)
    assert (values["Medication"]["home_diuretic"], values["Medication"]["home_statin"]) == (1, 0)
    assert (values["Respiratory"]["airway_endotracheal"], values["Respiratory"]["treated_mechanical_ventilation"]) == (
        1,
        1,
    )
    assert values["Admission"]["dx_sepsis"] == 1
    assert seen["Diagnosis"]
    for table in raw.clocks:
        raw.tables[table] = [row for row in raw.tables[table] if row["patientunitstayid"] != 101]
    values, seen = features(raw, tmp_path)
    for modality in (
        "Diagnosis",
        "Comorbidities",
        "Medication",
        "Respiratory",
        "Fluid balance",
        "Vitals",
        "Laboratory",
    ):
        assert not seen[modality]
        assert np.isnan(list(values[modality].values())).all()
    assert np.isnan(values["Admission"]["dx_sepsis"])
    assert seen["Admission"]


def test_drugs_without_a_name_go_by_their_code(empty, tmp_path):
    empty.patient(101, "002-1")
    empty.add("medication", 101, 10, drugname="", drughiclseqno=2808)
    empty.add("medication", 101, 10, drugname="ZOSYN", drughiclseqno="")
    empty.add("medication", 101, 10, drugname="NYSTATIN", drughiclseqno=6227)
    values, _ = features(empty, tmp_path)
    assert {k for k, v in values["Medication"].items() if v == 1 and k.startswith("ordered_")} == {
        "ordered_anticoagulant",
        "ordered_antibiotic",
    }
    assert values["Medication"]["orders"] == 3


PIVOTED_MED = {
    "vasopressor": (37410, 36346, 2051, 37407, 39089, 36437, 34361, 2050, 2060, 2059, 37028, 35517, 35587, 2087, 38884, 38883, 2839),
    "inotrope": (8777, 40, 9744),
    "anticoagulant": (39654, 9545, 2807, 33442, 8643, 33314, 2808, 2810, 2812, 24859),
}  # fmt: skip
"""Codes of the concept ``pivoted_med`` of MIT-LCP/eicu-code: norepinephrine, epinephrine, dopamine, phenylephrine and vasopressin;
dobutamine and milrinone; heparin and warfarin."""


def test_codes_agree_with_the_public_concept(empty, tmp_path):
    """Ours are theirs and, for anticoagulants, three more, of drugs that the concept does not look for (enoxaparin and newer ones)."""
    ours = {name: set(DRUG_CODES[name]) - set(codes) for name, codes in PIVOTED_MED.items()}
    assert ours == {"vasopressor": set(), "inotrope": set(), "anticoagulant": {7878, 35915, 37792}}
    stays = {
        100 + i: (name, code) for i, (name, code) in enumerate((n, c) for n in PIVOTED_MED for c in PIVOTED_MED[n])
    }
    for stay, (_, code) in stays.items():
        empty.patient(stay, f"002-{stay}")
        empty.add("medication", stay, 10, drugname="", drughiclseqno=code)
    cohort = build(empty.write(tmp_path), landmarks=["icu_24h"])["icu_24h"].cohort
    medication = cohort.modalities[MODALITIES.index("Medication")]
    for name in PIVOTED_MED:
        flags = medication.values[:, medication.feature_names.index(f"ordered_{name}")]
        assert flags.tolist() == [float(of == name) for of, _ in stays.values()]


def test_fluids_sum_cells_since_admission_not_totals(empty, tmp_path):
    empty.patient(101, "002-1")
    for minute, path, label, value in (
        (-10, "Output (ml)|Urine", "Urine", 5000),
        (60, "Output (ml)|Urine", "Urine", 300),
        (90, "Output (ml)|Urine Count", "Urine Count", 4),
        (90, "Output (ml)|TOTAL OUT", "TOTAL OUT", 900),
        (90, "Output (ml)|Emesis", "Emesis", 100),
        (95, "Intake (ml)|Crystalloids (ml)|NS", "NS", 1000),
        (96, "Intake (ml)|Nutrition (ml)|P.O.", "P.O.", 240),
        (97, "Dialysis (ml)|Out", "Out", 500),
        (98, "Weight|Bodyweight (kg)", "Bodyweight (kg)", 80),
        (98, "Weight|Bodyweight (lb)", "Bodyweight (lb)", 176),
    ):
        empty.add(
            "intakeOutput",
            101,
            minute,
            cellpath=FLOW + path,
            celllabel=label,
            cellvaluenumeric=value,
            intaketotal=77777,
        )
    fluid = features(empty, tmp_path)[0]["Fluid balance"]
    assert {k: v for k, v in fluid.items() if k != "treated_dialysis"} == pytest.approx(
        {
            "intake": 1240, "crystalloids": 1000, "nutrition": 240, "blood_products": 0, "output": 400, "urine": 300, "dialysis_out": 500,
            "body_weight_mean": 80, "body_weight_max": 80, "fluid_entries": 7, "fluid_balance": 340, "urine_per_hour": 12.5,
        }
    )  # fmt: skip


INTAKE, OUTPUT = "Intake (ml)|Crystalloids (ml)|", "Output (ml)|"


SIDES = [
    ([(INTAKE, "INTAKE", 7434), (INTAKE, "intake ", 100)], 7534, np.nan, np.nan),
    ([(INTAKE, "Total In", 800), (OUTPUT, "TOTAL OUT", 300)], 800, 300, np.nan),
    ([(INTAKE, "24 HR TOTAL INTAKE  0700-0659", 653), (OUTPUT, "Urine", 200)], 653, 200, 200),
    ([(INTAKE, "INTAKE", 7434), (INTAKE, "NS", 500), (OUTPUT, "Emesis", 0)], 500, 0, 0),
    ([(INTAKE, "Nutrition Total", 90), (INTAKE, "Total Amount (mcg)-fentaNYL", 500)], 90, np.nan, np.nan),
    ([(OUTPUT, "Urine", 5), (OUTPUT, "Output", 900), (OUTPUT, "Urine Count", 3)], np.nan, 5, 5),
    ([(INTAKE, "INTAKE", 10_001), (OUTPUT, "Stool occurrence", 2), (OUTPUT, "Urine", "")], np.nan, np.nan, np.nan),
]
"""Cells of a stay, and its intake, output and urine: NaN where nothing of a side is charted."""


def test_totals_count_where_a_side_has_nothing_else(empty, tmp_path):
    for stay, (cells, *_) in enumerate(SIDES, 101):
        empty.patient(stay, f"002-{stay}")
        empty.add("treatment", stay, 10)
        for path, label, value in (*cells, ("Weight|", "Bodyweight (kg)", 80), ("Dialysis (ml)|", "In", 40)):
            empty.add("intakeOutput", stay, 60, cellpath=FLOW + path + label, celllabel=label, cellvaluenumeric=value)
    cohort = build(empty.write(tmp_path), landmarks=["icu_24h"])["icu_24h"].cohort
    fluid = cohort.modalities[MODALITIES.index("Fluid balance")]
    at = {name: fluid.values[:, j] for j, name in enumerate(fluid.feature_names)}
    intake, output, urine = np.array([right for _, *right in SIDES]).T
    np.testing.assert_array_equal(at["intake"], intake)
    np.testing.assert_array_equal(at["output"], output)
    np.testing.assert_array_equal(at["urine"], urine)
    np.testing.assert_array_equal(at["fluid_balance"], intake - output)
    np.testing.assert_allclose(at["urine_per_hour"], urine / 24, rtol=1e-6)
    assert at["dialysis_out"].tolist() == [0] * len(SIDES)


OXYGENATION, SURGERY = "pulmonary|ventilation and oxygenation|", "surgery|pulmonary therapies|"
TREATED = {
    OXYGENATION + "mechanical ventilation": {"mechanical_ventilation"},
    OXYGENATION + "mechanical ventilation|volume controlled": {"mechanical_ventilation"},
    SURGERY + "mechanical ventilation|tidal volume > 10 ml/kg": {"mechanical_ventilation"},
    "toxicology|drug overdose|mechanical ventilation|assist controlled": {"mechanical_ventilation"},
    OXYGENATION + "mechanical ventilation|non-invasive ventilation|face mask": {"noninvasive_ventilation"},
    OXYGENATION + "non-invasive ventilation|nasal mask": {"noninvasive_ventilation"},
    SURGERY + "non-invasive ventilation": {"noninvasive_ventilation"},
    SURGERY + "CPAP/PEEP therapy": {"noninvasive_ventilation"},
    OXYGENATION + "CPAP/PEEP therapy|5-10 cm H2O": {"noninvasive_ventilation"},
    SURGERY + "ventilator weaning|rapid": {"ventilator_weaning"},
    OXYGENATION + "oxygen therapy (< 40%)|25-30%": {"oxygen_therapy_low"},
    OXYGENATION + "oxygen therapy (> 60%)": {"oxygen_therapy_high"},
    OXYGENATION + "oxygen therapy (40% to 60%)|face mask": {"oxygen_therapy_high"},
    "cardiovascular|vascular disorders|non-invasive testing for DVT": set(),
    **{f"renal|dialysis|{kind}": {"dialysis"} for kind in (
        "hemodialysis|emergent", "C V V H", "C V V H D", "C V V H D F", "C A V H D", "SLED", "peritoneal dialysis",
        "ultrafiltration (fluid removal only)", "peritoneal dialysis|with cannula placement",
    )},
    "endocrine|electrolyte correction|treatment of hyperkalemia|dialysis": {"dialysis"},
    "renal|dialysis|insertion of venous catheter for hemodialysis|tunneled catheter": set(),
    "renal|procedures/radiology|insertion of venous catheter for hemodialysis": set(),
    "renal|dialysis|arteriovenous shunt for renal dialysis": set(),
}  # fmt: skip


def test_treatments_go_by_path_under_every_chapter():
    con, columns = duckdb.connect(), {c.name.removeprefix("treated_"): c.sql for c in TREATMENT.columns}
    for path, right in TREATED.items():
        given = {
            k
            for k, sql in columns.items()
            if con.execute(f"SELECT {sql} FROM (SELECT ? AS treatmentstring)", [path]).fetchone()[0]
        }
        assert given == right, path


COMMON_LABS = (
    "BUN", "creatinine", "glucose", "calcium", "Hgb", "albumin", "lactate", "AST (SGOT)", "chloride", "pH", "RDW",
)  # fmt: skip


def add_common_labs(raw, *more):
    """Add a result of so many labs to stay 101 that the laboratory is observed."""
    for name in (*COMMON_LABS, *more):
        raw.add("lab", 101, 10, labname=name, labresult=7)


def test_other_names_of_a_lab_join_it(empty, tmp_path):
    empty.patient(101, "002-1")
    add_common_labs(empty, "paCO2")
    for minute, name, value in (
        (1, "bicarbonate", 20), (2, "HCO3", 22), (3, "Total CO2", 27), (4, "Base Excess", 2), (5, "Base Deficit", 8),
    ):  # fmt: skip
        empty.add("lab", 101, minute, labname=name, labresult=value)
    lab = features(empty, tmp_path)[0]["Laboratory"]
    assert (lab["bicarbonate_mean"], lab["bicarbonate_max"]) == (23, 27)
    assert (lab["base_excess_min"], lab["base_excess_mean"]) == (-8, -3)


def test_the_last_revision_known_counts_once(empty, tmp_path):
    empty.patient(101, "002-1")
    add_common_labs(empty)
    for result, revised, value in (
        (60, 60, 130), (60, 90, 140), (60, 90, 140),  # revised, and the revision stands twice
        (70, 70, 150), (70, 1440, 120),  # revised after 24 hours
        (80, 80, 155), (80, 85, ""),  # taken back
        (90, 100, 143), (90, 100, 143.5),  # two results of one minute
    ):  # fmt: skip
        empty.add("lab", 101, result, revised, labname="sodium", labresult=value)
    built = build(empty.write(tmp_path), landmarks=["icu_24h", "unit_discharge"])
    for landmark, last in (("icu_24h", 150), ("unit_discharge", 120)):
        cohort, values = built[landmark].cohort, [140, last, 143, 143.5]
        labs = cohort.modalities[MODALITIES.index("Laboratory")]
        lab = dict(zip(labs.feature_names, labs.values[0].tolist(), strict=True))
        right = [np.mean(values), min(values), max(values), np.std(values, ddof=1)]
        assert [lab[f"sodium_{s}"] for s in ("mean", "min", "max", "sd")] == pytest.approx(right, rel=1e-6)
        sodium = cohort.series.channels.index("sodium")
        assert cohort.series.values[0, 1, sodium] == pytest.approx(np.mean(values))


def test_a_modality_is_missing_when_more_than_80_percent_of_it_is(empty, tmp_path):
    """Vitals has 30 features: six recorded ones (80 % missing) are enough, five are not."""
    empty.patient(101, "002-1")
    empty.patient(102, "002-2")
    empty.patient(103, "002-3")
    empty.add("vitalPeriodic", 101, 10, heartrate=80, sao2=97)
    empty.add("vitalPeriodic", 102, 10, heartrate=80, sao2="")
    empty.add("vitalPeriodic", 102, 20, heartrate=81, sao2="")
    empty.add("vitalPeriodic", 103, 10, heartrate="", sao2=97, temperature=37)
    cohort = build(empty.write(tmp_path), landmarks=["icu_24h"])["icu_24h"].cohort
    vitals = cohort.modalities[MODALITIES.index("Vitals")]
    assert vitals.width == 30
    assert cohort.observed[:, MODALITIES.index("Vitals")].tolist() == [True, False, True]
    assert np.isfinite(vitals.values).sum(axis=1).tolist() == [6, 0, 6]


def test_categories_have_fixed_words_and_are_nan_when_empty(raw, tmp_path):
    raw.tables["patient"][0].update(
        unittype="Some new unit", ethnicity="", age="> 89", gender="Male", admissionheight=0.5
    )
    values, _ = features(raw, tmp_path)
    assert values["Admission"]["unit_type=another"] == 1
    assert values["Admission"]["unit_type=MICU"] == 0
    assert all(np.isnan(v) for k, v in values["Demographics"].items() if k.startswith("ethnicity="))
    assert (values["Demographics"]["age"], values["Demographics"]["male"]) == (90, 1)
    assert np.isnan(values["Demographics"]["height"])
    assert np.isnan(values["Demographics"]["bmi"])
    assert values["Admission"]["hours_in_hospital_before"] == 2
    assert values["Admission"]["region=Midwest"] == 1


def test_minus_one_is_missing_in_the_apache_tables(raw, tmp_path):
    values, _ = features(raw, tmp_path)
    assert np.isnan(values["APACHE"]["aps_ph"])
    assert (values["APACHE"]["aps_intubated"], values["APACHE"]["pred_diabetes"]) == (0, 1)


def test_apache_counts_once_its_day_is_over(raw, tmp_path):
    for stay, row in zip((101, 102), raw.tables["patient"], strict=False):
        assert row["patientunitstayid"] == stay
        row["unitdischargeoffset"] = {101: 1439, 102: 1440}[stay]
    cohort = build(raw.write(tmp_path), landmarks=["stay"])["stay"].cohort
    apache = MODALITIES.index("APACHE")
    assert np.isnan(cohort.modalities[apache].values[0]).all()
    assert cohort.observed[:, apache].tolist() == [False] + [True] * 5


def test_derived_features_follow_their_formulas():
    names = ["heart_rate_mean", "heart_rate_max", "systolic_mean", "systolic_min"]
    made = compute_shock_indices(names, np.array([[90.0, 120, 100, 80], [np.nan, 100, 100, 100]]))
    np.testing.assert_allclose(made["shock_index"], [0.9, np.nan])
    np.testing.assert_allclose(made["shock_index_worst"], [1.5, 1.0])
    fluid = compute_balances(
        ["intake", "output", "dialysis_out", "urine"], np.array([[900.0, 300, 100, 240]]), np.array([1440])
    )
    assert (fluid["fluid_balance"][0], fluid["urine_per_hour"][0]) == (500, 10)


def test_the_later_landmark_sees_the_later_rows(raw, tmp_path):
    raw.add("lab", 101, 2000, labname="sodium", labresult=155)
    assert features(raw, tmp_path, "icu_24h")[0]["Laboratory"]["sodium_max"] != 155
    for table in (
        "creatinine",
        "glucose",
        "calcium",
        "Hgb",
        "BUN",
        "chloride",
        "albumin",
        "pH",
        "lactate",
        "WBC x 1000",
        "AST (SGOT)",
    ):
        raw.add("lab", 101, 2000, labname=table, labresult=7)
    assert features(raw, tmp_path, "unit_discharge")[0]["Laboratory"]["sodium_max"] == 155
