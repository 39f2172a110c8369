"""Estimates with their intervals as dots, group by group down, one mark and colour a row."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from reports.figures.drawing import get_line_style
from reports.tables.table import Estimate


def draw_dots(axes: Axes, heights: np.ndarray, series: Sequence[tuple[str, Sequence[Estimate | None]]]) -> None:
    """Draw each series (label, an estimate or None a group) at ``heights`` [groups], one below another, the first on top."""
    for i, (label, estimates) in enumerate(series):
        offset = (i - (len(series) - 1) / 2) * 0.8 / len(series)
        points = np.array([(y + offset, *e) for y, e in zip(heights, estimates, strict=True) if e is not None])
        at, mean, low, high = points.T if len(points) else np.empty((4, 0))
        axes.plot(mean, at, get_line_style(i).marker, color=get_line_style(i).colour, markersize=4, label=label)
        axes.hlines(at, low, high, color=get_line_style(i).colour, linewidth=1)
