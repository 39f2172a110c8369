"""The allow-list of time-stamped inputs: which raw table, by which clocks, and what is made of its rows.

A row is **known** at a landmark when every clock it has lies strictly before it: the event's own offset (``event``)
and, where the table has one, the moment of entry, order or revision (``entry``). A row without one of these offsets
is never known. Rows older than ``since`` minutes before unit admission are outside the window: a day for what is
measured (values of the emergency department and the operating room count), the admission itself for fluids, no bound
for what describes the patient (history, diagnoses, orders).

Left out on purpose, because it is known later or nothing says when: ``activeupondischarge``, stop offsets
(``drugstopoffset``, ``ventendoffset``, ``priorventendoffset``), ``drugordercancelled`` (an order may be cancelled
after the landmark: all orders count), ``intaketotal``/``outputtotal``/``nettotal`` (totals of an interval, which
include cells entered later: the cells themselves are summed), and ``ventstartoffset`` (a row of ``respiratoryCare``
moves it to ``priorventstartoffset`` once ventilation has stopped).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from datasets.eicu import vocabulary as words
from datasets.eicu.drugs import DRUG_CODES
from datasets.raw.drug_words import DRUG_CLASSES, INFUSIONS
from datasets.raw.tables import identifier, literal, number

DAY = 1440
MOST_IN_A_CELL = 10_000
"""Millilitres; a larger volume in one cell of the flowsheet is taken for a running total or a slip."""

FLAG, COUNT, SUM, SPREAD, RANGE = "flag", "count", "sum", "spread", "range"
"""What is made of a column over the known rows of a stay: any true; number of rows; total; mean, min, max, sd; mean,
max."""

STATISTICS = {FLAG: ("",), COUNT: ("",), SUM: ("",), SPREAD: ("_mean", "_min", "_max", "_sd"), RANGE: ("_mean", "_max")}


@dataclass(frozen=True)
class Column:
    """One input column made from a row: SQL over the raw columns, how it is summarised, and the modality it belongs to.

    Outside ``low`` to ``high``, after ``convert`` (SQL over the value ``v``), the value counts as not recorded.
    """

    name: str
    modality: str
    how: str
    sql: str
    unit: str = ""
    low: float | None = None
    high: float | None = None
    convert: str = "v"

    @property
    def features(self) -> tuple[str, ...]:
        """The names of the features it gives."""
        return tuple(self.name + end for end in STATISTICS[self.how])


@dataclass(frozen=True)
class Source:
    """A raw table with one input column or more in each row.

    ``reads`` are the raw columns besides the clocks; ``where`` is SQL that keeps the rows of interest.
    """

    table: str
    event: str
    entry: str | None
    since: int | None
    reads: tuple[str, ...]
    columns: tuple[Column, ...]
    where: str = "true"

    @property
    def clocks(self) -> tuple[str, ...]:
        """The columns that say when a row was known."""
        return (self.event,) if self.entry is None else (self.event, self.entry)


@dataclass(frozen=True)
class LongSource:
    """A raw table with one (label, value) pair in each row; ``measures`` are (modality, how, measure)."""

    table: str
    event: str
    entry: str | None
    since: int | None
    label: str
    value: str
    measures: tuple[tuple[str, str, words.Measure], ...] = field(default=())
    value_sql: str = ""

    @property
    def reads(self) -> tuple[str, ...]:
        """The raw columns besides the clocks."""
        return (self.label, self.value)

    @property
    def clocks(self) -> tuple[str, ...]:
        """The columns that say when a row was known."""
        return (self.event,) if self.entry is None else (self.event, self.entry)

    def features(self, modality: str) -> list[tuple[int, str, words.Measure]]:
        """Return (position in ``measures``, how, measure) of those that belong to ``modality``."""
        return [(i, how, m) for i, (owner, how, m) in enumerate(self.measures) if owner == modality]


def _match(column: str, pattern: str) -> str:
    return f"coalesce(regexp_matches(lower({column}), {literal(pattern)}), false)"


def _match_start(column: str, prefixes: tuple[str, ...]) -> str:
    tests = " OR ".join(f"starts_with(lower(trim({column})), {literal(p)})" for p in prefixes)
    return f"coalesce({tests}, false)"


def _match_drug(name: str) -> str:
    codes = DRUG_CODES.get(name, ())
    by_name = _match("drugname", DRUG_CLASSES[name])
    if not codes:
        return by_name
    listed = ", ".join(map(str, codes))
    return f"({by_name} OR (drugname IS NULL AND coalesce({identifier('drughiclseqno')} IN ({listed}), false)))"


def _make_flags(modality: str, prefix: str, tests: dict[str, str]) -> tuple[Column, ...]:
    return tuple(Column(re.sub(r"\W", "_", prefix + name), modality, FLAG, sql) for name, sql in tests.items())


def _make_vital(measure: words.Measure, raw: str) -> Column:
    return Column(measure.name, "Vitals", SPREAD, raw, measure.unit, measure.low, measure.high, measure.convert)


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
_NOT_A_VOLUME = _match("celllabel", r"^total|^intake$|^output$|24 ?hr|count|occurr|number of|residual|meal eaten")
"""Totals of other cells, and cells that count instead of measuring."""


_HISTORY = "lower(regexp_replace(pasthistorypath, '\\s+', ' ', 'g'))"


def _make_volume(name: str, test: str) -> Column:
    measured = f"{_CELL} BETWEEN 0 AND {MOST_IN_A_CELL} AND NOT {_NOT_A_VOLUME}"
    volume = f"CASE WHEN {_IS_FLUID} THEN CASE WHEN ({test}) AND {measured} THEN {_CELL} ELSE 0 END END"
    return Column(name, "Fluid balance", SUM, volume, "mL", 0, MOST_IN_A_CELL)


VITAL_PERIODIC = Source(
    table="vitalPeriodic",
    event="observationoffset",
    entry=None,
    since=-DAY,
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
    table="vitalAperiodic",
    event="observationoffset",
    entry=None,
    since=-DAY,
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
    table="lab",
    event="labresultoffset",
    entry="labresultrevisedoffset",
    since=-DAY,
    label="labname",
    value="labresult",
    measures=(
        *(("Laboratory", SPREAD, m) for m in words.LABS),
        *(("Respiratory", RANGE, m) for m in words.GAS_LABS),
    ),
    value_sql=number("labresult"),
)

RESPIRATORY_CHARTING = LongSource(
    table="respiratoryCharting",
    event="respchartoffset",
    entry="respchartentryoffset",
    since=-DAY,
    label="respchartvaluelabel",
    value="respchartvalue",
    measures=tuple(("Respiratory", RANGE, m) for m in words.RESPIRATORY),
    value_sql=number("replace(respchartvalue, '%', '')"),
)

ADMISSION_DX = Source(
    table="admissionDx",
    event="admitdxenteredoffset",
    entry=None,
    since=None,
    reads=("admitdxpath",),
    columns=_make_flags(
        "Admission", "dx_", {k: _match("admitdxpath", p) for k, p in words.ADMISSION_DIAGNOSES.items()}
    ),
)

DIAGNOSIS = Source(
    table="diagnosis",
    event="diagnosisoffset",
    entry=None,
    since=None,
    reads=("diagnosisstring", "diagnosispriority"),
    columns=(
        *_make_flags(
            "Diagnosis", "chapter_", {c: _match_start("diagnosisstring", (f"{c}|",)) for c in words.DIAGNOSIS_CHAPTERS}
        ),
        *_make_flags("Diagnosis", "", {k: _match_start("diagnosisstring", p) for k, p in words.DIAGNOSES.items()}),
        Column("diagnosis_entries", "Diagnosis", COUNT, "true"),
        Column(
            "primary_entries",
            "Diagnosis",
            SUM,
            "CASE WHEN lower(trim(diagnosispriority)) = 'primary' THEN 1 ELSE 0 END",
            "",
            0,
            1,
        ),
    ),
)

TREATMENT = Source(
    table="treatment",
    event="treatmentoffset",
    entry=None,
    since=None,
    reads=("treatmentstring",),
    columns=tuple(
        Column(f"treated_{k}", modality, FLAG, _match_start("treatmentstring", p))
        for k, (modality, p) in words.TREATMENTS.items()
    ),
)

MEDICATION = Source(
    table="medication",
    event="drugstartoffset",
    entry="drugorderoffset",
    since=None,
    reads=("drugname", "drughiclseqno", "routeadmin", "prn"),
    columns=(
        *_make_flags("Medication", "ordered_", {k: _match_drug(k) for k in DRUG_CLASSES}),
        Column("orders", "Medication", COUNT, "true"),
        Column(
            "orders_intravenous",
            "Medication",
            SUM,
            f"{_match('trim(routeadmin)', '^(iv|intrav)')}::INTEGER",
            "",
            0,
            1,
        ),
        Column("orders_as_needed", "Medication", SUM, f"{_match('trim(prn)', '^yes$')}::INTEGER", "", 0, 1),
    ),
)

INFUSION = Source(
    table="infusionDrug",
    event="infusionoffset",
    entry=None,
    since=-DAY,
    reads=("drugname",),
    columns=(
        *_make_flags("Medication", "infused_", {k: _match("drugname", p) for k, p in INFUSIONS.items()}),
        Column("infusion_entries", "Medication", COUNT, "true"),
    ),
)

ADMISSION_DRUG = Source(
    table="admissionDrug",
    event="drugoffset",
    entry="drugenteredoffset",
    since=None,
    reads=("drugname", "drughiclseqno"),
    columns=(
        *_make_flags("Medication", "home_", {k: _match_drug(k) for k in words.HOME_CLASSES}),
        Column("home_drug_entries", "Medication", COUNT, "true"),
    ),
)

RESPIRATORY_CARE = Source(
    table="respiratoryCare",
    event="respcarestatusoffset",
    entry=None,
    since=-DAY,
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
        Column("respiratory_care_entries", "Respiratory", COUNT, "true"),
    ),
)

INTAKE_OUTPUT = Source(
    table="intakeOutput",
    event="intakeoutputoffset",
    entry="intakeoutputentryoffset",
    since=0,
    reads=("cellpath", "celllabel", "cellvaluenumeric"),
    columns=(
        _make_volume("intake", _IS_INTAKE),
        _make_volume("crystalloids", f"{_IS_INTAKE} AND contains({_PATH}, '|crystalloids (ml)|')"),
        _make_volume("nutrition", f"{_IS_INTAKE} AND contains({_PATH}, '|nutrition (ml)|')"),
        _make_volume("blood_products", f"{_IS_INTAKE} AND contains({_PATH}, '|blood products (ml)|')"),
        _make_volume("output", _IS_OUTPUT),
        _make_volume("urine", f"{_IS_OUTPUT} AND {_URINE}"),
        _make_volume("dialysis_out", f"{_IS_DIALYSIS} AND trim(lower(celllabel)) = 'out'"),
        Column("body_weight", "Fluid balance", RANGE, f"CASE WHEN {_WEIGHT} THEN {_CELL} END", "kg", 20, 400),
        Column("fluid_entries", "Fluid balance", SUM, f"CASE WHEN {_IS_FLUID} THEN 1 END", "", 0, 1),
    ),
)

PAST_HISTORY = Source(
    table="pastHistory",
    event="pasthistoryoffset",
    entry="pasthistoryenteredoffset",
    since=None,
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
        Column("history_entries", "Comorbidities", COUNT, "true"),
    ),
)

WIDE: tuple[Source, ...] = (
    ADMISSION_DX, DIAGNOSIS, MEDICATION, INFUSION, ADMISSION_DRUG, TREATMENT, RESPIRATORY_CARE, INTAKE_OUTPUT, PAST_HISTORY,
)  # fmt: skip
VITALS: tuple[Source, ...] = (VITAL_PERIODIC, VITAL_APERIODIC)
LONG: tuple[LongSource, ...] = (LAB, RESPIRATORY_CHARTING)
