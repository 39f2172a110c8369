"""From the raw event tables to one row a stay: read each table once, keep what can matter, summarise it for each landmark.

Staging: each table is read once, joined to the stays, cut at the latest landmark of its stay and at the start of its window, reduced
to flags and whole numbers (values times ``SCALE``), and kept on disk, in time from the index admission. Summary: for one landmark,
over the staged rows known before it. Sums of whole numbers and maxima do not depend on the order of the rows, so neither does a
feature, bit for bit, whatever the threads, the order of the file or the rows after the landmark.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import duckdb
import numpy as np

from datasets.raw.blocks import Block
from datasets.raw.features import COUNT, FLAG, SPREAD, STATISTICS, Column, LongSource, Measure, Source
from datasets.raw.silence import explain_no_rows
from datasets.raw.tables import Release, text

SCALE = 10_000
"""Values are kept as whole multiples of 1 / SCALE of their unit."""

Progress = Callable[[str], None]
DateRows = Callable[[Release, Source | LongSource, str], str]
"""(release, source, selected) -> SQL for the rows of a source that have all their moments: ``id`` of the stay; ``event``, ``known`` and
``last``, the stay's latest landmark, in time from the index admission; what the source's ``since`` needs; and ``selected``."""


def load_staging_table(
    con: duckdb.DuckDBPyConnection,
    release: Release,
    source: Source | LongSource,
    date_rows: DateRows,
    progress: Progress | None = None,
) -> int:
    """Load the rows of ``source`` that some landmark may know into table ``staged_NAME``; return how many are kept.

    Where the table has rows and none is kept, ``progress`` is told why.

    Columns: ``id`` of the stay, ``event``, ``known``, ``revised`` (when a later revision of the row was known, or NULL), and the columns
    of a wide source by name, or ``item`` and ``x`` of a long one.

    Raises:
        CohortError: where the table or one of its columns is missing, its file is damaged, or a column is unreadable in every row.
    """
    if isinstance(source, LongSource):
        query = _select_pairs(con, release, source, date_rows)
    else:
        query = _select_columns(release, source, date_rows)
    with release.reading(source.table):
        con.execute(f"CREATE OR REPLACE TABLE staged_{source.name} AS {query}")
    # ``fetchone`` would leave the result unfinished, and the connection refuses to register a frame until it is.
    kept = con.execute(f"SELECT count(*) FROM staged_{source.name}").fetchall()[0][0]
    if not kept:
        why = explain_no_rows(con, release, source)
        if why and progress is not None:
            progress(why)
    return kept


def _select_columns(release: Release, source: Source, date_rows: DateRows) -> str:
    columns = [c for c in source.columns if c.how != COUNT]
    raw = ", ".join(f"{c.sql} AS {c.name}" for c in columns)
    kept = ", ".join(c.name if c.how == FLAG else f"{_scale_column(c)} AS {c.name}" for c in columns)
    rows = date_rows(release, source, raw)
    query = f"SELECT id, event, known, NULL AS revised, {kept} FROM ({rows}) WHERE {_cut(source)}"
    # A row without any value adds nothing to means and extremes; it would only lengthen the largest tables.
    if all(c.how == SPREAD for c in columns):
        query = f"SELECT * FROM ({query}) WHERE coalesce({', '.join(c.name for c in columns)}) IS NOT NULL"
    return query


def _select_pairs(con: duckdb.DuckDBPyConnection, release: Release, source: LongSource, date_rows: DateRows) -> str:
    con.execute("CREATE OR REPLACE TEMP TABLE items (label VARCHAR, item SMALLINT, low DOUBLE, high DOUBLE)")
    items = [(str(label), i, m.low, m.high) for i, (_, _, m) in enumerate(source.measures) for label in m.labels]
    con.executemany("INSERT INTO items VALUES (?, ?, ?, ?)", items)
    others = [(i, m.convert) for i, (_, _, m) in enumerate(source.measures) if m.convert != "v"]
    value = f"CASE item {' '.join(f'WHEN {i} THEN {sql}' for i, sql in others)} ELSE v END" if others else "v"
    rows = date_rows(release, source, f"{text(source.label)} AS label, {source.value_sql} AS v")
    pairs = f"SELECT id, event, known, label, item, {value} AS v, low, high FROM ({rows}) JOIN items USING (label) WHERE {_cut(source)}"
    if not source.revised:
        return f"SELECT id, event, known, NULL AS revised, item, {_scale('v')} AS x FROM ({pairs}) WHERE v BETWEEN low AND high"
    # A revision without a usable value still takes the place of the result before it, so it is dropped only at the end.
    usable = f"CASE WHEN v BETWEEN low AND high THEN {_scale('v')} END"
    once = f"SELECT DISTINCT id, event, known, label, item, {usable} AS x FROM ({pairs})"
    later = "PARTITION BY id, label, event ORDER BY known RANGE BETWEEN 1 FOLLOWING AND UNBOUNDED FOLLOWING"
    chained = f"SELECT id, event, known, min(known) OVER ({later}) AS revised, item, x FROM ({once})"
    return f"SELECT * FROM ({chained}) WHERE x IS NOT NULL"


def _cut(source: Source | LongSource) -> str:
    return f"known < last AND {source.since}"


def _scale(value: str) -> str:
    return f"CAST(round({value} * {SCALE}) AS BIGINT)"


def _scale_column(column: Column) -> str:
    value = re.sub(r"\bv\b", column.name, column.convert)
    if column.low is None:
        return _scale(value)
    return f"CASE WHEN {value} BETWEEN {column.low} AND {column.high} THEN {_scale(value)} END"


def select_rows_known_at_landmark(name: str) -> str:
    """Return SQL for the staged rows of source ``name`` that are known, and not yet revised, at the landmark in table ``landmark``
    (id, row, cutoff)."""
    return (
        f"(SELECT l.row AS row, s.* FROM staged_{name} s JOIN landmark l USING (id) "
        "WHERE s.known < l.cutoff AND coalesce(s.revised >= l.cutoff, true))"
    )


def summarise(statistic: str, x: str) -> str:
    """Return SQL for a statistic (see ``features.STATISTICS``) of the staged column ``x`` over rows, in the unit of the value.

    Exact until the last division. ``last`` is the value of the latest event; of several at that moment, the largest.
    """
    n, total = f"count({x})", f"sum({x})"
    variance = f"CAST({n} * sum({x} * {x}) - {total} * {total} AS DOUBLE) / ({n} * ({n} - 1))"
    # Event and value in one whole number, the event in front: its maximum does not depend on the order of the rows.
    key = f"(CAST(event AS HUGEINT) + 10000000000) * 10000000000000 + ({x} + 1000000000000)"
    latest = f"max(CASE WHEN {x} IS NOT NULL THEN {key} END) % 10000000000000 - 1000000000000"
    return {
        "any": f"bool_or({x})::INTEGER",
        "rows": "count(*)",
        "sum": f"CAST({total} AS DOUBLE) / {SCALE}",
        "last": f"CAST({latest} AS DOUBLE) / {SCALE}",
        "mean": f"CASE WHEN {n} > 0 THEN CAST({total} AS DOUBLE) / {n} / {SCALE} END",
        "min": f"min({x}) / {SCALE}",
        "max": f"max({x}) / {SCALE}",
        "sd": f"CASE WHEN {n} > 1 THEN sqrt({variance}) / {SCALE} END",
        "count": n,
    }[statistic]


def compute_wide_features(con: duckdb.DuckDBPyConnection, name: str, columns: tuple[Column, ...], n: int) -> Block:
    """Return names and values float32 [n, d] of the features of ``columns`` of the staged wide source ``name``.

    NaN where the stay has no known row.
    """
    names = [feature for column in columns for feature in column.features]
    statistics = [summarise(s, column.name) for column in columns for s in STATISTICS[column.how].values()]
    selected = ", ".join(f"CAST({sql} AS DOUBLE) AS f{j}" for j, sql in enumerate(statistics))
    values = np.full((n, len(names)), np.nan, dtype=np.float32)
    result = con.execute(f"SELECT row, {selected} FROM {select_rows_known_at_landmark(name)} GROUP BY row").fetchnumpy()
    for j in range(len(names)):
        values[result["row"], j] = np.ma.filled(result[f"f{j}"], np.nan)
    return names, values


def compute_long_features(
    con: duckdb.DuckDBPyConnection, name: str, measures: dict[int, tuple[str, Measure]], n: int
) -> Block:
    """Return names and values float32 [n, d] of the features of ``measures`` (item -> (how, measure)) of the staged long source ``name``.

    NaN where nothing was recorded; a count is 0 where the stay has a known row of some of the measures, but none of that one.
    """
    slots = [(item, m.name + end, s) for item, (how, m) in measures.items() for end, s in STATISTICS[how].items()]
    names = [feature for _, feature, _ in slots]
    needed = dict.fromkeys(statistic for _, _, statistic in slots)
    selected = ", ".join(f"CAST({summarise(statistic, 'x')} AS DOUBLE) AS f_{statistic}" for statistic in needed)
    result = con.execute(
        f"SELECT row, item, {selected} FROM {select_rows_known_at_landmark(name)} "
        f"WHERE item IN ({', '.join(map(str, measures))}) GROUP BY row, item"
    ).fetchnumpy()
    values = np.full((n, len(names)), np.nan, dtype=np.float32)
    counts = [j for j, (_, _, statistic) in enumerate(slots) if statistic == "count"]
    values[np.ix_(np.unique(result["row"]), counts)] = 0
    for j, (item, _, statistic) in enumerate(slots):
        here = result["item"] == item
        values[result["row"][here], j] = np.ma.filled(result[f"f_{statistic}"][here], np.nan)
    return names, values
