"""The event tables of MIMIC-IV: which rows a landmark may know, in seconds from the index ICU admission, loaded into staging tables."""

from __future__ import annotations

import duckdb

from datasets.mimic_iv import sources
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
        rows = load_staging_table(con, release, source, date_rows)
        progress(f"{source.table}: {rows:,} rows kept for {source.name}")


def date_rows(release: Release, source: Source | LongSource, selected: str) -> str:
    """Return SQL for the rows of ``source`` with their stay and, in seconds, event and known (see ``engine.DateRows``)."""
    clocks = find_clocks(release, source)
    written = [c for c in clocks if c != sources.ENDED]
    rows = release.scan(source.table, ["subject_id", *written, *source.reads])
    dated = " AND ".join(f"{sources.build_clock_sql(c)} IS NOT NULL" for c in clocks)
    if isinstance(source, LongSource):
        # Most rows of labevents and chartevents are of no item in use: they go before the join to the stays.
        items = (literal(str(item)) for _, _, measure in source.measures for item in measure.labels)
        dated = f"trim({source.label}) IN ({', '.join(items)}) AND {dated}"
    raw = (
        f"SELECT {identifier('subject_id')} AS subject, {sources.build_event_sql(source)} AS happened, "
        f"{sources.build_known_sql(source, clocks)} AS stored, {selected} FROM {_join_other_tables(release, source, rows)} "
        f"WHERE {dated}"
    )
    return (
        "SELECT k.id, k.began, k.last, TRY_CAST(r.happened - k.origin AS INTEGER) AS event, TRY_CAST(r.stored - k.origin AS INTEGER) "
        f"AS known, r.* EXCLUDE (subject, happened, stored) FROM ({raw}) r JOIN stays k USING (subject)"
    )


def _join_other_tables(release: Release, source: Source | LongSource, rows: str) -> str:
    """Return SQL for the raw rows of ``source`` with what it needs of another table."""
    if source is sources.INFUSED:
        labels = f"(SELECT trim(itemid) AS itemid, label FROM {release.scan(ITEMS_TABLE, ('itemid', 'label'))})"
        return f"(SELECT i.*, d.label FROM {rows} i LEFT JOIN {labels} d ON trim(i.itemid) = d.itemid)"
    if source is sources.DIAGNOSIS:
        return f"(SELECT * FROM {rows} i JOIN admission_clock c ON {identifier('hadm_id')} = c.hadm)"
    return rows
