"""An experiment's report: CSV, LaTeX, HTML and text from the store, all from the same frames."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from reports.formats.files import DEFAULT_FORMATS, FORMATS, render_files
from reports.frames.fits import collect_fit_reports
from reports.frames.provenance import collect_provenance
from reports.frames.records import Records
from reports.frames.shares import SHARES, compute_shares
from reports.frames.tidy import COLUMNS, PRINTED, build_tidy_frame
from reports.frames.tuned import collect_tuning
from reports.published.published import build_published_tables, compare_with_published
from reports.report import Report, ReportError
from reports.sections import load_section
from reports.tables.captions import compose_caption, compose_share_caption, compose_title_suffix, describe_setting
from reports.tables.fits import build_fits_table
from reports.tables.shuffled import flag_auc_off_half
from reports.tables.table import build_table, find_bold_cells
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
        report: as ``assemble_report`` gives it.
        out: made if missing.
        formats: of FORMATS; ``reports.formats.files.render_files`` says what each writes.

    Raises:
        ReportError: a format is unknown, or ``out`` cannot be written.
    """
    unknown = [f for f in formats if f not in FORMATS]
    if unknown:
        raise ReportError(f"format {unknown[0]!r} is none of {', '.join(FORMATS)}")
    files = render_files(report, formats)
    return [write_report_file(Path(out) / name, content) for name, content in files.items()]


def assemble_report(store_root: Path, plans: Sequence[Plan]) -> Report:
    """Assemble all frames, tables and figures of some plans, in their order; each record is read once."""
    store = Records(store_root)
    numbers, intervals, comparisons, tables, fits = [], [], [], [], []
    for plan in plans:
        statistics = store.statistics(plan.name)
        frame = build_tidy_frame(store, plan)
        of_ceiling = compute_shares(frame, plan)
        heading = compose_caption(store, plan, statistics)
        cohort = compose_title_suffix(plan, plans)
        main = build_table(
            frame, plan, PRINTED, heading, find_bold_cells(plan, frame, statistics), f"Every task{cohort}"
        )
        titles = dict(zip(zip(frame["method"], frame["variant"], strict=True), frame["title"], strict=True))
        tables.append(flag_auc_off_half(main, plan, statistics, titles))
        if len(of_ceiling):
            title = f"Share of the ceiling{cohort}"
            tables.append(
                build_table(of_ceiling, plan, tuple(SHARES), compose_share_caption(store, plan), frozenset(), title)
            )
        fits.append(collect_fit_reports(store, plan))
        of_fits = build_fits_table(fits[-1], plan, describe_setting(store, plan), cohort)
        tables += [of_fits] if of_fits else []
        numbers.append(pd.concat([frame, of_ceiling])[list(COLUMNS)] if len(of_ceiling) else frame[list(COLUMNS)])
        intervals.append(_select_derived(plan, statistics, "intervals", INTERVALS))
        comparisons.append(_select_derived(plan, statistics, "comparisons", COMPARISONS))
    section = load_section(store, plans)
    found = _stack_frames(numbers)
    paper = compare_with_published(plans, [found, *section.frames.values()])
    return Report(
        plans[0].experiment,
        tuple((plan, collect_provenance(store, plan)) for plan in plans),
        found,
        _stack_frames(intervals),
        _stack_frames(comparisons),
        paper,
        section.tables if section.instead else (*tables, *section.tables),
        tuple(build_published_tables(paper, plans)),
        section,
        collect_tuning(store, plans),
        _stack_frames(fits),
    )


def _select_derived(plan: Plan, statistics: dict[str, Any] | None, name: str, columns: list[str]) -> pd.DataFrame:
    frame = pd.DataFrame((statistics or {}).get(name, []))
    frame = frame.assign(experiment=plan.experiment, dataset=plan.dataset, protocol=plan.protocol, group="all")
    return frame.reindex(columns=columns)


def _stack_frames(frames: list[pd.DataFrame]) -> pd.DataFrame:
    filled = [f for f in frames if len(f)]
    return pd.concat(filled, ignore_index=True) if filled else frames[0]


def write_report_file(path: Path, content: bytes) -> Path:
    """Write a file whole or not at all and return its path; as ``replace_whole``, with the error of a report.

    Raises:
        ReportError: it cannot be written.
    """
    try:
        return replace_whole(path, content)
    except OSError as error:
        raise ReportError(f"cannot write {path}: {error.strerror or error}; choose another out=DIR") from None
