"""The allow-list of time-stamped inputs: which raw table, by which clocks, and what is made of its rows.

A row is **known** at a landmark when every clock it has lies strictly before it: the event's own moment and, where the table
has one, the moment it was stored or entered. A row without one of these moments is never known. Rows older than ``since``
are outside the window:

- ``DAY``: from 24 hours before the index ICU admission (labs, vitals, procedures: emergency department and operating room count);
- ``ADMISSION``: from a day before the index hospital admission (drug orders, cultures, services, transfers: the emergency
  department comes first);
- ``UNIT``: from the index ICU admission (fluids);
- ``EVER``: no bound (earlier diagnoses, weight and height of the clinic).

An infusion is known to run from ``starttime`` on, but its volume only at ``endtime``, so ``inputevents`` stands here twice.
Left out on purpose: billing codes of the index admission and DRGs (assigned after discharge), ``stoptime`` and ``status`` of
orders, ``statusdescription``, ``edouttime``, ``hospital_expire_flag``, ``deathtime``, and every identifier.
"""

from __future__ import annotations

from datasets.mimic_iv import vocabulary as words
from datasets.mimic_iv.tables import second
from datasets.raw.drug_words import DRUG_CLASSES, INFUSIONS
from datasets.raw.features import COUNT, COURSE, EVER, FLAG, LAST, SUM, Column, LongSource, Source
from datasets.raw.tables import identifier, literal, number

SECONDS = 86_400
ENDED = "ended"
"""A clock that stands in another table: when the admission of the row ended."""

DAY, ADMISSION, UNIT = f"event >= {-SECONDS}", f"event >= began - {SECONDS}", "event >= 0"
"""Windows of a source (``since``): ``event`` and ``began`` (the hospital admission) are seconds from the index ICU admission."""


def _match(column: str, pattern: str) -> str:
    return f"coalesce(regexp_matches(lower({column}), {literal(pattern)}), false)"


def _match_items(items: tuple[int, ...]) -> str:
    return f"coalesce({identifier('itemid')} IN ({', '.join(map(str, items))}), false)"


def _bound_volume(value: str, test: str, otherwise: str = "0") -> str:
    return f"CASE WHEN ({test}) AND {value} BETWEEN 0 AND 10000 THEN {value} ELSE {otherwise} END"


def _match_chapter(name: str) -> str:
    nine, ten = words.CHAPTERS[name]
    code = "upper(trim(icd_code))"
    of_nine = f"starts_with({code}, '{nine}')" if isinstance(nine, str) else (
        f"TRY_CAST(left({code}, 3) AS INTEGER) BETWEEN {nine[0]} AND {nine[1]}")  # fmt: skip
    of_ten = f"left({code}, 3) BETWEEN '{ten[0]}' AND '{ten[1]}'"
    return f"coalesce(CASE trim(icd_version) WHEN '9' THEN {of_nine} WHEN '10' THEN {of_ten} END, false)"


def _match_condition(name: str) -> str:
    nine, ten = words.DIAGNOSES[name]
    tests = [f"regexp_matches(upper(trim(icd_code)), {literal(pattern)})" for pattern in (nine, ten)]
    return f"coalesce(CASE trim(icd_version) WHEN '9' THEN {tests[0]} WHEN '10' THEN {tests[1]} END, false)"


def _make_flags(prefix: str, tests: dict[str, str]) -> tuple[Column, ...]:
    return tuple(Column(prefix + name, FLAG, sql) for name, sql in tests.items())


_VALUENUM = ("itemid", "valuenum", number("valuenum"))
LAB = LongSource(
    "lab",
    "hosp/labevents",
    ("charttime", "storetime"),
    DAY,
    *_VALUENUM,
    tuple(("", COURSE, m) for m in words.LABS),
    others=("specimen_id", "value"),
)
"""``pao2`` is known when its row and the row that calls its specimen arterial are (`events.date_rows`)."""

_CHARTED = (
    f"CASE WHEN trim(itemid) = '{words.VERBAL_ITEM}' AND trim(value) = {literal(words.INTUBATED)} THEN NULL "
    f"WHEN trim(itemid) = '{words.INCH_ITEM}' THEN {number('valuenum')} * 2.54 ELSE {number('valuenum')} END"
)
CHART = LongSource(
    "chart",
    "icu/chartevents",
    ("charttime", "storetime"),
    DAY,
    "itemid",
    "valuenum",
    _CHARTED,
    tuple(("", LAST if m.name in words.ONCE else COURSE, m) for m in words.VITALS),
    optional=("storetime",),
    others=("value",),
)

_AMOUNT = number("amount")
_ML = "lower(trim(amountuom)) = 'ml'"
_IN_UNIT = f"coalesce({_ML}, false) AND NOT starts_with(coalesce(trim(ordercategoryname), ''), '16-')"

INFUSED = Source(
    "infused",
    "icu/inputevents",
    ("starttime", "storetime"),
    DAY,
    ("itemid", "ordercategoryname"),
    (
        *_make_flags("infused_", {name: _match("label", pattern) for name, pattern in INFUSIONS.items()}),
        *_make_flags("infused_", {"antibiotic_iv": "coalesce(starts_with(trim(ordercategoryname), '08-'), false)"}),
        Column("infusion_entries", COUNT, "true"),
    ),
)

INTAKE = Source(
    "intake",
    "icu/inputevents",
    ("endtime", "starttime", "storetime"),
    UNIT,
    ("amount", "amountuom", "ordercategoryname"),
    (
        *(
            Column(
                f"intake_{name}",
                SUM,
                _bound_volume(
                    _AMOUNT, f"{_IN_UNIT} AND trim(ordercategoryname) IN ({', '.join(map(literal, orders))})"
                ),
                "mL",
            )
            for name, orders in words.FLUID_ORDERS.items()
        ),
        Column("intake", SUM, _bound_volume(_AMOUNT, _IN_UNIT), "mL"),
    ),
)

_VALUE = number("value")
_URINE = _bound_volume(_VALUE, _match_items(words.URINE_ITEMS), "NULL")
_IRRIGANT = _bound_volume(_VALUE, _match_items((words.IRRIGANT_ITEM,)), "NULL")
OUTPUT = Source(
    "output",
    "icu/outputevents",
    ("charttime", "storetime"),
    UNIT,
    ("itemid", "value"),
    (
        # A row of neither is NULL, not 0: where no urine is charted at all, its sum is not known.
        Column("urine", SUM, f"coalesce({_URINE}, -{_IRRIGANT})", "mL"),
        Column("output", SUM, _bound_volume(_VALUE, f"NOT {_match_items(words.NOT_OUTPUT_ITEMS)}"), "mL"),
        Column("output_entries", COUNT, "true"),
    ),
)  # fmt: skip

PROCEDURE = Source(
    "procedure",
    "icu/procedureevents",
    ("starttime", "storetime"),
    DAY,
    ("itemid",),
    (
        *_make_flags("procedure_", {name: _match_items(items) for name, items in words.PROCEDURES.items()}),
        Column("procedure_entries", COUNT, "true"),
    ),
)

ORDER = Source(
    "order",
    "hosp/pharmacy",
    ("starttime", "entertime"),
    ADMISSION,
    ("medication", "route"),
    (
        *_make_flags("ordered_", {name: _match("medication", pattern) for name, pattern in DRUG_CLASSES.items()}),
        Column("orders", COUNT, "true"),
        Column("orders_intravenous", SUM, f"{_match('trim(route)', '^iv')}::INTEGER"),
    ),
)

CULTURE = Source(
    "culture",
    "hosp/microbiologyevents",
    ("chartdate", "storetime"),
    ADMISSION,
    ("spec_type_desc", "org_name", "charttime"),
    (
        Column("culture_results", COUNT, "true"),
        Column("culture_positive", FLAG, "nullif(trim(org_name), '') IS NOT NULL"),
        Column(
            "culture_blood_positive",
            FLAG,
            f"{_match('spec_type_desc', '^blood culture')} AND nullif(trim(org_name), '') IS NOT NULL",
        ),
        *_make_flags("culture_", {"of_blood": _match("spec_type_desc", "^blood culture"),
                             "of_airway": _match("spec_type_desc", "sputum|bronch|bal"),
                             "of_urine": _match("spec_type_desc", "urine")}),
    ),
)  # fmt: skip

SERVICE = Source(
    "service",
    "hosp/services",
    ("transfertime",),
    ADMISSION,
    ("curr_service",),
    (
        *_make_flags("service_", {name: f"coalesce(trim(curr_service) = '{name}', false)" for name in words.SERVICES}),
        Column("services", COUNT, "true"),
    ),
)

TRANSFER = Source(
    "transfer",
    "hosp/transfers",
    ("intime",),
    ADMISSION,
    ("eventtype", "careunit"),
    (
        Column("transfers", SUM, f"{_match('eventtype', '^transfer$')}::INTEGER"),
        Column("through_emergency", FLAG, _match("careunit", "^emergency")),
        Column("through_recovery", FLAG, _match("careunit", "^pacu")),
    ),
)

DIAGNOSIS = Source(
    "diagnosis",
    "hosp/diagnoses_icd",
    (ENDED,),
    EVER,
    ("hadm_id", "icd_code", "icd_version"),
    (
        *_make_flags("earlier_", {name: _match_chapter(name) for name in words.CHAPTERS}),
        *_make_flags("earlier_", {name: _match_condition(name) for name in words.DIAGNOSES}),
        Column("earlier_codes", COUNT, "true"),
    ),
)
"""Codes of admissions that ended before the index admission began; known when that admission ended."""

_CLINIC = "lower(trim(result_name))"
CLINIC = Source(
    "clinic",
    "hosp/omr",
    ("chartdate",),
    EVER,
    ("result_name", "result_value"),
    (
        Column("clinic_bmi", LAST, f"CASE WHEN starts_with({_CLINIC}, 'bmi') AND {number('result_value')} BETWEEN 10 AND 100 "
               f"THEN {number('result_value')} END", "kg/m2"),
        Column("clinic_weight", LAST, f"CASE WHEN starts_with({_CLINIC}, 'weight') AND {number('result_value')} * 0.4536 BETWEEN 20 "
               f"AND 400 THEN {number('result_value')} * 0.4536 END", "kg"),
        Column("clinic_height", LAST, f"CASE WHEN starts_with({_CLINIC}, 'height') AND {number('result_value')} * 2.54 BETWEEN 100 "
               f"AND 230 THEN {number('result_value')} * 2.54 END", "cm"),
        Column("clinic_entries", COUNT, "true"),
    ),
)  # fmt: skip
"""Measurements with a day and no hour: known when the day is over."""

DAYS_ONLY = {CLINIC.name}
LONG: tuple[LongSource, ...] = (LAB, CHART)
WIDE: tuple[Source, ...] = (
    INFUSED, INTAKE, OUTPUT, PROCEDURE, ORDER, CULTURE, SERVICE, TRANSFER, DIAGNOSIS, CLINIC,
)  # fmt: skip


def build_event_sql(source: Source | LongSource) -> str:
    """Return SQL for the second of the event that a row records."""
    if source is CULTURE:
        return f"coalesce({second('charttime')}, {second('chartdate')})"
    return build_clock_sql(source.clocks[0])


def build_known_sql(source: Source | LongSource, clocks: tuple[str, ...]) -> str:
    """Return SQL for the second at which a row was known: the latest of event and ``clocks``; a day counts when it is over."""
    moments = dict.fromkeys([build_event_sql(source), *(build_clock_sql(clock) for clock in clocks)])
    latest = f"greatest({', '.join(moments)})" if len(moments) > 1 else next(iter(moments))
    return f"{latest} + {SECONDS}" if source.name in DAYS_ONLY else latest


def build_clock_sql(clock: str) -> str:
    """Return SQL for the second of one clock."""
    return clock if clock == ENDED else second(clock)
