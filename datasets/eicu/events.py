"""From the raw event tables to one row a stay: read each table once, keep what can matter, summarise it for each landmark.

Stage: each table is read once, joined to the stays, cut at the latest landmark of its stay, reduced to flags and
whole numbers (values times ``SCALE``), and kept on disk. Summary: for one landmark, over the staged rows known before
it. Sums of whole numbers do not depend on the order of the rows, so neither does a feature, bit for bit, whatever the
threads, the order of the file or the rows after the landmark.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import duckdb
import numpy as np

from datasets.eicu import sources
from datasets.eicu.sources import COUNT, FLAG, RANGE, SPREAD, SUM, Column, LongSource, Source
from datasets.eicu.tables import Release, minute
from datasets.raw.tables import text

SCALE = 10_000
"""Values are kept as whole multiples of 1 / SCALE of their unit."""

Progress = Callable[[str], None]


def _scale(value: str, low: float | None, high: float | None) -> str:
    inside = "" if low is None else f"CASE WHEN {value} BETWEEN {low} AND {high} THEN "
    return f"{inside}CAST(round({value} * {SCALE}) AS BIGINT){' END' if inside else ''}"


def _convert(sql: str, column: str) -> str:
    return re.sub(r"\bv\b", column, sql)


def _select_rows(release: Release, source: Source | LongSource, selected: str) -> str:
    """Return SQL for the rows of ``source`` with their stay, event and known minute and ``selected``, cut at the stay's
    last landmark."""
    clocks = source.clocks
    rows = release.scan(source.table, ["patientunitstayid", *clocks, *source.reads])
    known = f"greatest({', '.join(minute(c) for c in clocks)})" if len(clocks) > 1 else minute(clocks[0])
    dated = " AND ".join(f"{minute(c)} IS NOT NULL" for c in clocks)
    since = "" if source.since is None else f" AND {minute(source.event)} >= {source.since}"
    raw = (
        f"SELECT TRY_CAST(trim(patientunitstayid) AS BIGINT) AS stay_id, {minute(source.event)} AS event, {known} AS known, "
        f"{selected} FROM {rows} WHERE {dated}{since}"
    )
    return (
        f"SELECT k.id, r.* EXCLUDE (stay_id) FROM ({raw}) r JOIN stays k ON r.stay_id = k.stay WHERE r.known < k.last"
    )


def load_wide_staging_table(con: duckdb.DuckDBPyConnection, release: Release, source: Source) -> int:
    """Load a table with a column or more a row into table ``staged_NAME``; return the number of rows kept.

    Raises:
        CohortError: where the table or one of its columns is missing, or its file is damaged.
    """
    columns = [c for c in source.columns if c.how != COUNT]
    raw = ", ".join(f"{c.sql} AS {c.name}" for c in columns)
    kept = ", ".join(
        c.name if c.how == FLAG else f"{_scale(_convert(c.convert, c.name), c.low, c.high)} AS {c.name}"
        for c in columns
    )
    query = f"SELECT id, event, known, {kept} FROM ({_select_rows(release, source, raw)})"
    if all(c.how == SPREAD for c in columns):
        query = f"SELECT * FROM ({query}) WHERE coalesce({', '.join(c.name for c in columns)}) IS NOT NULL"
    return _create_staging_table(con, release, source.table, query)


def load_long_staging_table(con: duckdb.DuckDBPyConnection, release: Release, source: LongSource) -> int:
    """Load a table with a (label, value) pair a row into ``staged_NAME`` (id, event, known, item, x); return the number of rows kept.

    Raises:
        CohortError: where the table or one of its columns is missing, or its file is damaged.
    """
    con.execute("CREATE OR REPLACE TEMP TABLE items (label VARCHAR, item SMALLINT, low DOUBLE, high DOUBLE)")
    con.executemany(
        "INSERT INTO items VALUES (?, ?, ?, ?)",
        [(label, i, m.low, m.high) for i, (_, _, m) in enumerate(source.measures) for label in m.labels],
    )
    others = [(i, m.convert) for i, (_, _, m) in enumerate(source.measures) if m.convert != "v"]
    value = "v"
    if others:
        value = f"CASE item {' '.join(f'WHEN {i} THEN {sql}' for i, sql in others)} ELSE v END"
    frame = _select_rows(release, source, f"{text(source.label)} AS label, {source.value_sql} AS v")
    inner = f"SELECT id, event, known, item, {value} AS v, low, high FROM ({frame}) JOIN items USING (label)"
    query = f"SELECT id, event, known, item, CAST(round(v * {SCALE}) AS BIGINT) AS x FROM ({inner}) WHERE v BETWEEN low AND high"
    return _create_staging_table(con, release, source.table, query)


def _create_staging_table(con: duckdb.DuckDBPyConnection, release: Release, table: str, query: str) -> int:
    with release.reading(table):
        con.execute(f"CREATE OR REPLACE TABLE staged_{table} AS {query}")
    return con.execute(f"SELECT count(*) FROM staged_{table}").fetchone()[0]


def check_tables(release: Release) -> None:
    """Raise a CohortError where a table or column of the allow-list is missing; nothing but first lines is read."""
    for source in (*sources.WIDE, *sources.VITALS, *sources.LONG):
        release.scan(source.table, ["patientunitstayid", *source.clocks, *source.reads])


def load_staging_tables(con: duckdb.DuckDBPyConnection, release: Release, progress: Progress) -> None:
    """Load every table of the allow-list into its staging table; table ``stays`` (stay, id, last) must be there.

    Raises:
        CohortError: where a table or column is missing, or a file is damaged.
    """
    for source in (*sources.WIDE, *sources.VITALS):
        progress(f"{source.table}: {load_wide_staging_table(con, release, source):,} rows kept")
    for source in sources.LONG:
        progress(f"{source.table}: {load_long_staging_table(con, release, source):,} rows kept")
    con.execute(
        "CREATE OR REPLACE VIEW staged_vitals AS "
        + " UNION ALL BY NAME ".join(f"SELECT * FROM staged_{source.table}" for source in sources.VITALS)
    )


def select_rows_known_at_landmark(table: str) -> str:
    """Return SQL for the staged rows of ``table`` that are known at the landmark in table ``landmark`` (id, row,
    cutoff), with their row."""
    return f"(SELECT l.row AS row, s.* FROM staged_{table} s JOIN landmark l USING (id) WHERE s.known < l.cutoff)"


def compute_wide_features(
    con: duckdb.DuckDBPyConnection, table: str, columns: tuple[Column, ...], n: int
) -> tuple[list[str], np.ndarray]:
    """Return feature names and values float32 [n, d] of the columns of a staged wide table; NaN where the stay has no
    known row."""
    names, selected = [], []
    for column in columns:
        for name, sql in zip(column.features, _summarise(column), strict=True):
            names.append(name)
            selected.append(f"CAST({sql} AS DOUBLE) AS f{len(selected)}")
    values = np.full((n, len(names)), np.nan, dtype=np.float32)
    result = con.execute(
        f"SELECT row, {', '.join(selected)} FROM {select_rows_known_at_landmark(table)} GROUP BY row"
    ).fetchnumpy()
    for j in range(len(names)):
        values[result["row"], j] = np.ma.filled(result[f"f{j}"], np.nan)
    return names, values


def compute_long_features(
    con: duckdb.DuckDBPyConnection, source: LongSource, modality: str, n: int
) -> tuple[list[str], np.ndarray]:
    """Return feature names and values float32 [n, d] of the measures of ``source`` that belong to ``modality``; NaN
    where not recorded."""
    names: list[str] = []
    first: dict[int, tuple[int, str]] = {}
    for item, how, measure in source.features(modality):
        first[item] = (len(names), how)
        names += [measure.name + end for end in sources.STATISTICS[how]]
    values = np.full((n, len(names)), np.nan, dtype=np.float32)
    spread = ", ".join(f"CAST({sql} AS DOUBLE) AS f{i}" for i, sql in enumerate(_summarise_spread("x")))
    listed = ", ".join(map(str, first))
    query = f"SELECT row, item, {spread} FROM {select_rows_known_at_landmark(source.table)} WHERE item IN ({listed}) GROUP BY row, item"
    result = con.execute(query).fetchnumpy()
    for item, (at, how) in first.items():
        here = result["item"] == item
        for j, part in enumerate(_spread_positions(how)):
            values[result["row"][here], at + j] = np.ma.filled(result[f"f{part}"][here], np.nan)
    return names, values


def _spread_positions(how: str) -> tuple[int, ...]:
    return (0, 1, 2, 3) if how == SPREAD else (0, 2)


def _summarise_spread(x: str) -> tuple[str, str, str, str]:
    """Return SQL for mean, min, max and sample sd of the whole numbers ``x``, in the unit of the value; exact until the
    last division."""
    n, total, squares = f"count({x})", f"sum({x})", f"sum({x} * {x})"
    variance = f"CAST({n} * {squares} - {total} * {total} AS DOUBLE) / ({n} * ({n} - 1))"
    return (
        f"CASE WHEN {n} > 0 THEN CAST({total} AS DOUBLE) / {n} / {SCALE} END",
        f"min({x}) / {SCALE}",
        f"max({x}) / {SCALE}",
        f"CASE WHEN {n} > 1 THEN sqrt({variance}) / {SCALE} END",
    )


def _summarise(column: Column) -> tuple[str, ...]:
    x = column.name
    if column.how == FLAG:
        return (f"bool_or({x})::INTEGER",)
    if column.how == COUNT:
        return ("count(*)",)
    if column.how == SUM:
        return (f"CAST(sum({x}) AS DOUBLE) / {SCALE}",)
    spread = _summarise_spread(x)
    return spread if column.how == SPREAD else tuple(spread[i] for i in _spread_positions(RANGE))
