"""The tidy frame to the frame of a printed table: methods down, tasks by metrics across, nothing missing silently."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import pandas as pd

from results.plan import Plan

TASKS = {
    "mortality_inhosp": "In-hospital mortality",
    "readmission_30d": "30-day readmission",
    "readmission_or_death_30d": "30-day readmission or death",
    "icu_90d": "90-day ICU admission",
    "icu_readmission": "ICU readmission, same hospital stay",
}
METRICS = {
    "auc": "AUC",
    "auprc": "AUPRC",
    "brier": "Brier",
    "share_auc": "AUC",
    "share_log_loss": "Log loss",
}
Estimate = tuple[float, float, float]
"""A value with the ends of its interval."""
WORDS = {"failed": "failed", "skipped": "skipped", "missing": "missing", "undefined": "n/a"}
BOLD_RULE = (
    "Bold AUC: the reference ({reference}) where the corrected t-test (Holm over all its comparisons) calls it better than every other "
    "method, or a method where the test calls it better than the reference."
)


@dataclass(frozen=True)
class Entry:
    """What one cell of a table shows: a number with its spread or its interval, or a word: why there is no number, or plain text.

    ``signed``: a difference, printed with its sign; ``digits`` after the point.
    """

    mean: float | None
    sd: float | None
    word: str
    mark: str
    bold: bool
    interval: tuple[float, float] | None = None
    signed: bool = False
    digits: int = 3


def make_text_entry(text: str) -> Entry:
    """Return an entry that shows plain text, such as a count."""
    return Entry(None, None, text, "", False)


NOT_PLANNED = Entry(None, None, "–", "", False)
"""Nothing to compute: the row has nothing for this task."""


TableRow = tuple[str, bool, tuple[Entry, ...]]
"""A row of a printed table: its title, whether it is known of the cohort rather than a method, its entries."""


@dataclass(frozen=True)
class Table:
    """A table ready to be printed: ``columns`` (task heading, metric heading); ``rows`` (title, known, entries); plain text.

    ``title``: a few words, for headings and names of files; without it, the beginning of the caption.
    """

    columns: tuple[tuple[str, str], ...]
    rows: tuple[TableRow, ...]
    caption: str
    notes: tuple[str, ...]
    title: str = ""

    @property
    def heading(self) -> str:
        """The title, or the caption's first words."""
        return self.title or re.split(r"[.:;(]", self.caption, maxsplit=1)[0].strip()[:70] or "table"


def build_table(
    frame: pd.DataFrame,
    plan: Plan,
    metrics: tuple[str, ...],
    caption: str,
    bold: frozenset[tuple[str, str, str, str]],
    heading: str = "",
) -> Table:
    """Build the table of a tidy frame.

    A number from fewer cells than planned carries a dagger, an undefined metric reads "n/a" with a double dagger, and each has its note.
    The spread is over seeds; with one seed in the plan, over folds.

    Args:
        frame: as ``reports.frames.tidy.build_tidy_frame`` or ``reports.frames.shares.compute_shares`` gives it.
        plan: the plan of ``frame``.
        metrics: which to print, in this order.
        caption: plain text.
        bold: (landmark, task, method, variant) whose AUC is set in bold, from ``find_bold_cells``.
        heading: the table's title.
    """
    changed = frame[frame["metric"].eq("rectifier_share_changed") & frame["mean"].notna()]
    frame = frame[frame["metric"].isin(metrics)]
    places = list(dict.fromkeys(zip(frame["landmark"], frame["task"], strict=True)))
    spread = "sd_seeds" if plan.seeds > 1 else "sd_folds"
    rows: list[TableRow] = []
    notes: dict[str, None] = {}
    for (method, variant), own in frame.groupby(["method", "variant"], sort=False):
        cells = {(c["landmark"], c["task"], c["metric"]): c for c in own.to_dict("records")}
        title = own["title"].iloc[0]
        entries = []
        for landmark, task in places:
            for metric in metrics:
                cell = cells.get((landmark, task, metric))
                if cell is None:
                    entries.append(NOT_PLANNED)
                    continue
                entries.append(build_entry(cell, spread, metric == "auc" and (landmark, task, method, variant) in bold))
                if cell["note"]:
                    what = f"{get_task_title(task)}, {METRICS[metric]}" if _concerns_metric(cell) else landmark
                    notes[f"{entries[-1].mark} {title} ({what}): {cell['note']}.".strip()] = None
            notes |= dict.fromkeys(_note_coverage(title, task, cells.get((landmark, task, metrics[0])), plan))
        rows.append((title, bool(own["known"].iloc[0]), tuple(entries)))
    rows.sort(key=lambda r: r[1])
    for title, own in changed.groupby("title", sort=False):
        listed = ", ".join(f"{m:.1%} ({get_task_title(t)})" for m, t in zip(own["mean"], own["task"], strict=True))
        notes[f"{title}: the rectifier changed {listed} of the predictions."] = None
    several = len(plan.landmarks) > 1
    heads = [f"{get_task_title(t)} ({lm})" if several else get_task_title(t) for lm, t in places]
    columns = tuple((head, METRICS[m]) for head in heads for m in metrics)
    return Table(columns, tuple(rows), caption, tuple(notes), heading)


def find_bold_cells(
    plan: Plan, frame: pd.DataFrame, statistics: dict[str, Any] | None
) -> frozenset[tuple[str, str, str, str]]:
    """Return where a win is called, as (landmark, task, method, variant): see BOLD_RULE. A method without a test stands in its way."""
    if not statistics or not statistics["reference"]:
        return frozenset()
    reference = (statistics["reference"]["method"], statistics["reference"]["variant"])
    methods = frame[~frame["known"] & frame["stage"].eq("final")]
    others = set(zip(methods["method"], methods["variant"], strict=True)) - {reference}
    found = set()
    for landmark, facts in plan.landmarks.items():
        for task in facts.tasks:
            family = [
                c for c in statistics["comparisons"]
                if c["in_family"] and (c["landmark"], c["task"]) == (landmark, task)
            ]  # fmt: skip
            found |= {(landmark, task, c["method"], c["variant"]) for c in family if c["better"]}
            if others and {(c["method"], c["variant"]) for c in family if c["worse"]} >= others:
                found.add((landmark, task, *reference))
    return frozenset(found)


def get_task_title(task: str) -> str:
    """Return the printed name of a task."""
    return TASKS.get(task, task.replace("_", " "))


def build_text_frame(printed: Table) -> pd.DataFrame:
    """Return the table as strings, for a terminal: columns (task, metric), index the row's title."""
    return pd.DataFrame(
        [[format_entry(e) for e in entries] for _, _, entries in printed.rows],
        index=[title for title, _, _ in printed.rows],
        columns=pd.MultiIndex.from_tuples(printed.columns),
    )


def format_entry(entry: Entry) -> str:
    """Return an entry as text: ``0.812 ± 0.012†``, a called win in asterisks."""
    number, spread = split_entry(entry)
    return f"{f'*{number}*' if entry.bold else number}{spread}{entry.mark}"


def split_entry(entry: Entry) -> tuple[str, str]:
    """Return the number of an entry, or its word, and the spread behind it (``" ± 0.012"``, ``" [0.800, 0.824]"``, or nothing)."""
    if entry.mean is None:
        return entry.word, ""
    spread = "" if entry.sd is None else f" ± {entry.sd:.{entry.digits}f}"
    if entry.interval is not None:
        spread += " [{:.{d}f}, {:.{d}f}]".format(*entry.interval, d=entry.digits)
    return f"{entry.mean:{'+' if entry.signed else ''}.{entry.digits}f}", spread


def _note_coverage(title: str, task: str, cell: dict[str, Any] | None, plan: Plan) -> list[str]:
    """Return a note where a row has predictions for some of the stays only, so that its numbers are of other stays than the rest."""
    if cell is None or cell["status"] != "done":
        return []
    n, of = int(cell["n"]), plan.landmarks[cell["landmark"]].tasks[task].n
    return (
        [f"{title} ({get_task_title(task)}): on the {n:,} of {of:,} stays that have its prediction."] if n < of else []
    )


def _concerns_metric(cell: dict[str, Any]) -> bool:
    """Return whether a note is about this metric alone, rather than about the cells of the row."""
    return cell["status"] == "undefined" or cell["note"].startswith("defined in")


def build_entry(cell: dict[str, Any], spread: str, bold: bool = False) -> Entry:
    """Return the entry of a row of a tidy frame: its mean with the spread in column ``spread``, or the word for its status."""
    mark = {"partial": "†", "undefined": "‡"}.get(cell["status"], "")
    if cell["status"] in WORDS:
        return Entry(None, None, WORDS[cell["status"]], mark, False)
    sd = None if pd.isna(cell[spread]) else float(cell[spread])
    return Entry(float(cell["mean"]), sd, "", mark, bold)
