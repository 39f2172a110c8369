"""Curves of the AUC over the values of each hyper-parameter."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes

from reports.figures.drawing import create_figure, get_line_style
from reports.report import Figure
from reports.tables.differences import compute_whiskers
from reports.tables.sensitivity import MEAN, Study, Sweep, average_by_fold, compute_drop, format_value, get_field_title
from reports.tables.table import get_task_title

DODGE = 0.12
"""How far the lines of neighbouring tasks stand apart; values stand 1 apart."""
DEFAULT: dict[str, Any] = {"difference": 0.0, "ci_low": None, "ci_high": None}


def draw_sensitivity_figure(study: Study, caption: str) -> Figure:
    """Draw a panel for each hyper-parameter: the difference to the default at each value, by task, and the mean over tasks in black."""
    columns = min(3, len(study.sweeps))
    lines = -(-len(study.sweeps) // columns)
    figure, axes = create_figure(7.2, 0.6 + 2.1 * lines, rows=lines, columns=columns)
    used = axes[: len(study.sweeps)]
    for panel in axes[len(study.sweeps) :]:
        panel.set_axis_off()
    for panel, sweep in zip(used, study.sweeps, strict=True):
        _draw_tasks(panel, study, sweep)
        _draw_mean(panel, study, sweep)
        marked = [f"{format_value(p.value)}{'*' if p.default else ''}" for p in sweep.points]
        panel.set_xticks(range(len(sweep.points)), marked)
        panel.set_xlabel(f"{get_field_title(sweep.field)} (* default)")
    for panel in used[::columns]:
        panel.set_ylabel("Difference in AUC")
    reach = [panel.get_ylim() for panel in used]
    for panel in used:
        panel.set_ylim(min(low for low, _ in reach), max(high for _, high in reach))
    figure.legend(*used[0].get_legend_handles_labels(), loc="outside upper center", ncols=2, frameon=False)
    falls = [(sweep, compute_drop(study.aucs, sweep, study.tasks)) for sweep in study.sweeps]
    said = [
        f"{get_field_title(s.field)} {f.drop:.3f} at {format_value(f.at)}" for s, f in falls if not np.isnan(f.drop)
    ]
    alt = f"Curves of the difference in AUC to the default value. Greatest drop of the mean over tasks: {'; '.join(said)}."
    name = f"sensitivity-{study.sweeps[0].base.method}-{study.plan.dataset}-{study.plan.protocol}"
    return Figure(name, caption, alt, figure)


def _draw_tasks(panel: Axes, study: Study, sweep: Sweep) -> None:
    """Draw a line for each task with the intervals of the differences, and a word where a value has no number."""
    panel.axhline(0, color="#8C8C8C", linewidth=0.8, linestyle=":")
    stored = {(r["name"], r["landmark"], r["task"]): r for r in study.find_records(sweep) if r["metric"] == "auc"}
    for t, (landmark, task) in enumerate(study.tasks):
        records = (DEFAULT if p.default else stored.get((p.row.variant, landmark, task)) for p in sweep.points)
        points = [(i, r) for i, r in enumerate(records) if r is not None and r["difference"] is not None]
        style, shift = get_line_style(t), DODGE * (t - (len(study.tasks) - 1) / 2)
        panel.errorbar(
            [i + shift for i, _ in points], [r["difference"] for _, r in points], yerr=compute_whiskers([r for _, r in points]),
            marker=style.marker, linestyle=style.dash, color=style.colour, markersize=4, capsize=2, linewidth=1,
            label=get_task_title(task),
        )  # fmt: skip
    for i, point in enumerate(sweep.points):
        if not average_by_fold(study.aucs, point.row, study.tasks):
            panel.annotate("no\nnumber", (i, 0), ha="center", va="center", fontsize=7)


def _draw_mean(panel: Axes, study: Study, sweep: Sweep) -> None:
    """Draw the mean over tasks with the standard deviation over folds of its difference."""
    base = average_by_fold(study.aucs, sweep.base, study.tasks)
    own = [average_by_fold(study.aucs, p.row, study.tasks) for p in sweep.points]
    points = [(i, [f[k] - base[k] for k in f if k in base]) for i, f in enumerate(own)]
    points = [(i, d) for i, d in points if d]
    spread = [float(np.std(d, ddof=1)) if len(d) > 1 else 0.0 for _, d in points]
    means = [float(np.mean(d)) for _, d in points]
    label = f"{MEAN.capitalize()} (± sd over folds)"
    panel.errorbar(
        [i for i, _ in points], means, yerr=spread, color="black", linewidth=1.6, capsize=3, zorder=3, label=label
    )
