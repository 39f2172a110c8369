"""The main table's figures: differences to the reference, curves by task, AUC by pattern, time against AUC, ranks over cohorts."""

from __future__ import annotations

from collections.abc import Sequence

from reports.figures import critical_difference
from reports.figures.curve_figures import draw_curve_figures
from reports.figures.forest import draw_forest
from reports.figures.time_figure import draw_time_figure
from reports.report import Figure, Section
from reports.sections.table3 import draw_pattern_maps
from reports.tables.captions import compose_title_suffix
from results.plan import Plan
from results.statistics.ranking import collect_cohort_values, rank_methods
from results.storage.store import Store


def section(store: Store, plans: Sequence[Plan]) -> Section:
    """Return figures of each plan; a note for each that cannot be drawn."""
    figures: list[Figure] = []
    notes: list[str] = []
    for plan in plans:
        drawn: dict[str, Sequence[Figure | None]] = {
            "forest plot: no comparison with the reference is stored": [draw_forest(store, plan)],
            "ROC, precision-recall and reliability curves: none are stored (an experiment with derived: [curves] has them)": (
                draw_curve_figures(store, plan)
            ),
            "map of row x pattern: no patterns are derived (an experiment with derived: [patterns] has them)": (
                draw_pattern_maps(store, plan)
            ),
            "time against AUC: no record says how long a fit took": [draw_time_figure(store, plan)],
        }
        figures += [figure for found in drawn.values() for figure in found if figure]
        notes += [f"No {why}{compose_title_suffix(plan, plans)}." for why, found in drawn.items() if not any(found)]
    for protocol in dict.fromkeys(plan.protocol for plan in plans):
        ranking = rank_methods(collect_cohort_values(store, [plan for plan in plans if plan.protocol == protocol]))
        if ranking.ranks is None:
            notes.append(f"No ranking of methods over cohorts ({protocol} protocol). {ranking.reason}")
        else:
            figures.append(critical_difference.draw_critical_difference(ranking, f"ranks-{protocol}"))
    return Section(figures=tuple(figures), notes=tuple(notes))
