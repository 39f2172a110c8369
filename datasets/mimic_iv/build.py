"""From the raw tables of a MIMIC-IV release, its notes and X-ray embeddings to cohorts, one a landmark."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd

from datasets.cohort import Cohort, Modality
from datasets.mimic_iv import events, features, labels, landmarks, pooling, series
from datasets.mimic_iv.dated import Dated
from datasets.mimic_iv.landmarks import PROTOCOL, Selection
from datasets.mimic_iv.stays import HOUR, History, read_history, select_index_stays
from datasets.mimic_iv.tables import Release
from datasets.raw.engine import Progress
from datasets.raw.tables import connect
from datasets.storage import GroundTruth

LANDMARKS = tuple(PROTOCOL)
MODALITIES = ("S", "I", "T", "R")
PAPER = {
    "the cohort": 20_000, "discharge summaries (T)": 15_098, "radiology reports (R)": 17_010, "any text (T or R)": 17_903,
    "X-ray embeddings (I)": 5_228,
}  # fmt: skip
"""The paper's counts, to compare with ours."""

CLOCK = (
    "a row counts when its event and, where the table has one, its store or entry time lie strictly before the landmark"
)
EXEMPT = "the discharge summary of the index admission counts whenever it was signed, usually days after the landmark"
FABRICATED = "FABRICATED.txt"
"""A file that marks a folder of made notes or images."""


@dataclass(frozen=True, eq=False)
class BuiltLandmark:
    """A cohort, what no method sees of it (reasons of absence, sensitivity outcome), its flow ({"step", "n", "excluded"}) and notes."""

    cohort: Cohort
    ground_truth: GroundTruth
    flow: list[dict]
    notes: dict


@dataclass(frozen=True)
class Extras:
    """Where notes and images lie (None: that modality is unobserved for all) and how notes are encoded.

    ``cache`` is a folder for what was encoded; ``encoder`` a name on the hub with its ``revision``, a local path, None for the
    default, or an encoder itself; ``device`` for the encoder, None for its own choice.
    """

    note_root: Path | None = None
    cxr_root: Path | None = None
    encoder: str | Any | None = None
    revision: str | None = None
    device: str | None = None
    cache: Path | None = None


def build(
    root: Path,
    *,
    name: str = "mimic-iv-demo",
    extras: Extras | None = None,
    landmarks_asked: Sequence[str] = LANDMARKS,
    subset: str | None = None,
    observation_admit: bool = False,
    progress: Progress | None = None,
    scratch: Path | None = None,
    memory: str = "3GB",
    threads: int = 2,
) -> dict[str, BuiltLandmark]:
    """Build the cohorts of the release in ``root``, by landmark: ``icu_24h``, ``discharge_72h``, ``discharge``, ``stay``.

    Every raw table is read once. ``subset`` is None or ``cxr_era``; ``observation_admit`` counts admissions of that type as
    readmissions. ``scratch`` is a folder for some gigabytes of intermediate tables (default: the system's), emptied at the end;
    ``memory`` and ``threads`` bound the database engine. ``progress`` is called with one line a step.

    Raises:
        CohortError: one line that names the file, and the column, row or step at fault.
    """
    say = progress or (lambda line: None)
    extras = extras or Extras()
    release = Release(root)
    lacks = events.check_tables(release)
    for line in lacks:
        say(line)
    with tempfile.TemporaryDirectory(prefix="mimic-iv-", dir=scratch) as folder:
        con = connect(Path(folder), memory, threads)
        try:
            history = read_history(con, release)
            index = select_index_stays(history)
            chosen = {
                landmark: landmarks.select_stays(
                    history, index, landmark, subset=subset, observation_admit=observation_admit
                )
                for landmark in landmarks_asked
            }
            stays = _create_stay_tables(con, history, chosen)
            if history.backwards:
                say(f"hosp/admissions: {history.backwards:,} admissions end before they begin, left out")
            say(
                f"{len(history.patients):,} patients, {len(history.admissions):,} admissions, {len(stays):,} index stays in a cohort"
            )
            items = gather_items(extras, history, stays, say)
            events.load_staging_tables(con, release, say)
            built = {}
            for landmark, selection in chosen.items():
                built[landmark] = _build_landmark(con, history, name, selection, items, Path(folder), observation_admit)
                built[landmark].notes["caption"] = _make_caption(selection, extras, subset, observation_admit, lacks)
                cohort = built[landmark].cohort
                say(f"{landmark}: {len(cohort):,} stays, {sum(m.width for m in cohort.modalities):,} features")
            return built
        finally:
            con.close()


def gather_items(extras: Extras, history: History, stays: pd.DataFrame, say: Progress) -> dict[str, Dated | None]:
    """Read the images, discharge summaries and radiology reports of the patients in ``stays``, by modality.

    ``stays`` has ``subject``, ``joined`` and the last moments, in seconds, at which any landmark looks: ``final``, and for
    discharge summaries ``signed``. Of later notes, and of discharge summaries of other admissions, only the times are read.
    """
    items: dict[str, Dated | None] = dict.fromkeys(MODALITIES[1:])
    subjects = stays.subject.to_numpy()
    if extras.cxr_root is None:
        say("no cxr_root is given: X-rays are unobserved for all")
    else:
        from datasets.mimic_iv.images import read_chest_images

        items["I"] = read_chest_images(extras.cxr_root, subjects, say)
    if extras.note_root is None:
        say("no note_root is given: discharge summaries and radiology reports are unobserved for all")
        return items
    from datasets.mimic_iv import encoder, text

    model = extras.encoder
    if model is None or isinstance(model, str):
        model = encoder.load_encoder(model or encoder.DEFAULT, revision=extras.revision, device=extras.device)
    patients = set(history.patients.subject.tolist())
    own = history.admissions.hadm[history.admissions.joined.isin(stays.joined)].tolist()
    for modality, column in (("T", "signed"), ("R", "final")):
        ends = stays[column].astype("int64").to_numpy().astype("datetime64[s]")
        options = {"until": dict(zip(subjects.tolist(), ends, strict=True)), "patients": patients}
        given = (extras.note_root, subjects, model, extras.cache, say)
        if modality == "T":
            items["T"] = text.read_discharge_notes(*given, admissions=own, **options)
        else:
            items["R"] = text.read_radiology_notes(*given, **options)
    return items


SIGNED_WITHIN = 90 * 24 * HOUR
"""A discharge summary signed later than this after discharge is not looked for, even where it is exempt from the clock."""


def _create_stay_tables(con: duckdb.DuckDBPyConnection, history: History, chosen: dict[str, Selection]) -> pd.DataFrame:
    """Create the tables ``stays`` and ``admission_clock`` of ``events.load_staging_tables``; return the stays of any landmark."""
    parts = [
        s.index[["subject", "joined", "begin", "admitted", "discharged"]].assign(final=s.cutoff)
        for s in chosen.values()
    ]
    exempt = any(landmark in landmarks.EXEMPT for landmark in chosen)
    stays = pd.concat(parts).sort_values("final").drop_duplicates("subject", keep="last").sort_values("subject")
    stays["id"] = np.arange(len(stays), dtype=np.int32)
    stays["signed"] = np.maximum(stays.final, stays.discharged + SIGNED_WITHIN if exempt else stays.final)
    frame = pd.DataFrame({"subject": stays.subject, "id": stays.id, "origin": stays.begin.astype("int64"),
                          "began": (stays.admitted - stays.begin).astype("int32"),
                          "last": (stays.final - stays.begin).astype("int32")})  # fmt: skip
    con.register("stays_frame", frame)
    con.execute("CREATE OR REPLACE TABLE stays AS SELECT * FROM stays_frame")
    others = history.admissions.merge(stays[["subject", "joined", "admitted"]], on="subject", suffixes=("", "_index"))
    others = others[(others.end <= others.admitted) & (others.joined != others.joined_index)]
    clock = pd.DataFrame({"hadm": others.hadm, "ended": others.end.astype("int64")})
    con.register("clock_frame", clock)
    con.execute("CREATE OR REPLACE TABLE admission_clock AS SELECT * FROM clock_frame")
    return stays


def _build_landmark(
    con: duckdb.DuckDBPyConnection,
    history: History,
    name: str,
    selection: Selection,
    items: dict[str, Dated | None],
    scratch: Path,
    observation_admit: bool,
) -> BuiltLandmark:
    n = len(selection.index)
    begin = selection.index.begin.to_numpy(dtype=float)
    rows = pd.DataFrame({"subject": selection.index.subject, "row": np.arange(n, dtype=np.int32),
                         "cutoff": (selection.cutoff - begin).astype(np.int32)})  # fmt: skip
    con.register("landmark_frame", rows)
    con.execute(
        "CREATE OR REPLACE TEMP TABLE landmark AS SELECT id, row, cutoff FROM landmark_frame JOIN stays USING (subject)"
    )
    names, values = features.build_structured(con, history, selection)
    modalities, observed = [Modality("S", values, tuple(names))], [np.ones(n, dtype=bool)]
    reasons = [np.zeros(n, dtype=np.int8)]
    for modality in MODALITIES[1:]:
        vectors, seen, why = pooling.pool_items(modality, items[modality], history, selection, scratch)
        modalities.append(Modality(modality, vectors, tuple(f"{modality}_{j}" for j in range(vectors.shape[1]))))
        observed.append(seen)
        reasons.append(why)
    end = np.minimum(selection.cutoff, selection.index.discharged.to_numpy(dtype=float)) - begin
    cohort = Cohort(
        name=name,
        landmark=selection.landmark,
        patient=selection.index.subject.to_numpy(dtype=np.int64),
        groups=selection.groups,
        modalities=tuple(modalities),
        observed=np.stack(observed, axis=1),
        series=series.build_series(con, end, scratch),
        outcomes=selection.outcomes,
        tasks=selection.tasks,
    )
    absence = np.stack(reasons, axis=1)
    arrays = {"absence": absence, landmarks.SENSITIVITY: selection.sensitivity}
    notes = {
        "protocol": PROTOCOL[selection.landmark],
        "clock": CLOCK,
        "paper": compare_with_paper(history, cohort),
        "label rules": labels.count_by_rule(history, landmarks.WAIT_HOURS["discharge_72h"], observation_admit),
        "absence": count_absences(cohort, absence),
    }
    absent = [m for m in MODALITIES[1:] if items[m] is None]
    flow = selection.flow + [
        {"step": f"{m}: no files given, unobserved for all", "n": n, "excluded": 0} for m in absent
    ]
    return BuiltLandmark(
        cohort, GroundTruth(arrays=arrays, notes={"absence codes": list(pooling.REASONS)}), flow, notes
    )


def _make_caption(
    selection: Selection, extras: Extras, subset: str | None, observation_admit: bool, lacks: list[str]
) -> list[str]:
    """Return what has to be said wherever numbers of this cohort are printed."""
    made = [r for r in (extras.note_root, extras.cxr_root) if r is not None and (Path(r) / FABRICATED).exists()]
    absent = [m for m, r in (("X-rays", extras.cxr_root), ("notes", extras.note_root)) if r is None]
    lines = [
        EXEMPT if selection.landmark in landmarks.EXEMPT else "",
        f"subset {subset}" if subset else "",
        "OBSERVATION ADMIT counts as a readmission" if observation_admit else "",
        "notes or images are fabricated" if made else "",
        f"no {' and no '.join(absent)} given" if absent else "",
        *lacks,
    ]
    return [line for line in lines if line]


def compare_with_paper(history: History, cohort: Cohort) -> list[dict]:
    """Set the paper's counts next to ours: {"what", "paper", "here"}; and what its sentence on single stays would leave."""
    seen = {m.name: cohort.observed[:, j] for j, m in enumerate(cohort.modalities)}
    here = (len(cohort), seen["T"].sum(), seen["R"].sum(), (seen["T"] | seen["R"]).sum(), seen["I"].sum())
    rows = [{"what": what, "paper": n, "here": int(ours)} for (what, n), ours in zip(PAPER.items(), here, strict=True)]
    single = count_single_stays(history)
    return [*rows, {"what": "a single ICU stay and no other admission (the paper's sentence; leaves no readmission)",
                    "paper": PAPER["the cohort"], "here": single}]  # fmt: skip


def count_single_stays(history: History) -> int:
    """Count the patients with one ICU stay and one admission in the release."""
    stays = history.stays.groupby("subject").size()
    admissions = history.admissions.groupby("subject").size().reindex(stays.index)
    return int(((stays == 1) & (admissions == 1)).sum())


def count_absences(cohort: Cohort, absence: np.ndarray) -> list[dict]:
    """Count the reasons of absence by modality and year group: {"modality", "year group", "n", and a count for each reason}."""
    group = cohort.groups["year group"]
    rows = []
    for m, modality in enumerate(cohort.modality_names):
        for code, label in enumerate(group.labels):
            here = absence[group.codes == code, m]
            counts = np.bincount(here, minlength=len(pooling.REASONS)).tolist()
            rows.append(
                {
                    "modality": modality,
                    "year group": label,
                    "n": len(here),
                    **dict(zip(pooling.REASONS, counts, strict=True)),
                }
            )
    return rows
