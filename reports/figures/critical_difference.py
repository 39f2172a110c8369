"""The critical-difference diagram (Demsar 2006), names down so that long ones fit: average ranks, and bars over methods not told apart."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes

from reports.figures.drawing import COLOURS, create_figure
from reports.report import Figure
from results.statistics.ranking import LEVEL, Ranking

WIDTH = 7.0
LINE = 0.25
"""Inches between two names."""
Clique = tuple[str, ...]


def draw_critical_difference(ranking: Ranking, name: str = "critical_difference") -> Figure:
    """Draw the diagram of a ranking: without a test there are no bars and the caption says why, without ranks it is empty."""
    if ranking.ranks is None:
        figure, (axes,) = create_figure(WIDTH, 0.6)
        axes.axis("off")
        axes.text(0.5, 0.5, "no average ranks", ha="center", va="center")
        return Figure(name, _compose_caption(ranking), f"No diagram. {ranking.reason}", figure)
    k, ends = len(ranking.ranks), _find_clique_ends(ranking.ranks, ranking.cliques)
    figure, (axes,) = create_figure(WIDTH, LINE * (k + 5))
    for i, rank in enumerate(ranking.ranks):
        axes.plot((1, rank), (i, i), color="0.75", linewidth=1)
        axes.plot((rank,), (i,), color="black", marker="o", markersize=5)
        axes.annotate(f"{rank:.2f}", (rank, i), xytext=(6, 0), textcoords="offset points", va="center")
    step = 0.03 * (k - 1)
    levels = _assign_levels(ends)
    for (first, last), level in zip(ends, levels, strict=True):
        x = k + 4.5 * step + step * level
        axes.plot((x, x), (first - 0.25, last + 0.25), color=COLOURS[0], linewidth=4, solid_capstyle="butt")
    axes.set_yticks(range(k), [str(method) for method in ranking.ranks.index])
    axes.set_xticks(range(1, k + 1))
    axes.set(
        xlabel="average rank (1 is best)", xlim=(1 - step, k + step * (6 + max(levels, default=0))), ylim=(k, -1.8)
    )
    if ranking.critical_difference is not None:
        _draw_scale(axes, ranking.critical_difference)
    return Figure(name, _compose_caption(ranking), _describe_ranking(ranking.ranks, ranking.cliques), figure)


def _draw_scale(axes: Axes, length: float) -> None:
    axes.plot((1, 1 + length), (-1.1, -1.1), color="black", linewidth=1.5, marker="|", markersize=8)
    axes.annotate(
        f"critical difference {length:.2f}", (1 + length, -1.1), xytext=(6, 0), textcoords="offset points", va="center"
    )


def _find_clique_ends(ranks: pd.Series, cliques: Sequence[Clique]) -> list[tuple[int, int]]:
    """Return the rows of the first and the last method of each clique."""
    row = {method: i for i, method in enumerate(ranks.index)}
    return [(row[clique[0]], row[clique[-1]]) for clique in cliques]


def _assign_levels(bars: Sequence[tuple[int, int]]) -> list[int]:
    """Return the column in which each clique's bar is drawn: the first in which it meets no other."""
    ends: dict[int, int] = {}
    levels = []
    for first, last in bars:
        level = next(i for i in range(len(bars)) if ends.get(i, -1) < first)
        ends[level] = last
        levels.append(level)
    return levels


def _compose_caption(ranking: Ranking) -> str:
    n = len(ranking.cohorts)
    parts = [
        f"Average ranks by AUC (1 is best) over {n} independent cohort{'s' * (n != 1)} ({', '.join(ranking.cohorts)}); "
        "a cohort counts once, with the mean AUC of its tasks."
    ]
    if ranking.p is not None:
        p = f"p = {ranking.p:.2g}" if ranking.p >= 1e-4 else "p < .0001"
        parts.append(f"Friedman chi-square {ranking.statistic:.2f}, {p}.")
    if ranking.critical_difference is not None:
        parts.append(
            f"Nemenyi's critical difference at {LEVEL:g} is {ranking.critical_difference:.2f}: "
            "methods joined by a bar are not told apart."
        )
    return " ".join([*parts, *([ranking.reason] if ranking.reason else [])])


def _describe_ranking(ranks: pd.Series, cliques: Sequence[Clique]) -> str:
    order = ", ".join(f"{method} {rank:.2f}" for method, rank in ranks.items())
    groups = "; ".join(f"{clique[0]} to {clique[-1]}" for clique in cliques)
    return f"Average ranks from best to worst: {order}.{f' Not told apart: {groups}.' if groups else ''}"
