"""Seconds to fit against AUC, a panel a task: what a method costs against what it gains."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes

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


def draw_time_figure(store: Store, plan: Plan) -> Figure | None:
    """Return mean seconds of ``fit`` a cell (from the records) against the AUC of the stored intervals; None where either is not there."""
    intervals = (store.statistics(plan.name) or {}).get("intervals", [])
    auc = {
        (v["landmark"], v["task"], v["method"], v["variant"]): v["value"]
        for v in intervals if v["metric"] == "auc" and v["value"] is not None
    }  # fmt: skip
    rows = [row for row in list_rows(plan) if row.stage == "final" and not row.known]
    points = {}
    for landmark, facts in plan.landmarks.items():
        for task in facts.tasks:
            for row in rows:
                seconds, value = (
                    _average_fit_seconds(store, row, landmark),
                    auc.get((landmark, task, row.method, row.variant)),
                )
                if seconds is not None and value is not None:
                    points.setdefault((landmark, task), []).append((row, seconds, value))
    if not points:
        return None
    figure, axes = create_figure(3.5 * len(points), 3.6, 1, len(points))
    for ax, ((landmark, task), own) in zip(axes, points.items(), strict=True):
        for row, seconds, value in own:
            special = row.method == plan.reference
            style = get_line_style(1 if special else 0)
            ax.plot(seconds, value, style.marker, color=style.colour, markersize=5 if special else 4)
        ax.set_xscale("log")
        ax.minorticks_off()
        ax.margins(0.22, 0.12)
        ax.set_title(f"{get_task_title(task)}\n({landmark})", fontsize=9)
        ax.set_xlabel("seconds to fit, mean a cell (log scale)")
        ax.set_ylabel("AUC")
        ax.grid(color="0.92", linewidth=0.6)
        ax.set_axisbelow(True)
    figure.get_layout_engine().execute(figure)
    for ax, own in zip(axes, points.values(), strict=True):
        _draw_names(ax, [(row.title.partition(" (")[0], seconds, value) for row, seconds, value in own])
    tasks = "; ".join(f"{get_task_title(task)}: {_describe_points(own)}" for (_, task), own in points.items())
    devices = ", ".join(sorted({str((p.config or {}).get("device", "cpu")) for p in plan.cells}))
    caption = (
        f"Seconds to fit against AUC: means over folds and seeds; device: {devices}. Square: the reference. Times are those of the run "
        f"itself, beside whatever else the machine did; the experiment efficiency measures them alone. {describe_setting(store, plan)}"
    )
    return Figure(name_figure("time", plan), caption, f"Scatter of seconds to fit against AUC. {tasks}.", figure)


def _average_fit_seconds(store: Store, row: TableRow, landmark: str) -> float | None:
    """Return mean seconds of ``fit`` over the cells that are done."""
    found = []
    for planned in row.cells:
        if planned.cell.landmark == landmark:
            seconds = ((store.record(planned) or {}).get("provenance") or {}).get("seconds") or {}
            found += [seconds["fit"]] if seconds.get("fit") else []
    return float(np.mean(found)) if found else None


def _describe_points(own: list[tuple[TableRow, float, float]]) -> str:
    fastest, best = min(own, key=lambda p: p[1]), max(own, key=lambda p: p[2])
    return (
        f"{fastest[0].title} is fastest ({fastest[1]:.2g} s, AUC {fastest[2]:.3f}), {best[0].title} has the highest AUC "
        f"({best[2]:.3f}, {best[1]:.2g} s)"
    )


def _draw_names(ax: Axes, points: list[tuple[str, float, float]]) -> None:
    """Write names next to their points, none over another name or point where there is room, joined by a line where they stand apart."""
    scale = 72 / ax.figure.dpi
    spots = [tuple(scale * v for v in ax.transData.transform((x, y))) for _, x, y in points]
    low, high = (tuple(scale * v for v in ax.transAxes.transform(corner)) for corner in ((0, 0), (1, 1)))
    taken = [(x - 3, y - 3, x + 3, y + 3) for x, y in spots]
    for (name, x, y), (px, py) in zip(points, spots, strict=True):
        width, height = 3.6 * len(name), 7.5
        best = min(
            OFFSETS,
            key=lambda o: _compute_cost(_compute_box(px + o[0], py + o[1], o[0], width, height), taken, low, high, o),
        )
        taken.append(_compute_box(px + best[0], py + best[1], best[0], width, height))
        line = {"arrowstyle": "-", "color": "0.6", "linewidth": 0.5, "shrinkA": 0, "shrinkB": 2}
        ax.annotate(name, (x, y), best, textcoords="offset points", fontsize=6.5, va="center", ha="left" if best[0] >= 0 else "right",
                    arrowprops=line if np.hypot(*best) > 12 else None)  # fmt: skip


def _compute_box(x: float, y: float, side: float, width: float, height: float) -> tuple[float, float, float, float]:
    left = x if side >= 0 else x - width
    return left, y - height / 2, left + width, y + height / 2


def _compute_cost(
    box: tuple[float, ...],
    taken: list[tuple[float, ...]],
    low: tuple[float, ...],
    high: tuple[float, ...],
    offset: tuple[float, float],
) -> float:
    """Return the overlap with what is taken (square points), far more outside the panel, a little for the distance."""
    overlap = sum(
        max(0, min(box[2], t[2]) - max(box[0], t[0])) * max(0, min(box[3], t[3]) - max(box[1], t[1])) for t in taken
    )
    outside = max(0, low[0] - box[0]) + max(0, box[2] - high[0]) + max(0, low[1] - box[1]) + max(0, box[3] - high[1])
    return overlap + 20 * outside + 0.3 * float(np.hypot(*offset))
