"""What the builders of raw tables say of their inputs: which table, by which clocks, and what is made of its rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

FLAG, COUNT, SUM, LAST, RANGE, SPREAD, COURSE = "flag", "count", "sum", "last", "range", "spread", "course"
STATISTICS: dict[str, dict[str, str]] = {
    FLAG: {"": "any"},
    COUNT: {"": "rows"},
    SUM: {"": "sum"},
    LAST: {"": "last"},
    RANGE: {"_mean": "mean", "_max": "max"},
    SPREAD: {"_mean": "mean", "_min": "min", "_max": "max", "_sd": "sd"},
    COURSE: {"_mean": "mean", "_min": "min", "_max": "max", "_last": "last", "_count": "count"},
}
"""How the known rows of a stay are summarised: the ending of each feature's name -> its statistic (`engine.summarise`)."""

EVER = "event IS NOT NULL"
"""The window of a source (``since``) without a bound: a row needs a moment all the same."""


@dataclass(frozen=True)
class Measure:
    """One measured quantity: its feature name, its labels in the raw table, its unit, its bounds and how other units are converted."""

    name: str
    labels: tuple[str | int, ...]
    unit: str
    low: float
    high: float
    convert: str = "v"


@dataclass(frozen=True)
class Column:
    """One input column made from a row: SQL over the raw columns, how it is summarised, and the modality it belongs to.

    Outside ``low`` to ``high``, after ``convert`` (SQL over the value ``v``), the value counts as not recorded. ``modality`` is
    empty where all columns of the tables belong to one.
    """

    name: str
    how: str
    sql: str
    unit: str = ""
    low: float | None = None
    high: float | None = None
    convert: str = "v"
    modality: str = ""

    @property
    def features(self) -> tuple[str, ...]:
        """The names of the features it gives."""
        return tuple(self.name + end for end in STATISTICS[self.how])


@dataclass(frozen=True)
class Source:
    """A raw table with one input column or more in each row; two sources may share a table under two names.

    ``clocks`` are the raw columns that say when a row was known, the first of them the event; ``reads`` the others. ``since`` is
    SQL for the window of a row over ``event``, the moment of the event from the index admission.
    """

    name: str
    table: str
    clocks: tuple[str, ...]
    since: str
    reads: tuple[str, ...]
    columns: tuple[Column, ...]


@dataclass(frozen=True)
class LongSource:
    """A raw table with one (label, value) pair in each row; ``measures`` are (modality, how, measure).

    ``value_sql`` is SQL for the number in the raw column ``value``; ``optional`` clocks may be missing as columns; ``others`` are the
    further raw columns that its SQL reads. Where ``revised``, rows of one label and event are revisions of one result, of which the last
    one known counts, and equal rows count once. The rest is as in ``Source``.
    """

    name: str
    table: str
    clocks: tuple[str, ...]
    since: str
    label: str
    value: str
    value_sql: str
    measures: tuple[tuple[str, str, Measure], ...]
    optional: tuple[str, ...] = ()
    revised: bool = False
    others: tuple[str, ...] = ()

    @property
    def reads(self) -> tuple[str, ...]:
        """The raw columns besides the clocks."""
        return (self.label, self.value, *self.others)

    def select_measures(self, modality: str = "") -> dict[int, tuple[str, Measure]]:
        """Return the measures that belong to ``modality``: position in ``measures`` -> (how, measure)."""
        return {i: (how, measure) for i, (owner, how, measure) in enumerate(self.measures) if owner == modality}


@dataclass(frozen=True)
class Feature:
    """One entry of the allow-list: ``clock`` names the columns that say when it was known, or says why none is needed."""

    name: str
    table: str
    clock: str
    unit: str = ""
    low: float | None = None
    high: float | None = None
    modality: str = ""


def list_source_features(source: Source | LongSource, clocks: Sequence[str], modality: str = "") -> list[Feature]:
    """List the features of ``source`` that belong to ``modality``, in the order of its columns; ``clocks`` are those in use."""
    if isinstance(source, LongSource):
        given = [(m.name, how, m) for how, m in source.select_measures(modality).values()]
    else:
        given = [(c.name, c.how, c) for c in source.columns if c.modality == modality]
    clock = ", ".join(clocks)
    return [
        Feature(name + end, source.table, clock, of.unit, of.low, of.high, modality)
        for name, how, of in given
        for end in STATISTICS[how]
    ]
