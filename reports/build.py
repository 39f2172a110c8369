"""An experiment's report: CSV, LaTeX and text from the store, all from the same frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from reports.captions import caption, share_caption
from reports.latex import document
from reports.published import published, published_tables
from reports.section import Section
from reports.sections import section_of
from reports.shares import SHARES, shares
from reports.tables import Table, bold_places, table, text_frame
from reports.tidy import COLUMNS, PRINTED, tidy
from results.store import Store

FORMATS = ("csv", "tex", "txt")
WHERE = ["experiment", "dataset", "landmark", "protocol", "task", "method", "variant", "group", "metric"]
INTERVALS = [*WHERE, "value", "ci_low", "ci_high", "resamples", "folds", "seeds", "reason"]
COMPARISONS = [
    *WHERE, "reference", "reference_variant", "reference_value", "value", "difference", "ci_low", "ci_high", "folds", "seeds",
    "n_test", "n_train", "t", "p", "in_family", "p_holm", "win", "loss", "reason",
]  # fmt: skip


class ReportError(RuntimeError):
    """A report cannot be made; the message says why and what to do."""


@dataclass(frozen=True)
class Report:
    """What one experiment's files hold, before they are written."""

    numbers: pd.DataFrame
    intervals: pd.DataFrame
    comparisons: pd.DataFrame
    tables: tuple[Table, ...]
    section: Section


def build_report(
    store_root: Path, plans: Sequence[dict[str, Any]], out: Path, formats: Sequence[str] = ("csv", "tex")
) -> list[Path]:
    """Write the report of some plans of one experiment to ``out`` and return the files, in the order written.

    Each plan makes a table. ``csv``: ``<experiment>.csv`` (tidy, one row a number, full precision), ``<experiment>_intervals.csv``,
    ``<experiment>_comparisons.csv`` and, where the paper has such a table, ``<experiment>_published.csv``; ``tex``: a complete document;
    ``txt``: the tables as text.

    Args:
        store_root: the store's folder.
        plans: as ``Store.plans`` gives them, at least one.
        out: made if missing.
        formats: of FORMATS.

    Raises:
        ReportError: a format is unknown, or ``out`` cannot be written.
        StoreError: a stored file is broken.
    """
    unknown = [f for f in formats if f not in FORMATS]
    if unknown:
        raise ReportError(f"format {unknown[0]!r} is none of {', '.join(FORMATS)}")
    experiment = plans[0]["experiment"]
    report = assemble(store_root, plans)
    texts: dict[str, str] = {}
    if "csv" in formats:
        frames = {"": report.numbers, "_intervals": report.intervals, "_comparisons": report.comparisons}
        frames |= report.section.frames
        paper = published(experiment)
        if len(paper):
            frames["_published"] = paper
        texts |= {
            f"{experiment}{suffix}.csv": frame.to_csv(index=False, lineterminator="\n")
            for suffix, frame in frames.items()
        }
    if "tex" in formats:
        texts[f"{experiment}.tex"] = document([*report.tables, *report.section.tables, *published_tables(experiment)])
    if "txt" in formats:
        texts[f"{experiment}.txt"] = _text((*report.tables, *report.section.tables))
    return [_write(Path(out) / name, text) for name, text in texts.items()]


def render_text(store_root: Path, plans: Sequence[dict[str, Any]]) -> str:
    """The measured tables of some plans as text for a terminal."""
    report = assemble(store_root, plans)
    return _text((*report.tables, *report.section.tables))


def assemble(store_root: Path, plans: Sequence[dict[str, Any]]) -> Report:
    """All frames and tables of some plans, in their order."""
    store = Store(store_root)
    numbers, intervals, comparisons, tables = [], [], [], []
    for plan in plans:
        statistics = store.statistics(plan["name"])
        frame = tidy(store, plan)
        of_ceiling = shares(frame, plan)
        heading = caption(store, plan, statistics)
        tables.append(table(frame, plan, PRINTED, heading, bold_places(plan, frame, statistics)))
        if len(of_ceiling):
            tables.append(table(of_ceiling, plan, tuple(SHARES), share_caption(store, plan), frozenset()))
        numbers.append(pd.concat([frame, of_ceiling])[list(COLUMNS)] if len(of_ceiling) else frame[list(COLUMNS)])
        intervals.append(_derived(plan, statistics, "intervals", INTERVALS))
        comparisons.append(_derived(plan, statistics, "comparisons", COMPARISONS))
    return Report(*(_stack(f) for f in (numbers, intervals, comparisons)), tuple(tables), section_of(store, plans))


def _derived(plan: dict[str, Any], statistics: dict[str, Any] | None, name: str, columns: list[str]) -> pd.DataFrame:
    frame = pd.DataFrame((statistics or {}).get(name, []))
    reference = (statistics or {}).get("reference") or {"method": None, "variant": None}
    frame = frame.assign(
        experiment=plan["experiment"], dataset=plan["dataset"], protocol=plan["protocol"], group="all",
        reference=reference["method"], reference_variant=reference["variant"],
    )  # fmt: skip
    return frame.reindex(columns=columns)


def _stack(frames: list[pd.DataFrame]) -> pd.DataFrame:
    filled = [f for f in frames if len(f)]
    return pd.concat(filled, ignore_index=True) if filled else frames[0]


def _text(tables: tuple[Table, ...]) -> str:
    with pd.option_context("display.width", None, "display.max_columns", None):
        return "\n".join(
            f"{t.caption}\n\n{text_frame(t).to_string()}\n" + "".join(f"{note}\n" for note in t.notes) for t in tables
        )  # fmt: skip


def _write(path: Path, text: str) -> Path:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ReportError(f"cannot write {path}: {error.strerror or error}; choose another out=DIR") from None
    return path
