"""The fixed words of the MIMIC-IV features: labs, charted values, fluids, procedures, diagnosis chapters, categories.

Nothing here is learnt when a cohort is built, so the demo and the full database give the same columns. ``low`` and ``high``
are bounds of plausibility: a value outside them is not recorded (NaN). ``convert`` is SQL over the raw value ``v`` that
brings another unit to the one stated. Item numbers are those of ``d_labitems`` and ``d_items``.
"""

from __future__ import annotations

from datasets.raw.features import Measure

PERCENT = "CASE WHEN v <= 1 THEN v * 100 ELSE v END"
CELSIUS = "CASE WHEN v > 60 THEN (v - 32) / 1.8 ELSE v END"

LABS: tuple[Measure, ...] = (
    Measure("sodium", (50983, 52623, 50824, 52455), "mEq/L", 90, 200),
    Measure("potassium", (50971, 52610, 50822, 52452), "mEq/L", 1, 12),
    Measure("chloride", (50902, 52535, 50806, 52434), "mEq/L", 50, 170),
    Measure("bicarbonate", (50882, 51739), "mEq/L", 2, 60),
    Measure("anion_gap", (50868, 52500), "mEq/L", -10, 60),
    Measure("bun", (51006, 52647), "mg/dL", 0, 300),
    Measure("creatinine", (50912, 52546), "mg/dL", 0, 40),
    Measure("glucose", (50931, 52569, 50809, 52027), "mg/dL", 5, 2500),
    Measure("calcium", (50893, 52034, 52035), "mg/dL", 2, 20),
    Measure("ionized_calcium", (50808, 51624), "mmol/L", 0.3, 2.5),
    Measure("magnesium", (50960,), "mg/dL", 0.2, 12),
    Measure("phosphate", (50970,), "mg/dL", 0.1, 20),
    Measure("total_protein", (50976, 53096), "g/dL", 1, 15),
    Measure("albumin", (50862, 53085, 52022), "g/dL", 0.3, 7),
    Measure("ast", (50878, 53088), "IU/L", 0, 50_000),
    Measure("alt", (50861, 53084), "IU/L", 0, 50_000),
    Measure("alkaline_phosphatase", (50863, 53086), "IU/L", 0, 5_000),
    Measure("bilirubin_total", (50885, 53089), "mg/dL", 0, 90),
    Measure("bilirubin_direct", (50883,), "mg/dL", 0, 60),
    Measure("ldh", (50954,), "IU/L", 0, 50_000),
    Measure("lipase", (50956,), "IU/L", 0, 20_000),
    Measure("hemoglobin", (51222, 50811, 51640), "g/dL", 1, 25),
    Measure("hematocrit", (51221, 50810, 51638, 51639, 52028), "%", 5, 75),
    Measure("rbc", (51279,), "m/uL", 0.5, 10),
    Measure("wbc", (51301, 51300, 51755, 51756), "K/uL", 0, 500),
    Measure("platelets", (51265, 51704), "K/uL", 0, 2_500),
    Measure("mcv", (51250, 51691), "fL", 50, 150),
    Measure("rdw", (51277,), "%", 5, 40),
    Measure("neutrophils", (51256,), "%", 0, 100),
    Measure("lymphocytes", (51244, 51245, 51690), "%", 0, 100),
    Measure("bands", (51144,), "%", 0, 100),
    Measure("inr", (51237, 51675), "ratio", 0.5, 30),
    Measure("pt", (51274, 52921), "s", 5, 200),
    Measure("ptt", (51275, 52923), "s", 10, 300),
    Measure("fibrinogen", (51214, 51623, 52116), "mg/dL", 20, 2_000),
    Measure("ph", (50820,), "1", 6.3, 8.4),
    Measure("pao2", (50821,), "mm Hg", 15, 750),
    Measure("paco2", (50818,), "mm Hg", 5, 200),
    Measure("base_excess", (50802,), "mEq/L", -50, 50),
    Measure("lactate", (50813, 52442, 53154), "mmol/L", 0, 40),
    Measure("troponin_t", (51003,), "ng/mL", 0, 500),
    Measure("ck", (50910,), "IU/L", 0, 200_000),
    Measure("ck_mb", (50911,), "ng/mL", 0, 2_000),
    Measure("nt_probnp", (50963,), "pg/mL", 0, 100_000),
    Measure("crp", (50889,), "mg/L", 0, 700),
    Measure("uric_acid", (51007,), "mg/dL", 0, 40),
    Measure("vancomycin_level", (51009,), "ug/mL", 0, 150),
)
"""Labs of blood (``labevents``). ``pao2`` is of arterial specimens alone; the other gases are of any blood."""

PAO2_ITEM, SPECIMEN_ITEM = 50821, 52033
"""Oxygen pressure of a blood gas, and the row of the same specimen that says which blood it was."""

ARTERIAL = "ART"
"""How the value of ``SPECIMEN_ITEM`` begins for arterial blood (the release writes ``ART.``)."""

VITALS: tuple[Measure, ...] = (
    Measure("heart_rate", (220045,), "1/min", 10, 300),
    Measure("respiratory_rate", (220210, 224690), "1/min", 1, 90),
    Measure("oxygen_saturation", (220277,), "%", 20, 100),
    Measure("temperature", (223761, 223762, 226329, 227632, 227634), "°C", 20, 45, CELSIUS),
    Measure("systolic", (220050, 220179, 225309), "mm Hg", 20, 300),
    Measure("diastolic", (220051, 220180, 225310), "mm Hg", 5, 225),
    Measure("map", (220052, 220181, 225312), "mm Hg", 10, 250),
    Measure("cvp", (220074,), "mm Hg", -10, 50),
    Measure("icp", (220765, 227989), "mm Hg", -10, 100),
    Measure("gcs_eye", (220739,), "1", 1, 4),
    Measure("gcs_verbal", (223900,), "1", 1, 5),
    Measure("gcs_motor", (223901,), "1", 1, 6),
    Measure("rass", (228096,), "1", -5, 4),
    Measure("fingerstick_glucose", (225664,), "mg/dL", 5, 2500),
    Measure("charted_glucose", (220621, 226537), "mg/dL", 5, 2500),
    Measure("fio2", (223835,), "%", 21, 100, PERCENT),
    Measure("oxygen_flow", (223834, 227582), "L/min", 0, 80),
    Measure("peep", (220339, 224700), "cmH2O", 0, 40),
    Measure("tidal_volume", (224684, 224685, 224686), "mL", 50, 2_000),
    Measure("minute_volume", (224687,), "L/min", 0.5, 60),
    Measure("peak_pressure", (224695,), "cmH2O", 3, 90),
    Measure("plateau_pressure", (224696,), "cmH2O", 3, 70),
    Measure("cardiac_output", (220088, 224842, 227543), "L/min", 0.5, 20),
    Measure("weight", (226512, 224639), "kg", 20, 400),
    Measure("height", (226730, 226707), "cm", 100, 230),
)
"""Charted values (``chartevents``)."""

INCH_ITEM = 226707
"""Height in inches; ``Measure.convert`` sees the value alone and could not tell it from one in cm."""

VERBAL_ITEM, INTUBATED = 223900, "No Response-ETT"
"""Who has a tube in the throat cannot be asked: this verbal response has the number 1 in the table and is no value here."""

ONCE = ("weight", "height")
"""Charted values of which only the last is an input, and which are no channel of the series."""

SERIES_LABS = (
    "sodium", "potassium", "chloride", "bicarbonate", "anion_gap", "bun", "creatinine", "glucose", "calcium", "magnesium", "phosphate",
    "hemoglobin", "wbc", "platelets", "bilirubin_total", "lactate", "ph", "pao2", "paco2", "inr", "ptt", "troponin_t",
)  # fmt: skip
"""The labs that are channels of the hourly series, with the charted values."""

URINE_ITEMS = (
    226559, 226560, 226561, 226584, 226563, 226564, 226565, 226567, 226557, 226558, 227489,
)  # fmt: skip
"""Urine of the unit. That of the operating and recovery rooms (226627, 226631) is charted as one volume at arrival, of hours before."""

IRRIGANT_ITEM = 227488
"""Volume put in through the catheter, to be taken off the urine."""

NOT_OUTPUT_ITEMS = (226586, 226713, 227487, 227488, 226633)
"""Estimates, kinds, irrigant in, and output before admission."""

FLUID_ORDERS: dict[str, tuple[str, ...]] = {
    "crystalloids": ("02-Fluids (Crystalloids)", "03-IV Fluid Bolus"),
    "colloids": ("04-Fluids (Colloids)",),
    "blood_products": ("07-Blood Products",),
    "enteral": ("13-Enteral Nutrition", "14-Oral/Gastric Intake"),
    "parenteral": ("12-Parenteral Nutrition",),
    "drips": ("01-Drips",),
}
"""Fluids of ``inputevents`` by ``ordercategoryname``; before the ICU (``16-``) is left out of the total."""

PROCEDURES: dict[str, tuple[int, ...]] = {
    "invasive_ventilation": (225792, 224385),
    "noninvasive_ventilation": (225794,),
    "extubation": (227194, 225468, 225477),
    "crrt": (225802, 225803, 225809, 225955),
    "dialysis": (225441, 225803, 225805, 225809, 225955),
    "arterial_line": (225752,),
    "central_line": (224263, 224264, 224267, 224268),
    "pa_catheter": (224560,),
    "chest_xray": (225459, 229581),
    "ct": (221214,),
    "mri": (223253,),
    "echocardiography": (225432,),
    "bronchoscopy": (225400,),
    "endoscopy": (225439,),
    "eeg": (221223,),
    "operating_room": (225469, 225470),
}
"""``procedureevents`` by item. ``dialysis`` is a treatment of named form, not its catheter; ``crrt`` a continuous one."""

SERVICES = (
    "MED", "CMED", "SURG", "OMED", "CSURG", "NSURG", "VSURG", "NMED", "TRAUM", "ORTHO", "TSURG", "GU", "GYN", "PSURG", "ENT", "OBS",
    "PSYCH",
)  # fmt: skip

CHAPTERS: dict[str, tuple[tuple[int, int] | str, tuple[str, str]]] = {
    "infectious": ((1, 139), ("A00", "B99")),
    "neoplasms": ((140, 239), ("C00", "D49")),
    "blood": ((280, 289), ("D50", "D89")),
    "endocrine": ((240, 279), ("E00", "E89")),
    "mental": ((290, 319), ("F01", "F99")),
    "nervous": ((320, 359), ("G00", "G99")),
    "eye_ear": ((360, 389), ("H00", "H95")),
    "circulatory": ((390, 459), ("I00", "I99")),
    "respiratory": ((460, 519), ("J00", "J99")),
    "digestive": ((520, 579), ("K00", "K95")),
    "skin": ((680, 709), ("L00", "L99")),
    "musculoskeletal": ((710, 739), ("M00", "M99")),
    "genitourinary": ((580, 629), ("N00", "N99")),
    "pregnancy": ((630, 679), ("O00", "O9A")),
    "congenital": ((740, 759), ("Q00", "Q99")),
    "symptoms": ((780, 799), ("R00", "R99")),
    "injury": ((800, 999), ("S00", "T88")),
    "external_cause": ("E", ("V00", "Y99")),
    "health_status": ("V", ("Z00", "Z99")),
}
"""Chapters of ICD-9-CM (by three digits, or the letter) and ICD-10-CM (by three characters)."""

DIAGNOSES: dict[str, tuple[str, str]] = {
    "heart_failure": (r"^428", r"^I50"),
    "atrial_fibrillation": (r"^4273", r"^I48"),
    "coronary_disease": (r"^41[0-4]", r"^I2[0-5]"),
    "hypertension": (r"^40[1-5]", r"^I1[0-5]"),
    "stroke": (r"^43[0-8]", r"^I6"),
    "copd": (r"^49[0-6]", r"^J4[0-7]"),
    "diabetes": (r"^250", r"^E1[0-4]"),
    "renal_failure": (r"^58[456]", r"^N1[789]"),
    "liver_disease": (r"^57[0-3]", r"^K7[0-6]"),
    "metastatic_cancer": (r"^19[6-9]", r"^C(7[7-9]|80)"),
    "hematologic_malignancy": (r"^20[0-8]", r"^C(8[1-9]|9)"),
    "dementia": (r"^(290|3310)", r"^(F0[0-3]|G30)"),
    "substance_use": (r"^30[345]", r"^F1[0-9]"),
    "sepsis": (r"^(038|9959)", r"^A4[01]|^R652"),
}
"""Conditions in the codes of earlier admissions, as regular expressions over ICD-9-CM and ICD-10-CM codes."""

ADMISSION_TYPES = (
    "EW EMER.", "DIRECT EMER.", "URGENT", "ELECTIVE", "SURGICAL SAME DAY ADMISSION", "OBSERVATION ADMIT", "EU OBSERVATION",
    "DIRECT OBSERVATION", "AMBULATORY OBSERVATION",
)  # fmt: skip
ADMISSION_LOCATIONS = (
    "EMERGENCY ROOM", "PHYSICIAN REFERRAL", "TRANSFER FROM HOSPITAL", "CLINIC REFERRAL", "PROCEDURE SITE", "WALK-IN/SELF REFERRAL",
    "TRANSFER FROM SKILLED NURSING FACILITY", "PACU", "INTERNAL TRANSFER TO OR FROM PSYCH", "INFORMATION NOT AVAILABLE",
    "AMBULATORY SURGERY TRANSFER",
)  # fmt: skip
INSURANCES = ("Medicare", "Medicaid", "Private", "Other", "No charge")
MARITAL = ("MARRIED", "SINGLE", "WIDOWED", "DIVORCED")
UNITS = (
    "Medical Intensive Care Unit (MICU)", "Surgical Intensive Care Unit (SICU)", "Medical/Surgical Intensive Care Unit (MICU/SICU)",
    "Cardiac Vascular Intensive Care Unit (CVICU)", "Coronary Care Unit (CCU)", "Trauma SICU (TSICU)",
    "Neuro Surgical Intensive Care Unit (Neuro SICU)",
)  # fmt: skip
DESTINATIONS = (
    "HOME", "HOME HEALTH CARE", "SKILLED NURSING FACILITY", "REHAB", "CHRONIC/LONG TERM ACUTE CARE", "HOSPICE", "AGAINST ADVICE",
    "PSYCH FACILITY", "ACUTE HOSPITAL", "ASSISTED LIVING", "OTHER FACILITY",
)  # fmt: skip
