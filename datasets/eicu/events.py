"""The event tables of eICU: which rows a landmark may know, in minutes from unit admission, loaded into staging tables."""

from __future__ import annotations

import duckdb

from datasets.eicu import sources
from datasets.eicu.tables import Release, minute
from datasets.raw.engine import Progress, load_staging_table
from datasets.raw.features import LongSource, Source
from datasets.raw.tables import identifier


def check_tables(release: Release) -> None:
    """Raise a CohortError where a table or column of the allow-list is missing; nothing but first lines is read."""
    for source in (*sources.WIDE, *sources.VITALS, *sources.LONG):
        release.scan(source.table, ["patientunitstayid", *source.clocks, *source.reads])


def load_staging_tables(con: duckdb.DuckDBPyConnection, release: Release, progress: Progress) -> None:
    """Load every table of the allow-list into its staging table; table ``stays`` (stay, id, last) must be there.

    Raises:
        CohortError: where a table or column is missing, or a file is damaged.
    """
    for source in (*sources.WIDE, *sources.VITALS, *sources.LONG):
        progress(f"{source.table}: {load_staging_table(con, release, source, date_rows, progress):,} rows kept")
    con.execute(
        "CREATE OR REPLACE VIEW staged_vitals AS "
        + " UNION ALL BY NAME ".join(f"SELECT * FROM staged_{source.name}" for source in sources.VITALS)
    )


def date_rows(release: Release, source: Source | LongSource, selected: str) -> str:
    """Return SQL for the rows of ``source`` with their stay and, in minutes, event and known (see ``engine.DateRows``)."""
    rows = release.scan(source.table, ["patientunitstayid", *source.clocks, *source.reads])
    moments = [minute(clock) for clock in source.clocks]
    known = f"greatest({', '.join(moments)})" if len(moments) > 1 else moments[0]
    dated = " AND ".join(f"{moment} IS NOT NULL" for moment in moments)
    raw = (
        f"SELECT {identifier('patientunitstayid')} AS stay_id, {moments[0]} AS event, {known} AS known, {selected} "
        f"FROM {rows} WHERE {dated}"
    )
    return f"SELECT k.id, k.last, r.* EXCLUDE (stay_id) FROM ({raw}) r JOIN stays k ON r.stay_id = k.stay"
