"""An experiment's report: CSV, LaTeX, HTML and text from the store, all from the same frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from reports.formats.files import DEFAULT_FORMATS, FORMATS, contents, text_of
from reports.frames.provenance import Provenance, provenance
from reports.frames.records import Records
from reports.frames.shares import SHARES, shares
from reports.frames.tidy import COLUMNS, PRINTED, tidy
from reports.frames.tuned import tuned
from reports.published.published import beside_published, published_tables
from reports.section import Section
from reports.sections import section_of
from reports.tables.captions import caption, share_caption, title_of
from reports.tables.shuffled import marked
from reports.tables.table import Table, bold_places, table
from results.plan import Plan
from results.storage.files import replace_whole

WHERE = ["experiment", "dataset", "landmark", "protocol", "task", "method", "variant", "group", "metric"]
INTERVALS = [*WHERE, "value", "ci_low", "ci_high", "resamples", "folds", "seeds", "reason"]
COMPARISONS = [
    *WHERE, "reference", "reference_variant", "reference_value", "value", "difference", "ci_low", "ci_high", "folds", "seeds",
    "n_test", "n_train", "t", "p", "in_family", "p_holm", "win", "loss", "reason",
]  # fmt: skip


class ReportError(RuntimeError):
    """A report cannot be made; the message says why and what to do."""


@dataclass(frozen=True, eq=False)
class Report:
    """What one experiment's files hold, before they are written; ``plans`` each with its provenance."""

    experiment: str
    plans: tuple[tuple[Plan, Provenance], ...]
    numbers: pd.DataFrame
    intervals: pd.DataFrame
    comparisons: pd.DataFrame
    published: pd.DataFrame
    measured: tuple[Table, ...]
    beside_published: tuple[Table, ...]
    section: Section
    tuned: pd.DataFrame = field(default_factory=pd.DataFrame)

    @property
    def tables(self) -> tuple[Table, ...]:
        """All tables in print order: what was measured, then what the paper published beside it."""
        return (*self.measured, *self.beside_published)

    @property
    def frames(self) -> dict[str, pd.DataFrame]:
        """What stands behind the experiment in a CSV file's name -> its frame; none where a report has no such thing."""
        frames = {"": self.numbers, "_intervals": self.intervals, "_comparisons": self.comparisons}
        frames = {name: frame for name, frame in frames.items() if len(frame.columns)}
        frames |= self.section.frames
        frames |= {"_tuning": self.tuned} if len(self.tuned) else {}
        return frames | ({"_published": self.published} if len(self.published) else {})


def build_report(
    store_root: Path, plans: Sequence[Plan], out: Path, formats: Sequence[str] = DEFAULT_FORMATS
) -> list[Path]:
    """Write the report of some plans of one experiment to ``out`` and return the files, in the order written.

    Args:
        store_root: the store's folder.
        plans: as ``Store.plans`` gives them, at least one.
        out: made if missing.
        formats: of FORMATS; ``reports.formats.files.contents`` says what each writes.

    Raises:
        ReportError: a format is unknown, or ``out`` cannot be written.
        StoreError: a stored file is broken.
    """
    unknown = [f for f in formats if f not in FORMATS]
    if unknown:
        raise ReportError(f"format {unknown[0]!r} is none of {', '.join(FORMATS)}")
    return write_report(assemble(store_root, plans), out, formats)


def write_report(report: Report, out: Path, formats: Sequence[str] = DEFAULT_FORMATS) -> list[Path]:
    """As ``build_report``, of a report that is assembled already."""
    files = contents(report, formats)
    return [write_whole(Path(out) / name, content) for name, content in files.items()]


def render_text(store_root: Path, plans: Sequence[Plan]) -> str:
    """The measured tables of some plans as text for a terminal."""
    return text_of(assemble(store_root, plans).measured)


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
    reference = (statistics or {}).get("reference") or {"method": None, "variant": None}
    frame = frame.assign(
        experiment=plan.experiment, dataset=plan.dataset, protocol=plan.protocol, group="all",
        reference=reference["method"], reference_variant=reference["variant"],
    )  # fmt: skip
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
