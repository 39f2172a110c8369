"""The ablation ladder: each step's metrics and its difference to the step before."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from reports.figures.drawing import create_figure, get_line_style
from reports.frames.tidy import PRINTED, build_tidy_frame
from reports.report import Figure, Section
from reports.tables.captions import compose_short_caption
from reports.tables.differences import (
    DifferenceRecords,
    build_difference_entry,
    build_difference_frame,
    build_p_entry,
    compute_whiskers,
    index_records,
)
from reports.tables.table import METRICS, NOT_PLANNED, Entry, Table, build_entry, get_task_title, make_text_entry
from results.plan import Plan
from results.rows import TableRow, list_rows
from results.statistics.ladder import LADDER, Step, find_rung
from results.storage.store import Store

WHAT = (
    "Ablation ladder. Each step changes one thing of the step before it; difference: this step less the one before, paired within folds, "
    "with the 95 % interval of a bootstrap over patients (the same resamples for all rows); each variant draws its own initial weights"
)
TESTED = (
    "; p: corrected t-test over folds, adjusted by Holm over all {size} tested steps and tasks; bold: called at .05."
)
OTHERS = "; lower is better for Brier, so that a negative difference is a gain there; not tested."


def section(store: Store, plans: Sequence[Plan]) -> Section:
    """Return two tables a plan (AUC with tests; AUPRC and Brier), the differences as a frame, and a figure of them."""
    tables, frames, figures = [], [], []
    for plan in plans:
        numbers = build_tidy_frame(store, plan)
        records = index_records(store.statistics(plan.name), "steps")
        rows = list_rows(plan)
        rungs = [(step, find_rung(step, plan.reference or "", rows)) for step in LADDER]
        size = sum(r["in_family"] for r in records.values())
        for metrics, more in ((("auc",), TESTED.format(size=size)), (("auprc", "brier"), OTHERS)):
            caption = compose_short_caption(store, [plan], WHAT + more)
            tables.append(build_ladder_table(plan, rungs, records, numbers, metrics, caption))
        frames.append(build_difference_frame(plan, records, numbers))
        figures += [draw_steps_figure(store, plan, records)] if records else []
    return Section(tuple(tables), {"_steps": pd.concat(frames, ignore_index=True)}, tuple(figures))


def build_ladder_table(
    plan: Plan,
    rungs: list[tuple[Step, TableRow | None]],
    records: DifferenceRecords,
    numbers: pd.DataFrame,
    metrics: tuple[str, ...],
    caption: str,
) -> Table:
    """Build a table of steps; across, by task: each metric, its difference to the step before and, for the AUC, the test's p."""
    spread = "sd_seeds" if plan.seeds > 1 else "sd_folds"
    cells = {(c["method"], c["variant"], c["landmark"], c["task"], c["metric"]): c for c in numbers.to_dict("records")}
    places = plan.landmark_tasks
    columns = [
        (get_task_title(task), head)
        for _, task in places
        for m in metrics
        for head in (METRICS[m], "Difference", *(("p",) if m == "auc" else ()))
    ]
    rows, notes = [], [f"{step.name}: {step.changes}." for step, _ in rungs]
    for i, (step, row) in enumerate(rungs):
        entries: list[Entry] = []
        for landmark, task in places:
            for metric in metrics:
                cell = row and cells.get((row.method, row.variant, landmark, task, metric))
                entries.append(build_entry(cell, spread) if cell else make_text_entry("not planned"))
                if cell and cell["note"]:
                    notes.append(f"{step.name} ({get_task_title(task)}, {METRICS[metric]}): {cell['note']}.")
                names = (row.method, row.variant) if row else (None, None)
                own = records.get((step.name, *names, landmark, task, metric))
                tested = [build_p_entry(own) if i else NOT_PLANNED] if metric == "auc" else []
                entries += [build_difference_entry(own, numbers) if i else NOT_PLANNED, *tested]
        rows.append((step.name, False, tuple(entries)))
    heading = f"Ablation ladder: {', '.join(METRICS[m] for m in metrics)}"
    return Table(tuple(columns), tuple(rows), caption, tuple(dict.fromkeys(notes)), heading)


def draw_steps_figure(store: Store, plan: Plan, records: DifferenceRecords) -> Figure:
    """Draw differences with their intervals: a panel for each metric, a line for each step, a mark for each task."""
    steps = [step.name for step in LADDER[1:]]
    tasks = list(dict.fromkeys(r["task"] for r in records.values()))
    figure, axes = create_figure(7.2, 1.2 + 0.28 * len(steps) * len(tasks), columns=len(PRINTED))
    for panel, metric in zip(axes, PRINTED, strict=True):
        panel.axvline(0, color="#8C8C8C", linewidth=0.8)
        for t, task in enumerate(tasks):
            own = {r["name"]: r for r in records.values() if r["task"] == task and r["metric"] == metric}
            found = [
                (i, own[name]) for i, name in enumerate(steps) if name in own and own[name]["difference"] is not None
            ]
            style = get_line_style(t)
            y = [i + 0.7 * ((t + 0.5) / len(tasks) - 0.5) for i, _ in found]
            x = [r["difference"] for _, r in found]
            label = get_task_title(task) if panel is axes[0] else None
            panel.errorbar(
                x,
                y,
                xerr=compute_whiskers([r for _, r in found]),
                fmt=style.marker,
                color=style.colour,
                markersize=4,
                capsize=2,
                linewidth=1,
                label=label,
            )
            for i, name in enumerate(steps):
                if name in own and own[name]["difference"] is None:
                    at = (0, i + 0.7 * ((t + 0.5) / len(tasks) - 0.5))
                    panel.annotate("no number", at, color=style.colour, fontsize=7, va="center")
        panel.set_yticks(range(len(steps)), steps if panel is axes[0] else [""] * len(steps))
        panel.set_ylim(len(steps) - 0.5, -0.5)
        better = "lower is better" if metric == "brier" else "higher is better"
        panel.set_xlabel(f"Difference in {METRICS[metric]}\n({better})")
    figure.legend(loc="outside upper center", ncols=len(tasks), frameon=False)
    gains = [
        f"{r['name']} {get_task_title(r['task'])} {r['difference']:+.3f}"
        for r in records.values() if r["metric"] == "auc" and r["difference"] is not None
    ]  # fmt: skip
    alt = f"Points with intervals around a line at zero. Differences in AUC to the step before: {'; '.join(gains)}."
    return Figure(
        f"steps-{plan.dataset}-{plan.protocol}", compose_short_caption(store, [plan], WHAT + "."), alt, figure
    )
