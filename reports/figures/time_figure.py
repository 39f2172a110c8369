"""Seconds to fit against AUC, a panel for each task: what a method costs against what it gains."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as MplFigure
from matplotlib.ticker import LogLocator, NullFormatter

from reports.figures.drawing import create_figure, get_line_style
from reports.report import Figure
from reports.tables.captions import describe_setting, name_figure
from reports.tables.table import get_task_title
from results.plan import Plan
from results.rows import TableRow, list_rows
from results.storage.store import Store

OFFSETS = [
    (r * np.cos(a), r * np.sin(a)) for r in (9, 16, 24, 34, 46) for a in np.linspace(0, 2 * np.pi, 12, endpoint=False)
]
"""Where a name may stand from its point, in points, the nearest first."""
Box = tuple[float, float, float, float]
"""Left, bottom, right, top, in points."""


@dataclass(frozen=True)
class TimePoint:
    """A method in a panel: what it is called, mean seconds of ``fit``, AUC, and whether it is the reference."""

    title: str
    seconds: float
    auc: float
    is_reference: bool


Panels = dict[tuple[str, str], list[TimePoint]]
"""(landmark, task) -> its points."""


def draw_time_figure(store: Store, plan: Plan) -> Figure | None:
    """Draw mean seconds of ``fit`` a cell (from the records) against the AUC of the stored intervals; None where either is not there."""
    intervals = (store.statistics(plan.name) or {}).get("intervals", [])
    auc = {
        (v["landmark"], v["task"], v["method"], v["variant"]): v["value"]
        for v in intervals if v["metric"] == "auc" and v["value"] is not None
    }  # fmt: skip
    rows = [row for row in list_rows(plan) if row.stage == "final" and not row.known]
    panels: Panels = {}
    for landmark, task in plan.landmark_tasks:
        for row in rows:
            seconds = _average_fit_seconds(store, row, landmark)
            value = auc.get((landmark, task, row.method, row.variant))
            if seconds is not None and value is not None:
                point = TimePoint(row.title, seconds, value, row.method == plan.reference)
                panels.setdefault((landmark, task), []).append(point)
    if not panels:
        return None
    devices = ", ".join(sorted({str((p.config or {}).get("device", "cpu")) for p in plan.cells}))
    caption = (
        f"Seconds to fit against AUC: means over folds and seeds; device: {devices}. Square: the reference. Times are those of the run "
        f"itself, beside whatever else the machine did; the experiment efficiency measures them alone. {describe_setting(store, plan)}"
    )
    figure, alt = scatter_time_and_auc(panels, "seconds to fit, mean a cell (log scale)")
    return Figure(name_figure("time", plan), caption, alt, figure)


def scatter_time_and_auc(panels: Panels, label: str) -> tuple[MplFigure, str]:
    """Draw a panel for each task with every method named next to its point, the reference as a square.

    Args:
        panels: what to draw; a panel without points stays empty.
        label: of the axis of seconds, which is logarithmic.

    Returns:
        The figure and what it shows in words.
    """
    figure, axes = create_figure(3.5 * len(panels), 3.6, 1, len(panels))
    for ax, ((landmark, task), points) in zip(axes, panels.items(), strict=True):
        for point in points:
            style = get_line_style(1 if point.is_reference else 0)
            size = 5 if point.is_reference else 4
            ax.plot(point.seconds, point.auc, style.marker, color=style.colour, markersize=size)
        ax.set_xscale("log")
        ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        ax.xaxis.set_major_formatter("{x:g}")
        ax.xaxis.set_minor_formatter(NullFormatter())
        ax.margins(0.22, 0.12)
        ax.set_title(f"{get_task_title(task)}\n({landmark})", fontsize=9)
        ax.set_xlabel(label)
        ax.set_ylabel("AUC")
        ax.grid(color="0.92", linewidth=0.6)
        ax.set_axisbelow(True)
    # The room for names depends on where points lie on the page, which is known once the panels have been laid out.
    if engine := figure.get_layout_engine():
        engine.execute(figure)
    for ax, points in zip(axes, panels.values(), strict=True):
        _draw_names(ax, points)
    tasks = "; ".join(f"{get_task_title(task)}: {_describe_points(own)}" for (_, task), own in panels.items())
    return figure, f"Scatter of seconds to fit against AUC. {tasks}."


def _average_fit_seconds(store: Store, row: TableRow, landmark: str) -> float | None:
    """Return mean seconds of ``fit`` over the cells that are done."""
    found = []
    for planned in row.cells:
        if planned.cell.landmark == landmark:
            seconds = ((store.record(planned) or {}).get("provenance") or {}).get("seconds") or {}
            found += [seconds["fit"]] if seconds.get("fit") else []
    return float(np.mean(found)) if found else None


def _describe_points(points: Sequence[TimePoint]) -> str:
    if not points:
        return "no method has both numbers"
    fastest, best = min(points, key=lambda p: p.seconds), max(points, key=lambda p: p.auc)
    return (
        f"{fastest.title} is fastest ({fastest.seconds:.2g} s, AUC {fastest.auc:.3f}), {best.title} has the highest AUC "
        f"({best.auc:.3f}, {best.seconds:.2g} s)"
    )


def _draw_names(ax: Axes, points: Sequence[TimePoint]) -> None:
    """Write names next to their points, none over another name or point where there is room, joined by a line where they stand apart."""
    scale = 72 / ax.figure.dpi  # points a pixel
    spots = [scale * ax.transData.transform((point.seconds, point.auc)) for point in points]
    (left, bottom), (right, top) = (scale * ax.transAxes.transform(corner) for corner in ((0, 0), (1, 1)))
    inside: Box = (left, bottom, right, top)
    taken: list[Box] = [(x - 3, y - 3, x + 3, y + 3) for x, y in spots]
    for point, (px, py) in zip(points, spots, strict=True):
        name = re.sub(r" \([^=]*\)", "", point.title)  # without "(adapted)"; what was changed, (hidden=32), stays
        boxes = [_compute_box(px + dx, py + dy, dx, 3.6 * len(name), 7.5) for dx, dy in OFFSETS]
        costs = [_compute_cost(box, taken, inside, offset) for box, offset in zip(boxes, OFFSETS, strict=True)]
        best = costs.index(min(costs))
        taken.append(boxes[best])
        offset = OFFSETS[best]
        line = {"arrowstyle": "-", "color": "0.6", "linewidth": 0.5, "shrinkA": 0, "shrinkB": 2}
        ax.annotate(name, (point.seconds, point.auc), offset, textcoords="offset points", fontsize=6.5, va="center",
                    ha="left" if offset[0] >= 0 else "right", arrowprops=line if np.hypot(*offset) > 12 else None)  # fmt: skip


def _compute_box(x: float, y: float, side: float, width: float, height: float) -> Box:
    left = x if side >= 0 else x - width
    return left, y - height / 2, left + width, y + height / 2


def _compute_cost(box: Box, taken: Sequence[Box], inside: Box, offset: tuple[float, float]) -> float:
    """Return the overlap with what is taken (square points), far more outside the panel, a little for the distance."""
    overlap = sum(
        max(0, min(box[2], t[2]) - max(box[0], t[0])) * max(0, min(box[3], t[3]) - max(box[1], t[1])) for t in taken
    )
    outside = sum(max(0, inside[i] - box[i]) + max(0, box[i + 2] - inside[i + 2]) for i in (0, 1))
    return overlap + 20 * outside + 0.3 * float(np.hypot(*offset))
