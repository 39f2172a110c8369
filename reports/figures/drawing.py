"""The look of every figure: one font size, colours that colour-blind people tell apart, and a mark of its own for each line.

Colours are those of Okabe and Ito (2008), which differ in lightness too; no figure tells lines apart by colour alone. Figures are drawn
without pyplot, so that nothing is left open and no display is needed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000", "#8C8C8C")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
DASHES = ("-", "--", "-.", ":")
STYLE: dict[Any, Any] = {
    "font.size": 9,
    "font.family": "DejaVu Sans",
    "text.parse_math": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "crl-mmnar-bench",
    "figure.constrained_layout.use": True,
}


@dataclass(frozen=True)
class LineStyle:
    """How one line is told apart: ``colour``, ``marker``, ``dash``."""

    colour: str
    marker: str
    dash: str


def get_line_style(i: int) -> LineStyle:
    """Return the style of the ``i``-th line; the first 32 differ."""
    return LineStyle(COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)], DASHES[i // len(COLOURS) % len(DASHES)])


def print_dollars(figure: Figure) -> None:
    """Let every text of a figure print its dollar signs: titles come from elsewhere, and none means mathematics by them.

    ``text.parse_math`` alone is not enough: texts are also added when it no longer holds.
    """
    for text in figure.findobj(Text):
        text.set_parse_math(False)


def make_label(title: str) -> str:
    """Return a title as the label of a line: a legend leaves out what begins with an underscore."""
    return f" {title}" if title.startswith("_") else title


def create_figure(width: float, height: float, rows: int = 1, columns: int = 1) -> tuple[Figure, list[Axes]]:
    """Create an empty figure of this size in inches, and return it with its axes row by row."""
    with rc_context(STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        axes = figure.subplots(rows, columns, squeeze=False)
    return figure, list(axes.ravel())
