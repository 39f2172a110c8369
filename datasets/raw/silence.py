"""Why nothing of a raw table was kept: a table with rows that all fall away must not pass for an empty one."""

from __future__ import annotations

from dataclasses import dataclass

import duckdb

from datasets.cohort import CohortError
from datasets.raw.features import LongSource, Source
from datasets.raw.tables import EXAMPLE, Release, identifier, literal, number, text


@dataclass(frozen=True)
class _Reading:
    """A raw column, SQL that is NULL where its value cannot be read, how a release writes it, and SQL for the rows that need it."""

    column: str
    sql: str
    form: str
    rows: str = "true"


def explain_no_rows(con: duckdb.DuckDBPyConnection, release: Release, source: Source | LongSource) -> str:
    """Return one line on why no row of ``source`` was kept though its table has rows, all readable; empty where it has none.

    The table is read once more, which a table of which rows were kept never is.

    Raises:
        CohortError: where a column that every row needs is blank or unreadable in all of them: the table, the column and an example.
    """
    readings = _list_readings(release, source)
    # The last of the four is an example of a label that is readable and of no use.
    counted = ", ".join(
        f"count_if({r.rows}), count_if({r.rows} AND {r.sql} IS NOT NULL), "
        f"min(CASE WHEN {r.rows} AND {r.sql} IS NULL THEN {text(r.column)} END), min({text(r.column)})"
        for r in readings
    )
    rows = release.scan(source.table, [r.column for r in readings])
    with release.reading(source.table):
        counts = con.execute(f"SELECT {counted} FROM {rows}").fetchall()[0]
    if not counts[0]:
        return ""
    for i, reading in enumerate(readings):
        needed, readable, unreadable = counts[4 * i : 4 * i + 3]
        where = f"table {source.table}: column {reading.column}"
        if not needed:
            # Values alone are needed by some rows only: those of a label in use. The label is the reading before.
            example = _quote(counts[4 * i - 1])
            return f"table {source.table}: column {source.label} names nothing in use in any of {counts[0]:,} rows, e.g. {example}"
        if not readable and unreadable is None:
            raise CohortError(f"{where} is blank in all of {needed:,} rows, so that none can be used")
        if not readable:
            raise CohortError(
                f"{where} is unreadable in all of {needed:,} rows, e.g. {_quote(unreadable)}; expected {reading.form}"
            )
    return f"table {source.table}: none of {counts[0]:,} rows is of a stay of a cohort, in its window and known at a landmark"


def _quote(value: str | None) -> str:
    return repr((value or "")[:EXAMPLE])


def _list_readings(release: Release, source: Source | LongSource) -> list[_Reading]:
    names = release.header(source.table)
    readings = [_Reading(release.owner, identifier(release.owner), "a whole number")]
    # A clock that the table lacks is optional, or stands in another table.
    readings += [_Reading(c, release.read_moment(c), release.moment_form) for c in source.clocks if c in names]
    if isinstance(source, LongSource):
        labels = [label for _, _, measure in source.measures for label in measure.labels]
        in_use = f"coalesce({text(source.label)} IN ({', '.join(literal(str(label)) for label in labels)}), false)"
        whole = all(isinstance(label, int) for label in labels)
        readable = f"nullif(regexp_extract({text(source.label)}, '^[0-9]+$'), '')" if whole else text(source.label)
        form = f"whole numbers such as {labels[0]}" if whole else f"labels such as {labels[0]}"
        readings.append(_Reading(source.label, readable, form))
        # A number that a source leaves out on purpose was readable all the same.
        value = f"coalesce({source.value_sql}, {number(source.value)})"
        readings.append(_Reading(source.value, value, "numbers", in_use))
    return readings
