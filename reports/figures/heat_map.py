"""A map of numbers, method x group, with each number written in its cell; readable without colour."""

from __future__ import annotations

import textwrap

import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure as MplFigure
from matplotlib.patches import Rectangle

from reports.figures.drawing import create_figure

COLOURS = colormaps["cividis"]
LABEL_WIDTH = 26


def draw_heat_map(numbers: pd.DataFrame, labels: pd.DataFrame, heading: str, low: float, high: float) -> MplFigure:
    """Draw the map of ``numbers``, a row for each method, a column for each group.

    Where there is no number, the cell is grey and hatched, with its label. The colour scale (cividis, dark to light, which colour-blind
    people and grey print keep in order) goes from ``low`` to ``high``.

    Args:
        numbers: float, NaN where there is none.
        labels: of the same shape: the text of each cell.
        heading: what the numbers are, over the scale.
        low: the scale's lower end.
        high: its upper end.
    """
    rows, columns = numbers.shape
    figure, (axes,) = create_figure(2.6 + 0.92 * columns, 1.7 + 0.36 * rows)
    scale = Normalize(low, high, clip=True)
    for i in range(rows):
        for j in range(columns):
            value = numbers.iat[i, j]
            given = pd.notna(value)
            colour = COLOURS(scale(value)) if given else "#ececec"
            dark = given and sum(colour[:3]) < 1.35
            hatch = None if given else "////"
            axes.add_patch(Rectangle((j, i), 1, 1, facecolor=colour, edgecolor="white", hatch=hatch, linewidth=1))
            text = axes.text(j + 0.5, i + 0.5, labels.iat[i, j], ha="center", va="center", fontsize=8)
            text.set_color("white" if dark else "black")
            if not given:
                text.set_bbox({"facecolor": "#ececec", "edgecolor": "none", "pad": 0.8})
    axes.set_xlim(0, columns)
    axes.set_ylim(rows, 0)
    heads = [_wrap_text(str(c)) for c in numbers.columns]
    axes.set_xticks(
        [j + 0.5 for j in range(columns)], heads, rotation=35, ha="right", rotation_mode="anchor", fontsize=8
    )
    axes.set_yticks([i + 0.5 for i in range(rows)], [_wrap_text(str(r), 34) for r in numbers.index])
    axes.tick_params(length=0)
    for side in axes.spines.values():
        side.set_visible(False)
    return _add_scale(figure, axes, scale, heading)


def _add_scale(figure: MplFigure, axes: Axes, scale: Normalize, heading: str) -> MplFigure:
    bar = figure.colorbar(ScalarMappable(scale, COLOURS), ax=axes, shrink=0.9, pad=0.02)
    bar.set_label(heading)
    bar.outline.set_visible(False)
    return figure


def _wrap_text(text: str, width: int = LABEL_WIDTH) -> str:
    """Wrap text to lines of at most ``width``; line breaks that are given stay."""
    lines = [textwrap.wrap(line, width, break_long_words=False, break_on_hyphens=False) for line in text.split("\n")]
    return "\n".join(part for line in lines for part in line)
