"""The allow-list of time-stamped inputs: which raw table, by which clocks, and what is made of its rows.

A row is **known** at a landmark when every clock it has lies strictly before it: the event's own offset, the first of
``clocks``, and, where the table has one, the moment of entry, order or revision, the second. A row without one of these
offsets is never known. Rows whose event lies before the window ``since`` do not count: ``BEFORE_UNIT`` (a day before unit
admission) for what is measured (values of the emergency department and the operating room count), ``UNIT`` (the admission
itself) for fluids, ``EVER`` (no bound) for what describes the patient (history, diagnoses, orders).

Left out on purpose, because it is known later or nothing says when: ``activeupondischarge``, stop offsets
(``drugstopoffset``, ``ventendoffset``, ``priorventendoffset``), ``drugordercancelled`` (an order may be cancelled
after the landmark: all orders count), ``intaketotal``/``outputtotal``/``nettotal`` (totals of an interval, which
include cells entered later: the cells themselves are summed, see ``FLUID_TOTALS``), and ``ventstartoffset`` (a row of ``respiratoryCare``
moves it to ``priorventstartoffset`` once ventilation has stopped).
"""

from __future__ import annotations

import re

from datasets.eicu import vocabulary as words
from datasets.eicu.drugs import DRUG_CODES
from datasets.raw.drug_words import DRUG_CLASSES, INFUSIONS
from datasets.raw.features import COUNT, EVER, FLAG, RANGE, SPREAD, SUM, Column, LongSource, Measure, Source
from datasets.raw.tables import identifier, literal, number, text

DAY = 1440
MOST_IN_A_CELL = 10_000
"""Millilitres; a larger volume in one cell of the flowsheet is taken for a running total or a slip."""

BEFORE_UNIT, UNIT = f"event >= {-DAY}", "event >= 0"
"""Windows of a source (``since``), in minutes from unit admission."""


def _match(column: str, pattern: str) -> str:
    return f"coalesce(regexp_matches(lower({column}), {literal(pattern)}), false)"


def _match_start(column: str, prefixes: tuple[str, ...]) -> str:
    tests = " OR ".join(f"starts_with(lower(trim({column})), {literal(p)})" for p in prefixes)
    return f"coalesce({tests}, false)"


def _match_treatment(pattern: str, unless: str) -> str:
    matched = _match("trim(treatmentstring)", pattern)
    return f"({matched} AND NOT {_match('treatmentstring', unless)})" if unless else matched


def _match_drug(name: str) -> str:
    codes = DRUG_CODES.get(name, ())
    by_name = _match("drugname", DRUG_CLASSES[name])
    if not codes:
        return by_name
    listed = ", ".join(map(str, codes))
    return f"({by_name} OR (drugname IS NULL AND coalesce({identifier('drughiclseqno')} IN ({listed}), false)))"


def _make_flags(modality: str, prefix: str, tests: dict[str, str]) -> tuple[Column, ...]:
    return tuple(Column(re.sub(r"\W", "_", prefix + name), FLAG, sql, modality=modality) for name, sql in tests.items())


def _make_vital(measure: Measure, raw: str) -> Column:
    return Column(measure.name, SPREAD, raw, measure.unit, measure.low, measure.high, measure.convert, "Vitals")


def _compute_mean_pressure(systolic: str, diastolic: str, mean: str) -> str:
    s, d, m = number(systolic), number(diastolic), number(mean)
    return f"coalesce({m}, CASE WHEN {s} > {d} THEN ({s} + 2 * {d}) / 3 END)"


_VITAL = {measure.name: measure for measure in words.VITALS}
_PATH = "lower(cellpath)"
_CELL = number("cellvaluenumeric")
_IS_INTAKE = f"coalesce(contains({_PATH}, '|intake (ml)|'), false)"
_IS_OUTPUT = f"coalesce(contains({_PATH}, '|output (ml)|'), false)"
_IS_DIALYSIS = f"coalesce(contains({_PATH}, '|dialysis (ml)|'), false)"
_IS_FLUID = f"({_IS_INTAKE} OR {_IS_OUTPUT} OR {_IS_DIALYSIS})"
_URINE = _match("celllabel", r"urin|void|foley|urethral|catheter out|nephrostomy")
_WEIGHT = _match("cellpath", r"\|bodyweight \(kg\)")
_NOT_A_VOLUME = _match("celllabel", r"^total (amount|lumen)|count|occurr|number of|residual|meal eaten")
"""Cells that count or weigh instead of measuring a volume, and the sum of flushes that are charted one by one as well."""
_TOTAL = _match("celllabel", r"^\s*(24 ?hr )?total (in|out|intake|output)\b|^\s*(intake|output)\s*$|^\s*24 ?hr")
"""Cells that hold the whole of one side, over a shift or a day. Those of one kind ("Nutrition Total") are parts like any other."""


_HISTORY = "lower(regexp_replace(pasthistorypath, '\\s+', ' ', 'g'))"


def _make_volume(name: str, side: str, test: str = "true", modality: str = "Fluid balance") -> Column:
    """Make the sum of the cells of ``side`` that pass ``test``: 0 where only others of that side are charted, NaN where none is."""
    measured = f"{_CELL} BETWEEN 0 AND {MOST_IN_A_CELL} AND NOT {_NOT_A_VOLUME}"
    volume = f"CASE WHEN {side} AND {measured} THEN CASE WHEN {test} THEN {_CELL} ELSE 0 END END"
    return Column(name, SUM, volume, "mL", 0, MOST_IN_A_CELL, modality=modality)


_INTAKE_PART, _OUTPUT_PART = f"{_IS_INTAKE} AND NOT {_TOTAL}", f"{_IS_OUTPUT} AND NOT {_TOTAL}"

FLUID_TOTALS: tuple[Column, ...] = (
    _make_volume("intake_total", f"{_IS_INTAKE} AND {_TOTAL}", modality=""),
    _make_volume("output_total", f"{_IS_OUTPUT} AND {_TOTAL}", modality=""),
)
"""The charted totals of a side, for stays where it has no other cell; no features of their own."""

VITAL_PERIODIC = Source(
    name="vitalPeriodic",
    table="vitalPeriodic",
    clocks=("observationoffset",),
    since=BEFORE_UNIT,
    reads=("temperature", "sao2", "heartrate", "respiration", "systemicsystolic", "systemicdiastolic", "systemicmean"),
    columns=(
        _make_vital(_VITAL["heart_rate"], number("heartrate")),
        _make_vital(_VITAL["respiratory_rate"], number("respiration")),
        _make_vital(_VITAL["oxygen_saturation"], number("sao2")),
        _make_vital(_VITAL["temperature"], number("temperature")),
        _make_vital(_VITAL["systolic"], number("systemicsystolic")),
        _make_vital(_VITAL["diastolic"], number("systemicdiastolic")),
        _make_vital(_VITAL["map"], _compute_mean_pressure("systemicsystolic", "systemicdiastolic", "systemicmean")),
    ),
)

VITAL_APERIODIC = Source(
    name="vitalAperiodic",
    table="vitalAperiodic",
    clocks=("observationoffset",),
    since=BEFORE_UNIT,
    reads=("noninvasivesystolic", "noninvasivediastolic", "noninvasivemean"),
    columns=(
        _make_vital(_VITAL["systolic"], number("noninvasivesystolic")),
        _make_vital(_VITAL["diastolic"], number("noninvasivediastolic")),
        _make_vital(
            _VITAL["map"], _compute_mean_pressure("noninvasivesystolic", "noninvasivediastolic", "noninvasivemean")
        ),
    ),
)

LAB = LongSource(
    name="lab",
    table="lab",
    clocks=("labresultoffset", "labresultrevisedoffset"),
    since=BEFORE_UNIT,
    label="labname",
    value="labresult",
    measures=(
        *(("Laboratory", SPREAD, m) for m in words.LABS),
        *(("Respiratory", RANGE, m) for m in words.GAS_LABS),
    ),
    revised=True,
    # A base deficit is a base excess with the other sign.
    value_sql=f"CASE WHEN {text('labname')} = 'Base Deficit' THEN -{number('labresult')} ELSE {number('labresult')} END",
)

RESPIRATORY_CHARTING = LongSource(
    name="respiratoryCharting",
    table="respiratoryCharting",
    clocks=("respchartoffset", "respchartentryoffset"),
    since=BEFORE_UNIT,
    label="respchartvaluelabel",
    value="respchartvalue",
    measures=tuple(("Respiratory", RANGE, m) for m in words.RESPIRATORY),
    value_sql=number("replace(respchartvalue, '%', '')"),
)

ADMISSION_DX = Source(
    name="admissionDx",
    table="admissionDx",
    clocks=("admitdxenteredoffset",),
    since=EVER,
    reads=("admitdxpath",),
    columns=_make_flags(
        "Admission", "dx_", {k: _match("admitdxpath", p) for k, p in words.ADMISSION_DIAGNOSES.items()}
    ),
)

DIAGNOSIS = Source(
    name="diagnosis",
    table="diagnosis",
    clocks=("diagnosisoffset",),
    since=EVER,
    reads=("diagnosisstring", "diagnosispriority"),
    columns=(
        *_make_flags(
            "Diagnosis", "chapter_", {c: _match_start("diagnosisstring", (f"{c}|",)) for c in words.DIAGNOSIS_CHAPTERS}
        ),
        *_make_flags("Diagnosis", "", {k: _match_start("diagnosisstring", p) for k, p in words.DIAGNOSES.items()}),
        Column("diagnosis_entries", COUNT, "true", modality="Diagnosis"),
        Column(
            "primary_entries",
            SUM,
            "CASE WHEN lower(trim(diagnosispriority)) = 'primary' THEN 1 ELSE 0 END",
            low=0,
            high=1,
            modality="Diagnosis",
        ),
    ),
)

TREATMENT = Source(
    name="treatment",
    table="treatment",
    clocks=("treatmentoffset",),
    since=EVER,
    reads=("treatmentstring",),
    columns=tuple(
        Column(f"treated_{k}", FLAG, _match_treatment(pattern, unless), modality=modality)
        for k, (modality, pattern, unless) in words.TREATMENTS.items()
    ),
)

MEDICATION = Source(
    name="medication",
    table="medication",
    clocks=("drugstartoffset", "drugorderoffset"),
    since=EVER,
    reads=("drugname", "drughiclseqno", "routeadmin", "prn"),
    columns=(
        *_make_flags("Medication", "ordered_", {k: _match_drug(k) for k in DRUG_CLASSES}),
        Column("orders", COUNT, "true", modality="Medication"),
        Column(
            "orders_intravenous",
            SUM,
            f"{_match('trim(routeadmin)', '^(iv|intrav)')}::INTEGER",
            low=0,
            high=1,
            modality="Medication",
        ),
        Column(
            "orders_as_needed", SUM, f"{_match('trim(prn)', '^yes$')}::INTEGER", low=0, high=1, modality="Medication"
        ),
    ),
)

INFUSION = Source(
    name="infusionDrug",
    table="infusionDrug",
    clocks=("infusionoffset",),
    since=BEFORE_UNIT,
    reads=("drugname",),
    columns=(
        *_make_flags("Medication", "infused_", {k: _match("drugname", p) for k, p in INFUSIONS.items()}),
        Column("infusion_entries", COUNT, "true", modality="Medication"),
    ),
)

ADMISSION_DRUG = Source(
    name="admissionDrug",
    table="admissionDrug",
    clocks=("drugoffset", "drugenteredoffset"),
    since=EVER,
    reads=("drugname", "drughiclseqno"),
    columns=(
        *_make_flags("Medication", "home_", {k: _match_drug(k) for k in words.HOME_CLASSES}),
        Column("home_drug_entries", COUNT, "true", modality="Medication"),
    ),
)

RESPIRATORY_CARE = Source(
    name="respiratoryCare",
    table="respiratoryCare",
    clocks=("respcarestatusoffset",),
    since=BEFORE_UNIT,
    reads=("airwaytype",),
    columns=(
        *_make_flags(
            "Respiratory",
            "airway_",
            {
                "endotracheal": _match("airwaytype", "ett|endotracheal"),
                "tracheostomy": _match("airwaytype", "trach(eostomy)?$|tracheost"),
            },
        ),
        Column("respiratory_care_entries", COUNT, "true", modality="Respiratory"),
    ),
)

INTAKE_OUTPUT = Source(
    name="intakeOutput",
    table="intakeOutput",
    clocks=("intakeoutputoffset", "intakeoutputentryoffset"),
    since=UNIT,
    reads=("cellpath", "celllabel", "cellvaluenumeric"),
    columns=(
        _make_volume("intake", _INTAKE_PART),
        _make_volume("crystalloids", _INTAKE_PART, f"contains({_PATH}, '|crystalloids (ml)|')"),
        _make_volume("nutrition", _INTAKE_PART, f"contains({_PATH}, '|nutrition (ml)|')"),
        _make_volume("blood_products", _INTAKE_PART, f"contains({_PATH}, '|blood products (ml)|')"),
        _make_volume("output", _OUTPUT_PART),
        _make_volume("urine", _OUTPUT_PART, _URINE),
        # Dialysis is charted where there is some: fluids without it mean none, not an unknown volume.
        _make_volume("dialysis_out", _IS_FLUID, f"{_IS_DIALYSIS} AND trim(lower(celllabel)) = 'out'"),
        Column("body_weight", RANGE, f"CASE WHEN {_WEIGHT} THEN {_CELL} END", "kg", 20, 400, modality="Fluid balance"),
        Column("fluid_entries", SUM, f"CASE WHEN {_IS_FLUID} THEN 1 END", low=0, high=1, modality="Fluid balance"),
        *FLUID_TOTALS,
    ),
)

PAST_HISTORY = Source(
    name="pastHistory",
    table="pastHistory",
    clocks=("pasthistoryoffset", "pasthistoryenteredoffset"),
    since=EVER,
    reads=("pasthistorypath",),
    columns=(
        *_make_flags(
            "Comorbidities",
            "",
            {k: f"coalesce(contains({_HISTORY}, {literal(p)}), false)" for k, p in words.COMORBIDITIES.items()},
        ),
        *_make_flags(
            "Comorbidities",
            "history_",
            {
                "no_health_problems": _match("pasthistorypath", "no health problems$"),
                "not_obtained": _match("pasthistorypath", "not (obtainable|performed)$"),
            },
        ),
        Column("history_entries", COUNT, "true", modality="Comorbidities"),
    ),
)

WIDE: tuple[Source, ...] = (
    ADMISSION_DX, DIAGNOSIS, MEDICATION, INFUSION, ADMISSION_DRUG, TREATMENT, RESPIRATORY_CARE, INTAKE_OUTPUT, PAST_HISTORY,
)  # fmt: skip
VITALS: tuple[Source, ...] = (VITAL_PERIODIC, VITAL_APERIODIC)
LONG: tuple[LongSource, ...] = (LAB, RESPIRATORY_CHARTING)
