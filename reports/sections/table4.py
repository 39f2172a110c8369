"""Sensitivity to hyper-parameters: the AUC at each value, the greatest drop, and the curves."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import numpy as np
import pandas as pd

from reports.figures.sensitivity_figures import draw_sensitivity_figure
from reports.frames.tidy import COLUMNS, build_tidy_frame
from reports.report import Figure, Section
from reports.tables.captions import compose_short_caption
from reports.tables.differences import build_difference_entry, build_difference_frame, index_records
from reports.tables.sensitivity import (
    MEAN,
    Drop,
    Study,
    average_by_fold,
    compute_drop,
    format_value,
    get_field_title,
    index_aucs,
    list_sweeps,
)
from reports.tables.table import Entry, Table, TableRow, build_entry, get_task_title, make_text_entry
from results.plan import Plan
from results.storage.store import Store

EACH = (
    "AUC at each value, one hyper-parameter changed at a time; difference: this value less the default, paired within folds, with the 95 % "
    "interval of a bootstrap over patients (the same resamples for all rows); bold: called by the corrected t-test with Holm's adjustment "
    "over all {size} values and tasks; no other difference can be told from the noise of folds and initial weights. Of the mean over "
    "tasks: ± standard deviation over folds. "
)
SUMMARY = (
    "Sensitivity. Drop: AUC at the default less the AUC at the worst value tried, 0 where none is worse; ± standard deviation over folds "
    "of the paired difference; stability: 100 (1 - drop / AUC at the default), in per cent (the paper prints a stability without a "
    "definition); range: lowest and highest AUC of the values tried, the default included. The greatest of several drops is "
    "above zero by chance alone, hence the last column: the values that the corrected t-test with Holm's adjustment calls worse. "
)
SCALED = "Learning rates are those of the paper's schedule; this one multiplies them by {factor:g}. "
DRAWN = (
    "Difference in AUC to the default value (dotted), one hyper-parameter changed at a time. Bars: 95 % interval by task; of the mean over "
    "tasks, the standard deviation over folds. "
)


def section(store: Store, plans: Sequence[Plan]) -> Section:
    """Return two tables a plan and method, the differences and the summary as frames, a figure."""
    tables: list[Table] = []
    figures: list[Figure] = []
    differences, summaries = [], []
    for plan in plans:
        numbers = build_tidy_frame(store, plan)
        records = index_records(store.statistics(plan.name), "sweep")
        tasks = plan.landmark_tasks
        factor = plan.settings.lr_factor
        scaled = SCALED.format(factor=factor) if factor != 1 else ""
        each = EACH.format(size=sum(r["in_family"] for r in records.values()))
        for title, own in groupby(list_sweeps(plan), key=lambda sweep: sweep.base.title):
            study = Study(plan, tuple(own), numbers, index_aucs(numbers), records, tasks)
            captions = [
                compose_short_caption(store, [plan], f"{title}: {text}{scaled}".rstrip())
                for text in (SUMMARY, each, DRAWN)
            ]
            tables += [build_summary_table(study, captions[0]), build_values_table(study, captions[1])]
            figures.append(draw_sensitivity_figure(study, captions[2]))
            summaries.append(build_summary_frame(study))
        differences.append(build_difference_frame(plan, records, numbers))
    frames = {"_differences": differences, "_sensitivity": summaries}
    stacked = {name: pd.concat(parts, ignore_index=True) for name, parts in frames.items() if parts}
    return Section(tuple(tables), stacked, tuple(figures))


def build_summary_table(study: Study, caption: str) -> Table:
    """Build a table of hyper-parameters: the range tried, drop and stability over all tasks and for each, and the values called worse."""
    heads = [(f"{MEAN.capitalize()} (AUC)", study.tasks), *((get_task_title(t), [(lm, t)]) for lm, t in study.tasks)]
    columns = [("Values", "Tried"), ("Values", "Default")]
    columns += [(heads[0][0], name) for name in ("Range", "Drop", "at", "Stability (%)")]
    columns += [(head, "Drop") for head, _ in heads[1:]]
    columns.append(("Beyond noise", "Called worse"))
    rows, notes = [], []
    for sweep in study.sweeps:
        tried = [p.value for p in sweep.points]
        default = next(p.value for p in sweep.points if p.default)
        entries = [
            make_text_entry(f"{format_value(tried[0])} to {format_value(tried[-1])}"),
            make_text_entry(format_value(default)),
        ]
        for head, over in heads:
            found = compute_drop(study.aucs, sweep, over)
            entries += _build_drop_entries(found) if head == heads[0][0] else _build_drop_entries(found)[1:2]
            if found.lost:
                lost = ", ".join(format_value(v) for v in found.lost)
                notes.append(f"† {get_field_title(sweep.field)} ({head}): without {lost}, which has no number.")
        worse = [r for r in study.find_records(sweep) if r["metric"] == "auc" and r["worse"]]
        called = ", ".join(f"{r['name'].rpartition('=')[2]} ({get_task_title(r['task'])})" for r in worse)
        tested = any(r["in_family"] for r in study.find_records(sweep))
        entries.append(make_text_entry(called or ("none" if tested else "not tested")))
        rows.append((get_field_title(sweep.field), False, tuple(entries)))
    return Table(tuple(columns), tuple(rows), caption, tuple(notes), f"Sensitivity of {study.sweeps[0].base.title}")


def build_values_table(study: Study, caption: str) -> Table:
    """Build a table of values: the AUC and its difference to the default over all tasks and for each."""
    spread = "sd_seeds" if study.plan.seeds > 1 else "sd_folds"
    auc = study.numbers[study.numbers["metric"] == "auc"].to_dict("records")
    cells = {(c["method"], c["variant"], c["landmark"], c["task"]): c for c in auc}
    columns = [
        (head, name)
        for head in (MEAN.capitalize(), *(get_task_title(t) for _, t in study.tasks))
        for name in ("AUC", "Difference")
    ]
    rows: list[TableRow] = []
    notes: dict[str, None] = {}
    for sweep in study.sweeps:
        base = average_by_fold(study.aucs, sweep.base, study.tasks)
        for point in sweep.points:
            found = average_by_fold(study.aucs, point.row, study.tasks)
            entries = [
                _build_mean_entry(list(found.values())),
                _build_mean_entry([found[k] - base[k] for k in found if k in base], True),
            ]
            for landmark, task in study.tasks:
                cell = cells[point.row.method, point.row.variant, landmark, task]
                entries.append(build_entry(cell, spread))
                if cell["note"]:
                    where = f"{get_field_title(sweep.field)} {format_value(point.value)} ({get_task_title(task)})"
                    notes[f"{entries[-1].mark} {where}: {cell['note']}.".strip()] = None
                name = (point.row.variant, point.row.method, point.row.variant, landmark, task, "auc")
                entries.append(
                    make_text_entry("default")
                    if point.default
                    else build_difference_entry(study.records.get(name), study.numbers)
                )
            if point.default:
                entries[1] = make_text_entry("default")
            rows.append((f"{get_field_title(sweep.field)} = {format_value(point.value)}", False, tuple(entries)))
    return Table(tuple(columns), tuple(rows), caption, tuple(notes), f"{study.sweeps[0].base.title} at each value")


def build_summary_frame(study: Study) -> pd.DataFrame:
    """Return the summary as a tidy frame.

    ``variant`` is the hyper-parameter, ``metric`` max_drop, stability, auc_default, auc_low or auc_high.
    """
    rows = []
    of = {k: getattr(study.plan, k) for k in ("experiment", "dataset", "protocol")}
    for sweep in study.sweeps:
        for name, over in ((MEAN, study.tasks), *((task, [(lm, task)]) for lm, task in study.tasks)):
            found = compute_drop(study.aucs, sweep, over)
            metrics = {"max_drop": found.drop, "stability": found.stability, "auc_default": found.default}
            metrics |= {"auc_low": found.low, "auc_high": found.high}
            whole = study.plan.landmarks[over[0][0]].tasks[over[0][1]] if len(over) == 1 else None
            shared = {
                **of, "group": "all",
                "landmark": "+".join(dict.fromkeys(lm for lm, _ in over)), "task": name, "method": sweep.base.method,
                "variant": sweep.field, "folds": len(average_by_fold(study.aucs, sweep.base, over)), "seeds": study.plan.seeds,
                "n": whole and whole.n, "positives": whole and whole.positives, "at": found.at,
                "status": "undefined" if np.isnan(found.drop) else "partial" if found.lost else "done",
            }  # fmt: skip
            rows += [
                shared | {"metric": m, "mean": v, "sd_folds": found.sd_folds if m == "max_drop" else np.nan}
                for m, v in metrics.items()
            ]
    return pd.DataFrame(rows).reindex(columns=[*COLUMNS, "at"])


def _build_drop_entries(found: Drop) -> list[Entry]:
    if np.isnan(found.drop):
        return [make_text_entry("n/a")] * 4
    mark = "†" if found.lost else ""
    sd = None if np.isnan(found.sd_folds) else found.sd_folds
    return [
        make_text_entry(f"{found.low:.3f} to {found.high:.3f}{mark}"),
        Entry(found.drop, sd, "", mark, False, digits=4),
        make_text_entry(format_value(found.at)),
        Entry(found.stability, None, "", mark, False, digits=2),
    ]


def _build_mean_entry(folds: list[float], signed: bool = False) -> Entry:
    if not folds:
        return make_text_entry("n/a")
    sd = float(np.std(folds, ddof=1)) if len(folds) > 1 else None
    return Entry(float(np.mean(folds)), sd, "", "", False, signed=signed)
