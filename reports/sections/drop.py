"""Of ``drop``: what each method loses when a modality is withheld from the test stays."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from reports.figures.drawing import create_figure
from reports.report import Figure, Section
from reports.tables.captions import describe_settings
from reports.tables.probed import NumberIndex, build_probe_entry, build_probe_frame, collect_notes, list_methods
from reports.tables.table import Table, get_task_title
from results.plan import Plan
from results.storage.store import Store

Said = dict[str, str]
"""What captions end with, as ``describe_settings`` gives it."""
PROBE = "drop"
NOTHING = "nothing"
ACROSS = 5
"""Modalities side by side in a table; more make another table."""
WHAT = (
    "The same fitted models predict the test stays with one modality withheld from all of them (before the rectifier). The series of "
    "labs and vitals stays for methods that read it. Where every stay has a modality, withholding it makes patterns that no training stay "
    "showed."
)


def section(store: Store, plans: Sequence[Plan]) -> Section:
    """Return a table for each task and up to five modalities, and a heat map of the differences, for each plan."""
    tables, figures, numbers = [], [], []
    for plan in plans:
        said, frame = describe_settings(store, plan), build_probe_frame(store, plan, PROBE)
        numbers.append(frame)
        for landmark, facts in plan.landmarks.items():
            modalities = list(facts.modalities)
            for task in facts.tasks:
                own = frame[(frame["landmark"] == landmark) & frame["task"].isin([task, ""])]
                parts = [modalities[i : i + ACROSS] for i in range(0, len(modalities), ACROSS)]
                tables += [build_drop_table(said, plan, own, landmark, task, part) for part in parts]
        figures.append(draw_drop_map(said, plan, frame))
    frames = {"_numbers": pd.concat(numbers, ignore_index=True).drop(columns=["title", "by_fold"])}
    return Section(tuple(tables), frames, tuple(figures))


def build_drop_table(
    said: Said, plan: Plan, own: pd.DataFrame, landmark: str, task: str, modalities: Sequence[str]
) -> Table:
    """Build a table with methods down; AUC with all modalities, then without each of ``modalities`` the AUC and its difference."""
    cells = NumberIndex(own, ("group", "metric"))
    columns = [("All modalities", "AUC")]
    columns += [
        (f"Without {name}{_describe_stays(own, name)}", metric)
        for name in modalities
        for metric in ("AUC", "Difference")
    ]
    rows, used = [], []
    for method, variant, title in list_methods(own):
        places = [(NOTHING, "auc"), *((name, metric) for name in modalities for metric in ("auc", "auc_difference"))]
        found = [cells.get(method, variant, landmark, *place) for place in places]
        used += found
        entries = tuple(
            build_probe_entry(c, signed=metric == "auc_difference")
            for c, (_, metric) in zip(found, places, strict=True)
        )
        rows.append((title, False, entries))
    caption = (
        f"{get_task_title(task)} ({landmark}) with a modality withheld at test time: AUC and its difference from complete inputs, mean ± "
        f"standard deviation over folds. {WHAT} " + said[landmark]
    )
    return Table(tuple(columns), tuple(rows), caption, collect_notes(used))


def _describe_stays(own: pd.DataFrame, name: str) -> str:
    """Say how many test stays had the modality, over all folds, where a cell tells."""
    share = own[(own["metric"] == "withheld_from") & (own["group"] == name) & own["mean"].notna()]
    if share.empty:
        return ""
    cell = share.iloc[0]
    return f" ({cell['mean'] * cell['folds'] / cell['n']:.0%} have it)"


def draw_drop_map(said: Said, plan: Plan, frame: pd.DataFrame) -> Figure:
    """Draw the difference of the AUC, methods down, modalities across, a panel for each task, the numbers written in."""
    cells = NumberIndex(frame, ("task", "group", "metric"))
    methods = list_methods(frame)
    places = [(lm, task, list(f.modalities)) for lm, f in plan.landmarks.items() for task in f.tasks]
    values = frame[frame["metric"] == "auc_difference"]["mean"].abs()
    most = max(0.02, float(values.max())) if values.notna().any() else 0.02
    width = 2.4 + sum(0.7 + 0.62 * len(names) for *_, names in places)
    figure, axes = create_figure(width, 1.4 + 0.3 * len(methods), 1, len(places))
    for i, (ax, (landmark, task, names)) in enumerate(zip(axes, places, strict=True)):
        found = [[cells.get(m, v, landmark, task, name, "auc_difference") for name in names] for m, v, _ in methods]
        grid = np.array([[np.nan if c is None else c["mean"] for c in row] for row in found], dtype=float)
        ax.imshow(grid, cmap="PuOr", vmin=-most, vmax=most, aspect="auto")
        for y, row in enumerate(found):
            for x, cell in enumerate(row):
                shown = build_probe_entry(cell)
                text = (
                    shown.word
                    if shown.mean is None
                    else f"{shown.mean:+.2f}".replace("-0.00", "0.00").replace("+0.00", "0.00")
                )
                dark = shown.mean is not None and abs(shown.mean) > 0.75 * most
                ax.text(x, y, text, ha="center", va="center", fontsize=7, color="white" if dark else "black")
        ax.set_xticks(
            range(len(names)), names, rotation=45 if len(names) > 5 else 0, ha="right" if len(names) > 5 else "center"
        )
        ax.set_yticks(range(len(methods)), [title for *_, title in methods] if i == 0 else [])
        ax.set_title(f"{get_task_title(task)}\n({landmark})", fontsize=9)
        ax.tick_params(length=0)
    caption = (
        "Difference of the AUC when a modality is withheld at test time, from complete inputs (mean over folds; below 0, orange: the "
        f"method loses). {WHAT} " + said["all"]
    )
    alt = f"AUC differences of {len(methods)} methods by modality withheld, for {len(places)} tasks; the tables have the numbers."
    return Figure(f"drop_{plan.dataset}_{plan.protocol}", caption, alt, figure)
