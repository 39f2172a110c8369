"""The report of ``make bench``: seconds as ratios to public implementations, to the plain network, to pandas, to an empty Python."""

from __future__ import annotations

from typing import Any

import pandas as pd

from reports.report import Report, ReportError, Section
from reports.tables.table import Entry, Table, TableRow, make_text_entry
from results.speed import SECONDS, BenchmarkRun

Measured = dict[str, Any]
"""A row of a frame of ``results.speed.Bench``."""
MISSING = make_text_entry("missing")
NOTE = "missing: not in the newest measurements, because it was left out, skipped (no peers, no raw tables) or failed."
BELOW = "Below 1, ours is faster"
PUBLIC = (
    "Ours and a public implementation on data of the same sizes, in alternation, so that the ratio holds on a busy machine: medians of CPU "
    f"time, and their ratio. {BELOW}."
)
GROWTH = (
    "CPU time of {what} as a ratio to an epoch of the plain network (zero_fill) on the same stays, fitted in alternation, batches of 128. "
    "Fitted for one epoch and for two, the least time of each over the rounds: the difference is an epoch (one of each stage, where a "
    "method trains in stages), the rest of the first is preparation. {varied}"
)
VARIED = {
    "n": "Across: widths and modalities of a preset of the embedded cohorts, and the number of stays N.",
    "m": "Across: the number of modalities M; their widths are those of the preset, which begins again where it ends.",
}
RAW = (
    "Each raw table read by the builder of its cohort (parsed, converted, cut at the landmark, kept) and by pandas.read_csv, with the "
    "columns that the builder asks for and with all, each in a process of its own. Time: CPU time of one reading; peak: resident memory of "
    f"the process, libraries included. {BELOW} or smaller. Tables of the open demos{{copies}}."
)
START = (
    "Start-up: medians of the CPU time of python -m benchmark with each command (help: its option) and of an empty Python, in alternation, "
    "their ratio, and the wall-clock time."
)
TABLE1 = (
    "One fit of each method of the paper's Table 1 at a tenth of its stays, batches of 32: measured are an epoch (one of each stage, where "
    "a method trains in stages), alone and as one of {replicas} replicas in a stack (per replica), what comes before it, and the "
    "prediction. Projected, not measured, for {sizes} stays: time in proportion to the stays, and as many epochs as the schedule allows "
    "({epochs}: an upper bound, early stopping takes fewer), on this processor, one thread; {runs} runs at {landmarks} landmarks; with "
    "tuning: also "
    "{trials} trials a landmark, 20 candidates and twice the best three in each of five folds. A sum counts what was measured alone."
)
RUNS, LANDMARKS, TRIALS = 25, 2, (20 + 2 * 3) * 5


def build_speed_report(bench: BenchmarkRun) -> Report:
    """Build the report of some measurements, to be written with ``reports.build.write_report``; tables that nobody planned are left out.

    Raises:
        ReportError: the measurements have a table that is none of these.
    """
    about = describe_machine(bench.provenance)
    makers = {
        "public": build_public_tables, "growth": build_growth_tables, "table1": build_table1_tables,
        "raw": build_raw_tables, "start": build_start_tables,
    }  # fmt: skip
    if unknown := set(bench.frames) - set(makers):
        raise ReportError(f"measured for a table {min(unknown)!r}; known: {', '.join(makers)}")
    tables = [
        table for name, make in makers.items() if name in bench.frames for table in make(bench.frames[name], about)
    ]
    none = pd.DataFrame()
    return Report("speed", (), bench.tidy(), none, none, none, tuple(tables), (), Section())


def describe_machine(provenance: dict[str, Any]) -> str:
    """Describe processor, cores, versions, commit and date, in sentences."""
    hardware = provenance["hardware"]
    versions = ", ".join(f"{name} {version}" for name, version in provenance["versions"].items())
    changes = "" if provenance["clean"] in (True, None) else ", with uncommitted changes"
    commit = f"commit {provenance['commit'][:10]}{changes}" if provenance["commit"] else "no commit known"
    date = provenance["finished"][:10]
    return f"{hardware['cpu']}, {hardware['cores']} cores, {hardware['system']}; {versions}; {commit}; {date}."


def build_public_tables(frame: pd.DataFrame, about: str) -> list[Table]:
    """Build a table of steps and preparations: milliseconds of both implementations, and the ratio."""
    columns = (
        ("Against", "whom"), ("Data", "sizes"), ("Median (ms)", "ours"), ("Median (ms)", "theirs"),
        ("Ours / theirs", "ratio"), ("Rounds", "each"),
    )  # fmt: skip
    rows: list[TableRow] = []
    for row in frame.to_dict("records"):
        said = (make_text_entry(row["against"]), make_text_entry(row["sizes"]))
        times = (
            build_number_entry(row, SECONDS, 2, 1000),
            build_number_entry(row, "beside_seconds", 2, 1000),
            build_number_entry(row, "ratio"),
        )
        rows.append((f"{row['title']}, {row['what']}", False, (*said, *times, make_text_entry(f"{row['rounds']}"))))
    return [_build_table(columns, rows, frame, PUBLIC, about, "Against public implementations")]


def build_growth_tables(frame: pd.DataFrame, about: str) -> list[Table]:
    """Build tables of methods: an epoch by N, an epoch by M, and the preparation by N."""
    wanted = (("n", "ratio", "an epoch"), ("m", "ratio", "an epoch"), ("n", "preparation_ratio", "preparation"))
    return [build_growth_table(frame, about, *which) for which in wanted]


def build_growth_table(frame: pd.DataFrame, about: str, varied: str, metric: str, what: str) -> Table:
    """Build a table of methods; across, the values of ``varied`` (``n`` or ``m``) where it has several while widths and the other stay."""
    fixed = "m" if varied == "n" else "n"
    places = frame.groupby(["widths", fixed], sort=False).filter(lambda own: own[varied].nunique() > 1)
    places = places[["widths", fixed, varied]].drop_duplicates().sort_values(["widths", fixed, varied])
    at = list(places.itertuples(index=False, name=None))
    columns = [(f"{w} widths, {fixed.upper()} = {f:,}", f"{varied.upper()} = {v:,}") for w, f, v in at]
    rows: list[TableRow] = []
    for title, own in frame.groupby("title", sort=False):
        found = {(r["widths"], r[fixed], r[varied]): r for r in own.to_dict("records")}
        rows.append((title, False, tuple(build_number_entry(found.get(place, {}), metric) for place in at)))
    caption = GROWTH.format(what=what, varied=VARIED[varied])
    heading = f"{what.capitalize()} by {varied.upper()}, to an epoch of the plain network"
    return _build_table(tuple(columns), rows, frame, caption, about, heading)


def build_raw_tables(frame: pd.DataFrame, about: str) -> list[Table]:
    """Build a table of raw tables: rows a second, peak memory, and both as ratios to pandas."""
    heads = {"pandas": "To pandas, same columns", "pandas_all": "To pandas, all columns"}
    columns = [("Builder", "rows"), ("Builder", "rows a second"), ("Builder", "peak (MiB)")]
    columns += [(head, name) for head in heads.values() for name in ("time", "peak")]
    rows: list[TableRow] = []
    for row in frame.to_dict("records"):
        entries = [
            build_count_entry(row, "rows"),
            build_count_entry(row, "rows_per_second"),
            build_number_entry(row, "peak_mib", 0),
        ]
        for how in heads:
            entries += [build_number_entry(row, f"{how}_ratio"), build_number_entry(row, f"{how}_memory_ratio")]
        rows.append((f"{row['dataset']}: {row['raw']}", False, tuple(entries)))
    copies = " and ".join(f"{c}" for c in frame["copies"].unique())
    caption = RAW.format(copies=f", repeated {copies} times" if copies != "1" else "")
    return [_build_table(tuple(columns), rows, frame, caption, about, "Reading raw tables")]


def build_start_tables(frame: pd.DataFrame, about: str) -> list[Table]:
    """Build a table of commands: seconds of each and of an empty Python, and their ratio."""
    columns = (("CPU (s)", "command"), ("CPU (s)", "empty Python"), ("Ratio", "CPU"), ("Wall clock (s)", "command"))
    rows: list[TableRow] = []
    for row in frame.to_dict("records"):
        seconds = (
            build_number_entry(row, SECONDS, 3),
            build_number_entry(row, "beside_seconds", 3),
            build_number_entry(row, "ratio"),
        )
        rows.append((row["command"].lstrip("-"), False, (*seconds, build_number_entry(row, "wall_seconds", 3))))
    return [_build_table(columns, rows, frame, START, about, "Start-up")]


def build_table1_tables(frame: pd.DataFrame, about: str) -> list[Table]:
    """Build a table of methods: by preset what was measured at a part of the size, and the projection; the sum below."""
    needed = ("preparation_seconds", "predict_seconds", "stacked_seconds", "stays", "part", "replicas", "epochs")
    frame = frame.reindex(columns=[*frame, *(name for name in needed if name not in frame)]).astype(
        dict.fromkeys(needed, float)
    )
    run = frame["part"] * (frame["preparation_seconds"] + frame["epochs"] * frame[SECONDS] + frame["predict_seconds"])
    frame = frame.assign(run=run, all_runs=LANDMARKS * RUNS * run, tuned=LANDMARKS * (RUNS + TRIALS) * run)
    shown = {
        SECONDS: ("epoch (s)", 2, 1), "stacked_seconds": ("stacked (s)", 2, 1), "preparation_seconds": ("before it (s)", 2, 1),
        "run": ("projected: one run (min)", 1, 1 / 60), "all_runs": ("25 runs (h)", 1, 1 / 3600), "tuned": ("and tuning (h)", 1, 1 / 3600),
    }  # fmt: skip
    presets = list(dict.fromkeys(frame["widths"]))
    columns = tuple((f"{widths} widths", head) for widths in presets for head, _, _ in shown.values())
    rows: list[TableRow] = []
    for title, own in frame.groupby("title", sort=False):
        found = {row["widths"]: row for row in own.to_dict("records")}
        entries = [
            build_number_entry(found.get(w, {}), name, digits, times)
            for w in presets
            for name, (_, digits, times) in shown.items()
        ]
        rows.append((title, False, tuple(entries)))
    totals = frame.groupby("widths")[["run", "all_runs", "tuned"]].sum(min_count=1).to_dict("index")
    sums = [
        build_number_entry(totals[w], name, digits, times) if name in totals[w] else make_text_entry("")
        for w in presets for name, (_, digits, times) in shown.items()
    ]  # fmt: skip
    rows.append(("Sum", False, tuple(sums)))
    sizes = " and ".join(
        f"{n:,.0f} ({w})"
        for w, n in (frame["stays"] * frame["part"]).groupby(frame["widths"], sort=False).max().items()
    )
    said = {name: " or ".join(f"{v:,.0f}" for v in frame[name].dropna().unique()) for name in ("replicas", "epochs")}
    caption = TABLE1.format(sizes=sizes, runs=RUNS, landmarks=LANDMARKS, trials=TRIALS, **said)
    return [_build_table(columns, rows, frame, caption, about, "Table 1: measured at a tenth, projected")]


def build_number_entry(row: Measured, name: str, digits: int = 2, times: float = 1) -> Entry:
    """Return the entry of a number of a row, or that it is missing."""
    value = row.get(name)
    return MISSING if value is None or pd.isna(value) else Entry(times * value, None, "", "", False, digits=digits)


def build_count_entry(row: Measured, name: str) -> Entry:
    """Return the entry of a count: as ``build_number_entry``, whole and with separators."""
    found = build_number_entry(row, name)
    return found if found.mean is None else make_text_entry(f"{found.mean:,.0f}")


def _build_table(
    columns: tuple[tuple[str, str], ...],
    rows: list[TableRow],
    frame: pd.DataFrame,
    caption: str,
    about: str,
    title: str,
) -> Table:
    """Build the table with threads, machine and date in its caption, and a note where something is missing."""
    threads = f" Threads: {', '.join(map(str, frame['threads'].unique()))}." if "threads" in frame else ""
    gaps = any(entry == MISSING for _, _, entries in rows for entry in entries)
    return Table(columns, tuple(rows), f"{caption}{threads} {about}", (NOTE,) if gaps else (), title)
