"""A report's files by format: name -> bytes, nothing written yet."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

import pandas as pd

from reports.formats.html import page
from reports.formats.latex import document, piece
from reports.formats.pictures import file_of
from reports.report import Report
from reports.tables.table import Table, text_frame

FORMATS = ("csv", "tex", "html", "txt")
DEFAULT_FORMATS = ("csv", "tex", "html")


def contents(report: Report, formats: Sequence[str]) -> dict[str, bytes]:
    """The files of a report.

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
        drawn = {f"{name}_{slug(figure.name)}.pdf": file_of(figure, "pdf") for figure in figures}
        files[f"{name}.tex"] = document(report.tables, list(zip(figures, drawn, strict=True))).encode()
        for k, table in enumerate(report.tables, 1):
            files[f"{name}_{k}_{slug(table.heading)}.tex"] = piece(table).encode()
        files |= drawn
    if "txt" in formats:
        files[f"{name}.txt"] = text_of(report.measured).encode()
    if "html" in formats:
        drawn = {f"{name}_{slug(figure.name)}.svg": file_of(figure, "svg") for figure in figures}
        files |= drawn
        pictures = list(zip(figures, drawn.values(), strict=True))
        written = page(
            name, report.plans, report.measured, report.beside_published, pictures, report.section.notes, list(files)
        )
        files[f"{name}.html"] = written.encode()
    return files


def text_of(tables: Sequence[Table]) -> str:
    """Tables as text for a terminal."""
    with pd.option_context("display.width", None, "display.max_columns", None):
        return "\n".join(
            f"{t.caption}\n\n{text_frame(t).to_string()}\n" + "".join(f"{note}\n" for note in t.notes) for t in tables
        )  # fmt: skip


def slug(text: str) -> str:
    """Text as a part of a file's name: ASCII letters, digits and underscores, 60 at most."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "_", plain).strip("_")[:60].strip("_") or "table"
