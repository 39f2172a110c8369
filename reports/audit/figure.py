"""The audit drawn: a number a step with its interval, the truth as a line."""

from __future__ import annotations

import numpy as np

from reports.audit.numbers import AuditNumbers
from reports.figures.dots import draw_dots
from reports.figures.drawing import create_figure, get_line_style
from reports.report import Figure
from reports.tables.table import METRICS, get_task_title
from results.plan import PlannedRow


def draw_steps_figure(n: AuditNumbers, metric: str, caption: str) -> Figure:
    """Draw the numbers of an audit, a panel for each task; a row without a number for a task is left empty there.

    Args:
        n: the numbers of one plan.
        metric: ``auc`` or ``auprc``.
        caption: what is shown, of which cohort.
    """
    rows = [r for r in n.plan.rows if r.kind != "known"]
    places = n.plan.landmark_tasks
    heights = np.arange(len(rows), dtype=float)
    figure, axes = create_figure(3.4 + 2.3 * len(places), 1.5 + 0.24 * len(rows), 1, len(places))
    flags = 0
    for i, (ax, (landmark, task)) in enumerate(zip(axes, places, strict=True)):
        found = [n.find_interval(landmark, task, metric, r.variant) for r in rows]
        off = [n.is_flagged(landmark, task, metric, r.variant) for r in rows]
        flags += sum(off)
        points = [
            None if f is None else (f["value"], f["ci_low"] or f["value"], f["ci_high"] or f["value"]) for f in found
        ]
        held = [None if o else p for p, o in zip(points, off, strict=True)]
        flagged = [p if o else None for p, o in zip(points, off, strict=True)]
        draw_dots(ax, heights, [("within its interval of the truth, or below the ceiling", held)])
        ax.plot(
            *_select_points(flagged, heights),
            get_line_style(1).marker,
            color=get_line_style(1).colour,
            markersize=4,
            label="flagged",
        )
        for p, y in zip(flagged, heights, strict=True):
            if p is not None:
                ax.hlines(y, p[1], p[2], color=get_line_style(1).colour, linewidth=1)
        truth = 0.5 if n.outcomes == "shuffled" and metric == "auc" else n.find_ceiling(landmark, task, metric)
        if truth is not None:
            ax.axvline(
                truth,
                color="black",
                linewidth=0.9,
                linestyle="--",
                label="0.5" if n.outcomes == "shuffled" else "ceiling",
            )
        for y in _find_borders(n, rows):
            ax.axhline(y, color="0.75", linewidth=0.7)
        ax.set_ylim(len(rows) - 0.5, -0.5)
        ax.set_yticks(heights, [r.title for r in rows] if i == 0 else [])
        ax.tick_params(axis="y", length=0)
        ax.grid(axis="x", color="0.92", linewidth=0.6)
        ax.set_axisbelow(True)
        ax.set_title(f"{get_task_title(task)}\n({landmark})", fontsize=9)
        ax.set_xlabel(METRICS[metric])
    found_labels = {text: handle for ax in axes for handle, text in zip(*ax.get_legend_handles_labels(), strict=True)}
    figure.legend(
        found_labels.values(), found_labels.keys(), loc="outside lower center", ncols=3, frameon=False, fontsize=8
    )
    total = sum(n.find_interval(*place, metric, r.variant) is not None for place in places for r in rows)
    alt = (
        f"{METRICS[metric]} of {len(rows)} rows (the strict protocol, each step alone, then one after the other) on {len(places)} tasks, "
        f"{n.outcomes} outcomes; {flags} of {total} numbers are flagged. The tables have the numbers."
    )
    text = f"{METRICS[metric]}. {caption} Bars: 95 % bootstrap intervals; dashed: the ceiling, or 0.5 for the AUC of shuffled outcomes."
    return Figure(f"{metric}_{n.outcomes}_{n.plan.dataset}", text, alt, figure)


def _select_points(
    points: list[tuple[float, float, float] | None], heights: np.ndarray
) -> tuple[list[float], list[float]]:
    pairs = [(p[0], float(y)) for p, y in zip(points, heights, strict=True) if p is not None]
    return [x for x, _ in pairs], [y for _, y in pairs]


def _find_borders(n: AuditNumbers, rows: list[PlannedRow]) -> list[float]:
    """Return heights between the blocks of rows."""
    blocks = [n.plan.audit["blocks"][r.variant] for r in rows]
    return [i - 0.5 for i in range(1, len(blocks)) if blocks[i] != blocks[i - 1]]
