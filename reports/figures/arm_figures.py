"""Curves over an axis of arms: the AUC of each row, the ceiling in black, and what the pattern is worth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from reports.figures.drawing import canvas, stroke
from reports.report import Figure
from reports.tables.arms import CEILINGS, Arm, Place, axis_of, label, places_of, rows_of_arms
from reports.tables.differences import whiskers
from reports.tables.table import task_title

DODGE = 0.06
"""How far neighbouring lines stand apart, in parts of the mean distance of two values."""


@dataclass(frozen=True, eq=False)
class Axis:
    """The arms of an axis, where each is drawn, whether lines join them (not between categories), and what is printed under them."""

    arms: tuple[Arm, ...]
    at: np.ndarray
    joined: bool
    labels: tuple[str, ...]

    @property
    def gap(self) -> float:
        """Mean distance of two values."""
        return float(np.ptp(self.at)) / max(1, len(self.at) - 1) or 1.0

    def moved(self, i: int, of: int) -> np.ndarray:
        """The places of the ``i``-th of ``of`` lines."""
        return self.at + DODGE * self.gap * (i - (of - 1) / 2)


def arms_figure(
    arms: list[Arm],
    axis: str,
    title: str,
    name: str,
    caption: str,
    worth: dict[str, str] | None = None,
    log: bool = False,
) -> Figure:
    """A panel a task with the AUC of methods and ceilings; below, where ``worth`` is given, a panel of those differences.

    Args:
        arms: of one dataset and protocol.
        axis: the axis to draw over.
        title: of the axis.
        name: of the figure's files.
        caption: under it.
        worth: name of a stored difference -> its label.
        log: the values are spaced by their logarithms.
    """
    places, along = places_of(arms), _axis(arms, axis, log)
    lines = 2 if worth else 1
    picture, axes = canvas(2.9 * max(len(places), 2), 0.6 + 3.1 * lines, rows=lines, columns=len(places))
    above, below = axes[: len(places)], axes[len(places) :]
    said = [_auc(panel, arms, along, place) for panel, place in zip(above, places, strict=True)]
    for panel, place in zip(below, places, strict=False):
        _worth(panel, along, place, worth or {})
    upright = along.joined and not log
    for panel in axes:
        panel.set_xticks(along.at, along.labels, rotation=0 if upright else 30, ha="center" if upright else "right")
        panel.set_xlim(along.at.min() - 0.4 * along.gap, along.at.max() + 0.4 * along.gap)
        for at, arm in zip(along.at, along.arms, strict=True):
            if arm.plan is None:
                here = {"xycoords": ("data", "axes fraction"), "rotation": 90, "ha": "center", "fontsize": 7}
                panel.annotate("not run", (at, 0.02), **here)
    for panel, (landmark, task) in zip(above, places, strict=True):
        panel.set_title(f"{task_title(task)}\n({landmark})", fontsize=9)
    for panel in axes[-len(places) :]:
        panel.set_xlabel(title)
    above[0].set_ylabel("AUC")
    picture.legend(*above[0].get_legend_handles_labels(), loc="outside upper center", ncols=3, frameon=False)
    if worth:
        below[0].set_ylabel("Worth of the pattern\n(difference in AUC)")
        picture.legend(*below[0].get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False)
    return Figure(
        name, caption, f"Curves of the AUC over {title}: {', '.join(along.labels)}. {' '.join(said)}", picture
    )


def _axis(arms: list[Arm], axis: str, log: bool) -> Axis:
    points = axis_of(arms, axis)
    numeric = all(isinstance(value, (int, float)) for value, _ in points)
    values = np.array([value if numeric else i for i, (value, _) in enumerate(points)], dtype=float)
    labels = tuple(label(value) for value, _ in points)
    return Axis(tuple(arm for _, arm in points), np.log10(values) if log else values, numeric, labels)


def _auc(panel: Axes, arms: list[Arm], along: Axis, place: Place) -> str:
    """Draw a task's AUC of every method and of the ceilings, with the spread over folds; what is drawn, in words."""
    said = []
    rows = [row for row in rows_of_arms(arms) if not row[3] or row[0] in CEILINGS]
    for i, (method, variant, title, known) in enumerate(rows):
        cells = [arm.cell(method, variant, place, "auc") for arm in along.arms]
        mean = np.array([np.nan if c is None else c["mean"] for c in cells], dtype=float)
        spread = np.array([0.0 if c is None or pd.isna(c["sd_folds"]) else c["sd_folds"] for c in cells])
        look = stroke(i)
        style: dict[str, Any] = {"color": look.colour, "marker": look.marker, "linestyle": look.dash, "markersize": 4}
        if known:
            dash = "-" if method == CEILINGS[0] else "--"
            style = {"color": "black", "marker": "_", "linestyle": dash, "markersize": 9}
        if not along.joined:
            style["linestyle"] = ""
        panel.errorbar(along.moved(i, len(rows)), mean, yerr=spread, capsize=2, linewidth=1.2, label=title, **style)
        said.append(f"{title} {', '.join('no number' if np.isnan(m) else f'{m:.3f}' for m in mean)}")
    return f"{task_title(place[1])}: {'; '.join(said)}."


def _worth(panel: Axes, along: Axis, place: Place, worth: dict[str, str]) -> None:
    """Draw a task's stored differences with their intervals."""
    panel.axhline(0, color="#8C8C8C", linewidth=0.8, linestyle=":")
    for i, (name, title) in enumerate(worth.items()):
        found = [
            (at, arm.difference(name, place)) for at, arm in zip(along.moved(i, len(worth)), along.arms, strict=True)
        ]
        found = [(at, r) for at, r in found if r is not None and r["difference"] is not None]
        look = stroke(i)
        panel.errorbar(
            [at for at, _ in found], [r["difference"] for _, r in found], yerr=whiskers([r for _, r in found]), capsize=2,
            color=look.colour, marker=look.marker, linestyle=look.dash if along.joined else "", markersize=4, linewidth=1, label=title,
        )  # fmt: skip
