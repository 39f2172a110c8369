"""A report's files by format: name -> bytes, nothing written yet."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

import pandas as pd

from reports.formats.html import render_page
from reports.formats.latex import render_document, render_table
from reports.formats.pictures import render_figure
from reports.report import Report
from reports.tables.table import Table, build_text_frame

FORMATS = ("csv", "tex", "html", "txt")
DEFAULT_FORMATS = ("csv", "tex", "html")


def render_files(report: Report, formats: Sequence[str]) -> dict[str, bytes]:
    """Render the files of a report: name -> content.

    - ``csv``: ``<experiment>.csv`` (tidy, one row a number, full precision), ``_intervals``, ``_comparisons``, those of the section, and
      ``_published`` where the paper has such a table;
    - ``tex``: ``<experiment>.tex``, a complete document; ``<experiment>_<k>_<title>.tex``, each table alone; the figures as
      ``<experiment>_<name>.pdf``;
    - ``html``: ``<experiment>.html``, complete in itself; the figures also as ``<experiment>_<name>.svg``;
    - ``txt``: the measured tables as text.
    """
    name, figures = report.experiment, report.section.figures
    files: dict[str, bytes] = {}
    if "csv" in formats:
        for suffix, frame in report.frames.items():
            files[f"{name}{suffix}.csv"] = frame.to_csv(index=False, lineterminator="\n").encode()
    if "tex" in formats:
        drawn = {f"{name}_{make_slug(figure.name)}.pdf": render_figure(figure, "pdf") for figure in figures}
        files[f"{name}.tex"] = render_document(report.tables, list(zip(figures, drawn, strict=True))).encode()
        for k, table in enumerate(report.tables, 1):
            files[f"{name}_{k}_{make_slug(table.heading)}.tex"] = render_table(table).encode()
        files |= drawn
    if "txt" in formats:
        files[f"{name}.txt"] = render_text(report.measured).encode()
    if "html" in formats:
        drawn = {f"{name}_{make_slug(figure.name)}.svg": render_figure(figure, "svg") for figure in figures}
        files |= drawn
        drawn_figures = list(zip(figures, drawn.values(), strict=True))
        written = render_page(
            name, report.plans, report.measured, report.with_published, drawn_figures, report.section.notes, list(files)
        )
        files[f"{name}.html"] = written.encode()
    return files


def render_text(tables: Sequence[Table]) -> str:
    """Render tables as text for a terminal."""
    with pd.option_context("display.width", None, "display.max_columns", None):
        return "\n".join(
            f"{t.caption}\n\n{build_text_frame(t).to_string()}\n" + "".join(f"{note}\n" for note in t.notes) for t in tables
        )  # fmt: skip


def make_slug(text: str) -> str:
    """Return text as a part of a file's name: ASCII letters, digits and underscores, 60 at most."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "_", plain).strip("_")[:60].strip("_") or "table"
