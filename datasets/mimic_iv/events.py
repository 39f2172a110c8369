"""The event tables of MIMIC-IV: which rows a landmark may know, in seconds from the index ICU admission, loaded into staging tables."""

from __future__ import annotations

import duckdb

from datasets.mimic_iv import sources
from datasets.mimic_iv import vocabulary as words
from datasets.mimic_iv.tables import Release
from datasets.raw.engine import Progress, load_staging_table
from datasets.raw.features import LongSource, Source
from datasets.raw.tables import identifier, literal

ITEMS_TABLE = "icu/d_items"


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
    for source in (*sources.WIDE, *sources.LONG):
        rows = load_staging_table(con, release, source, date_rows, progress)
        progress(f"{source.table}: {rows:,} rows kept for {source.name}")


def date_rows(release: Release, source: Source | LongSource, selected: str) -> str:
    """Return SQL for the rows of ``source`` with their stay and, in seconds, event and known (see ``engine.DateRows``)."""
    clocks = find_clocks(release, source)
    written = [c for c in clocks if c != sources.ENDED]
    rows = release.scan(source.table, ["subject_id", *written, *source.reads])
    dated = " AND ".join(f"{sources.build_clock_sql(c)} IS NOT NULL" for c in clocks)
    if isinstance(source, LongSource):
        # Most rows of labevents and chartevents are of no item in use: they go before the join to the stays.
        items = [literal(str(item)) for _, _, measure in source.measures for item in measure.labels]
        if source is sources.LAB:
            items.append(literal(str(words.SPECIMEN_ITEM)))
            selected += f", {identifier('specimen_id')} AS specimen, upper(trim(value)) AS said"
        dated = f"trim({source.label}) IN ({', '.join(items)}) AND {dated}"
    raw = (
        f"SELECT {identifier('subject_id')} AS subject, {sources.build_event_sql(source)} AS happened, "
        f"{sources.build_known_sql(source, clocks)} AS stored, {selected} FROM {_join_other_tables(release, source, rows)} "
        f"WHERE {dated}"
    )
    of_stays = (
        "SELECT k.id, k.began, k.last, TRY_CAST(r.happened - k.origin AS INTEGER) AS event, TRY_CAST(r.stored - k.origin AS INTEGER) "
        f"AS known, r.* EXCLUDE (subject, happened, stored) FROM ({raw}) r JOIN stays k USING (subject)"
    )
    return _leave_arterial_oxygen(of_stays, source.since) if source is sources.LAB else of_stays


def _leave_arterial_oxygen(rows: str, since: str) -> str:
    """Return SQL for the lab ``rows`` without the oxygen pressures of venous, mixed or unnamed blood.

    That blood was arterial is a row of its own, with clocks of its own: a pressure is known when both rows are. The rows are cut at
    the window and the latest landmark before they are set side by side, so that the table is read once and little of it is held.
    """
    arterial = f"label = '{words.SPECIMEN_ITEM}' AND starts_with(said, {literal(words.ARTERIAL)})"
    return (
        f"WITH cut AS MATERIALIZED (SELECT * FROM ({rows}) WHERE known < last AND {since}), "
        f"arterial AS (SELECT id, specimen, min(known) AS told FROM cut WHERE {arterial} GROUP BY ALL) "
        f"SELECT c.* REPLACE (CASE WHEN label = '{words.PAO2_ITEM}' THEN greatest(known, told) ELSE known END AS known) "
        f"FROM cut c LEFT JOIN arterial USING (id, specimen) WHERE label <> '{words.PAO2_ITEM}' OR told IS NOT NULL"
    )


def _join_other_tables(release: Release, source: Source | LongSource, rows: str) -> str:
    """Return SQL for the raw rows of ``source`` with what it needs of another table."""
    if source is sources.INFUSED:
        labels = (
            f"(SELECT {identifier('itemid')} AS itemid, label FROM {release.scan(ITEMS_TABLE, ('itemid', 'label'))})"
        )
        return f"(SELECT i.*, d.label FROM {rows} i LEFT JOIN {labels} d ON {identifier('i.itemid')} = d.itemid)"
    if source is sources.DIAGNOSIS:
        return f"(SELECT * FROM {rows} i JOIN admission_clock c ON {identifier('hadm_id')} = c.hadm)"
    return rows
