"""From the raw event tables to one row a stay: read each table once, keep what can matter, summarise it for each landmark.

Stage: each table is read once, joined to the index stays, cut at the latest landmark of its stay and at the start of its
window, reduced to flags and whole numbers (values times ``SCALE``), and kept on disk, in seconds from the index ICU admission.
Summary: for one landmark, over the staged rows known before it. Sums of whole numbers and maxima do not depend on the order of
the rows, so neither does a feature, bit for bit, whatever the threads, the order of the file or the rows after the landmark.
"""

from __future__ import annotations

from collections.abc import Callable

import duckdb
import numpy as np

from datasets.mimic_iv import sources
from datasets.mimic_iv.sources import COUNT, FLAG, SINCE, SPREAD, SUM, Column, LongSource, Source
from datasets.mimic_iv.tables import Release
from datasets.raw.blocks import Block
from datasets.raw.tables import identifier, literal, number

SCALE = 10_000
"""Values are kept as whole multiples of 1 / SCALE of their unit."""

ITEMS_TABLE = "icu/d_items"
Progress = Callable[[str], None]


def find_clocks(release: Release, source: Source | LongSource) -> tuple[str, ...]:
    """Return the clocks of ``source`` that this release has; only those it calls optional may be missing."""
    optional = source.optional if isinstance(source, LongSource) else ()
    return tuple(c for c in source.clocks if c not in optional or release.has(source.table, c))


def check_tables(release: Release) -> list[str]:
    """Return one line for each clock that the release lacks; nothing but first lines is read.

    Raises:
        CohortError: where a table or column of the allow-list is missing.
    """
    lines = []
    release.scan(ITEMS_TABLE, ("itemid", "label"))
    for source in (*sources.WIDE, *sources.LONG):
        clocks = find_clocks(release, source)
        release.scan(source.table, ["subject_id", *(c for c in clocks if c != sources.ENDED), *source.reads])
        lacks = [c for c in source.clocks if c not in clocks]
        lines += [f"{source.table} has no column {c}: the event's own moment is taken for it" for c in lacks]
    return lines


def load_staging_tables(con: duckdb.DuckDBPyConnection, release: Release, progress: Progress) -> None:
    """Load every table of the allow-list into its staging table; tables ``stays`` and ``admission_clock`` must be there.

    ``stays``: subject, id, origin (second of the index ICU admission), began (hospital admission) and last (latest landmark),
    both in seconds from origin. ``admission_clock``: hadm, ended (in seconds), of the admissions before the index admission.

    Raises:
        CohortError: where a table or column is missing, or a file is damaged.
    """
    for source in sources.WIDE:
        progress(f"{source.table}: {load_wide_staging_table(con, release, source):,} rows kept for {source.name}")
    for source in sources.LONG:
        progress(f"{source.table}: {load_long_staging_table(con, release, source):,} rows kept for {source.name}")


def select_rows_known_at_landmark(name: str) -> str:
    """Return SQL for the staged rows of source ``name`` that are known at the landmark in table ``landmark`` (id, row, cutoff)."""
    return f"(SELECT l.row AS row, s.* FROM staged_{name} s JOIN landmark l USING (id) WHERE s.known < l.cutoff)"


def compute_wide_features(con: duckdb.DuckDBPyConnection, source: Source, n: int) -> Block:
    """Return feature names and values float32 [n, d] of a staged wide source; NaN where the stay has no known row."""
    names, selected = [], []
    for column in source.columns:
        names += column.features
        selected.append(f"CAST({_summarise(column)} AS DOUBLE) AS f{len(selected)}")
    values = np.full((n, len(names)), np.nan, dtype=np.float32)
    query = f"SELECT row, {', '.join(selected)} FROM {select_rows_known_at_landmark(source.name)} GROUP BY row"
    result = con.execute(query).fetchnumpy()
    for j in range(len(names)):
        values[result["row"], j] = np.ma.filled(result[f"f{j}"].astype(np.float64), np.nan)
    return names, values


def compute_long_features(con: duckdb.DuckDBPyConnection, source: LongSource, n: int) -> Block:
    """Return feature names and values float32 [n, d] of a staged long source; NaN where nothing was recorded.

    A count is 0 where the stay has a known row of the table but none of that item.
    """
    names: list[str] = []
    first: list[int] = []
    for how, measure in source.measures:
        first.append(len(names))
        names += [measure.name + end for end in sources.STATISTICS[how]]
    values = np.full((n, len(names)), np.nan, dtype=np.float32)
    counts = [j for j, name in enumerate(names) if name.endswith("_count")]
    parts = ", ".join(f"CAST({sql} AS DOUBLE) AS f{i}" for i, sql in enumerate(_summarise_spread("x")))
    result = con.execute(
        f"SELECT row, item, {parts} FROM {select_rows_known_at_landmark(source.name)} GROUP BY row, item"
    ).fetchnumpy()
    values[np.ix_(np.unique(result["row"]), counts)] = 0
    for item, (how, _) in enumerate(source.measures):
        here = result["item"] == item
        for j, part in enumerate(range(5) if how == SPREAD else (3,)):
            values[result["row"][here], first[item] + j] = result[f"f{part}"][here]
    return names, values


def load_wide_staging_table(con: duckdb.DuckDBPyConnection, release: Release, source: Source) -> int:
    """Load a table with a column or more a row into table ``staged_NAME``; return the number of rows kept."""
    columns = [c for c in source.columns if c.how != COUNT]
    raw = ", ".join(f"{c.sql} AS {c.name}" for c in columns)
    kept = ", ".join(c.name if c.how == FLAG else f"{_scale(c.name)} AS {c.name}" for c in columns)
    query = f"SELECT id, event, known, {kept} FROM ({_select_rows(release, source, raw)})"
    return _create_staging_table(con, release, source, query)


def load_long_staging_table(con: duckdb.DuckDBPyConnection, release: Release, source: LongSource) -> int:
    """Load a table with an (item, value) pair a row into ``staged_NAME`` (id, event, known, item, x); return the number of rows kept."""
    con.execute("CREATE OR REPLACE TEMP TABLE items (number BIGINT, item SMALLINT, low DOUBLE, high DOUBLE)")
    listed = [(number, i, m.low, m.high) for i, (_, m) in enumerate(source.measures) for number in m.items]
    con.executemany("INSERT INTO items VALUES (?, ?, ?, ?)", listed)
    others = [(i, m.convert) for i, (_, m) in enumerate(source.measures) if m.convert != "v"]
    value = f"CASE item {' '.join(f'WHEN {i} THEN {sql}' for i, sql in others)} ELSE v END" if others else "v"
    wanted = f"trim(itemid) IN ({', '.join(literal(str(number)) for number, *_ in listed)})"
    frame = _select_rows(release, source, f"{identifier('itemid')} AS number, {number('valuenum')} AS v", wanted)
    inner = f"SELECT id, event, known, item, {value} AS v, low, high FROM ({frame}) JOIN items USING (number)"
    query = f"SELECT id, event, known, item, {_scale('v')} AS x FROM ({inner}) WHERE v BETWEEN low AND high"
    return _create_staging_table(con, release, source, query)


def _select_rows(release: Release, source: Source | LongSource, selected: str, where: str = "true") -> str:
    """Return SQL for the rows of ``source`` with their stay, event and known second and ``selected``, within the window and known
    before the stay's last landmark."""
    clocks = find_clocks(release, source)
    written = [c for c in clocks if c != sources.ENDED]
    rows = release.scan(source.table, ["subject_id", *written, *source.reads])
    dated = " AND ".join(f"{sources.build_clock_sql(c)} IS NOT NULL" for c in clocks)
    raw = (
        f"SELECT {identifier('subject_id')} AS subject, {sources.build_event_sql(source)} AS happened, "
        f"{sources.build_known_sql(source, clocks)} AS stored, {selected} FROM {_join_other_tables(release, source, rows)} "
        f"WHERE ({where}) AND {dated}"
    )
    moved = (
        "SELECT k.id, k.began, k.last, TRY_CAST(r.happened - k.origin AS INTEGER) AS event, TRY_CAST(r.stored - k.origin AS INTEGER) "
        f"AS known, r.* EXCLUDE (subject, happened, stored) FROM ({raw}) r JOIN stays k USING (subject)"
    )
    return f"SELECT * EXCLUDE (began, last) FROM ({moved}) WHERE known < last AND event IS NOT NULL AND {SINCE[source.since]}"


def _join_other_tables(release: Release, source: Source | LongSource, rows: str) -> str:
    """Return SQL for the raw rows of ``source`` with what it needs of another table."""
    if source is sources.INFUSED:
        labels = f"(SELECT trim(itemid) AS itemid, label FROM {release.scan(ITEMS_TABLE, ('itemid', 'label'))})"
        return f"(SELECT i.*, d.label FROM {rows} i LEFT JOIN {labels} d ON trim(i.itemid) = d.itemid)"
    if source is sources.DIAGNOSIS:
        return f"(SELECT * FROM {rows} i JOIN admission_clock c ON {identifier('hadm_id')} = c.hadm)"
    return rows


def _create_staging_table(
    con: duckdb.DuckDBPyConnection, release: Release, source: Source | LongSource, query: str
) -> int:
    with release.reading(source.table):
        con.execute(f"CREATE OR REPLACE TABLE staged_{source.name} AS {query}")
    return con.execute(f"SELECT count(*) FROM staged_{source.name}").fetchall()[0][0]


def _scale(value: str) -> str:
    return f"CAST(round({value} * {SCALE}) AS BIGINT)"


def _summarise_last(x: str) -> str:
    """Return SQL for the value of the latest event in its unit; of several at that second, the largest."""
    key = f"(CAST(event AS HUGEINT) + 10000000000) * 10000000000000 + ({x} + 1000000000000)"
    return f"CAST(max(CASE WHEN {x} IS NOT NULL THEN {key} END) % 10000000000000 - 1000000000000 AS DOUBLE) / {SCALE}"


def _summarise_spread(x: str) -> tuple[str, str, str, str, str]:
    """Return SQL for mean, min, max, last and count of the whole numbers ``x``, in the unit of the value."""
    mean = f"CAST(sum({x}) AS DOUBLE) / count({x}) / {SCALE}"
    return (mean, f"min({x}) / {SCALE}", f"max({x}) / {SCALE}", _summarise_last(x), f"count({x})")


def _summarise(column: Column) -> str:
    if column.how == FLAG:
        return f"bool_or({column.name})::INTEGER"
    if column.how == COUNT:
        return "count(*)"
    return f"CAST(sum({column.name}) AS DOUBLE) / {SCALE}" if column.how == SUM else _summarise_last(column.name)
