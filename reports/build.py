"""An experiment's report: CSV, LaTeX, HTML and text from the store, all from the same frame."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from reports.formats.files import DEFAULT_FORMATS, FORMATS, contents
from reports.frames.provenance import provenance
from reports.frames.records import Records
from reports.frames.shares import SHARES, shares
from reports.frames.tidy import COLUMNS, PRINTED, tidy
from reports.frames.tuned import tuned
from reports.published.published import beside_published, published_tables
from reports.report import Report, ReportError
from reports.sections import section_of
from reports.tables.captions import caption, share_caption, title_of
from reports.tables.shuffled import marked
from reports.tables.table import bold_places, table
from results.plan import Plan
from results.storage.files import replace_whole

WHERE = ["experiment", "dataset", "landmark", "protocol", "task", "method", "variant", "group", "metric"]
INTERVALS = [*WHERE, "value", "ci_low", "ci_high", "resamples", "folds", "seeds", "reason"]
COMPARISONS = [
    *WHERE, "base_method", "base_variant", "base_value", "value", "difference", "sd_folds", "ci_low", "ci_high", "folds", "seeds",
    "n_test", "n_train", "t", "p", "in_family", "p_holm", "better", "worse", "reason",
]  # fmt: skip


def write_report(report: Report, out: Path, formats: Sequence[str] = DEFAULT_FORMATS) -> list[Path]:
    """Write a report to ``out`` and return the files, in the order written.

    Args:
        report: as ``assemble`` gives it.
        out: made if missing.
        formats: of FORMATS; ``reports.formats.files.contents`` says what each writes.

    Raises:
        ReportError: a format is unknown, or ``out`` cannot be written.
    """
    unknown = [f for f in formats if f not in FORMATS]
    if unknown:
        raise ReportError(f"format {unknown[0]!r} is none of {', '.join(FORMATS)}")
    files = contents(report, formats)
    return [write_whole(Path(out) / name, content) for name, content in files.items()]


def assemble(store_root: Path, plans: Sequence[Plan]) -> Report:
    """All frames, tables and figures of some plans, in their order; each record is read once."""
    store = Records(store_root)
    numbers, intervals, comparisons, tables = [], [], [], []
    for plan in plans:
        statistics = store.statistics(plan.name)
        frame = tidy(store, plan)
        of_ceiling = shares(frame, plan)
        heading = caption(store, plan, statistics)
        cohort = title_of(plan, plans)
        main = table(frame, plan, PRINTED, heading, bold_places(plan, frame, statistics), f"Every task{cohort}")
        titles = dict(zip(zip(frame["method"], frame["variant"], strict=True), frame["title"], strict=True))
        tables.append(marked(main, plan, statistics, titles))
        if len(of_ceiling):
            title = f"Share of the ceiling{cohort}"
            tables.append(table(of_ceiling, plan, tuple(SHARES), share_caption(store, plan), frozenset(), title))
        numbers.append(pd.concat([frame, of_ceiling])[list(COLUMNS)] if len(of_ceiling) else frame[list(COLUMNS)])
        intervals.append(_derived(plan, statistics, "intervals", INTERVALS))
        comparisons.append(_derived(plan, statistics, "comparisons", COMPARISONS))
    section = section_of(store, plans)
    found = _stack(numbers)
    paper = beside_published(plans, [found, *section.frames.values()])
    return Report(
        plans[0].experiment,
        tuple((plan, provenance(store, plan)) for plan in plans),
        found,
        _stack(intervals),
        _stack(comparisons),
        paper,
        (*tables, *section.tables),
        tuple(published_tables(paper, plans)),
        section,
        tuned(store, plans),
    )


def _derived(plan: Plan, statistics: dict[str, Any] | None, name: str, columns: list[str]) -> pd.DataFrame:
    frame = pd.DataFrame((statistics or {}).get(name, []))
    frame = frame.assign(experiment=plan.experiment, dataset=plan.dataset, protocol=plan.protocol, group="all")
    return frame.reindex(columns=columns)


def _stack(frames: list[pd.DataFrame]) -> pd.DataFrame:
    filled = [f for f in frames if len(f)]
    return pd.concat(filled, ignore_index=True) if filled else frames[0]


def write_whole(path: Path, content: bytes) -> Path:
    """Write a file whole or not at all.

    Raises:
        ReportError: it cannot be written.
    """
    try:
        return replace_whole(path, content)
    except OSError as error:
        raise ReportError(f"cannot write {path}: {error.strerror or error}; choose another out=DIR") from None
