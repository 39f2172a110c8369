"""Forest plot: each other row less the reference, with intervals, a panel a task."""

from __future__ import annotations

from typing import Any

from reports.figures.drawing import COLOURS, LineStyle, create_figure, get_line_style
from reports.report import Figure
from reports.tables.captions import describe_setting, name_figure
from reports.tables.table import METRICS, get_task_title
from results.plan import Plan
from results.rows import find_reference_row, list_rows
from results.storage.store import Store

CALLED = {
    "worse": ("reference better, called", get_line_style(0), True),
    "better": ("other better, called", get_line_style(1), True),
}
UNCALLED = ("no difference called", LineStyle(COLOURS[6], "o", "-"), False)
KNOWN = ("known of the cohort, not tested", get_line_style(3), False)


def draw_forest(store: Store, plan: Plan, metric: str = "auc") -> Figure | None:
    """Draw the differences of ``statistics["comparisons"]`` with their bootstrap intervals; None where nothing was compared."""
    statistics = store.statistics(plan.name) or {}
    rows = list_rows(plan)
    reference = find_reference_row(plan, rows)
    found = [c for c in statistics.get("comparisons", []) if c["metric"] == metric]
    if reference is None or not any(c["difference"] is not None for c in found):
        return None
    others = [row for row in rows if row is not reference]
    others.sort(key=lambda row: row.known)
    places = list(dict.fromkeys((c["landmark"], c["task"]) for c in found))
    by_place = {(c["landmark"], c["task"], c["method"], c["variant"]): c for c in found}
    figure, axes = create_figure(2.6 + 2.2 * len(places), 1.3 + 0.21 * len(others), 1, len(places))
    signs: dict[str, Any] = {}
    for i, (ax, (landmark, task)) in enumerate(zip(axes, places, strict=True)):
        ax.axvline(0, color="0.5", linewidth=0.8)
        for y, row in enumerate(others):
            comparison = by_place.get((landmark, task, row.method, row.variant))
            if comparison is None or comparison["difference"] is None:
                ax.text(0.5, y, "no comparison", transform=ax.get_yaxis_transform(), ha="center", va="center", fontsize=7,
                        color="0.35", style="italic")  # fmt: skip
                continue
            sign = next((CALLED[k] for k in CALLED if comparison[k]), KNOWN if row.known else UNCALLED)
            signs[sign[0]] = _draw_point(ax, y, comparison, sign)
        ax.set_title(f"{get_task_title(task)}\n({landmark})", fontsize=9)
        ax.set_xlabel(f"{METRICS[metric]}, row - reference")
        ax.set_yticks(range(len(others)), [row.title for row in others])
        ax.tick_params(axis="y", length=0, labelleft=i == 0)
        ax.set_ylim(len(others) - 0.4, -0.6)
        ax.grid(axis="y", color="0.9", linewidth=0.6)
        ax.set_axisbelow(True)
    figure.legend(signs.values(), signs.keys(), loc="outside lower center", ncols=2, frameon=False, fontsize=8)
    level = f"{statistics['confidence']:.0%}"
    what = f"{METRICS[metric]} of each other row less that of {reference.title}"
    caption = (
        f"{what}, with {level} bootstrap intervals of the difference; left of 0 the reference is better. Filled: called by the "
        f"corrected t-test after Holm's adjustment. {describe_setting(store, plan)}"
    )
    return Figure(
        name_figure("forest", plan),
        caption,
        f"Forest plot: {what}. {_describe_calls(found, rows, reference.title)}",
        figure,
    )


def _draw_point(ax: Any, y: int, comparison: dict[str, Any], sign: tuple[str, Any, bool]) -> Any:
    _, style, filled = sign
    if comparison["ci_low"] is not None:
        ax.plot([comparison["ci_low"], comparison["ci_high"]], [y, y], color=style.colour, linewidth=1.1)
    fill = style.colour if filled else "white"
    return ax.plot(
        comparison["difference"],
        y,
        style.marker,
        color=style.colour,
        markerfacecolor=fill,
        markersize=4.5,
        linestyle="none",
    )[0]


def _describe_calls(found: list[dict[str, Any]], rows: list[Any], reference: str) -> str:
    """Say which rows the test calls better or worse than the reference, task by task."""
    titles = {(row.method, row.variant): row.title for row in rows}
    said = []
    for landmark, task in dict.fromkeys((c["landmark"], c["task"]) for c in found):
        own = [c for c in found if (c["landmark"], c["task"]) == (landmark, task)]
        wins = [titles[c["method"], c["variant"]] for c in own if c["worse"]]
        losses = [titles[c["method"], c["variant"]] for c in own if c["better"]]
        better = f"better than {', '.join(wins)}" if wins else ""
        worse = f"worse than {', '.join(losses)}" if losses else ""
        called = " and ".join(filter(None, (better, worse))) or "neither better nor worse than any"
        said.append(f"{get_task_title(task)}: {reference} is called {called}.")
    return " ".join(said)
