"""Tables as LaTeX: a complete document for pdflatex, with booktabs, geometry, caption and graphicx and nothing else.

Text from records (titles, reasons) is escaped; what pdflatex has no glyph for becomes its nearest ASCII or a question mark. Wide tables
are scaled down to the line; notes follow as ordinary paragraphs, so that many of them break over pages.
"""

from __future__ import annotations

import unicodedata
from itertools import groupby

from reports.tables import Entry, Table

SPECIAL = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "%": r"\%", "_": r"\_",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"$<$", ">": r"$>$", "|": r"$|$", '"': "''",
    "`": r"\textasciigrave{}", "±": r"$\pm$", "×": r"$\times$", "≤": r"$\le$", "≥": r"$\ge$", "−": "$-$", "–": "--",
    "—": "---", "→": r"$\to$", "Δ": r"$\Delta$", "δ": r"$\delta$", "τ": r"$\tau$", "α": r"$\alpha$", "β": r"$\beta$",
    "λ": r"$\lambda$", "σ": r"$\sigma$", "μ": r"$\mu$", "µ": r"$\mu$", "°": r"$^\circ$", "²": r"$^2$", "†": r"\dag{}",
    "‡": r"\ddag{}", "…": r"\dots{}", "’": "'", "‘": "`", "“": "``", "”": "''", "\n": " ", "\t": " ",
}  # fmt: skip
PREAMBLE = r"""\documentclass[10pt]{article}
\usepackage[utf8]{inputenc}
\usepackage[a4paper,landscape,margin=1.6cm]{geometry}
\usepackage{booktabs}
\usepackage{graphicx}
\usepackage[font=small,labelfont=bf,justification=raggedright,singlelinecheck=false,position=top,skip=8pt]{caption}
\setlength{\parindent}{0pt}
\begin{document}
"""
MARKS = {"†": r"\textsuperscript{\dag}", "‡": r"\textsuperscript{\ddag}", "": ""}


def escape(text: str) -> str:
    """Plain text as LaTeX that prints it."""
    return "".join(SPECIAL.get(c) or _glyph(c) for c in text)


def tabular(table: Table) -> str:
    """The body of a table: a heading over each task's metrics, known rows under a rule of their own."""
    groups = [(head, len(list(of))) for head, of in groupby(table.columns, key=lambda c: c[0])]
    spans, rules, first = [], [], 2
    for head, width in groups:
        spans.append(rf"\multicolumn{{{width}}}{{c}}{{{escape(head)}}}")
        rules.append(rf"\cmidrule(lr){{{first}-{first + width - 1}}}")
        first += width
    lines = [
        rf"\begin{{tabular}}{{@{{}}l{'c' * len(table.columns)}@{{}}}}",
        r"\toprule",
        f" & {' & '.join(spans)} \\\\",
        "".join(rules),
        f" & {' & '.join(escape(metric) for _, metric in table.columns)} \\\\",
    ]
    for _, rows in groupby(table.rows, key=lambda row: row[1]):
        lines.append(r"\midrule")
        lines += [f"{escape(title)} & {' & '.join(number(e) for e in entries)} \\\\" for title, _, entries in rows]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"])


def number(entry: Entry) -> str:
    """An entry with three decimals, its spread small behind it."""
    if entry.mean is None:
        return escape(entry.word) + MARKS[entry.mark]
    value = f"{entry.mean:{'+' if entry.signed else ''}.{entry.digits}f}".replace("-", "$-$").replace("+", "$+$")
    value = rf"\textbf{{{value}}}" if entry.bold else value
    spread = "" if entry.sd is None else rf"\,{{\scriptsize$\pm$\,{entry.sd:.{entry.digits}f}}}"
    if entry.interval is not None:
        low, high = (f"{x:.{entry.digits}f}".replace("-", "$-$") for x in entry.interval)
        spread += rf"\,{{\scriptsize[{low}, {high}]}}"
    return f"{value}{spread}{MARKS[entry.mark]}"


def section(table: Table) -> str:
    """A table with its caption above and its notes below, on a page of its own."""
    notes = "".join(rf"\par {escape(note)}" + "\n" for note in table.notes)
    return "\n".join([
        r"\begin{center}",
        rf"\captionof{{table}}{{{escape(table.caption)}}}",
        r"\small",
        r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
        tabular(table) + "}",
        r"\end{center}",
        rf"{{\footnotesize\raggedright {notes}\par}}" if notes else "",
        r"\clearpage",
    ])  # fmt: skip


def document(tables: list[Table]) -> str:
    """A complete document of tables, ready for pdflatex."""
    return PREAMBLE + "\n".join(section(t) for t in tables) + "\n\\end{document}\n"


def _glyph(character: str) -> str:
    if character.isascii():
        return character if character.isprintable() else "?"
    near = unicodedata.normalize("NFKD", character).replace("\u2044", "/").encode("ascii", "ignore").decode()
    if "À" <= character <= "ÿ" and (near or character in "ßæøÆØ"):
        return character
    return "".join(SPECIAL.get(c, c) for c in near) or "?"
