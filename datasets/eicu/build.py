"""From the raw tables of an eICU-CRD release to cohorts, one a landmark."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd

from datasets.cohort import Cohort
from datasets.eicu import events, features, series, sources, static, stays
from datasets.eicu.stays import Selection
from datasets.eicu.tables import Release
from datasets.raw.engine import Progress
from datasets.raw.tables import connect
from datasets.storage import GroundTruth

LANDMARKS = tuple(stays.PROTOCOL)
NOTES = {
    "clock": "a row counts when its event offset and, where the table has one, its entry, order or revision offset lie strictly "
    "before the landmark; the APACHE tables, which have no clock, count once the first 24 hours in the unit, which they hold, are over",
    "missing modality": "more than 80 % of its features NaN",
    "paper": "the paper gives no counts for its eICU cohort",
    "icu_readmission": "a later unit stay of the same hospital stay of type readmit: there are no dates between hospital stays, so "
    "a 30-day readmission cannot be derived; it is the nearest task to the paper's column",
}


@dataclass(frozen=True, eq=False)
class BuiltLandmark:
    """A cohort, its reference predictions (``apache_iva``), the flow of inclusions ({"step", "n", "excluded"}) and notes (JSON values)."""

    cohort: Cohort
    ground_truth: GroundTruth
    flow: list[dict]
    notes: dict


def build(
    root: Path,
    *,
    name: str = "eicu-demo",
    landmarks: Sequence[str] = LANDMARKS,
    progress: Progress | None = None,
    scratch: Path | None = None,
    memory: str = "3GB",
    threads: int = 2,
) -> dict[str, BuiltLandmark]:
    """Build the cohorts of the release in ``root``, by landmark: ``icu_24h``, ``unit_discharge`` (strict), ``stay`` (the paper's).

    Every raw table is read once. ``scratch`` is a folder for some gigabytes of intermediate tables (default: the
    system's), emptied at the end; ``memory`` and ``threads`` bound the database engine. ``progress`` is called with
    one line a step.

    Raises:
        CohortError: one line that names the table, the column or the step at fault.
    """
    say = progress or (lambda line: None)
    release = Release(root)
    static.check_tables(release)
    events.check_tables(release)
    with tempfile.TemporaryDirectory(prefix="eicu-", dir=scratch) as folder:
        con = connect(Path(folder), memory, threads)
        try:
            patients = stays.read_patients(con, release)
            selections = {landmark: stays.select_stays(patients, landmark) for landmark in landmarks}
            _create_stay_table(con, list(selections.values()))
            say(
                f"patient: {len(patients):,} unit stays, {con.execute('SELECT count(*) FROM stays').fetchone()[0]:,} of them in a cohort"
            )
            events.load_staging_tables(con, release, say)
            built = {}
            for landmark, selection in selections.items():
                built[landmark] = _build_landmark(con, release, name, selection, Path(folder))
                cohort = built[landmark].cohort
                say(f"{landmark}: {len(cohort):,} stays, {sum(m.width for m in cohort.modalities)} features")
            return built
        finally:
            con.close()


def _create_stay_table(con: duckdb.DuckDBPyConnection, selections: list[Selection]) -> None:
    """Create table ``stays``: each stay of any landmark, its position ``id``, and the latest minute any landmark looks
    at (``last``)."""
    cuts = pd.DataFrame(
        {
            "stay": np.concatenate([s.stay for s in selections]),
            "last": np.concatenate([s.cutoff for s in selections]),
        }
    )
    cuts = cuts.groupby("stay", sort=True)["last"].max().reset_index()
    cuts["id"] = np.arange(len(cuts), dtype=np.int32)
    con.register("cuts", cuts)
    con.execute(
        "CREATE OR REPLACE TABLE stays AS SELECT stay, CAST(id AS INTEGER) AS id, CAST(last AS INTEGER) AS last FROM cuts"
    )


def _build_landmark(
    con: duckdb.DuckDBPyConnection, release: Release, name: str, selection: Selection, scratch: Path
) -> BuiltLandmark:
    n = len(selection.stay)
    rows = pd.DataFrame(
        {"stay": selection.stay, "row": np.arange(n, dtype=np.int32), "cutoff": selection.cutoff.astype(np.int32)}
    )
    con.register("landmark_frame", rows)
    con.execute(
        "CREATE OR REPLACE TEMP TABLE landmark AS SELECT id, row, cutoff FROM landmark_frame JOIN stays USING (stay)"
    )
    frame = static.read_static(con, release, selection.stay)
    modalities, observed = features.build_modalities(con, frame, selection.cutoff)
    cohort = Cohort(
        name=name,
        landmark=selection.landmark,
        patient=selection.patient,
        site=selection.site,
        groups=selection.groups,
        modalities=modalities,
        observed=observed,
        series=series.build_series(con, selection.cutoff, scratch),
        outcomes=selection.outcomes,
        tasks=selection.tasks,
    )
    prediction = np.full(selection.outcomes.shape, np.nan)
    if "mortality_inhosp" in selection.tasks:
        column = selection.tasks.index("mortality_inhosp")
        prediction[:, column] = static.read_apache_prediction(con, release, selection.stay)
    notes = {"protocol": stays.PROTOCOL[selection.landmark], **NOTES}
    return BuiltLandmark(
        cohort, GroundTruth(predictions={"apache_iva": prediction}, notes=notes), selection.flow, notes
    )


def list_tables() -> list[str]:
    """Return the names of the raw tables that a build reads."""
    dated = (*sources.WIDE, *sources.VITALS, *sources.LONG)
    return sorted({"patient", *static.list_columns(), *(source.table for source in dated)})
