"""The main table's figures: differences to the reference, curves by task, time against AUC."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from reports.captions import title_of
from reports.curve_figures import curve_figures
from reports.forest import forest
from reports.section import Figure, Section
from reports.time_figure import time_figure
from results.store import Store


def section(store: Store, plans: Sequence[dict[str, Any]]) -> Section:
    """Figures of each plan; a note for each that cannot be drawn."""
    figures: list[Figure] = []
    notes: list[str] = []
    for plan in plans:
        curves = curve_figures(store, plan)
        drawn = {
            "forest plot: no comparison with the reference is stored": [forest(store, plan)],
            "ROC, precision-recall and reliability curves: none are stored (an experiment with derived: [curves] has them)": curves
            or [None],
            "time against AUC: no record says how long a fit took": [time_figure(store, plan)],
        }
        figures += [figure for found in drawn.values() for figure in found if figure]
        notes += [f"No {why}{title_of(plan, plans)}." for why, found in drawn.items() if found == [None]]
    return Section(figures=tuple(figures), notes=tuple(notes))
