"""Curves over an axis of arms: the AUC of each row, the ceiling in black, and what the pattern is worth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from reports.figures.drawing import create_figure, get_line_style, make_label
from reports.report import Figure
from reports.tables.arms import (
    CEILINGS,
    ArmResults,
    LandmarkTask,
    format_axis_value,
    list_landmark_tasks,
    list_rows,
    order_along_axis,
)
from reports.tables.differences import compute_whiskers
from reports.tables.table import get_task_title

DODGE = 0.06
"""How far neighbouring lines stand apart, in parts of the mean distance of two values."""


@dataclass(frozen=True, eq=False)
class Axis:
    """The arms of an axis, where each is drawn, whether lines join them (not between categories), and what is printed under them."""

    arms: tuple[ArmResults, ...]
    at: np.ndarray
    joined: bool
    labels: tuple[str, ...]

    @property
    def gap(self) -> float:
        """Mean distance of two values."""
        return float(np.ptp(self.at)) / max(1, len(self.at) - 1) or 1.0

    def dodge(self, i: int, of: int) -> np.ndarray:
        """Return the positions of the ``i``-th of ``of`` lines, moved aside so that their marks do not hide each other."""
        return self.at + DODGE * self.gap * (i - (of - 1) / 2)


def draw_arms_figure(
    arms: list[ArmResults],
    axis: str,
    title: str,
    name: str,
    caption: str,
    worth: dict[str, str] | None = None,
    log: bool = False,
) -> Figure:
    """Draw for each task a panel of the AUC of methods and ceilings; below, where ``worth`` is given, a panel of those differences.

    Args:
        arms: of one dataset and protocol.
        axis: the axis to draw over.
        title: of the axis.
        name: of the figure's files.
        caption: under it.
        worth: name of a stored difference -> its label.
        log: the values are spaced by their logarithms.
    """
    landmark_tasks, along = list_landmark_tasks(arms), _build_axis(arms, axis, log)
    lines = 2 if worth else 1
    figure, axes = create_figure(
        2.9 * max(len(landmark_tasks), 2), 0.6 + 3.1 * lines, rows=lines, columns=len(landmark_tasks)
    )
    above, below = axes[: len(landmark_tasks)], axes[len(landmark_tasks) :]
    said = [
        _draw_auc(panel, arms, along, landmark_task) for panel, landmark_task in zip(above, landmark_tasks, strict=True)
    ]
    for panel, landmark_task in zip(below, landmark_tasks, strict=False):
        _draw_worth(panel, along, landmark_task, worth or {})
    upright = along.joined and not log
    for panel in axes:
        panel.set_xticks(along.at, along.labels, rotation=0 if upright else 30, ha="center" if upright else "right")
        panel.set_xlim(along.at.min() - 0.4 * along.gap, along.at.max() + 0.4 * along.gap)
        for at, arm in zip(along.at, along.arms, strict=True):
            if arm.plan is None:
                panel.annotate(
                    "not run", (at, 0.02), xycoords=("data", "axes fraction"), rotation=90, ha="center", fontsize=7
                )
    for panel, (landmark, task) in zip(above, landmark_tasks, strict=True):
        panel.set_title(f"{get_task_title(task)}\n({landmark})", fontsize=9)
    for panel in axes[-len(landmark_tasks) :]:
        panel.set_xlabel(title)
    above[0].set_ylabel("AUC")
    figure.legend(*above[0].get_legend_handles_labels(), loc="outside upper center", ncols=3, frameon=False)
    if worth:
        below[0].set_ylabel("Worth of the pattern\n(difference in AUC)")
        figure.legend(*below[0].get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False)
    return Figure(name, caption, f"Curves of the AUC over {title}: {', '.join(along.labels)}. {' '.join(said)}", figure)


def _build_axis(arms: list[ArmResults], axis: str, log: bool) -> Axis:
    points = order_along_axis(arms, axis)
    numeric = all(isinstance(value, (int, float)) for value, _ in points)
    values = np.array([value if numeric else i for i, (value, _) in enumerate(points)], dtype=float)
    labels = tuple(format_axis_value(value) for value, _ in points)
    return Axis(tuple(arm for _, arm in points), np.log10(values) if log else values, numeric, labels)


def _draw_auc(panel: Axes, arms: list[ArmResults], along: Axis, landmark_task: LandmarkTask) -> str:
    """Draw a task's AUC of every method and of the ceilings, with the spread over folds; return what is drawn, in words."""
    said = []
    rows = [row for row in list_rows(arms) if not row[3] or row[0] in CEILINGS]
    for i, (method, variant, title, known) in enumerate(rows):
        cells = [arm.find_cell(method, variant, landmark_task, "auc") for arm in along.arms]
        mean = np.array([np.nan if c is None else c["mean"] for c in cells], dtype=float)
        spread = np.array([0.0 if c is None or pd.isna(c["sd_folds"]) else c["sd_folds"] for c in cells])
        style = get_line_style(i)
        options: dict[str, Any] = {
            "color": style.colour,
            "marker": style.marker,
            "linestyle": style.dash,
            "markersize": 4,
        }
        if known:
            dash = "-" if method == CEILINGS[0] else "--"
            options = {"color": "black", "marker": "_", "linestyle": dash, "markersize": 9}
        if not along.joined:
            options["linestyle"] = ""
        panel.errorbar(
            along.dodge(i, len(rows)), mean, yerr=spread, capsize=2, linewidth=1.2, label=make_label(title), **options
        )
        said.append(f"{title} {', '.join('no number' if np.isnan(m) else f'{m:.3f}' for m in mean)}")
    return f"{get_task_title(landmark_task[1])}: {'; '.join(said)}."


def _draw_worth(panel: Axes, along: Axis, landmark_task: LandmarkTask, worth: dict[str, str]) -> None:
    """Draw a task's stored differences with their intervals."""
    panel.axhline(0, color="#8C8C8C", linewidth=0.8, linestyle=":")
    for i, (name, title) in enumerate(worth.items()):
        records = (arm.find_difference(name, landmark_task) for arm in along.arms)
        positions = zip(along.dodge(i, len(worth)), records, strict=True)
        found = [(at, r) for at, r in positions if r is not None and r["difference"] is not None]
        style = get_line_style(i)
        panel.errorbar(
            [at for at, _ in found], [r["difference"] for _, r in found], yerr=compute_whiskers([r for _, r in found]), capsize=2,
            color=style.colour, marker=style.marker, linestyle=style.dash if along.joined else "", markersize=4, linewidth=1,
            label=make_label(title),
        )  # fmt: skip
