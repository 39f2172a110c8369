"""The fixed words of the eICU features: labs, vitals, respiratory settings, drugs, diagnoses, comorbidities, categories.

Nothing here is learnt when a cohort is built, so the demo and the full database give the same columns; the words were chosen
with the open demo's own words and their frequencies in view, never its outcomes. ``low`` and
``high`` are bounds of plausibility: a value outside them is not recorded (NaN). ``convert`` is SQL over the raw value
``v`` that brings hospitals that report another unit to the unit stated.
"""

from __future__ import annotations

from datasets.raw.features import Measure


def _make_lab(name: str, label: str, unit: str, low: float, high: float, convert: str = "v") -> Measure:
    return Measure(name, (label,), unit, low, high, convert)


PERCENT = "CASE WHEN v <= 1 THEN v * 100 ELSE v END"
CELSIUS = "CASE WHEN v > 60 THEN (v - 32) / 1.8 ELSE v END"

LABS: tuple[Measure, ...] = (
    _make_lab("sodium", "sodium", "mmol/L", 90, 200),
    _make_lab("potassium", "potassium", "mmol/L", 1, 12),
    _make_lab("chloride", "chloride", "mmol/L", 50, 170),
    Measure("bicarbonate", ("bicarbonate", "HCO3", "Total CO2"), "mmol/L", 2, 60),
    _make_lab("anion_gap", "anion gap", "mmol/L", -10, 60),
    _make_lab("bun", "BUN", "mg/dL", 0, 300),
    _make_lab("creatinine", "creatinine", "mg/dL", 0, 40),
    _make_lab("glucose", "glucose", "mg/dL", 5, 2500),
    _make_lab("bedside_glucose", "bedside glucose", "mg/dL", 5, 2500),
    _make_lab("calcium", "calcium", "mg/dL", 2, 20),
    _make_lab("ionized_calcium", "ionized calcium", "mmol/L", 0.3, 2.5, "CASE WHEN v > 2.5 THEN v / 4.008 ELSE v END"),
    _make_lab("magnesium", "magnesium", "mg/dL", 0.2, 12),
    _make_lab("phosphate", "phosphate", "mg/dL", 0.1, 20),
    _make_lab("total_protein", "total protein", "g/dL", 1, 15),
    _make_lab("albumin", "albumin", "g/dL", 0.3, 7),
    _make_lab("ast", "AST (SGOT)", "U/L", 0, 50_000),
    _make_lab("alt", "ALT (SGPT)", "U/L", 0, 50_000),
    _make_lab("alkaline_phosphatase", "alkaline phos.", "U/L", 0, 5_000),
    _make_lab("bilirubin_total", "total bilirubin", "mg/dL", 0, 90),
    _make_lab("bilirubin_direct", "direct bilirubin", "mg/dL", 0, 60),
    _make_lab("hemoglobin", "Hgb", "g/dL", 1, 25),
    _make_lab("hematocrit", "Hct", "%", 5, 75),
    _make_lab("rbc", "RBC", "M/mcL", 0.5, 10),
    _make_lab("wbc", "WBC x 1000", "K/mcL", 0, 500),
    _make_lab("platelets", "platelets x 1000", "K/mcL", 0, 2_500),
    _make_lab("mcv", "MCV", "fL", 50, 150),
    _make_lab("rdw", "RDW", "%", 5, 40),
    _make_lab("neutrophils", "-polys", "%", 0, 100),
    _make_lab("lymphocytes", "-lymphs", "%", 0, 100),
    _make_lab("bands", "-bands", "%", 0, 100),
    _make_lab("inr", "PT - INR", "ratio", 0.5, 30),
    _make_lab("ptt", "PTT", "s", 10, 300),
    _make_lab("fibrinogen", "fibrinogen", "mg/dL", 20, 2_000),
    _make_lab("ph", "pH", "1", 6.3, 8.4),
    _make_lab("pao2", "paO2", "mm Hg", 15, 750),
    _make_lab("paco2", "paCO2", "mm Hg", 5, 200),
    Measure("base_excess", ("Base Excess", "Base Deficit"), "mmol/L", -50, 50),
    _make_lab("lactate", "lactate", "mmol/L", 0, 40),
    _make_lab("troponin_i", "troponin - I", "ng/mL", 0, 1_000),
    _make_lab("troponin_t", "troponin - T", "ng/mL", 0, 500),
    _make_lab("ck", "CPK", "U/L", 0, 200_000),
    _make_lab("ck_mb", "CPK-MB", "ng/mL", 0, 2_000),
)
"""The 42 labs of the modality Laboratory (table ``lab``)."""

GAS_LABS: tuple[Measure, ...] = (_make_lab("fio2_blood_gas", "FiO2", "%", 21, 100, PERCENT),)
"""Of table ``lab``, but a setting of the ventilator: they belong to Respiratory."""

VITALS: tuple[Measure, ...] = (
    Measure("heart_rate", (), "1/min", 10, 300),
    Measure("respiratory_rate", (), "1/min", 1, 90),
    Measure("oxygen_saturation", (), "%", 30, 100),
    Measure("temperature", (), "degrees C", 25, 45, CELSIUS),
    Measure("systolic", (), "mm Hg", 20, 300),
    Measure("diastolic", (), "mm Hg", 5, 200),
    Measure("map", (), "mm Hg", 10, 250),
)
"""The vitals; blood pressures join the arterial line (``vitalPeriodic``) and the cuff (``vitalAperiodic``)."""

RESPIRATORY: tuple[Measure, ...] = (
    Measure("fio2_charted", ("FiO2", "FIO2 (%)", "O2 Percentage"), "%", 21, 100, PERCENT),
    Measure("oxygen_flow", ("LPM O2", "Oxygen Flow Rate"), "L/min", 0, 100),
    Measure("peep", ("PEEP", "PEEP/CPAP", "CPAP"), "cm H2O", 0, 40),
    Measure("vent_rate", ("Vent Rate",), "1/min", 0, 80),
    Measure("total_rate", ("Total RR", "RR (patient)", "Resp Rate Total"), "1/min", 0, 90),
    Measure("tidal_volume_set", ("Tidal Volume (set)",), "mL", 50, 2_000),
    Measure("tidal_volume_exhaled", ("Exhaled TV (patient)", "Exhaled TV (machine)", "Exhaled Vt"), "mL", 20, 3_000),
    Measure("minute_volume", ("Exhaled MV", "Measured Ve"), "L/min", 0.5, 60),
    Measure("mean_airway_pressure", ("Mean Airway Pressure",), "cm H2O", 0, 60),
    Measure("peak_pressure", ("Peak Insp. Pressure",), "cm H2O", 0, 100),
    Measure("plateau_pressure", ("Plateau Pressure",), "cm H2O", 0, 80),
    Measure("pressure_support", ("Pressure Support",), "cm H2O", 0, 50),
    Measure("saturation_charted", ("SaO2",), "%", 30, 100),
)
"""Settings and readings of ``respiratoryCharting`` by ``respchartvaluelabel``."""

SERIES_LABS = (
    "sodium", "potassium", "chloride", "bicarbonate", "bun", "creatinine", "glucose", "calcium", "hemoglobin", "wbc", "platelets",
    "bilirubin_total", "lactate", "ph", "pao2", "paco2", "inr",
)  # fmt: skip
"""The labs that are channels of the hourly series, with all vitals."""

HOME_CLASSES = (
    "opioid", "anticoagulant", "antiplatelet", "beta_blocker", "ace_inhibitor_or_arb", "calcium_channel_blocker", "vasodilator",
    "antiarrhythmic", "diuretic", "statin", "insulin", "steroid", "bronchodilator", "acid_suppression", "anticonvulsant", "antipsychotic",
)  # fmt: skip
"""The classes looked for among the drugs taken before admission (``admissionDrug``)."""

DIAGNOSIS_CHAPTERS = (
    "cardiovascular", "pulmonary", "neurologic", "gastrointestinal", "renal", "endocrine", "infectious diseases", "hematology",
    "oncology", "toxicology", "burns/trauma", "surgery", "general", "transplant",
)  # fmt: skip
"""First part of ``diagnosis.diagnosisstring``."""

DIAGNOSES: dict[str, tuple[str, ...]] = {
    "sepsis": ("cardiovascular|shock / hypotension|sepsis", "infectious diseases|systemic/other infections|sepsis"),
    "septic_shock": (
        "cardiovascular|shock / hypotension|septic shock",
        "infectious diseases|systemic/other infections|septic shock",
    ),
    "cardiogenic_shock": ("cardiovascular|shock / hypotension|cardiogenic shock",),
    "hypotension": ("cardiovascular|shock / hypotension|hypotension",),
    "cardiac_arrest": ("cardiovascular|cardiac arrest",),
    "acute_coronary_syndrome": ("cardiovascular|chest pain / ashd|acute coronary syndrome",),
    "heart_failure": ("cardiovascular|ventricular disorders|congestive heart failure",),
    "atrial_fibrillation": ("cardiovascular|arrhythmias|atrial fibrillation",),
    "ventricular_arrhythmia": ("cardiovascular|arrhythmias|ventricular",),
    "cardiac_surgery": ("cardiovascular|cardiac surgery",),
    "acute_respiratory_failure": ("pulmonary|respiratory failure|acute respiratory failure",),
    "respiratory_distress": (
        "pulmonary|respiratory failure|acute respiratory distress",
        "pulmonary|respiratory failure|ards",
    ),
    "hypoxemia": ("pulmonary|respiratory failure|hypoxemia",),
    "pneumonia": (
        "pulmonary|pulmonary infections|pneumonia",
        "infectious diseases|chest/pulmonary infections|pneumonia",
    ),
    "copd": ("pulmonary|disorders of the airways|copd", "pulmonary|disorders of the airways|acute copd"),
    "pulmonary_embolism": ("pulmonary|disorders of vasculature|pulmonary embolism",),
    "stroke": ("neurologic|disorders of vasculature|stroke",),
    "altered_mental_status": ("neurologic|altered mental status / pain|",),
    "seizures": ("neurologic|seizures",),
    "acute_renal_failure": ("renal|disorder of kidney|acute renal failure",),
    "chronic_kidney_disease": (
        "renal|disorder of kidney|chronic",
        "renal|disorder of kidney|esrd",
    ),
    "acid_base_disorder": ("renal|disorder of acid base",),
    "electrolyte_imbalance": ("renal|electrolyte imbalance",),
    "gi_bleeding": ("gastrointestinal|gi bleeding / pud",),
    "hepatic_disease": ("gastrointestinal|hepatic disease",),
    "pancreatitis": ("gastrointestinal|pancreatic disease",),
    "diabetes": ("endocrine|glucose metabolism|diabetes",),
    "ketoacidosis": ("endocrine|glucose metabolism|dka",),
    "anemia": ("hematology|bleeding and red blood cell disorders",),
    "coagulopathy_or_thrombocytopenia": ("hematology|coagulation disorders", "hematology|platelet disorders"),
    "overdose": ("toxicology|drug overdose",),
    "intracranial_injury": ("burns/trauma|trauma - cns",),
}
"""Diagnoses by prefixes of ``diagnosis.diagnosisstring`` in lower case."""

COMORBIDITIES: dict[str, str] = {
    "hypertension": "cardiovascular (r)/hypertension requiring treatment",
    "heart_failure": "cardiovascular (r)/congestive heart failure",
    "myocardial_infarction": "cardiovascular (r)/myocardial infarction",
    "coronary_intervention": "cardiovascular (r)/procedural coronary intervention",
    "coronary_bypass": "cardiovascular (r)/coronary artery bypass",
    "angina": "cardiovascular (r)/angina",
    "arrhythmia": "cardiovascular (r)/arrhythmias",
    "pacemaker": "cardiovascular (r)/pacemaker",
    "defibrillator": "cardiovascular (r)/aicd",
    "valve_disease": "cardiovascular (r)/valve disease",
    "peripheral_vascular_disease": "cardiovascular (r)/peripheral vascular disease",
    "venous_thrombosis": "cardiovascular (r)/venous thrombosis",
    "pulmonary_embolism": "cardiovascular (r)/pulmonary embolism",
    "copd": "pulmonary/copd",
    "asthma": "pulmonary/asthma",
    "home_oxygen": "pulmonary/home oxygen",
    "restrictive_lung_disease": "pulmonary/restrictive disease",
    "respiratory_failure": "pulmonary/respiratory failure",
    "stroke": "neurologic/strokes",
    "tia": "neurologic/tia(s)",
    "dementia": "neurologic/dementia",
    "seizures": "neurologic/seizures",
    "neuromuscular_disease": "neurologic/neuromuscular disease",
    "diabetes_on_insulin": "endocrine (r)/insulin dependent diabetes",
    "diabetes_without_insulin": "endocrine (r)/non-insulin dependent diabetes",
    "hypothyroidism": "endocrine (r)/hypothyroidism",
    "steroid_use": "endocrine (r)/recent steroid use",
    "renal_failure": "renal (r)/renal failure",
    "renal_insufficiency": "renal (r)/renal insufficiency",
    "renal_transplant": "renal (r)/s/p renal transplant",
    "cirrhosis": "gastrointestinal (r)/cirrhosis",
    "peptic_ulcer": "gastrointestinal (r)/peptic ulcer disease",
    "cancer": "hematology/oncology (r)/cancer/",
    "metastases": "hematology/oncology (r)/cancer/metastases",
    "hematologic_malignancy": "hematology/oncology (r)/cancer/hematologic malignancy",
    "cancer_therapy": "hematology/oncology (r)/cancer therapy",
    "immunosuppression": "infectious disease (r)/immunosuppression",
    "hiv": "infectious disease (r)/hiv",
    "rheumatic_disease": "organ systems/rheumatic/",
}
"""Chronic conditions by a part of ``pastHistory.pasthistorypath`` in lower case."""

ADMISSION_DIAGNOSES: dict[str, str] = {
    "operative": r"^admission diagnosis\|(operative organ systems|all diagnosis\|operative)",
    "elective": r"^admission diagnosis\|elective\|yes",
    "organ_cardiovascular": r"organ systems\|organ system\|cardiovascular",
    "organ_respiratory": r"organ systems\|organ system\|respiratory",
    "organ_neurologic": r"organ systems\|organ system\|neurologic",
    "organ_gastrointestinal": r"organ systems\|organ system\|gastrointestinal",
    "organ_metabolic": r"organ systems\|organ system\|metabolic",
    "organ_genitourinary": r"organ systems\|organ system\|genitourinary",
    "organ_trauma": r"organ systems\|organ system\|trauma",
    "sepsis": r"diagnosis\|[^|]*\|sepsis",
    "cardiac_arrest": r"diagnosis\|[^|]*\|cardiac arrest",
    "myocardial_infarction": r"diagnosis\|[^|]*\|infarction, acute myocardial",
    "heart_failure": r"diagnosis\|[^|]*\|chf",
    "rhythm_disturbance": r"diagnosis\|[^|]*\|rhythm disturbance",
    "bypass_surgery": r"diagnosis\|[^|]*\|cabg",
    "pneumonia": r"diagnosis\|[^|]*\|pneumonia",
    "copd": r"diagnosis\|[^|]*\|emphysema",
    "respiratory_arrest": r"diagnosis\|[^|]*\|(arrest, respiratory|ards)",
    "stroke_or_hemorrhage": r"diagnosis\|neurolog[^|]*\|(cva|hemorrhage|hematoma|subarachnoid)",
    "coma": r"diagnosis\|[^|]*\|coma",
    "overdose": r"diagnosis\|[^|]*\|overdose",
    "gi_bleeding": r"diagnosis\|[^|]*\|bleeding",
    "ketoacidosis": r"diagnosis\|[^|]*\|diabetic ketoacidosis",
    "renal_failure": r"diagnosis\|[^|]*\|renal failure",
}
"""APACHE admission diagnoses by a regular expression over ``admissionDx.admitdxpath`` in lower case."""

_OXYGENATION = r"^(pulmonary\|ventilation and oxygenation|surgery\|pulmonary therapies|toxicology\|drug overdose)\|"

TREATMENTS: dict[str, tuple[str, str, str]] = {
    "mechanical_ventilation": ("Respiratory", _OXYGENATION + r"mechanical ventilation", r"\|non-invasive ventilation"),
    "noninvasive_ventilation": (
        "Respiratory",
        _OXYGENATION + r"(cpap|(mechanical ventilation\|)?non-invasive ventilation)",
        "",
    ),
    "oxygen_therapy_low": ("Respiratory", _OXYGENATION + r"oxygen therapy \(< 40%\)", ""),
    "oxygen_therapy_high": ("Respiratory", _OXYGENATION + r"oxygen therapy \((40%|>)", ""),
    "ventilator_weaning": ("Respiratory", _OXYGENATION + r"ventilator weaning", ""),
    "dialysis": (
        "Fluid balance",
        r"^renal\|dialysis(\||$)|\|(hemo|peritoneal )?dialysis(\||$)",
        r"insertion of|arteriovenous shunt",
    ),
}
"""Treatments: the modality each belongs to, a regular expression over ``treatment.treatmentstring`` in lower case, and one that must not
match (empty: none). The same therapy stands under several chapters; access for dialysis is no dialysis."""

ETHNICITIES = ("Caucasian", "African American", "Hispanic", "Asian", "Native American", "Other/Unknown")
ADMIT_SOURCES = (
    "Emergency Department", "Floor", "Operating Room", "Direct Admit", "Recovery Room", "Acute Care/Floor", "Step-Down Unit (SDU)",
    "Other Hospital", "PACU", "Other ICU", "ICU", "ICU to SDU", "Chest Pain Center", "Observation", "Other",
)  # fmt: skip
UNIT_TYPES = ("Med-Surg ICU", "MICU", "SICU", "Cardiac ICU", "CCU-CTICU", "Neuro ICU", "CSICU", "CTICU")
UNIT_STAY_TYPES = ("admit", "transfer", "stepdown/other", "readmit")
REGIONS = ("Midwest", "Northeast", "South", "West")
BED_CATEGORIES = ("<100", "100 - 249", "250 - 499", ">= 500")

APACHE_APS: dict[str, tuple[float, float]] = {
    "intubated": (0, 1), "vent": (0, 1), "dialysis": (0, 1), "meds": (0, 1), "eyes": (1, 4), "motor": (1, 6), "verbal": (1, 5),
    "urine": (0, 20_000), "wbc": (0, 500), "temperature": (20, 45), "respiratoryrate": (0, 90), "sodium": (90, 200),
    "heartrate": (10, 300), "meanbp": (10, 250), "ph": (6.3, 8.4), "hematocrit": (5, 75), "creatinine": (0, 40), "albumin": (0.3, 7),
    "pao2": (15, 750), "pco2": (5, 200), "bun": (0, 300), "glucose": (5, 2_500), "bilirubin": (0, 90), "fio2": (21, 100),
}  # fmt: skip
"""Columns of ``apacheApsVar`` (worst values of the first day) with their bounds; -1, below all of them, is
missing."""

APACHE_PRED: dict[str, tuple[float, float]] = {
    "thrombolytics": (0, 1), "aids": (0, 1), "hepaticfailure": (0, 1), "lymphoma": (0, 1), "metastaticcancer": (0, 1),
    "leukemia": (0, 1), "immunosuppression": (0, 1), "cirrhosis": (0, 1), "electivesurgery": (0, 1), "readmit": (0, 1),
    "diabetes": (0, 1), "ventday1": (0, 1), "oobventday1": (0, 1), "oobintubday1": (0, 1),
}  # fmt: skip
"""Columns of ``apachePredVar`` that are known on the first day."""
