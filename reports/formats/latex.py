"""Tables and figures as LaTeX: a complete document for pdflatex, and each table in a file of its own for ``\\input``.

Packages: booktabs, graphicx, caption, geometry, and siunitx where it is installed. siunitx is in a part of TeX distributions that small
ones lack; without it ``\\num`` prints its number in mathematics, which looks the same. Numbers are set with ``\\num`` in centred columns,
not in S columns: a cell also holds its spread, a mark, bold or a word, and as all numbers of a column have as many decimals, they align
all the same. Text from records (titles, reasons) is escaped; what pdflatex has no glyph for becomes its nearest ASCII or a question mark.
Brackets and asterisks stand in braces: a row that begins with one would be read as an option of the ``\\\\`` or ``\\midrule`` before it.
Wide tables are scaled down to the line, long ones cut into parts that fit a page, each under the heading; notes follow as ordinary
paragraphs, so that many of them break over pages.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from itertools import groupby

from reports.report import Figure
from reports.tables.table import Entry, Table, TableRow

SPECIAL = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "%": r"\%", "_": r"\_",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"$<$", ">": r"$>$", "|": r"$|$", '"': "''",
    "`": r"\textasciigrave{}", "[": "{[}", "]": "{]}", "*": "{*}",
    "±": r"$\pm$", "×": r"$\times$", "≤": r"$\le$", "≥": r"$\ge$", "−": "$-$", "–": "--",
    "—": "---", "→": r"$\to$", "Δ": r"$\Delta$", "δ": r"$\delta$", "τ": r"$\tau$", "α": r"$\alpha$", "β": r"$\beta$",
    "λ": r"$\lambda$", "σ": r"$\sigma$", "μ": r"$\mu$", "µ": r"$\mu$", "°": r"$^\circ$", "²": r"$^2$", "†": r"\dag{}",
    "‡": r"\ddag{}", "…": r"\dots{}", "’": "'", "‘": "`", "“": "``", "”": "''", "\n": " ", "\t": " ",
}  # fmt: skip
NUM = r"""\IfFileExists{siunitx.sty}
  {\usepackage{siunitx}\sisetup{detect-all,retain-explicit-plus}}
  {\providecommand{\num}[2][]{\ensuremath{##2}}}
"""
TABLE_COMMENT = (
    "% needs booktabs, graphicx and siunitx; without siunitx: \\providecommand{\\num}[2][]{\\ensuremath{#2}}\n"
)
ROWS_A_PAGE = 26
PREAMBLE = (
    r"""\documentclass[10pt]{article}
\usepackage[utf8]{inputenc}
\usepackage[a4paper,landscape,margin=1.6cm]{geometry}
\usepackage{booktabs}
\usepackage{graphicx}
"""
    + NUM
    + r"""\usepackage[font=small,labelfont=bf,justification=raggedright,singlelinecheck=false,position=top,skip=8pt]{caption}
\setlength{\parindent}{0pt}
\begin{document}
"""
)


def escape_text(text: str) -> str:
    """Return plain text as LaTeX that prints it; characters that TeX would join (``--`` to a dash) stay apart."""
    joined = re.sub(r"([-'])(?=\1)", "\\1\0", text.replace("\0", "?"))
    return "".join("{}" if c == "\0" else SPECIAL.get(c) or _find_glyph(c) for c in joined)


def render_tabular(table: Table, rows: Sequence[TableRow] | None = None) -> str:
    """Render the body of a table, or of these rows of it: a heading over each task's metrics, known rows under a rule of their own."""
    groups = [(head, len(list(of))) for head, of in groupby(table.columns, key=lambda c: c[0])]
    spans, rules, first = [], [], 2
    for head, width in groups:
        spans.append(rf"\multicolumn{{{width}}}{{c}}{{{escape_text(head)}}}")
        rules.append(rf"\cmidrule(lr){{{first}-{first + width - 1}}}" if head else "")
        first += width
    lines = [
        rf"\begin{{tabular}}{{@{{}}l{'c' * len(table.columns)}@{{}}}}",
        r"\toprule",
        f" & {' & '.join(spans)} \\\\",
        "".join(rules),
        f" & {' & '.join(escape_text(metric) for _, metric in table.columns)} \\\\",
    ]
    for _, own in groupby(table.rows if rows is None else rows, key=lambda row: row[1]):
        lines.append(r"\midrule")
        lines += [
            f"{escape_text(title)} & {' & '.join(render_entry(e) for e in entries)} \\\\" for title, _, entries in own
        ]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"])


def render_entry(entry: Entry) -> str:
    """Render an entry: its number, its spread small behind it, its mark; or its word."""
    if entry.mean is None:
        return escape_text(entry.word) + _render_mark(entry.mark)
    value = rf"\num{{{entry.mean:{'+' if entry.signed else ''}.{entry.digits}f}}}"
    value = rf"{{\bfseries\boldmath{value}}}" if entry.bold else value
    spread = "" if entry.sd is None else rf"\,{{\scriptsize$\pm$\,\num{{{entry.sd:.{entry.digits}f}}}}}"
    if entry.interval is not None:
        low, high = (rf"\num{{{x:.{entry.digits}f}}}" for x in entry.interval)
        spread += rf"\,{{\scriptsize[{low}, {high}]}}"
    return f"{value}{spread}{_render_mark(entry.mark)}"


def render_table(table: Table) -> str:
    """Render a table alone, to be put between ``\\begin{table}`` and ``\\end{table}``: caption, tabular, notes."""
    size = -(-len(table.rows) // max(1, -(-len(table.rows) // ROWS_A_PAGE)))
    parts = [table.rows[i : i + size] for i in range(0, len(table.rows), size)] if size else [()]
    lines = [TABLE_COMMENT + rf"\caption{{{escape_text(table.caption)}}}"]
    for part in parts:
        lines += [
            r"\begin{center}\small",
            r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
            render_tabular(table, part) + "}",
            r"\end{center}",
        ]
    lines += [r"{\footnotesize\raggedright"] + [rf"\par {escape_text(note)}" for note in table.notes] + [r"\par}"]
    return "\n".join(lines if table.notes else lines[:-2]) + "\n"


def render_document(tables: Sequence[Table], figures: Sequence[tuple[Figure, str]] = ()) -> str:
    """Render a complete document, ready for pdflatex: each table and each figure on a page of its own.

    Args:
        tables: in print order.
        figures: with the name of the PDF file that lies in the document's folder.
    """
    pages = [f"{{\\captionsetup{{type=table}}\n{render_table(table)}}}\n\\clearpage\n" for table in tables]
    pages += [_render_figure_page(figure, file) for figure, file in figures]
    return PREAMBLE + "".join(pages) + "\\end{document}\n"


def _render_figure_page(figure: Figure, file: str) -> str:
    return "\n".join([
        r"{\captionsetup{type=figure,position=bottom}\begin{center}",
        rf"\includegraphics[width=\linewidth,height=.78\textheight,keepaspectratio]{{{file}}}",
        r"\end{center}",
        rf"\caption{{{escape_text(figure.caption)}}}}}",
        r"\clearpage",
        "",
    ])  # fmt: skip


def _render_mark(mark: str) -> str:
    return rf"\textsuperscript{{{escape_text(mark).removesuffix('{}')}}}" if mark else ""


def _find_glyph(character: str) -> str:
    if character.isascii():
        return character if character.isprintable() else "?"
    near = unicodedata.normalize("NFKD", character).replace("\u2044", "/").encode("ascii", "ignore").decode()
    if "À" <= character <= "ÿ" and (near or character in "ßæøÆØ"):
        return character
    return "".join(SPECIAL.get(c, c) for c in near) or "?"
