"""One raw table read in a process of its own, on one thread, by the builder of its cohort or by pandas; what it took, as JSON.

    python -m tests.speed.table_reader builder DEMO ROOT TABLE
    python -m tests.speed.table_reader pandas DEMO ROOT TABLE [COLUMN ...]

``seconds`` of CPU time; ``peak_mib`` resident while reading and ``before_mib`` before it, with the same libraries imported by both;
by the builder also ``columns``, those it asks for, and ``readings``, how many times it opens the file. A builder's reading is what it
does inside ``Release.reading``: parse, convert, cut at the landmark, and keep what it needs.
"""

import json
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import pandas as pd

from benchmark.cell.provenance import read_peak_memory_mib, reset_peak_memory
from datasets.eicu import events as eicu_events
from datasets.eicu import sources as eicu_sources
from datasets.eicu import static as eicu_static
from datasets.eicu import stays as eicu_stays
from datasets.eicu import tables as eicu_tables
from datasets.eicu.build import _create_stay_table
from datasets.mimic_iv import events as mimic_events
from datasets.mimic_iv import landmarks
from datasets.mimic_iv import sources as mimic_sources
from datasets.mimic_iv import stays as mimic_stays
from datasets.mimic_iv import tables as mimic_tables
from datasets.mimic_iv.build import _create_stay_tables
from datasets.raw.engine import load_staging_table
from datasets.raw.tables import connect
from tests.speed import repeated

LANDMARK = "icu_24h"


def of_table(sources, table):
    return [source for source in sources if source.table == table]


def eicu_tables_read():
    """The raw tables that the builder of eICU reads."""
    sources = (*eicu_sources.WIDE, *eicu_sources.VITALS, *eicu_sources.LONG)
    return sorted({*eicu_static.list_columns(), *(source.table for source in sources)})


def mimic_tables_read():
    """The raw tables of numbers that the builder of MIMIC-IV reads row by row."""
    return sorted({*mimic_stays.READS, *(source.table for source in (*mimic_sources.WIDE, *mimic_sources.LONG))})


def read_eicu(con, release, table):
    """As ``datasets.eicu.build.build`` reads ``table`` for one landmark, and what has to be read before it."""
    selection = eicu_stays.select_stays(eicu_stays.read_patients(con, release), LANDMARK)
    _create_stay_table(con, [selection])
    for source in of_table((*eicu_sources.WIDE, *eicu_sources.VITALS, *eicu_sources.LONG), table):
        load_staging_table(con, release, source, eicu_events.date_rows)
    if table in eicu_static.list_columns():
        eicu_static.read_static(con, release, selection.stay)


def read_mimic(con, release, table):
    """As ``datasets.mimic_iv.build.build`` reads ``table`` for one landmark, and what has to be read before it."""
    history = mimic_stays.read_history(con, release)
    chosen = {LANDMARK: landmarks.select_stays(history, mimic_stays.select_index_stays(history), LANDMARK)}
    _create_stay_tables(con, history, chosen)
    for source in of_table((*mimic_sources.WIDE, *mimic_sources.LONG), table):
        load_staging_table(con, release, source, mimic_events.date_rows)


BUILDERS = {
    repeated.EICU.name: (eicu_tables.Release, read_eicu, eicu_tables_read),
    repeated.MIMIC.name: (mimic_tables.Release, read_mimic, mimic_tables_read),
}


@contextmanager
def metered():
    """A block whose CPU seconds and memory are in the dictionary that it is given."""
    reset_peak_memory()
    found, started = {"before_mib": read_peak_memory_mib()}, time.process_time()
    yield found
    found |= {"seconds": time.process_time() - started, "peak_mib": read_peak_memory_mib()}


def builder(demo, root, table):
    """What the builder's readings of ``table`` took; their sum, and the peak of the largest."""
    kind, read, _ = BUILDERS[demo]
    readings, columns = [], set()

    class Metered(kind):
        def scan(self, name, wanted):
            columns.update(wanted if name == table else ())
            return super().scan(name, wanted)

        @contextmanager
        def reading(self, name):
            with metered() as found, super().reading(name):
                yield
            readings.extend([found] if name == table else [])

    with tempfile.TemporaryDirectory() as folder:
        con = connect(Path(folder), threads=1)
        read(con, Metered(Path(root)), table)
        con.close()
    largest = max(readings, key=lambda found: found["peak_mib"])
    total = {"seconds": sum(found["seconds"] for found in readings), "readings": len(readings)}
    return largest | total | {"columns": sorted(columns)}


def pandas(demo, root, table, *columns):
    """What ``pandas.read_csv`` took for these columns, or for all; ``rows`` of the table."""
    path = BUILDERS[demo][0](Path(root)).path(table)
    with metered() as found:
        frame = pd.read_csv(path, usecols=(lambda name: name.lower() in columns) if columns else None)
    assert not columns or len(frame.columns) == len(columns)
    return found | {"rows": len(frame)}


if __name__ == "__main__":
    print(json.dumps({"builder": builder, "pandas": pandas}[sys.argv[1]](*sys.argv[2:])))
