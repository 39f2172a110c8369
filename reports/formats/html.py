"""The report as one HTML page: tables that sort and filter, figures inline, provenance; nothing is loaded from anywhere.

The page is ``templates/report.html.j2`` with ``report.css`` and ``report.js`` set into it. All text is escaped by Jinja; what is not are
the drawings, which matplotlib escapes. State lies in the fragment, so that a view can be linked to:
``#q=gru&sort=table-1.2.descending`` filters rows by words and sorts the first table by its third column.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from reports.formats.pictures import embed_svg
from reports.frames.provenance import Provenance
from reports.report import Figure
from reports.tables.table import Entry, Table, split_entry
from results.plan import Plan

TEMPLATES = Path(__file__).resolve().parents[1] / "templates"
MEANINGS = {
    "failed": "the computation stopped with an error in every cell; the reason stands below the table",
    "skipped": "not computed in any cell, for the reason below the table",
    "missing": "nothing of it is stored yet",
    "n/a": "computed, but the number is not defined, for the reason below the table (‡)",
    "–": "nothing to print: the row does not apply here, or a comment next to it says why",
}
"""What the words mean that a cell without a number has."""
MARKS = {
    "†": "from fewer cells than planned, see the note below the table",
    "‡": "not defined, see the note below the table",
}
OTHER_MARK = "see the note below the table"


@dataclass(frozen=True)
class TableCell:
    """A table's cell on the page: ``number`` or a word, ``spread`` and ``mark`` behind it; ``sort`` is the number in full or empty,
    ``full`` all of its numbers in full or what the word means; ``kind`` tells numbers, text and words for no number apart."""

    number: str
    spread: str
    mark: str
    bold: bool
    kind: str
    sort: str
    full: str


def lay_out_cell(entry: Entry) -> TableCell:
    """Lay an entry out as a cell of a table on the page."""
    number, spread = split_entry(entry)
    if entry.mean is None:
        kind = "absent" if number in MEANINGS else "text"
        return TableCell(number, "", entry.mark, False, kind, _get_sort_key(number), MEANINGS.get(number, ""))
    full = repr(float(entry.mean))
    full += "" if entry.sd is None else f" ± {float(entry.sd)!r}"
    full += "" if entry.interval is None else f" [{float(entry.interval[0])!r}, {float(entry.interval[1])!r}]"
    return TableCell(number, spread, entry.mark, entry.bold, "number", repr(float(entry.mean)), full)


def render_page(
    experiment: str,
    plans: Sequence[tuple[Plan, Provenance]],
    measured: Sequence[Table],
    with_published: Sequence[Table],
    figures: Sequence[tuple[Figure, bytes]],
    notes: Sequence[str],
    files: Sequence[str],
) -> str:
    """Render the page of an experiment.

    Args:
        plans: each with its provenance, in print order.
        measured: tables in print order.
        with_published: tables that also have published numbers; they stand after the figures.
        figures: each with its SVG file.
        notes: why a figure or table is not there.
        files: names of the files that lie in the folder of the page.
    """
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )  # fmt: skip
    tables = [*measured, *with_published]
    used = {e.word for t in tables for _, _, entries in t.rows for e in entries if e.mean is None}
    return environment.get_template("report.html.j2").render(
        experiment=experiment,
        plans=plans,
        tables=[_lay_out_table(i, table) | {"with_published": i > len(measured)} for i, table in enumerate(tables, 1)],
        figures=[
            {"id": f"figure-{i}", "figure": figure, "svg": Markup(embed_svg(svg, f"figure-{i}"))}
            for i, (figure, svg) in enumerate(figures, 1)
        ],
        notes=notes,
        files=files,
        words={word: meaning for word, meaning in MEANINGS.items() if word in used},
        marks=MARKS,
        other_mark=OTHER_MARK,
        css=Markup((TEMPLATES / "report.css").read_text(encoding="utf-8")),
        js=Markup((TEMPLATES / "report.js").read_text(encoding="utf-8")),
    )


def _lay_out_table(number: int, table: Table) -> dict[str, Any]:
    """Lay a table out as the template reads it: spans of the first heading, and bodies of rows, the known ones in a body of their own."""
    return {
        "id": f"table-{number}",
        "number": number,
        "table": table,
        "spans": [(head, len(list(own))) for head, own in groupby(table.columns, key=lambda c: c[0])],
        "bodies": [
            (known, [(title, [lay_out_cell(e) for e in entries]) for title, _, entries in rows])
            for known, rows in groupby(table.rows, key=lambda row: row[1])
        ],
    }


def _get_sort_key(text: str) -> str:
    """Return a count such as ``1,234`` as a number that sorts, else nothing."""
    try:
        return repr(float(text.replace(",", "")))
    except ValueError:
        return ""
