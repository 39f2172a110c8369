"""The report of ``make bench``: seconds as ratios to public implementations, to the plain network, to pandas, to an empty Python."""

from __future__ import annotations

from typing import Any

import pandas as pd

from reports.build import Report, ReportError
from reports.section import Section
from reports.tables import Entry, Row, Table, words
from results.speed import SECONDS, Bench

Measured = dict[str, Any]
"""A row of a frame of ``results.speed.Bench``."""
MISSING = words("missing")
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


def speed_report(bench: Bench) -> Report:
    """The report of some measurements, to be written with ``reports.build.write_report``; tables that nobody planned are left out.

    Raises:
        ReportError: the measurements have a table that is none of these.
    """
    about = machine(bench.provenance)
    makers = {"public": public_tables, "growth": growth_tables, "raw": raw_tables, "start": start_tables}
    if unknown := set(bench.frames) - set(makers):
        raise ReportError(f"measured for a table {min(unknown)!r}; known: {', '.join(makers)}")
    tables = [
        table for name, make in makers.items() if name in bench.frames for table in make(bench.frames[name], about)
    ]
    none = pd.DataFrame()
    return Report("speed", (), bench.tidy(), none, none, none, tuple(tables), (), Section())


def machine(provenance: dict[str, Any]) -> str:
    """Processor, cores, versions, commit and date, in sentences."""
    hardware = provenance["hardware"]
    versions = ", ".join(f"{name} {version}" for name, version in provenance["versions"].items())
    changes = "" if provenance["clean"] in (True, None) else ", with uncommitted changes"
    commit = f"commit {provenance['commit'][:10]}{changes}" if provenance["commit"] else "no commit known"
    date = provenance["finished"][:10]
    return f"{hardware['cpu']}, {hardware['cores']} cores, {hardware['system']}; {versions}; {commit}; {date}."


def public_tables(frame: pd.DataFrame, about: str) -> list[Table]:
    """Steps and preparations down; milliseconds of both, and the ratio."""
    columns = (
        ("Against", "whom"), ("Data", "sizes"), ("Median (ms)", "ours"), ("Median (ms)", "theirs"),
        ("Ours / theirs", "ratio"), ("Rounds", "each"),
    )  # fmt: skip
    rows: list[Row] = []
    for row in frame.to_dict("records"):
        said = (words(row["against"]), words(row["sizes"]))
        times = (number(row, SECONDS, 2, 1000), number(row, "beside_seconds", 2, 1000), number(row, "ratio"))
        rows.append((f"{row['title']}, {row['what']}", False, (*said, *times, words(f"{row['rounds']}"))))
    return [_table(columns, rows, frame, PUBLIC, about, "Against public implementations")]


def growth_tables(frame: pd.DataFrame, about: str) -> list[Table]:
    """Methods down: an epoch by N, an epoch by M, and the preparation by N."""
    wanted = (("n", "ratio", "an epoch"), ("m", "ratio", "an epoch"), ("n", "preparation_ratio", "preparation"))
    return [growth_table(frame, about, *which) for which in wanted]


def growth_table(frame: pd.DataFrame, about: str, varied: str, metric: str, what: str) -> Table:
    """Methods down; across, where ``varied`` (``n`` or ``m``) takes several values while widths and the other stay, its values."""
    fixed = "m" if varied == "n" else "n"
    places = frame.groupby(["widths", fixed], sort=False).filter(lambda own: own[varied].nunique() > 1)
    places = places[["widths", fixed, varied]].drop_duplicates().sort_values(["widths", fixed, varied])
    at = list(places.itertuples(index=False, name=None))
    columns = [(f"{w} widths, {fixed.upper()} = {f:,}", f"{varied.upper()} = {v:,}") for w, f, v in at]
    rows: list[Row] = []
    for title, own in frame.groupby("title", sort=False):
        found = {(r["widths"], r[fixed], r[varied]): r for r in own.to_dict("records")}
        rows.append((title, False, tuple(number(found.get(place, {}), metric) for place in at)))
    caption = GROWTH.format(what=what, varied=VARIED[varied])
    heading = f"{what.capitalize()} by {varied.upper()}, to an epoch of the plain network"
    return _table(tuple(columns), rows, frame, caption, about, heading)


def raw_tables(frame: pd.DataFrame, about: str) -> list[Table]:
    """Raw tables down; rows a second, peak memory, and both as ratios to pandas."""
    heads = {"pandas": "To pandas, same columns", "pandas_all": "To pandas, all columns"}
    columns = [("Builder", "rows"), ("Builder", "rows a second"), ("Builder", "peak (MiB)")]
    columns += [(head, name) for head in heads.values() for name in ("time", "peak")]
    rows: list[Row] = []
    for row in frame.to_dict("records"):
        entries = [count(row, "rows"), count(row, "rows_per_second"), number(row, "peak_mib", 0)]
        for how in heads:
            entries += [number(row, f"{how}_ratio"), number(row, f"{how}_memory_ratio")]
        rows.append((f"{row['dataset']}: {row['raw']}", False, tuple(entries)))
    copies = " and ".join(f"{c}" for c in frame["copies"].unique())
    caption = RAW.format(copies=f", repeated {copies} times" if copies != "1" else "")
    return [_table(tuple(columns), rows, frame, caption, about, "Reading raw tables")]


def start_tables(frame: pd.DataFrame, about: str) -> list[Table]:
    """Commands down."""
    columns = (("CPU (s)", "command"), ("CPU (s)", "empty Python"), ("Ratio", "CPU"), ("Wall clock (s)", "command"))
    rows: list[Row] = []
    for row in frame.to_dict("records"):
        seconds = (number(row, SECONDS, 3), number(row, "beside_seconds", 3), number(row, "ratio"))
        rows.append((row["command"].lstrip("-"), False, (*seconds, number(row, "wall_seconds", 3))))
    return [_table(columns, rows, frame, START, about, "Start-up")]


def number(row: Measured, name: str, digits: int = 2, times: float = 1) -> Entry:
    """A number of a row, or that it is missing."""
    value = row.get(name)
    return MISSING if value is None or pd.isna(value) else Entry(times * value, None, "", "", False, digits=digits)


def count(row: Measured, name: str) -> Entry:
    """As ``number``, whole and with separators."""
    found = number(row, name)
    return found if found.mean is None else words(f"{found.mean:,.0f}")


def _table(
    columns: tuple[tuple[str, str], ...], rows: list[Row], frame: pd.DataFrame, caption: str, about: str, title: str
) -> Table:
    """The table with threads, machine and date in its caption, and a note where something is missing."""
    threads = f" Threads: {', '.join(map(str, frame['threads'].unique()))}." if "threads" in frame else ""
    gaps = any(entry == MISSING for _, _, entries in rows for entry in entries)
    return Table(columns, tuple(rows), f"{caption}{threads} {about}", (NOTE,) if gaps else (), title)
