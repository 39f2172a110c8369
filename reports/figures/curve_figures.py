"""ROC, precision-recall and reliability curves by task, from ``statistics["curves"]``: at most eight lines a panel.

Rows of panels are groups of methods, columns are tasks. The reference and the ceiling stand in every panel, so that methods of different
groups can be compared with them. Each line has a marker of its own besides its colour, and is named next to its row of panels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

from matplotlib.axes import Axes

from reports.figures.drawing import LineStyle, create_figure, get_line_style, make_label
from reports.report import Figure
from reports.tables.captions import describe_setting, name_figure
from reports.tables.table import get_task_title
from results.plan import Plan
from results.storage.store import Store

LINES = 8
COMMON = ("ceiling",)
"""Known rows that stand in every panel with the reference."""
SEVERAL = "averaged over seeds within a fold, then over folds"
KINDS = {
    "roc": (
        "tpr", "ROC curves", f"true positive rate at each false positive rate, {SEVERAL}; dotted: chance",
        "false positive rate", "true positive rate",
    ),
    "pr": (
        "precision", "Precision-recall curves", f"precision at each recall, {SEVERAL}; dotted: the prevalence", "recall", "precision",
    ),
    "reliability": (
        "reliability", "Reliability curves",
        "rate of positives against mean predicted risk in ten bins of equal mass, cut within each fold and seed; bars: Wilson intervals; "
        "dotted: perfect calibration", "predicted risk", "observed rate",
    ),
}  # fmt: skip
Key = tuple[str, str]


def draw_curve_figures(store: Store, plan: Plan) -> list[Figure]:
    """Draw a figure of each of KINDS that has any curve; none where none was derived."""
    curves = (store.statistics(plan.name) or {}).get("curves")
    return [f for f in (_draw_figure(store, plan, curves, kind) for kind in KINDS) if f] if curves else []


def group_lines(keys: Sequence[Key], common: Sequence[Key]) -> list[list[Key]]:
    """Return the lines of each row of panels: the common ones, and an even share of the others, at most LINES in all."""
    common = [key for key in keys if key in common]
    others = [key for key in keys if key not in common]
    room = LINES - len(common)
    count = max(1, -(-len(others) // room))
    cuts = [round(i * len(others) / count) for i in range(count + 1)]
    return [[*others[a:b], *common] for a, b in pairwise(cuts)]


def _draw_figure(store: Store, plan: Plan, curves: dict[str, Any], kind: str) -> Figure | None:
    field, title, about, x, y = KINDS[kind]
    drawn = [c for c in curves["curves"] if c[field] is not None]
    if not drawn:
        return None
    places = list(dict.fromkeys((c["landmark"], c["task"]) for c in curves["curves"]))
    by_place = {(c["landmark"], c["task"], c["method"], c["variant"]): c for c in drawn}
    titles = {(c["method"], c["variant"]): c["title"] for c in drawn}
    common = [(str(name), "default") for name in (*COMMON, plan.reference)]
    groups = group_lines(list(titles), common)
    figure, axes = create_figure(2.6 * len(places) + 2.4, 1.7 * len(groups) + 0.6, len(groups), len(places))
    styles = {key: get_line_style(i) for group in groups for i, key in enumerate(reversed(group))}
    for i, group in enumerate(groups):
        for j, (landmark, task) in enumerate(places):
            ax = axes[i * len(places) + j]
            found = {key: by_place[landmark, task, *key] for key in group if (landmark, task, *key) in by_place}
            DRAW[kind](ax, curves, found, styles)
            if i == 0:
                ax.set_title(f"{get_task_title(task)}\n({landmark})", fontsize=9)
            if i == len(groups) - 1:
                ax.set_xlabel(x)
            if j == 0:
                ax.set_ylabel(y)
            if kind != "reliability":
                ax.label_outer()
        _draw_names(axes[(i + 1) * len(places) - 1], group, titles, styles)
    missing = [c for c in curves["curves"] if c[field] is None]
    lost = "".join(
        f" No curve: {t}."
        for t in dict.fromkeys(f"{c['title']} ({get_task_title(c['task'])}: {c['reason']})" for c in missing)
    )
    caption = f"{title} by task: {about}.{lost} {describe_setting(store, plan)}"
    tasks = ", ".join(get_task_title(task) for _, task in places)
    alt = f"{title} of {len(titles)} rows for {tasks}, in {len(groups)} rows of panels with at most {LINES} lines each."
    return Figure(name_figure(kind, plan), caption, alt + _describe_areas(kind), figure)


def _describe_areas(kind: str) -> str:
    areas = {
        "roc": " Areas under the curves are the AUC of the table.",
        "pr": " Areas under the curves are the AUPRC of the table.",
    }
    return areas.get(kind, "")


def _draw_roc(ax: Axes, curves: dict[str, Any], found: dict[Key, Any], styles: dict[Key, LineStyle]) -> None:
    ax.plot([0, 1], [0, 1], ":", color="0.5", linewidth=0.9)
    for i, (key, curve) in enumerate(found.items()):
        _draw_line(ax, [0, *curves["fpr"]], [0, *curve["tpr"]], styles[key], i)
    _set_unit_axes(ax)


def _draw_pr(ax: Axes, curves: dict[str, Any], found: dict[Key, Any], styles: dict[Key, LineStyle]) -> None:
    for i, (key, curve) in enumerate(found.items()):
        if i == 0:
            ax.axhline(curve["prevalence"], linestyle=":", color="0.5", linewidth=0.9)
        _draw_line(ax, curves["recall"], curve["precision"], styles[key], i, drawstyle="steps-pre")
    _set_unit_axes(ax)


def _draw_reliability(ax: Axes, curves: dict[str, Any], found: dict[Key, Any], styles: dict[Key, LineStyle]) -> None:
    ends = [v for c in found.values() for name in ("predicted", "observed") for v in c["reliability"][name]]
    top = min(1.0, 1.08 * max([*ends, 0.05]))
    ax.plot([0, top], [0, top], ":", color="0.5", linewidth=0.9)
    for key, curve in found.items():
        bins, style = curve["reliability"], styles[key]
        ax.vlines(bins["predicted"], bins["low"], bins["high"], color=style.colour, linewidth=0.5, alpha=0.35)
        ax.plot(
            bins["predicted"],
            bins["observed"],
            color=style.colour,
            linestyle=style.dash,
            marker=style.marker,
            markersize=3,
            linewidth=0.9,
        )
    ax.set_xlim(0, top)
    ax.set_ylim(0, top)
    ax.tick_params(labelsize=7)


DRAW: dict[str, Callable[[Axes, dict[str, Any], dict[Key, Any], dict[Key, LineStyle]], None]] = {
    "roc": _draw_roc, "pr": _draw_pr, "reliability": _draw_reliability,
}  # fmt: skip


def _draw_line(
    ax: Axes, x: Sequence[float], y: Sequence[float], style: LineStyle, i: int, drawstyle: str = "default"
) -> None:
    """Draw a curve with a few markers, not at the same places as those of the others."""
    ax.plot(x, y, color=style.colour, linestyle=style.dash, marker=style.marker, markersize=3.5, markevery=(3 + i, 12), linewidth=0.9,
            drawstyle=drawstyle)  # fmt: skip


def _set_unit_axes(ax: Axes) -> None:
    ax.set_xlim(0, 1)
    ax.set_ylim(0, 1)
    ax.set_xticks([0, 0.5, 1])
    ax.set_yticks([0, 0.5, 1])
    ax.tick_params(labelsize=7)


def _draw_names(ax: Axes, group: Sequence[Key], titles: dict[Key, str], styles: dict[Key, LineStyle]) -> None:
    """Write the names of a row of panels to the right of it."""
    handles = [
        ax.plot([], [], color=styles[k].colour, linestyle=styles[k].dash, marker=styles[k].marker, markersize=4, linewidth=1)[0]
        for k in group
    ]  # fmt: skip
    labels = [make_label(_fold_title(titles[k])) for k in group]
    ax.legend(handles, labels, loc="center left", bbox_to_anchor=(1.03, 0.5), frameon=False, fontsize=7, borderpad=0)


def _fold_title(title: str, width: int = 30) -> str:
    """Break a long title into two lines."""
    if len(title) <= width:
        return title
    cut = title.rfind(" ", 0, width)
    return f"{title[:cut]}\n{title[cut + 1 :]}" if cut > 0 else title
